#!/bin/sh
# The peer for Elixir, as ../../conformance/README.md describes it.
cd "$(dirname "$0")/.." || exit 1
mix compile </dev/null >&2 || exit 1
exec mix run --no-compile conformance/peer.exs
