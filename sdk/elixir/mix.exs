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

  # With TOOL_BRIDGE_OFFLINE set, gun and cowlib come from the code path: see scripts/elixir_packages.sh.
  defp deps do
    if System.get_env("TOOL_BRIDGE_OFFLINE"), do: [], else: [{:gun, "~> 1.3"}]
  end
end
