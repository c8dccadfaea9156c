defmodule ToolBridge.Connection do
  @moduledoc false
  # Keeps a link up, makes the calls of other processes over it, and hands the hub's calls to a handler.
  #
  # Everything that comes while the process is busy goes out in one frame: frames are sent when its mailbox is empty, or
  # when enough waits. A lost link fails the calls that were sent, since nobody can know whether they ran; calls that
  # were not sent wait for the next link. After each dial, `handshake` is done before any other call.

  use GenServer
  require Logger

  import ToolBridge.Connection.State, only: [now: 0]

  alias ToolBridge.Connection.{Answering, Children, HTTP2, Incoming, Outgoing, Pace, Places, Requests, State}
  alias ToolBridge.Error
  alias ToolBridge.Link.{Outbox, Protocol}
  alias ToolBridge.Proto.{Answer, Ask, LinkHello, LinkStatus}

  # After a link that lasted so long, the back-off starts from the beginning.
  @stable 5_000
  @first_wait 100
  @last_wait 5_000
  # How long cancelled calls may take to be answered before a link that drains ends.
  @delivery 3_000
  # For each step of the handshake, and for all.
  @step_timeout 30_000
  @handshake_timeout 60_000
  @max_pings 3
  # After so many messages what waits is sent, even if others are there: both ends work concurrently.
  @max_messages 64
  @frame_bytes Outbox.frame_bytes()

  @typedoc """
  A call that is made after each dial: its method, its payload, and what its answer means. The function gets the answer
  and the log records that came before it.
  """
  @type step :: {String.t(), iodata(), (binary(), map() -> {:ok, map()} | {:error, Error.t()})}

  @typedoc "What a call of the hub is answered with: the answer of a unary call, or the end of a call."
  @type answer :: {:reply, binary()} | {:end, LinkStatus.t()}

  @typedoc "A call of the hub: its link, by number, and its id. On the next link, the same id is another call."
  @type call_key :: {pos_integer(), pos_integer()}

  @typedoc """
  Says what runs a call of the hub, of which it gets the id that it has if its caller gave none: a function that gets the
  connection, the call's key, and these arguments, and returns the answer.
  """
  @type handler ::
          (ToolBridge.Proto.LinkCall.t(), String.t() -> {:ok, {module(), atom(), list()}} | {:error, Error.t()})

  # -------------------------------------------------------------------------------------------------- interface

  @doc """
  Starts it. Options: `:address`, `:token`, `:tls`, `:allow_insecure`, `:name`; `:handshake`, a function of the info and
  of whether it is the first link, which returns steps; `:handler`, which says what runs a call of the hub; `:on_ask`,
  which answers questions of tools.
  """
  def start_link(opts) do
    with {:ok, places} <- Places.parse(Keyword.fetch!(opts, :address), opts) do
      GenServer.start_link(__MODULE__, {places, opts}, Keyword.take(opts, [:name]))
    end
  end

  @doc "Waits until the link is up and the handshake is done; returns what it made known."
  @spec await_ready(GenServer.server(), timeout()) :: {:ok, map()} | {:error, Error.t()}
  def await_ready(connection, timeout) do
    GenServer.call(connection, {:await_ready, timeout}, :infinity)
  catch
    :exit, _ -> {:error, Error.connection("the connection was closed")}
  end

  @doc "Tells the hub to make no new calls, and waits until those in flight have ended; then the process ends."
  @spec drain(GenServer.server(), timeout()) :: boolean()
  def drain(connection, grace), do: GenServer.call(connection, {:drain, grace}, :infinity)

  @doc """
  Sends a chunk of a stream of the hub's, and waits for room. The connection numbers the chunks, since several processes
  may send them.
  """
  @spec chunk(pid(), call_key(), iodata()) :: :ok | {:error, Error.t()}
  def chunk(connection, key, payload), do: GenServer.call(connection, {:chunk, key, payload}, :infinity)

  @doc "Asks the caller of a call of the hub's, and waits for the answer."
  @spec ask(pid(), call_key(), Ask.t()) :: {:ok, Answer.t()} | {:error, Error.t()}
  def ask(connection, key, ask), do: GenServer.call(connection, {:ask, key, ask}, :infinity)

  # -------------------------------------------------------------------------------------------------- callbacks

  @impl true
  def init({places, opts}) do
    Process.flag(:trap_exit, true)

    state = %State{
      places: places,
      handshake: Keyword.get(opts, :handshake, fn _, _ -> [] end),
      handler: Keyword.get(opts, :handler),
      on_ask: opts[:on_ask],
      hello: %LinkHello{peer: "Elixir #{System.version()}", features: features(opts)}
    }

    {:ok, state, {:continue, :dial}}
  end

  defp features(opts) do
    if(opts[:on_ask], do: ["ask"], else: []) ++ if(opts[:handler], do: [ToolBridge.Principal.feature()], else: [])
  end

  @impl true
  def handle_continue(:dial, state), do: noreply(dial(state))

  @impl true
  def handle_call({:await_ready, timeout}, from, state) do
    cond do
      state.phase == :ready ->
        {:reply, {:ok, state.info}, state, next(state)}

      state.failure != nil and Outgoing.permanent?(state.failure) ->
        {:reply, {:error, state.failure}, state, next(state)}

      true ->
        timer = if timeout == :infinity, do: nil, else: Process.send_after(self(), {:not_ready, from}, timeout)
        noreply(%{state | awaiting: [{from, timer} | state.awaiting]})
    end
  end

  def handle_call({:chunk, key, payload}, from, state), do: state |> Incoming.chunk(key, payload, from) |> unless_over()
  def handle_call({:ask, key, ask}, from, state), do: state |> Incoming.ask(key, ask, from) |> unless_over()

  def handle_call({:drain, grace}, from, state) do
    if state.phase == :ready and state.draining == nil do
      milliseconds = if grace == :infinity, do: 0, else: grace
      _ = if grace != :infinity, do: Process.send_after(self(), :drained_late, grace)

      noreply(%{
        state
        | draining: %{from: from, over: false, finished: true},
          link: Protocol.drain(state.link, milliseconds)
      })
    else
      {:stop, :normal, true, state}
    end
  end

  @impl true
  # The mailbox is empty; `noreply` has asked for this.
  def handle_info(:timeout, state) do
    if state.link != nil and Pace.hold?(state.pace, map_size(state.requests) + map_size(state.served)) do
      {:noreply, state, 1}
    else
      {:noreply, flush(state), :infinity}
    end
  end

  def handle_info({Requests, :call, owner, ref, call}, state),
    do: state |> Outgoing.request(owner, ref, call) |> noreply()

  def handle_info({Requests, :consumed, ref, size}, state) do
    noreply(if state.link == nil, do: state, else: %{state | link: Protocol.grant(state.link, ref, size)})
  end

  def handle_info({Requests, :cancel, ref}, state), do: state |> Outgoing.cancel(ref) |> noreply()

  def handle_info({Children, :result, pid, result}, state) do
    case Children.finished(state, pid) do
      {{:call, id}, state} -> state |> Incoming.answered(id, result) |> noreply()
      {{:question, ref}, state} -> state |> Answering.answered(ref, result) |> noreply()
      {nil, state} -> noreply(state)
    end
  end

  def handle_info({:EXIT, pid, reason}, %{children: children} = state) when is_map_key(children, pid) do
    case Children.exited(state, pid) do
      # Each call has one, so that it does not count as a message.
      {nil, state} -> {:noreply, state, next(state)}
      {{:call, id}, state} -> state |> Incoming.exited(id, reason) |> noreply()
      {{:question, ref}, state} -> state |> Answering.exited(ref, reason) |> noreply()
    end
  end

  def handle_info({:DOWN, monitor, :process, _, _}, %{monitors: monitors} = state) when is_map_key(monitors, monitor) do
    {ref, monitors} = Map.pop(monitors, monitor)
    %{state | monitors: monitors} |> Outgoing.cancel(ref) |> noreply()
  end

  def handle_info(:sweep, state), do: state |> Outgoing.sweep() |> noreply()

  def handle_info({:timeout, timer, :deadlines}, %{deadlines: {timer, _}} = state),
    do: state |> Incoming.expire() |> noreply()

  def handle_info({:kill, pid}, state), do: with(true <- Process.exit(pid, :kill), do: noreply(state))
  def handle_info({:not_ready, from}, state), do: state |> not_ready(from) |> noreply()
  def handle_info({:ping, http}, state), do: state |> ping(http) |> noreply()
  def handle_info(:dial, %{phase: :waiting} = state), do: state |> dial() |> noreply()
  def handle_info(:dial, state), do: noreply(state)

  def handle_info({:greeting, gun}, %{http: %{gun: gun}, phase: phase} = state) when phase in [:dialling, :greeting] do
    noreply(ended(state, Error.connection("the hub said nothing for #{div(Places.greeting(state.places), 1000)} s")))
  end

  def handle_info({:greeting, _}, state), do: noreply(state)

  def handle_info({:handshake, gun}, %{http: %{gun: gun}, phase: :handshake} = state) do
    noreply(ended(state, Error.connection("the hub did not open the session in #{div(@handshake_timeout, 1000)} s")))
  end

  def handle_info({:handshake, _}, state), do: noreply(state)

  # Their callers get the reason before the link ends.
  def handle_info(:drained_late, %{draining: draining} = state) when draining != nil do
    error = Error.new("Cancelled", "the call was cancelled: its worker leaves")
    Process.send_after(self(), :stop, @delivery)
    state = Enum.reduce(Map.keys(state.served), state, &Incoming.stop(&2, &1, error))
    noreply(%{state | draining: %{draining | over: true, finished: false}})
  end

  def handle_info(:stop, state), do: stop_drained(state)
  def handle_info({:EXIT, _, reason}, state) when reason in [:normal, :shutdown], do: noreply(state)

  def handle_info(message, state) do
    case state.http && HTTP2.handle(state.http, message) do
      ignored when ignored in [nil, :ignore] ->
        noreply(state)

      :up ->
        {_, endpoint} = Places.current(state.places)
        http = HTTP2.open(state.http, endpoint)
        noreply(flush(%{state | http: http, phase: :greeting}))

      {:status, http} ->
        noreply(%{state | http: http})

      {:frames, frames, http} ->
        %{state | http: http} |> take_frames(frames) |> noreply()

      {:ended, error} ->
        noreply(ended(state, error))
    end
  end

  @impl true
  def terminate(_, state) do
    state = flush(state)
    _ = if state.http, do: HTTP2.close(state.http)
    Children.shutdown(state)
  end

  # The process of a call is answered later, or at once with an error.
  defp unless_over({:ok, state}), do: noreply(state)
  defp unless_over({:error, error, state}), do: {:reply, {:error, error}, state, next(state)}

  # Frames are sent once nothing more has come, so that they are as full as can be, or when enough waits.
  defp noreply(%{draining: %{over: true}, served: served} = state) when served == %{}, do: stop_drained(state)

  defp noreply(state) do
    cond do
      next(state) == :infinity ->
        {:noreply, state, :infinity}

      state.messages >= @max_messages or Protocol.waiting(state.link) >= @frame_bytes ->
        {:noreply, flush(state), :infinity}

      true ->
        {:noreply, %{state | messages: state.messages + 1}, 0}
    end
  end

  defp stop_drained(%{draining: draining} = state) do
    state = flush(state)
    if draining, do: GenServer.reply(draining.from, draining.finished)
    {:stop, :normal, %{state | draining: nil}}
  end

  defp next(%{link: nil}), do: :infinity
  defp next(%{http: %{stream: nil}}), do: :infinity
  defp next(%{link: link}), do: if(Protocol.output?(link), do: 0, else: :infinity)

  defp flush(%{http: %{stream: stream} = http, link: link} = state) when stream != nil and link != nil do
    if Protocol.output?(link) do
      {frame, link} = Protocol.next_frame(link)
      HTTP2.send_frame(http, frame)
      %{state | link: link} |> Incoming.unblock() |> flush()
    else
      %{state | messages: 0, pace: Pace.sent(state.pace)}
    end
  end

  defp flush(state), do: %{state | messages: 0, pace: Pace.sent(state.pace)}

  # ---------------------------------------------------------------------------------------------------- dialling

  defp dial(state) do
    {_, endpoint} = Places.current(state.places)

    case HTTP2.dial(endpoint) do
      {:ok, http} ->
        Process.send_after(self(), {:greeting, http.gun}, Places.greeting(state.places))
        link = Protocol.new(:dialer, state.hello)
        %{state | http: http, link: link, link_number: state.link_number + 1, phase: :dialling}

      {:error, error} ->
        failed(state, error)
    end
  end

  # The link has ended, or was never there.
  defp ended(state, error) do
    HTTP2.close(state.http)
    lasted = state.since != nil and now() - state.since > @stable
    state = %{state | http: nil, since: nil, pings: 0, step: nil, steps: [], phase: :waiting}
    state = if lasted, do: %{state | wait: @first_wait}, else: state
    state |> drop_link(error) |> failed(error, lasted)
  end

  defp drop_link(state, error) do
    unsent = MapSet.new(Protocol.unsent(state.link), &elem(&1, 0))
    {address, _} = Places.current(state.places)
    text = "the link to #{address} was lost: #{error.message}"

    # Those that were not sent go over the next link, before all that wait already.
    {again, lost} = Enum.split_with(Map.keys(state.link.calls), &MapSet.member?(unsent, &1))
    again = Enum.filter(again, &is_map_key(state.requests, &1))
    state = %{state | link: nil, pending: :queue.join(:queue.from_list(again), state.pending)}
    state = Enum.reduce(lost, state, &Outgoing.finish(&2, &1, {:error, Error.connection(text)}))

    Incoming.drop_all(state, Error.connection(text))
  end

  defp failed(state, error, served \\ false)

  defp failed(%{draining: draining} = state, _, _) when draining != nil do
    send(self(), :stop)
    state
  end

  defp failed(state, error, served) do
    if state.failure == nil do
      {address, _} = Places.current(state.places)
      Logger.warning("tool_bridge: not connected to #{address}: #{error.message}; trying again")
    end

    case Places.move_on(state.places, error, served) do
      {:next, places} ->
        send(self(), :dial)
        Outgoing.schedule_sweep(%{state | places: places, phase: :waiting, failure: error})

      {{:pause, error}, places} ->
        wait = round(state.wait * (0.5 + :rand.uniform() / 2))
        Process.send_after(self(), :dial, wait)
        wait = min(state.wait * 2, @last_wait)
        state = %{state | places: places, phase: :waiting, wait: wait, failure: error}
        if Outgoing.permanent?(error), do: refuse(state, error), else: Outgoing.schedule_sweep(state)
    end
  end

  # Dialling again helps only once somebody has changed something.
  defp refuse(state, error) do
    for {from, timer} <- state.awaiting do
      _ = timer && Process.cancel_timer(timer)
      GenServer.reply(from, {:error, error})
    end

    refs = :queue.to_list(state.pending)
    Enum.reduce(refs, %{state | awaiting: [], pending: :queue.new()}, &Outgoing.finish(&2, &1, {:error, error}))
  end

  defp not_ready(state, from) do
    case List.keytake(state.awaiting, from, 0) do
      nil ->
        state

      {_, awaiting} ->
        why = if state.failure, do: ": #{state.failure.message}", else: ""

        GenServer.reply(
          from,
          {:error, Error.connection("the hub at #{state.places.name} was not reached in time#{why}")}
        )

        %{state | awaiting: awaiting}
    end
  end

  # --------------------------------------------------------------------------------------------------- handshake

  defp greeted(state) do
    Process.send_after(self(), {:ping, state.http.gun}, Places.ping_interval(state.places))
    Process.send_after(self(), {:handshake, state.http.gun}, @handshake_timeout)
    steps = state.handshake.(state.info, not state.ready_before)
    next_step(%{state | phase: :handshake, steps: steps, since: now()})
  end

  defp next_step(%{steps: []} = state) do
    for {from, timer} <- state.awaiting do
      _ = timer && Process.cancel_timer(timer)
      GenServer.reply(from, {:ok, state.info})
    end

    {address, _} = Places.current(state.places)
    if state.failure, do: Logger.info("tool_bridge: connected to #{address}")
    Outgoing.send_pending(%{state | phase: :ready, ready_before: true, failure: nil, step: nil, awaiting: []})
  end

  defp next_step(%{steps: [{method, payload, meaning} | rest]} = state) do
    payload = if is_function(payload, 1), do: payload.(state.info), else: payload
    step = {:step, method}

    case Protocol.call(state.link, step, method, payload, timeout_ms: @step_timeout) do
      {:ok, link} -> %{state | link: link, steps: rest, step: {step, meaning}, step_events: %{}}
      {:error, error} -> ended(state, error)
    end
  end

  defp stepped(%{step: {_, meaning}} = state, payload) do
    case meaning.(payload, state.step_events) do
      {:ok, info} -> next_step(%{state | info: Map.merge(state.info, info)})
      {:error, error} -> step_failed(state, error)
    end
  end

  defp step_failed(state, error), do: ended(state, error)

  # ------------------------------------------------------------------------------------------------------ events

  defp take_frames(state, []), do: Outgoing.send_pending(state)

  defp take_frames(state, [frame | frames]) do
    case Protocol.receive_frame(state.link, frame) do
      {:ok, events, link} ->
        state = Enum.reduce(events, %{state | link: link}, &take/2)
        # A step of the handshake may have ended the link.
        if state.link == nil, do: state, else: take_frames(state, frames)

      {:error, why} ->
        ended(state, Error.new("ProtocolError", why))
    end
  end

  defp take(_, %{link: nil} = state), do: state
  defp take({:reply, {:step, _}, payload}, state), do: stepped(state, payload)
  defp take({:reply, ref, payload}, state), do: Outgoing.finish(state, ref, {:ok, payload})

  defp take({:chunk, ref, payload}, state) do
    send(ref, {ref, {:chunk, payload}})
    state
  end

  defp take({:end, {:step, _}, status}, state), do: step_failed(state, Error.from_status(status))
  defp take({:end, ref, %LinkStatus{code: 0}}, state), do: Outgoing.finish(state, ref, :done)
  defp take({:end, ref, status}, state), do: Outgoing.finish(state, ref, {:error, Error.from_status(status)})

  defp take({:event, {:step, _}, %{kind: {:log, record}}}, state) do
    %{state | step_events: Map.put(state.step_events, record.logger, record)}
  end

  defp take({:event, ref, %{kind: {:ask, ask}}}, %{on_ask: on_ask} = state) when on_ask != nil,
    do: Answering.asked(state, ref, ask)

  defp take({:event, _, _}, state), do: state
  defp take({:answer, id, answer}, state), do: Incoming.take_answer(state, id, answer)
  defp take({:call, id, call}, state), do: Incoming.serve(state, id, call)
  defp take({:cancel, id, _}, state), do: Incoming.cancelled(state, id)
  defp take({:credit, id}, state), do: Incoming.unblock(state, id)
  defp take({:hello, _}, state), do: greeted(state)
  defp take({:pong, _}, state), do: %{state | pings: 0}
  # The hub drains in turn once it has no call left here.
  defp take({:drain, _}, %{draining: draining} = state) when draining != nil,
    do: %{state | draining: %{draining | over: true}}

  defp take({:drain, _}, state), do: state

  defp ping(%{http: %{gun: gun}, link: link} = state, gun) do
    interval = Places.ping_interval(state.places)

    if state.pings >= @max_pings do
      ended(state, Error.connection("the hub answered no ping for #{div(interval * @max_pings, 1000)} s"))
    else
      Process.send_after(self(), {:ping, gun}, interval)
      {_, link} = Protocol.ping(link)
      %{state | link: link, pings: state.pings + 1}
    end
  end

  defp ping(state, _), do: state
end
