defmodule ToolBridge.Application do
  @moduledoc false
  use Application

  @impl true
  def start(_, _) do
    children = [
      {Registry, keys: :unique, name: ToolBridge.Processes} | Application.get_env(:tool_bridge, :children, [])
    ]

    Supervisor.start_link(children, strategy: :one_for_one, name: ToolBridge.Supervisor)
  end
end
