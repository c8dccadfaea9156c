import Config

if config_env() == :test do
  # With GRPC_PORT, the application is a hub with tools of Elixir: for tests in other languages.
  config :tool_bridge, children: [ToolBridge.Fixture]
end
