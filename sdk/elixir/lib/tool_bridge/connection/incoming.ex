defmodule ToolBridge.Connection.Incoming do
  @moduledoc false
  # The calls of the hub: each runs in a process of its own.
  #
  # The connection is the supervisor of these processes, as Cowboy's connections are of theirs: a supervisor between
  # them, such as a `Task.Supervisor`, would cost each call two more messages and a wait, more than all else together.
  # They are linked to the connection, stopped when their call is over, and waited for when the connection ends.

  import ToolBridge.Connection.State, only: [now: 0]

  alias ToolBridge.{Connection, Error}
  alias ToolBridge.Connection.{Pace, State}
  alias ToolBridge.Connection.State.Served
  alias ToolBridge.Link.Protocol
  alias ToolBridge.Proto.{LinkCall, Wire}

  # Of a ToolStreamChunk's number.
  @sequence_tag 0x10
  # A process that does not end when its call is cancelled is killed.
  @kill_after 5_000
  # How much later than its deadline a call may be ended, so that many deadlines need one timer.
  @tick 10
  # Words of a new process's heap: an ordinary call collects no garbage.
  @heap 1_000

  @doc "Starts the process of a call."
  @spec serve(State.t(), pos_integer(), LinkCall.t()) :: State.t()
  def serve(%{handler: nil} = state, id, call) do
    unserved(state, id, Error.new("Unimplemented", "a client does not offer #{String.slice(call.method, 0, 100)}"))
  end

  def serve(state, id, call) do
    case state.handler.(call) do
      {:ok, run} ->
        args = [self(), {state.link_number, id}, run, Process.get(:"$ancestors", [])]
        pid = :erlang.spawn_opt(__MODULE__, :run, args, [:link, min_heap_size: @heap])
        deadline = if call.timeout_ms > 0, do: now() + call.timeout_ms
        served = Map.put(state.served, id, %Served{pid: pid, timeout: call.timeout_ms, deadline: deadline})
        children = Map.put(state.children, pid, id)
        arm(%{state | served: served, children: children, pace: Pace.delivered(state.pace)}, deadline)

      {:error, error} ->
        unserved(state, id, error)
    end
  end

  @doc false
  # The process of a call. It is no `:proc_lib` process, which takes longer to start, but says what it is as one does.
  @spec run(pid(), Connection.call_key(), {module(), atom(), list()}, list()) :: term()
  def run(connection, key, {module, function, args}, ancestors) do
    Process.put(:"$initial_call", {module, function, length(args) + 2})
    Process.put(:"$ancestors", [connection | ancestors])
    send(connection, {__MODULE__, :answer, self(), apply(module, function, [connection, key | args])})
  end

  @doc "Ends a call that no process runs."
  @spec unserved(State.t(), pos_integer(), Error.t()) :: State.t()
  def unserved(state, id, error), do: %{state | link: Protocol.finish(state.link, id, Error.to_status(error))}

  @doc "The id of a call that is being served; nil if it has been answered, or its link was lost."
  @spec find(State.t(), Connection.call_key()) :: pos_integer() | nil
  def find(%{link_number: number, served: served}, {number, id}) when is_map_key(served, id), do: id
  def find(_, _), do: nil

  # ---------------------------------------------------------------------------------------------------- chunks

  @doc "Sends a chunk of a stream; the sender is answered once there is room for another."
  @spec chunk(State.t(), Connection.call_key(), iodata(), GenServer.from()) ::
          {:ok, State.t()} | {:error, Error.t(), State.t()}
  def chunk(state, key, payload, from) do
    case find(state, key) do
      nil -> {:error, Error.new("Cancelled", "the call is over"), state}
      id -> send_chunk(state, id, payload, from)
    end
  end

  defp send_chunk(state, id, payload, from) do
    call = Map.fetch!(state.served, id)
    state = %{state | served: Map.put(state.served, id, %{call | chunks: call.chunks + 1})}

    case Protocol.chunk(state.link, id, [payload, @sequence_tag, Wire.varint(call.chunks)]) do
      {:error, error} ->
        {:error, error, state}

      {:ok, link} ->
        state = %{state | link: link}

        if Protocol.room?(link, id) do
          GenServer.reply(from, :ok)
          {:ok, state}
        else
          {:ok, %{state | blocked: Map.update(state.blocked, id, [from], &[from | &1])}}
        end
    end
  end

  @doc "Lets the senders go on whose streams have room; of all calls, or of one."
  @spec unblock(State.t()) :: State.t()
  def unblock(%{blocked: blocked} = state) when blocked == %{}, do: state
  def unblock(state), do: Enum.reduce(Map.keys(state.blocked), state, &unblock(&2, &1))

  @spec unblock(State.t(), pos_integer()) :: State.t()
  def unblock(state, id) do
    case state.blocked do
      %{^id => senders} ->
        if Protocol.room?(state.link, id) do
          Enum.each(senders, &GenServer.reply(&1, :ok))
          %{state | blocked: Map.delete(state.blocked, id)}
        else
          state
        end

      _ ->
        state
    end
  end

  # ------------------------------------------------------------------------------------------------------- end

  @doc "A process has answered its call."
  @spec answered(State.t(), pid(), Connection.answer()) :: State.t()
  def answered(state, pid, answer) do
    case state.children do
      %{^pid => id} when id != nil ->
        {call, served} = Map.pop!(state.served, id)
        children = Map.put(state.children, pid, nil)
        state = %{state | served: served, children: children, pace: Pace.queued(state.pace)}
        put_answer(state, id, if(call.error, do: {:end, Error.to_status(call.error)}, else: answer))

      _ ->
        state
    end
  end

  defp put_answer(state, id, {:end, status}), do: %{state | link: Protocol.finish(state.link, id, status)}

  defp put_answer(state, id, {:reply, payload}) do
    case Protocol.reply(state.link, id, payload) do
      {:ok, link} ->
        %{state | link: link}

      {:error, error} ->
        unserved(state, id, error)
    end
  end

  @doc "A process has ended; without an answer if it was stopped, or killed with something that it is linked to."
  @spec exited(State.t(), pid(), term()) :: State.t()
  def exited(state, pid, reason) do
    {id, children} = Map.pop!(state.children, pid)
    state = %{state | children: children}

    if id == nil do
      state
    else
      {call, served} = Map.pop!(state.served, id)
      unserved(%{state | served: served}, id, call.error || Error.of_tool(:exit, reason, []))
    end
  end

  @doc "The hub has cancelled a call."
  @spec cancelled(State.t(), pos_integer()) :: State.t()
  def cancelled(state, id), do: stop(state, id, Error.new("Cancelled", "the call was cancelled"))

  @doc "Stops the process of a call; the call is answered with the error when it has ended."
  @spec stop(State.t(), pos_integer(), Error.t()) :: State.t()
  def stop(state, id, error) do
    case state.served do
      %{^id => %Served{error: nil} = call} ->
        end_process(call.pid)
        {senders, blocked} = Map.pop(state.blocked, id, [])
        Enum.each(senders, &GenServer.reply(&1, {:error, error}))
        %{state | served: Map.put(state.served, id, %{call | error: error}), blocked: blocked}

      _ ->
        state
    end
  end

  defp end_process(pid) do
    Process.exit(pid, :shutdown)
    Process.send_after(self(), {:kill, pid}, @kill_after)
  end

  @doc "Stops all: the link was lost."
  @spec drop_all(State.t(), Error.t()) :: State.t()
  def drop_all(state, error) do
    for {_, senders} <- state.blocked, from <- senders, do: GenServer.reply(from, {:error, error})
    Enum.each(state.served, fn {_, call} -> end_process(call.pid) end)
    %{state | blocked: %{}, served: %{}, children: Map.new(state.children, fn {pid, _} -> {pid, nil} end)}
  end

  @doc "Ends all processes, and waits for them: the connection ends."
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

  # ------------------------------------------------------------------------------------------------- deadlines

  # One timer, for the first deadline: most calls are over long before theirs, and begin with a later one.
  defp arm(state, nil), do: state
  defp arm(%{deadlines: {_, at}} = state, deadline) when at <= deadline, do: state

  defp arm(state, deadline) do
    _ = with {timer, _} <- state.deadlines, do: :erlang.cancel_timer(timer)
    %{state | deadlines: {:erlang.start_timer(max(0, deadline - now()), self(), :deadlines), deadline}}
  end

  @doc "Stops the calls that have taken longer than their timeout."
  @spec expire(State.t()) :: State.t()
  def expire(state) do
    now = now()

    running =
      for {id, %Served{error: nil, deadline: deadline} = call} when deadline != nil <- state.served, do: {id, call}

    {over, others} = Enum.split_with(running, fn {_, call} -> call.deadline <= now end)
    state = Enum.reduce(over, %{state | deadlines: nil}, fn {id, call}, state -> stop(state, id, late(call)) end)

    if others == [],
      do: state,
      else: arm(state, others |> Enum.map(fn {_, call} -> call.deadline end) |> Enum.min() |> max(now + @tick))
  end

  defp late(call) do
    seconds = :erlang.float_to_binary(call.timeout / 1000, [:short])
    text = "the tool took longer than the timeout of its call, #{seconds} s"
    Error.new("TimeoutError", text, details: %{"started" => "true"})
  end
end
