#!/usr/bin/env bash
# Checks the JavaScript of the dashboard and of its tests by Biome; `lint_dashboard.sh --write` mends what it can. Where
# Node.js or Biome is not installed it is left out, and said; with REQUIRE_ALL=1, as in CI, that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
biome=sdk/node/node_modules/.bin/biome
folders=(src/grpc_tool_bridge/gateway/dashboard)
if [[ -d tests/dashboard ]]; then
  folders+=(tests/dashboard)
fi
if ! command -v node >/dev/null || [[ ! -x $biome ]]; then
  echo "lint_dashboard: left out, since Biome is not installed; \`make install-node\` installs it, with Node.js 20" >&2
  [[ ${REQUIRE_ALL:-0} == 0 ]]
  exit
fi
if grep -rnP '\t|\s$' --include='*.js' --include='*.css' --include='*.html' "${folders[@]}"; then
  echo "lint_dashboard: these lines have a tab, or a space at their end; indent by two spaces" >&2
  exit 1
fi
"$biome" lint --config-path=scripts/dashboard_biome.jsonc --error-on-warnings "$@" "${folders[@]}"
