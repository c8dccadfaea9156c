#!/usr/bin/env bash
# Builds the programs of ci-tools.txt with Go, into .peers/bin or DIRECTORY: `ci_tools.sh [DIRECTORY [NAME...]]`. One that
# is there in its version stays.
set -euo pipefail
scripts=$(cd "$(dirname "$0")" && pwd)
directory=${1:-$scripts/../.peers/bin}
shift || true
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
while read -r name package version; do
  if [[ -z $name || $name == '#'* ]] || { (($#)) && [[ " $* " != *" $name "* ]]; }; then
    continue
  fi
  built=$({ go version -m "$directory/$name" 2>/dev/null || true; } | awk '$1 == "mod" { print $3 }')
  if [[ $built != "$version" ]]; then
    GOBIN=$directory GOFLAGS=-mod=mod go install "$package@$version"
    echo "ci_tools: built $name $version"
  fi
done <"$scripts/ci-tools.txt"
