#!/usr/bin/env bash
# Fails where the committed generated code differs from what proto/dspex_bridge.proto gives.
set -euo pipefail
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
scripts/generate_proto.sh "$fresh"
for file in "$fresh"/*; do
  if ! diff -u "src/grpc_tool_bridge/proto/$(basename "$file")" "$file"; then
    echo "check_proto: generated code is stale; run 'make proto' and commit the result" >&2
    exit 1
  fi
done
echo "check_proto: generated code is up to date"
