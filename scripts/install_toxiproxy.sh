#!/usr/bin/env bash
# Installs Shopify's Toxiproxy as .peers/bin/toxiproxy-server: tests run against it, and against the package's own.
set -euo pipefail
cd "$(dirname "$0")/.."
version=v2.12.0

built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
GOBIN=$built "${GO:-go}" install "github.com/Shopify/toxiproxy/v2/cmd/server@$version"
mkdir -p .peers/bin
mv "$built/server" .peers/bin/toxiproxy-server
