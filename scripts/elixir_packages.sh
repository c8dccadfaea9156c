#!/bin/sh
# Installs what the Elixir SDK needs on Debian, without hex: Elixir itself (as root, if it is missing), and gun and
# cowlib into .peers/elixir, where sdk/elixir/mix.exs finds them. They are taken from Debian's RabbitMQ, since its own
# package of cowlib is too old for gun.
set -eu
cd "$(dirname "$0")/.."

if ! command -v mix >/dev/null || ! command -v dialyzer >/dev/null; then
  scripts/install_packages.sh elixir erlang-dev erlang-dialyzer erlang-ssl erlang-inets erlang-parsetools
fi

target=.peers/elixir
if [ -d "$target/gun" ]; then
  exit 0
fi
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
chmod 755 "$unpacked"
download() { (cd "$unpacked" && apt-get --quiet -o APT::Sandbox::User=root download rabbitmq-server); }
download || { apt-get update -qq && download; }
(cd "$unpacked" && dpkg-deb -x rabbitmq-server_*.deb .)
mkdir -p "$target"
for package in gun cowlib; do
  cp -R "$unpacked"/usr/lib/rabbitmq/lib/*/plugins/$package-* "$target/$package"
done
