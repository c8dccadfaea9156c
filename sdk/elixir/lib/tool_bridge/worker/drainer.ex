defmodule ToolBridge.Worker.Drainer do
  @moduledoc false
  # The last child of a worker, so the first that its supervisor stops: it drains the worker before anything else ends.

  use GenServer

  alias ToolBridge.Connection

  def start_link(args), do: GenServer.start_link(__MODULE__, args)

  @impl true
  def init(args) do
    Process.flag(:trap_exit, true)
    {:ok, args}
  end

  @impl true
  def terminate(_, {connection, grace}) do
    if GenServer.whereis(connection), do: Connection.drain(connection, grace)
  catch
    # It has ended meanwhile.
    :exit, _ -> :ok
  end
end
