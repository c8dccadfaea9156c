# The table is written by scripts/generate_elixir_proto.py, which also checks it.
generated = ["lib/tool_bridge/proto/table.ex"]

[
  line_length: 120,
  inputs: Enum.flat_map(["*.exs", "{lib,test,conformance}/**/*.{ex,exs}"], &Path.wildcard/1) -- generated
]
