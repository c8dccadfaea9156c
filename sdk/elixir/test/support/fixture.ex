defmodule ToolBridge.Fixture do
  @moduledoc false
  # `MIX_ENV=test GRPC_PORT=50051 mix run --no-halt` is a hub with agents, whose tools are Elixir's.

  use Supervisor

  def start_link(_) do
    case System.get_env("GRPC_PORT") do
      nil -> :ignore
      port -> Supervisor.start_link(__MODULE__, "127.0.0.1:#{port}", name: __MODULE__)
    end
  end

  @impl true
  def init(address) do
    hub = ToolBridge.TestHub.options(["--agents", "--no-tools"]) |> Keyword.put(:address, address)

    children = [
      {ToolBridge.Hub, hub},
      {ToolBridge.Worker, address: address, tools: ToolBridge.FixtureTools},
      %{id: :ready, start: {Task, :start_link, [&say_when_ready/0]}, restart: :temporary}
    ]

    Supervisor.init(children, strategy: :rest_for_one)
  end

  defp say_when_ready do
    {_, worker, _, _} = __MODULE__ |> Supervisor.which_children() |> List.keyfind!(ToolBridge.Worker, 0)
    :ok = ToolBridge.Worker.await_ready(worker, 60_000)
    IO.puts("ready")
  end
end
