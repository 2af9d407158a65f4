#!/usr/bin/env bash
# matrix.sh ENVIRONMENT: asks every worker what the checks of its fleet.yaml ask, and writes ENVIRONMENT.xml (JUnit). Exits as
# `rbee test` does: 0 all passed, 5 a check failed, 4 a pool did not answer.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

code=0
rbee -f "$fleet" test --junit "$environment.xml" || code=$?
case "$code" in
  0) ;;
  4) fail 4 "a pool did not answer: its workers were not asked." ;;
  5) fail 5 "a worker does not answer as the checks of $fleet say." ;;
  *) fail "$code" "rbee test ended with $code, the log says why." ;;
esac
