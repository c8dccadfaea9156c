defmodule ToolBridge.Connection.Incoming do
  @moduledoc false
  # The calls of the hub: each runs in a process of its own, and may ask its caller questions.

  import ToolBridge.Connection.State, only: [now: 0]

  alias ToolBridge.{Connection, Error}
  alias ToolBridge.Connection.{Children, Pace, State}
  alias ToolBridge.Connection.State.Served
  alias ToolBridge.Link.Protocol
  alias ToolBridge.Proto.{Answer, Ask, LinkCall, LinkEvent, Wire}

  # Of a ToolStreamChunk's number.
  @sequence_tag 0x10
  # How much later than its deadline a call may be ended, so that many deadlines need one timer.
  @tick 10
  @max_asks 100
  # Characters of a link's id.
  @max_link_id 64

  @doc "Starts the process of a call."
  @spec serve(State.t(), pos_integer(), LinkCall.t()) :: State.t()
  def serve(%{handler: nil} = state, id, call) do
    unserved(state, id, Error.new("Unimplemented", "a client does not offer #{String.slice(call.method, 0, 100)}"))
  end

  def serve(state, id, call) do
    case state.handler.(call, request_id(state.link.peer, id)) do
      {:ok, {module, function, args}} ->
        run = {module, function, [self(), {state.link_number, id} | args]}
        {pid, state} = Children.start(state, {:call, id}, run)
        deadline = if call.timeout_ms > 0, do: now() + call.timeout_ms
        served = Map.put(state.served, id, %Served{pid: pid, timeout: call.timeout_ms, deadline: deadline})
        arm(%{state | served: served, pace: Pace.delivered(state.pace)}, deadline)

      {:error, error} ->
        unserved(state, id, error)
    end
  end

  # The hub makes the same id of the id of the link, which it says in its hello, and the call's number there.
  defp request_id(%{metadata: %{"link_id" => link_id}}, id) when link_id != "",
    do: "#{String.slice(link_id, 0, @max_link_id)}-#{id}"

  defp request_id(_, _), do: ""

  @doc "Ends a call that no process runs."
  @spec unserved(State.t(), pos_integer(), Error.t()) :: State.t()
  def unserved(state, id, error), do: %{state | link: Protocol.finish(state.link, id, Error.to_status(error))}

  @doc "The id of a call that is being served; nil if it has been answered, or its link was lost."
  @spec find(State.t(), Connection.call_key()) :: pos_integer() | nil
  def find(%{link_number: number, served: served}, {number, id}) when is_map_key(served, id), do: id
  def find(_, _), do: nil

  defp over, do: Error.new("Cancelled", "the call is over")

  # ---------------------------------------------------------------------------------------------------- chunks

  @doc "Sends a chunk of a stream; the sender is answered once there is room for another."
  @spec chunk(State.t(), Connection.call_key(), iodata(), GenServer.from()) ::
          {:ok, State.t()} | {:error, Error.t(), State.t()}
  def chunk(state, key, payload, from) do
    case find(state, key) do
      nil -> {:error, over(), state}
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

  # ------------------------------------------------------------------------------------------------- questions

  @doc "Asks the caller; the process that asks gets the answer, or an error when the call ends."
  @spec ask(State.t(), Connection.call_key(), Ask.t(), GenServer.from()) ::
          {:ok, State.t()} | {:error, Error.t(), State.t()}
  def ask(state, key, ask, from) do
    id = find(state, key)

    case id && Map.fetch!(state.served, id) do
      %Served{error: nil, asks: asks} = call when map_size(asks) < @max_asks ->
        number = Integer.to_string(call.asked + 1)
        call = %{call | asked: call.asked + 1, asks: Map.put(asks, number, from)}
        link = Protocol.tell(state.link, id, %LinkEvent{kind: {:ask, %{ask | id: number}}})
        {:ok, %{state | link: link, served: Map.put(state.served, id, call)}}

      %Served{error: nil} ->
        text = "#{@max_asks} questions of this call wait for their answers; ask fewer"
        {:error, Error.new("ResourceExhausted", text), state}

      _ ->
        {:error, over(), state}
    end
  end

  @doc "A question was answered; an answer to one that is not open is dropped."
  @spec take_answer(State.t(), pos_integer(), Answer.t()) :: State.t()
  def take_answer(state, id, answer) do
    with %{^id => call} <- state.served,
         {from, asks} when from != nil <- Map.pop(call.asks, answer.id) do
      GenServer.reply(from, {:ok, answer})
      %{state | served: Map.put(state.served, id, %{call | asks: asks})}
    else
      _ -> state
    end
  end

  # ------------------------------------------------------------------------------------------------------- end

  @doc "A process has answered its call."
  @spec answered(State.t(), pos_integer(), Connection.answer()) :: State.t()
  def answered(state, id, answer) do
    {call, served} = Map.pop!(state.served, id)
    release(state, id, call, over())
    state = %{state | served: served, pace: Pace.queued(state.pace)}
    put_answer(state, id, if(call.error, do: {:end, Error.to_status(call.error)}, else: answer))
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

  @doc "A process has ended without an answer: it was stopped, or killed with something that it is linked to."
  @spec exited(State.t(), pos_integer(), term()) :: State.t()
  def exited(state, id, reason) do
    {call, served} = Map.pop!(state.served, id)
    release(state, id, call, over())
    unserved(%{state | served: served}, id, call.error || Error.of_tool(:exit, reason, []))
  end

  @doc "The hub has cancelled a call."
  @spec cancelled(State.t(), pos_integer()) :: State.t()
  def cancelled(state, id), do: stop(state, id, Error.new("Cancelled", "the call was cancelled"))

  @doc "Stops the process of a call; the call is answered with the error when it has ended."
  @spec stop(State.t(), pos_integer(), Error.t()) :: State.t()
  def stop(state, id, error) do
    case state.served do
      %{^id => %Served{error: nil} = call} ->
        Children.stop(call.pid)
        state = release(state, id, call, error)
        %{state | served: Map.put(state.served, id, %{call | error: error, asks: %{}})}

      _ ->
        state
    end
  end

  # Others than the call's process may wait for room, or for answers.
  defp release(%{blocked: blocked} = state, id, %{asks: asks}, error) when asks != %{} or is_map_key(blocked, id) do
    {senders, blocked} = Map.pop(blocked, id, [])
    Enum.each(senders ++ Map.values(asks), &GenServer.reply(&1, {:error, error}))
    %{state | blocked: blocked}
  end

  defp release(state, _, _, _), do: state

  @doc "Stops all: the link was lost."
  @spec drop_all(State.t(), Error.t()) :: State.t()
  def drop_all(state, error) do
    state = Enum.reduce(state.served, state, fn {id, call}, state -> release(state, id, call, error) end)
    Children.drop(%{state | served: %{}}, &match?({:call, _}, &1))
  end

  # ------------------------------------------------------------------------------------------------- deadlines

  # One timer, for the first deadline: most calls are over long before theirs, and the next ones' are later.
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

    timed =
      for {id, %Served{error: nil, deadline: deadline} = call} when deadline != nil <- state.served, do: {id, call}

    {late, others} = Enum.split_with(timed, fn {_, call} -> call.deadline <= now end)
    state = Enum.reduce(late, %{state | deadlines: nil}, fn {id, call}, state -> stop(state, id, late(call)) end)
    next = others |> Enum.map(fn {_, call} -> call.deadline end) |> Enum.min(fn -> nil end)
    arm(state, next && max(next, now + @tick))
  end

  defp late(call) do
    seconds = :erlang.float_to_binary(call.timeout / 1000, [:short])
    text = "the tool took longer than the timeout of its call, #{seconds} s"
    Error.new("TimeoutError", text, details: %{"started" => "true"})
  end
end
