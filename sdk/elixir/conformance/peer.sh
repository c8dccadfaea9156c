#!/bin/sh
# The peer for Elixir, as ../../conformance/README.md describes it.
cd "$(dirname "$0")/.." || exit 1
mix compile </dev/null >&2 || exit 1
exec elixir -pa "_build/${MIX_ENV:-dev}/lib/tool_bridge/ebin" conformance/peer.exs
