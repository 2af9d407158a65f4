#!/usr/bin/env bash
# plan.sh ENVIRONMENT: saves the plan of the checked out commit, and writes plans/ENVIRONMENT.md, the comment for its
# pull request. Exits as `rbee plan` does, and with 0 too when there are changes.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

git diff --quiet HEAD || fail 1 "files differ from the commit: a plan belongs to a commit"
[ -z "${GITHUB_OUTPUT:-}" ] || echo "tree=$tree" >> "$GITHUB_OUTPUT"
mkdir -p plans
rm -f "$plan"
code=0
rbee -q -f "$fleet" plan --locked --detailed-exitcode --markdown --out "$plan" \
  > "$private/plan.md" 2> "$private/said" || code=$?
cat "$private/said" >&2
[ "$code" != 2 ] || code=0
{
  echo "<!-- rbee plan: $environment -->"
  cat "$private/plan.md"
  if [ "$code" != 0 ]; then
    printf '\n**`rbee plan` of %s ended with exit code %s.**\n\n' "$environment" "$code"
    # Indented, so that nothing in it is read as Markdown.
    head -c 4000 "$private/said" | sed 's/^/    /'
  fi
  if [ -f "$plan" ]; then
    printf '\n_Saved for tree `%s`. Merging it carries out exactly this, or nothing if a pool changed meanwhile._\n' "$tree"
  else
    printf '\n_No plan was saved: merging it carries out nothing._\n'
  fi
} > "plans/$environment.md"
tee -a "${GITHUB_STEP_SUMMARY:-/dev/null}" < "plans/$environment.md"
exit "$code"
