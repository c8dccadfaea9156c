defmodule ToolBridge.Connection.Incoming do
  @moduledoc false
  # The calls of the hub: each is a task that the handler starts, and that is stopped when its call is over.

  alias ToolBridge.Connection.{Pace, State}
  alias ToolBridge.Error
  alias ToolBridge.Link.Protocol
  alias ToolBridge.Proto.Wire

  # Of a ToolStreamChunk's number.
  @sequence_tag 0x10
  # A task that does not end when its call is cancelled is killed.
  @kill_after 5_000

  @doc "Starts the task of a call."
  @spec serve(State.t(), pos_integer(), ToolBridge.Proto.LinkCall.t()) :: State.t()
  def serve(%{handler: nil} = state, id, call) do
    unserved(state, id, Error.new("Unimplemented", "a client does not offer #{String.slice(call.method, 0, 100)}"))
  end

  def serve(state, id, call) do
    case state.handler.(self(), id, call) do
      {:ok, %Task{pid: pid, ref: monitor}} ->
        timer =
          if call.timeout_ms > 0,
            do: Process.send_after(self(), {:deadline, id, call.timeout_ms / 1000}, call.timeout_ms)

        task = %{pid: pid, monitor: monitor, timer: timer, error: nil, chunks: 0}

        %{
          state
          | served: Map.put(state.served, id, task),
            monitors: Map.put(state.monitors, monitor, {:task, id}),
            pace: Pace.delivered(state.pace)
        }

      {:error, error} ->
        unserved(state, id, error)
    end
  end

  @doc "Ends a call that no task runs."
  @spec unserved(State.t(), pos_integer(), Error.t()) :: State.t()
  def unserved(state, id, error), do: %{state | link: Protocol.finish(state.link, id, Error.to_status(error))}

  @doc "Sends a chunk of a stream; the sender is answered once there is room for another."
  @spec chunk(State.t(), pos_integer(), iodata(), GenServer.from()) :: {:ok, State.t()} | {:error, Error.t(), State.t()}
  def chunk(%{link: nil} = state, _, _, _), do: {:error, Error.connection("the link to #{state.where} was lost"), state}

  def chunk(state, id, payload, from) do
    {number, state} = next_number(state, id)

    case Protocol.chunk(state.link, id, [payload, @sequence_tag, Wire.varint(number)]) do
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

  defp next_number(state, id) do
    case state.served do
      %{^id => task} ->
        {task.chunks, %{state | served: Map.put(state.served, id, %{task | chunks: task.chunks + 1})}}

      _ ->
        {0, state}
    end
  end

  @doc "A task has answered."
  @spec answered(State.t(), pos_integer(), {:reply, iodata()} | {:end, ToolBridge.Proto.LinkStatus.t()}) :: State.t()
  def answered(%{link: nil} = state, _, _), do: state

  def answered(state, id, answer) do
    case Map.pop(state.served, id) do
      {nil, _} ->
        state

      {task, served} ->
        Process.demonitor(task.monitor, [:flush])
        _ = task.timer && Process.cancel_timer(task.timer)
        monitors = Map.delete(state.monitors, task.monitor)
        state = %{state | served: served, monitors: monitors, pace: Pace.queued(state.pace)}
        put_answer(state, id, if(task.error, do: {:end, Error.to_status(task.error)}, else: answer))
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

  @doc "A task has ended without an answer: it was stopped, or killed with something that it is linked to."
  @spec task_down(State.t(), pos_integer(), term()) :: State.t()
  def task_down(%{link: nil} = state, id, _), do: %{state | served: Map.delete(state.served, id)}

  def task_down(state, id, reason) do
    task = Map.fetch!(state.served, id)
    _ = task.timer && Process.cancel_timer(task.timer)
    error = task.error || Error.of_tool(:exit, reason, [])
    unserved(%{state | served: Map.delete(state.served, id)}, id, error)
  end

  @doc "The hub has cancelled a call."
  @spec cancelled(State.t(), pos_integer()) :: State.t()
  def cancelled(state, id), do: stop_task(state, id, Error.new("Cancelled", "the call was cancelled"))

  @doc "A call has taken longer than its timeout, in seconds."
  @spec expire(State.t(), pos_integer(), float()) :: State.t()
  def expire(state, id, seconds) do
    text = "the tool took longer than the timeout of its call, #{:erlang.float_to_binary(seconds, [:short])} s"
    stop_task(state, id, Error.new("TimeoutError", text, details: %{"started" => "true"}))
  end

  @doc "Stops a task; its call is answered when it has ended."
  @spec stop_task(State.t(), pos_integer(), Error.t()) :: State.t()
  def stop_task(state, id, error) do
    case state.served do
      %{^id => %{error: nil} = task} ->
        end_task(task)
        {senders, blocked} = Map.pop(state.blocked, id, [])
        Enum.each(senders, &GenServer.reply(&1, {:error, error}))
        %{state | served: Map.put(state.served, id, %{task | error: error}), blocked: blocked}

      _ ->
        state
    end
  end

  defp end_task(task) do
    Process.exit(task.pid, :shutdown)
    Process.send_after(self(), {:kill, task.pid}, @kill_after)
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

  @doc "Stops all: the link was lost."
  @spec drop_all(State.t(), Error.t()) :: State.t()
  def drop_all(state, error) do
    for {_, senders} <- state.blocked, from <- senders, do: GenServer.reply(from, {:error, error})
    Enum.each(state.served, fn {_, task} -> end_task(task) end)
    monitors = Map.drop(state.monitors, for({_, task} <- state.served, do: task.monitor))
    %{state | blocked: %{}, served: %{}, monitors: monitors}
  end
end
