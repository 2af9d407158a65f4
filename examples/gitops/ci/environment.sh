# Read by the other scripts, with the name of an environment: a folder that has a fleet.yaml.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# fail CODE TEXT: GitHub shows the text at the top of the run, others in the log.
fail() {
  [ -z "${GITHUB_ACTIONS:-}" ] || echo "::error title=rbee $environment::$2"
  echo "error: $environment: $2" >&2
  exit "$1"
}
again="Plan main again, read the plan, then apply again: see \"When a plan is stale\" in README.md."

environment="${1-}"
fleet="$environment/fleet.yaml"
[ -n "$environment" ] && [ -f "$fleet" ] || fail 64 "there is no $fleet; say which environment: ${0##*/} NAME"

# A plan belongs to the content of a commit: a merge, a squash or a rebase of what was planned has the same tree.
tree=$(git rev-parse 'HEAD^{tree}')
plan="plans/$environment-$tree.plan"

# The key is there for as long as the script runs.
private=$(mktemp -d)
trap 'rm -rf "$private"' EXIT
umask 077
if [ -n "${RBEE_SSH_KEY_FILE:-}" ]; then
  cat "$RBEE_SSH_KEY_FILE" > "$private/key"
elif [ -n "${RBEE_SSH_KEY:-}" ]; then
  printf '%s\n' "$RBEE_SSH_KEY" > "$private/key"
else
  fail 64 "no SSH key: set RBEE_SSH_KEY to its text, or RBEE_SSH_KEY_FILE to its file"
fi
unset RBEE_SSH_KEY
cat > "$private/config" <<END
Host *
  IdentityFile "$private/key"
  IdentitiesOnly yes
  IdentityAgent none
  StrictHostKeyChecking yes
  UserKnownHostsFile "$PWD/ssh/known_hosts"
  GlobalKnownHostsFile /dev/null
  UpdateHostKeys no
  BatchMode yes
  Include "$PWD/ssh/config"
END
export RBEE_SSH_CONFIG="$private/config" RBEE_SSH_PERSIST=0
export PATH="$PWD/.rbee/bin:$PATH" RBEE_DIST="$PWD/.rbee/bin/dist"
