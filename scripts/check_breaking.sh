#!/usr/bin/env bash
# Fails where proto/dspex_bridge.proto breaks peers that are written against proto/baseline.binpb, the image of the last
# accepted proto; it is committed, so that a shallow clone has it. `check_breaking.sh --accept` writes it anew after a
# change that only adds something.
#
# buf comes with the npm packages of sdk/node; it works offline.
set -euo pipefail
cd "$(dirname "$0")/.."
baseline=proto/baseline.binpb
buf=sdk/node/node_modules/.bin/buf
if ! "$buf" breaking proto --against "$baseline"; then
  echo "check_breaking: peers rely on these names and numbers; add a new field or method instead" >&2
  exit 1
fi
if [[ "${1:-}" == --accept ]]; then
  "$buf" build proto --exclude-source-info --output "$baseline"
  echo "check_breaking: $baseline is up to date"
# The other way round, what the baseline lacks is what was added.
elif ! "$buf" breaking "$baseline" --against proto >/dev/null; then
  echo "check_breaking: the proto has additions; run 'make proto-baseline' and commit $baseline" >&2
  exit 1
else
  echo "check_breaking: nothing has changed that peers rely on"
fi
