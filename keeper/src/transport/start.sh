# Says what the machine is and which build is installed, then becomes its hive. The bytes at the end
# of the line are the head of the hive's file: they tell for which machine it was built. The hub is asked as the
# operator: with no token of the pool, and the operator's comes by stdin and stays out of the environment of workers.
b="$(readlink "$h/bin/current")" || b=none;
b="${b##*/}";
p="$h/bin/$b/rbee-hive";
echo;
echo "rbee-pool $(uname -s) $(uname -m) $b" $(od -An -tx1 -N20 "$p" 2>/dev/null);
if [ "$b" = none ]; then exit 0; fi;
export RBEE_HOME="$h" HF_HUB_DISABLE_IMPLICIT_TOKEN=1;
unset HF_TOKEN;
exec "$p" rpc;
