#!/usr/bin/env bash
# Installs what the peers in other languages need, where it is missing: `make peers`. Elixir and gun come from Debian's
# packages; so do Node.js and Go, and newer ones come into .peers by npm and the Go proxy where Debian's are too old.
set -euo pipefail
cd "$(dirname "$0")/.."
peers=$PWD/.peers
node_major=20
node_release=22
go_minor=24
go_release=1.25.0

scripts/elixir_packages.sh

major() { (node --version 2>/dev/null || echo v0) | sed 's/^v\([0-9]*\).*/\1/'; }
if ! command -v npm >/dev/null; then
  scripts/install_packages.sh npm
fi
if (($(major) < node_major)); then
  npm install --silent --no-save --prefix "$peers/node" "node@$node_release"
fi

minor() { (go env GOVERSION 2>/dev/null || echo go1.0) | sed 's/^go1\.\([0-9]*\).*/\1/'; }
if ! command -v go >/dev/null; then
  scripts/install_packages.sh golang-go
fi
if (($(minor) < go_minor)); then
  module=$(mktemp -d)
  trap 'rm -rf "$module"' EXIT
  printf 'module toolchain\n' >"$module/go.mod"
  (cd "$module" && GOTOOLCHAIN=local go mod download "golang.org/toolchain@v0.0.1-go$go_release.linux-$(go env GOARCH)")
  mkdir -p "$peers/go"
  cp -R "$(go env GOMODCACHE)/golang.org/toolchain@v0.0.1-go$go_release.linux-$(go env GOARCH)/." "$peers/go"
  # A module has no permissions of its own.
  chmod -R u+w "$peers/go"
  chmod +x "$peers"/go/bin/* "$peers"/go/pkg/tool/*/*
fi
