defmodule ToolBridge.Connection.Outgoing do
  @moduledoc false
  # The calls of this end: each ends by its answer, its timeout, the loss of its link, or the death of its caller.

  import ToolBridge.Connection.State, only: [now: 0]

  alias ToolBridge.Connection.{Answering, Incoming, Pace, State}
  alias ToolBridge.Connection.State.Request
  alias ToolBridge.Error
  alias ToolBridge.Link.Protocol
  alias ToolBridge.Proto.Wire

  # How often calls that have timed out are looked for; the hub ends them first.
  @sweep 250
  @slack 1_000
  # How long a call without a timeout waits for a link.
  @pending_timeout 30_000

  @permanent ~w(Unauthenticated PermissionDenied ValidationError SessionExpired SessionNotFound AlreadyExists Unimplemented)

  @doc "Whether dialling again helps only once somebody has changed something."
  @spec permanent?(Error.t()) :: boolean()
  def permanent?(error), do: error.type in @permanent

  @doc "A process makes a call."
  @spec request(State.t(), pid(), reference(), tuple()) :: State.t()
  def request(state, owner, ref, {method, payload, opts}) do
    timeout = Keyword.get(opts, :timeout)
    origin = Keyword.get(opts, :origin)
    monitor = Process.monitor(owner)

    request = %Request{
      ref: ref,
      monitor: monitor,
      method: method,
      payload: payload,
      session: Keyword.get(opts, :session),
      stream: Keyword.get(opts, :stream, false),
      metadata: if(origin, do: %{"tool-bridge-origin" => Integer.to_string(elem(origin, 1))}, else: %{}),
      tool: Keyword.get(opts, :tool) || "",
      deadline: timeout && now() + timeout,
      expires: now() + (timeout || @pending_timeout)
    }

    state = %{
      state
      | requests: Map.put(state.requests, ref, request),
        monitors: Map.put(state.monitors, monitor, ref),
        pace: Pace.queued(state.pace)
    }

    cond do
      # A nested call can only go over the link of its outer call.
      origin != nil and Incoming.find(state, origin) == nil ->
        finish(state, ref, {:error, Error.new("Cancelled", "the call that this one is nested in is over")})

      state.phase == :ready and :queue.is_empty(state.pending) and Protocol.takes_calls?(state.link) ->
        make(state, request)

      state.failure != nil and permanent?(state.failure) ->
        finish(state, ref, {:error, state.failure})

      true ->
        schedule_sweep(%{state | pending: :queue.in(ref, state.pending)})
    end
  end

  defp make(state, request) do
    opts = [
      timeout_ms: if(request.deadline, do: max(1, request.deadline - now()), else: 0),
      metadata: request.metadata,
      stream: request.stream
    ]

    with {:ok, payload} <- payload(request, state.info),
         {:ok, link} <- Protocol.call(state.link, request.ref, request.method, payload, opts) do
      state = %{state | link: link}
      if request.deadline, do: schedule_sweep(state), else: state
    else
      {:error, error} -> finish(state, request.ref, {:error, error})
    end
  end

  defp payload(%Request{session: nil, payload: payload}, _), do: {:ok, payload}

  defp payload(%Request{session: field, payload: payload}, %{session_id: id}) do
    {:ok, [Wire.varint(field * 8 + 2), Wire.write(:string, id) | payload]}
  end

  defp payload(_, _), do: {:error, Error.new("ValidationError", "the request names no session")}

  @doc "Sends the calls that waited for the link, while it takes some."
  @spec send_pending(State.t()) :: State.t()
  def send_pending(%{phase: :ready} = state) do
    with false <- :queue.is_empty(state.pending),
         true <- Protocol.takes_calls?(state.link) do
      {{:value, ref}, pending} = :queue.out(state.pending)
      state = %{state | pending: pending}

      case state.requests do
        %{^ref => request} -> state |> make(request) |> send_pending()
        _ -> send_pending(state)
      end
    else
      _ -> state
    end
  end

  def send_pending(state), do: state

  @doc "Ends a call with its result."
  @spec finish(State.t(), term(), term()) :: State.t()
  def finish(state, ref, result) do
    case Map.pop(state.requests, ref) do
      {nil, _} ->
        state

      {request, requests} ->
        Process.demonitor(request.monitor, [:flush])
        send(ref, {ref, result})
        monitors = Map.delete(state.monitors, request.monitor)
        state = %{state | requests: requests, monitors: monitors, pace: Pace.delivered(state.pace)}
        Answering.close(state, request)
    end
  end

  @doc "Ends a call that nobody waits for any more."
  @spec cancel(State.t(), term()) :: State.t()
  def cancel(state, ref) do
    case Map.pop(state.requests, ref) do
      {nil, _} ->
        state

      {request, requests} ->
        Process.demonitor(request.monitor, [:flush])
        state = %{state | requests: requests, monitors: Map.delete(state.monitors, request.monitor)}
        state = Answering.close(state, request)
        if state.link == nil, do: state, else: send_pending(%{state | link: Protocol.cancel(state.link, ref)})
    end
  end

  @doc "Ends a call at the hub too, with an error that this end has found."
  @spec abort(State.t(), reference(), Error.t()) :: State.t()
  def abort(state, ref, error), do: finish(%{state | link: Protocol.cancel(state.link, ref)}, ref, {:error, error})

  @doc "Looks for calls that have timed out, soon."
  @spec schedule_sweep(State.t()) :: State.t()
  def schedule_sweep(%{sweep: nil} = state), do: %{state | sweep: Process.send_after(self(), :sweep, @sweep)}
  def schedule_sweep(state), do: state

  @doc "Ends the calls that nobody has answered, a little after the hub should have."
  @spec sweep(State.t()) :: State.t()
  def sweep(state) do
    now = now()
    pending = MapSet.new(:queue.to_list(state.pending))
    state = %{state | sweep: nil}

    state =
      Enum.reduce(state.requests, state, fn {ref, request}, state ->
        cond do
          MapSet.member?(pending, ref) and request.expires <= now ->
            finish(state, ref, {:error, no_link(state)})

          request.deadline != nil and request.deadline + @slack <= now ->
            link = if state.link, do: Protocol.cancel(state.link, ref, "timeout")
            finish(%{state | link: link}, ref, {:error, no_answer(request)})

          true ->
            state
        end
      end)

    pending = :queue.filter(&is_map_key(state.requests, &1), state.pending)
    state = %{state | pending: pending}
    if map_size(state.requests) > 0, do: schedule_sweep(state), else: state
  end

  defp no_link(%{phase: :ready}) do
    Error.new("TimeoutError", "the link had no room for the call in time", origin: :connection)
  end

  defp no_link(state) do
    why = if state.failure, do: ": #{state.failure.message}", else: ""
    Error.connection("there was no link to #{state.places.name} in time#{why}")
  end

  defp no_answer(request) do
    text = "#{request.method} was not answered in time; whether the call had begun is not known"
    Error.new("TimeoutError", text, origin: :connection)
  end
end
