#!/usr/bin/env bash
# Checks what is run elsewhere: Dockerfiles, compose, workflows, manifests, units and alerts. What is not installed is
# left out, and named; with REQUIRE_ALL=1, as in CI, that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PWD/.peers/bin:$PATH
left_out=()
have() { # PROGRAM PACKAGE
  command -v "$1" >/dev/null || {
    left_out+=("$1 ($2)")
    return 1
  }
}
copies=$(mktemp -d)
trap 'rm -rf "$copies"' EXIT

have hadolint "make install" && hadolint Dockerfile Dockerfile.test
if have check-jsonschema "make install"; then
  check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.test.yml deploy/compose/*.yaml
  check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
  check-jsonschema --quiet --builtin-schema custom.github-workflows-require-timeout .github/workflows/*.yml
fi
have actionlint "make tools" && actionlint
if have kustomize "make tools" && have kubeconform "make tools"; then
  for overlay in base tls durable cluster; do
    kustomize build "deploy/kubernetes/$overlay" >"$copies/$overlay.yaml"
  done
  kubeconform -strict -schema-location 'deploy/schemas/{{.ResourceKind}}{{.KindSuffix}}.json' \
    "$copies"/*.yaml deploy/kubernetes/secret.example.yaml
fi
if have systemd-analyze "apt install systemd"; then
  # verify wants the program of a unit to exist, and a template to have a name.
  for unit in deploy/systemd/*.service; do
    name=$(basename "$unit")
    sed "s|/opt/tool-bridge/bin|$PWD/.venv/bin|" "$unit" >"$copies/${name/@./@tools.}"
  done
  cp -r deploy/systemd/*.service.d "$copies"
  systemd-analyze verify --man=no --recursive-errors=no "$copies"/*.service
  systemd-analyze security --offline=true --no-pager --threshold=20 "$copies"/*.service >"$copies/exposure" ||
    { cat "$copies/exposure" >&2; exit 1; }
fi
if have promtool "apt install prometheus"; then
  promtool check config --syntax-only deploy/prometheus/prometheus.yml >/dev/null
  promtool test rules deploy/prometheus/alerts_test.yml >/dev/null
fi
if ((${#left_out[@]})); then
  printf 'lint_deploy: left out, since it is not installed: %s\n' "${left_out[@]}" >&2
  [[ ${REQUIRE_ALL:-0} == 0 ]]
fi
echo "lint_deploy: Dockerfiles, compose, workflows, manifests, units and alerts are in order"
