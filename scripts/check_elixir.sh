#!/bin/sh
# Checks the Elixir SDK: format, warnings, the table of messages, and types by dialyzer. Its PLT takes minutes, once.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root/sdk/elixir"
"$root/.venv/bin/python" "$root/scripts/generate_elixir_proto.py" --check
mix format --check-formatted
mix compile --force --warnings-as-errors

plt=_build/plt/tool_bridge.plt
beams=$(elixir -e 'IO.write(:code.lib_dir(:elixir))' | sed 's|/elixir$||')
if [ ! -f "$plt" ]; then
  mkdir -p _build/plt
  gun=$(mix run --no-start -e 'for app <- [:gun, :cowlib], do: IO.puts(Application.app_dir(app, "ebin"))')
  # 2: warnings of what is not ours.
  # shellcheck disable=SC2086
  dialyzer --quiet -pa "$beams/elixir/ebin" --build_plt --output_plt "$plt" --apps erts kernel stdlib crypto public_key ssl \
    -r "$beams/elixir/ebin" "$beams/logger/ebin" $gun || [ $? -eq 2 ]
fi
# Iodata is an improper list on purpose.
exec dialyzer --quiet --plt "$plt" -pa "$beams/elixir/ebin" -Wunmatched_returns -Wno_improper_lists _build/dev/lib/tool_bridge/ebin
