#!/usr/bin/env bash
# Installs the one wheel of a folder into an environment of its own, and calls a tool with it: `check_wheel.sh dist`. Paths
# that follow are tests, which it runs with what was installed: `check_wheel.sh dist tests/unit/tools`.
# UV_OFFLINE=1 installs what `make install` has fetched.
set -euo pipefail
cd "$(dirname "$0")/.."
wheels=("$1"/*.whl)
shift
if [[ ${#wheels[@]} != 1 || ! -e ${wheels[0]} ]]; then
  echo "check_wheel: $(dirname "${wheels[0]}") has not exactly one wheel" >&2
  exit 1
fi
environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT
"${PYTHON:-.venv/bin/python}" -m venv --without-pip "$environment"
.venv/bin/uv pip install --quiet --python "$environment/bin/python" --constraint requirements.lock "${wheels[0]}"
# Outside the repository, so that only what was installed is found.
cp scripts/smoke.py "$environment"
(cd "$environment" && bin/python -P smoke.py && bin/grpc-tool-bridge --version && bin/grpc-tool-bridge init project)
if (($#)); then
  # What tests need besides is in .venv. Its link to src is in a .pth file, which is not read there.
  packages=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  export PYTHONPATH=$PWD/tests:$PWD:$packages
  "$environment/bin/python" -P -c 'import grpc_tool_bridge as it, sys
sys.exit(None if it.__file__.startswith(sys.prefix) else f"check_wheel: {it.__file__} is not what was installed")'
  "$environment/bin/python" -P -m pytest -q -p no:cacheprovider "$@"
fi
