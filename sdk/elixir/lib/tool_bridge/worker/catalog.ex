defmodule ToolBridge.Worker.Catalog do
  @moduledoc false
  # Keeps a worker's tools where the tasks of its calls find them without copying all of them.

  use GenServer

  alias ToolBridge.Tool

  @doc "Starts it; `key` is the worker's."
  def start_link({key, tools}), do: GenServer.start_link(__MODULE__, {key, tools})

  @doc "A tool by its id; nil if the worker has none, or is stopping."
  @spec find(term(), String.t()) :: Tool.t() | nil
  def find(key, id), do: key |> :persistent_term.get(%{}) |> Map.get(id)

  @impl true
  def init({key, tools}) do
    Process.flag(:trap_exit, true)
    :persistent_term.put(key, Map.new(tools, &{&1.id, &1}))
    {:ok, key}
  end

  @impl true
  def terminate(_, key), do: :persistent_term.erase(key)
end
