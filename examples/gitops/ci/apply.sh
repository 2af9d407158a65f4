#!/usr/bin/env bash
# apply.sh ENVIRONMENT: carries out the plan that was saved for the checked out commit. Exits as `rbee apply` does.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

[ -f "$plan" ] || fail 6 "no plan was saved for tree $tree, so nothing was moved: \
main had moved on when the pull request was merged, nobody planned this commit, or its plan has expired. $again"
code=0
rbee -f "$fleet" apply "$plan" --lock-timeout 600 || code=$?
case "$code" in
  0) ;;
  6) fail 6 "the plan is stale: a pool changed after it was made, and nothing was moved. $again" ;;
  7) fail 7 "somebody else applies to a pool, and nothing was moved. Run this job again when they are done." ;;
  3 | 4 | 5) fail "$code" "not all of the plan was carried out, the log says what is left. $again" ;;
  *) fail "$code" "rbee apply ended with $code, the log says why." ;;
esac
