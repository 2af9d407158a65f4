#!/usr/bin/env bash
# drift.sh ENVIRONMENT: says where the pools differ from the checked out commit. Exits as
# `rbee drift --detailed-exitcode` does: 0 nothing differs, 2 something does, 4 a pool did not answer.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

code=0
rbee -f "$fleet" drift --detailed-exitcode || code=$?
case "$code" in
  0) ;;
  2) fail 2 "the pools are not as $fleet says. $again" ;;
  4) fail 4 "a pool did not answer: of it nothing is known." ;;
  *) fail "$code" "rbee drift ended with $code, the log says why." ;;
esac
