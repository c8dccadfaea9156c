defmodule ToolBridge.Connection.Children do
  @moduledoc false
  # The processes that a connection starts: one for each call of the hub, and one for each question that it answers.
  #
  # The connection is their supervisor, as Cowboy's connections are of theirs: a `Task.Supervisor` between them would
  # cost each call two more messages and a wait, which is more than all the rest of it. They are linked to the
  # connection, stopped when what they do is over, and waited for when the connection ends.

  alias ToolBridge.Connection.State

  # A process that does not end when it is stopped is killed.
  @kill_after 5_000
  # Words of a new process's heap, 5 KiB: an ordinary call collects next to no garbage.
  @heap 610

  @typedoc "What a process does: a call of the hub, by its id, or a question about a call of this end; nil: it is over."
  @type role :: {:call, pos_integer()} | {:question, reference()} | nil

  @doc "Starts a process, which calls a function and sends its result: `{Children, :result, pid, result}`."
  @spec start(State.t(), role(), {module(), atom(), list()}) :: {pid(), State.t()}
  def start(state, role, run) do
    args = [self(), run, Process.get(:"$ancestors", [])]
    pid = :erlang.spawn_opt(__MODULE__, :run, args, [:link, min_heap_size: @heap])
    {pid, %{state | children: Map.put(state.children, pid, role)}}
  end

  @doc false
  # It is no process of `:proc_lib`, which takes longer to start, but says what it is as one does.
  @spec run(pid(), {module(), atom(), list()}, list()) :: term()
  def run(connection, {module, function, args}, ancestors) do
    Process.put(:"$initial_call", {module, function, length(args)})
    Process.put(:"$ancestors", [connection | ancestors])
    send(connection, {__MODULE__, :result, self(), apply(module, function, args)})
  end

  @doc "What a process did that has sent its result; from now on it is over."
  @spec finished(State.t(), pid()) :: {role(), State.t()}
  def finished(state, pid) do
    case state.children do
      %{^pid => role} when role != nil -> {role, %{state | children: Map.put(state.children, pid, nil)}}
      _ -> {nil, state}
    end
  end

  @doc "What a process did that has ended, if that is not over."
  @spec exited(State.t(), pid()) :: {role(), State.t()}
  def exited(state, pid) do
    {role, children} = Map.pop!(state.children, pid)
    {role, %{state | children: children}}
  end

  @doc "Stops a process, which still has its role until it has ended."
  @spec stop(pid()) :: :ok
  def stop(pid) do
    Process.exit(pid, :shutdown)
    _ = Process.send_after(self(), {:kill, pid}, @kill_after)
    :ok
  end

  @doc "Stops the processes with a role that is over."
  @spec drop(State.t(), (role() -> boolean())) :: State.t()
  def drop(state, over?) do
    over = for {pid, role} <- state.children, role != nil, over?.(role), do: pid
    Enum.each(over, &stop/1)
    %{state | children: Enum.reduce(over, state.children, &Map.put(&2, &1, nil))}
  end

  @doc "Ends all, and waits for them."
  @spec shutdown(State.t()) :: :ok
  def shutdown(state) do
    pids = Map.keys(state.children)
    monitors = Enum.map(pids, &Process.monitor/1)
    Enum.each(pids, &Process.exit(&1, :shutdown))
    timer = :erlang.start_timer(@kill_after, self(), :kill)
    Enum.each(monitors, &await_end(&1, pids, timer))
    _ = :erlang.cancel_timer(timer)
    :ok
  end

  defp await_end(monitor, pids, timer) do
    receive do
      {:DOWN, ^monitor, :process, _, _} ->
        :ok

      {:timeout, ^timer, :kill} ->
        Enum.each(pids, &Process.exit(&1, :kill))
        await_end(monitor, pids, timer)
    end
  end
end
