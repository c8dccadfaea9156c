#!/usr/bin/env bash
# Fails unless a tag is the version of the package, and the changelog has it: `check_release.sh v0.1.0`.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
if [[ $1 != "v$version" ]]; then
  echo "check_release: the tag is $1, and pyproject.toml has version $version" >&2
  exit 1
fi
if ! grep -qxF "__version__ = \"$version\"" src/grpc_tool_bridge/__init__.py; then
  echo "check_release: src/grpc_tool_bridge/__init__.py has another version than pyproject.toml, $version" >&2
  exit 1
fi
if ! grep -qE "^## \[$version\] - [0-9]{4}-[0-9]{2}-[0-9]{2}$" CHANGELOG.md; then
  echo "check_release: CHANGELOG.md has no date for version $version" >&2
  exit 1
fi
