#!/usr/bin/env bash
# Installs rbee, and the programs that it brings to pools, as rbee.env says: into .rbee/bin, which CI may cache.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. ci/rbee.env

wanted="${RBEE_SHA256:-$RBEE_REVISION}"
if [ -z "$wanted" ]; then
  echo "error: ci/rbee.env does not say where rbee comes from: set RBEE_URL and RBEE_SHA256, or RBEE_REPOSITORY and RBEE_REVISION" >&2
  exit 1
fi
if [ "$(cat .rbee/from 2>/dev/null)" != "$wanted" ]; then
  rm -rf .rbee
  mkdir -p .rbee/bin
  if [ -n "$RBEE_URL" ]; then
    curl -fsSL --retry 3 -o .rbee/download "$RBEE_URL"
    echo "$RBEE_SHA256  .rbee/download" | sha256sum --check --strict --quiet
    tar -xf .rbee/download -C .rbee/bin
    rm .rbee/download
  else
    git init -q .rbee/source
    git -C .rbee/source fetch -q --depth 1 "$RBEE_REPOSITORY" "$RBEE_REVISION"
    git -C .rbee/source checkout -q --detach FETCH_HEAD
    (cd .rbee/source && CARGO_TARGET_DIR=target cargo build --release --locked)
    for program in rbee rbee-hive llm-worker-rbee orchestratord; do
      mv ".rbee/source/target/release/$program" .rbee/bin/
    done
    rm -rf .rbee/source
  fi
  echo "$wanted" > .rbee/from
fi
.rbee/bin/rbee --version
