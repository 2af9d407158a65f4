# Sets h, where rbee keeps its things on this machine. The same rule as the hive's own.
#
# What all scripts here hold to: lines are joined by spaces before they are sent, so each ends in
# `;` or a keyword, and a comment has a line of its own. No single quote, `!` or backslash: the
# script crosses the login shell, be it sh, fish or csh, as one single-quoted word.
h="${RBEE_HOME:-}";
if [ -z "$h" ]; then
  if [ "$(uname -s)" = Darwin ]; then
    h="${HOME:?is not set}/Library/Application Support/rbee";
  else
    h="${XDG_DATA_HOME:-${HOME:?is not set}/.local/share}/rbee";
  fi;
fi;
case "$h" in
  /*) ;;
  *) echo "the home of rbee is a relative path: $h; let RBEE_HOME start with /" >&2; exit 1 ;;
esac;
