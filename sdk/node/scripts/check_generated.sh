#!/usr/bin/env bash
# Fails where the committed src/gen differs from what proto/dspex_bridge.proto gives.
set -euo pipefail
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
npx --no-install buf generate ../../proto --path ../../proto/dspex_bridge.proto --template buf.gen.yaml --output "$fresh"
if ! diff -r src/gen "$fresh/src/gen"; then
  echo "check_generated: src/gen is stale; run 'npm run generate' and commit the result" >&2
  exit 1
fi
echo "check_generated: src/gen is up to date"
