#!/usr/bin/env bash
# Generates the Python code of proto/*.proto into DIR (default: the package); services are in dspex_bridge.proto alone.
#
# The generator is the oldest whose output runs on the oldest protobuf that pyproject.toml allows. It needs a protobuf
# of its own time, so it lives in an environment of its own, pinned in scripts/proto-requirements.lock.
set -euo pipefail
cd "$(dirname "$0")/.."
out="${1:-src/grpc_tool_bridge/proto}"
venv=.venv-proto
lock=scripts/proto-requirements.lock
if [ ! -e "$venv/.ready" ] || [ "$lock" -nt "$venv/.ready" ]; then
  .venv/bin/uv venv --quiet --clear --python .venv/bin/python "$venv"
  .venv/bin/uv pip sync --quiet --require-hashes --python "$venv/bin/python" "$lock"
  touch "$venv/.ready"
fi
mkdir -p "$out"
generate() {
  PATH="$PWD/$venv/bin:$PATH" "$venv/bin/python" -m grpc_tools.protoc -Iproto "$@"
}
generate --python_out="$out" --mypy_out=quiet:"$out" proto/*.proto
generate --grpc_python_out="$out" --mypy_grpc_out=quiet:"$out" proto/dspex_bridge.proto
# Generated modules import messages from the top level; ours live in the package.
sed -i 's/^import dspex_bridge_pb2 as/from grpc_tool_bridge.proto import dspex_bridge_pb2 as/; s/^import dspex_bridge_pb2$/from grpc_tool_bridge.proto import dspex_bridge_pb2/' \
  "$out"/dspex_bridge_*.py "$out"/dspex_bridge_*.pyi
