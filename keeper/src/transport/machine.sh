# Says in one line what the machine is, and the first bytes of the installed hive: they tell for which machine it was built.
echo;
echo "rbee-machine $(uname -s) $(uname -m)" $(od -An -tx1 -N20 "$h/bin/current/rbee-hive" 2>/dev/null);
