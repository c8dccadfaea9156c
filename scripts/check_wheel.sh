#!/usr/bin/env bash
# Installs the one wheel of a folder into an environment of its own, and calls a tool with it: `check_wheel.sh dist`.
set -euo pipefail
cd "$(dirname "$0")/.."
wheels=("$1"/*.whl)
if [[ ${#wheels[@]} != 1 || ! -e ${wheels[0]} ]]; then
  echo "check_wheel: $1 has not exactly one wheel" >&2
  exit 1
fi
environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT
"${PYTHON:-.venv/bin/python}" -m venv --without-pip "$environment"
.venv/bin/uv pip install --quiet --python "$environment/bin/python" --constraint requirements.lock "${wheels[0]}"
# Outside the repository, so that only what was installed is found.
cp scripts/smoke.py "$environment"
(cd "$environment" && bin/python -P smoke.py && bin/grpc-tool-bridge --version && bin/grpc-tool-bridge init project)
