# Where scripts/elixir_packages.sh puts gun, for machines that cannot reach hex.
for ebin <- Path.wildcard(Path.expand("../../.peers/elixir/*/ebin", __DIR__)), do: Code.append_path(ebin)

defmodule ToolBridge.MixProject do
  use Mix.Project

  @version "0.1.0"

  def project do
    [
      app: :tool_bridge,
      version: @version,
      elixir: "~> 1.14",
      description: "Client and worker of the gRPC tool bridge: tools of Python and Elixir, called from either",
      elixirc_paths: elixirc_paths(Mix.env()),
      start_permanent: Mix.env() == :prod,
      # Tests have implementations of their own.
      consolidate_protocols: Mix.env() != :test,
      deps: deps(),
      dialyzer: [plt_file: {:no_warn, "_build/plt/tool_bridge.plt"}],
      package: [licenses: ["Apache-2.0"], links: %{}, files: ~w(lib priv mix.exs README.md)]
    ]
  end

  def application do
    [extra_applications: [:logger, :ssl, :gun], mod: {ToolBridge.Application, []}]
  end

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_), do: ["lib"]

  # gun may be on the code path already.
  defp deps do
    if match?({:error, _}, :code.lib_dir(:gun)), do: [{:gun, "~> 1.3"}], else: []
  end
end
