#!/usr/bin/env bash
# Tests or lints the peers whose languages are installed, and names those that it leaves out: `each_peer.sh test`.
# With REQUIRE_ALL=1, as in CI, nothing may be left out.
set -euo pipefail
cd "$(dirname "$0")/.."
left_out=()
run() { # LANGUAGE WHAT-MUST-BE-THERE...
  local language=$1 part
  shift
  for part in "$@"; do
    if ! command -v "$part" >/dev/null && [[ ! -e $part ]]; then
      left_out+=("$language ($part is missing)")
      return
    fi
  done
  make --no-print-directory "$what-$language"
}
what=$1
gun=.peers/elixir/gun
if [[ -d sdk/elixir/deps/gun ]]; then
  gun=sdk/elixir/deps/gun
fi
run elixir mix "$gun"
run node npm sdk/node/node_modules/.ready
run go go .peers/bin/round-trip-go
if ((${#left_out[@]})); then
  printf 'each_peer: left out: %s; `make peers` installs and builds them\n' "${left_out[@]}" >&2
  [[ ${REQUIRE_ALL:-0} == 0 ]]
fi
