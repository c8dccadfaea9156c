defmodule ToolBridge.Connection do
  @moduledoc false
  # Keeps a link up, makes the calls of other processes over it, and hands the hub's calls to a handler.
  #
  # Everything that comes while the process is busy goes out in one frame: frames are sent when its mailbox is empty, or
  # when enough waits. A lost link fails the calls that were sent, since nobody can know whether they ran; calls that
  # were not sent wait for the next link. After each dial, `handshake` is done before any other call.

  use GenServer
  require Logger

  alias ToolBridge.Connection.{HTTP2, Pace, Requests}
  alias ToolBridge.Error
  alias ToolBridge.Link.{Outbox, Protocol}
  alias ToolBridge.Proto.{LinkHello, LinkStatus, Wire}

  @greeting_timeout 20_000
  # After a link that lasted so long, the back-off starts from the beginning.
  @stable 5_000
  @first_wait 100
  @last_wait 5_000
  # How often calls that have timed out are looked for; the hub ends them first.
  @sweep 250
  @slack 1_000
  # How long a call without a timeout waits for a link.
  @pending_timeout 30_000
  @ping_interval 10_000
  @max_pings 3
  # After so many messages what waits is sent, even if others are there: both ends work concurrently.
  @max_messages 64
  # A task that does not end when its call is cancelled is killed.
  @kill_after 5_000

  # Of a ToolStreamChunk's number.
  @sequence_tag 0x10

  @permanent ~w(Unauthenticated PermissionDenied ValidationError SessionExpired SessionNotFound)

  @typedoc """
  A call that is made after each dial: its method, its payload, and what its answer means. The function gets the answer
  and the log records that came before it.
  """
  @type step :: {String.t(), iodata(), (binary(), map() -> {:ok, map()} | {:error, Error.t()})}

  @type handler :: (pid(), pos_integer(), ToolBridge.Proto.LinkCall.t() -> {:ok, pid()} | {:error, Error.t()})

  defmodule Request do
    @moduledoc false
    # A call of a process: `monitor` of it, `deadline` in monotonic milliseconds, `expires` while it waits for a link.
    defstruct [:ref, :monitor, :method, :payload, :session, :stream, :metadata, :deadline, :expires]
  end

  defmodule State do
    @moduledoc false
    defstruct [
      :endpoint,
      :where,
      :handshake,
      :handler,
      :hello,
      :http,
      :link,
      :since,
      :failure,
      :sweep,
      phase: :waiting,
      info: %{},
      ready_before: false,
      steps: [],
      step: nil,
      step_events: %{},
      wait: 100,
      requests: %{},
      pending: :queue.new(),
      monitors: %{},
      served: %{},
      blocked: %{},
      awaiting: [],
      pings: 0,
      messages: 0,
      pace: %Pace{},
      draining: nil
    ]
  end

  # -------------------------------------------------------------------------------------------------- interface

  @doc """
  Starts it. Options: `:address`, `:token`, `:tls`, `:allow_insecure`, `:name`; `:handshake`, a function of the info and
  of whether it is the first link, which returns steps; `:handler`, which starts a task for a call of the hub;
  `:capacity` and `:features` of the hello.
  """
  def start_link(opts) do
    with {:ok, endpoint} <- HTTP2.endpoint(Keyword.fetch!(opts, :address), opts) do
      GenServer.start_link(__MODULE__, {endpoint, opts}, Keyword.take(opts, [:name]))
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
  @spec chunk(pid(), pos_integer(), iodata()) :: :ok | {:error, Error.t()}
  def chunk(connection, id, payload), do: GenServer.call(connection, {:chunk, id, payload}, :infinity)

  @doc "Answers a call of the hub's."
  @spec answer(pid(), pos_integer(), {:reply, iodata()} | {:end, %LinkStatus{}}) :: :ok
  def answer(connection, id, answer) do
    send(connection, {__MODULE__, :answer, id, answer})
    :ok
  end

  @doc "Sends an event of a call of the hub's."
  @spec tell(pid(), pos_integer(), ToolBridge.Proto.LinkEvent.t()) :: :ok
  def tell(connection, id, event) do
    send(connection, {__MODULE__, :tell, id, event})
    :ok
  end

  # -------------------------------------------------------------------------------------------------- callbacks

  @impl true
  def init({endpoint, opts}) do
    Process.flag(:trap_exit, true)

    state = %State{
      endpoint: endpoint,
      where: Keyword.fetch!(opts, :address),
      handshake: Keyword.get(opts, :handshake, fn _, _ -> [] end),
      handler: Keyword.get(opts, :handler),
      hello: %LinkHello{
        peer: "Elixir #{System.version()}",
        features: Keyword.get(opts, :features, []),
        capacity: Keyword.get(opts, :capacity, 0)
      }
    }

    {:ok, state, {:continue, :dial}}
  end

  @impl true
  def handle_continue(:dial, state), do: noreply(dial(state))

  @impl true
  def handle_call({:await_ready, timeout}, from, state) do
    cond do
      state.phase == :ready ->
        {:reply, {:ok, state.info}, state, next(state)}

      state.failure != nil and permanent?(state.failure) ->
        {:reply, {:error, state.failure}, state, next(state)}

      true ->
        timer = if timeout == :infinity, do: nil, else: Process.send_after(self(), {:not_ready, from}, timeout)
        noreply(%{state | awaiting: [{from, timer} | state.awaiting]})
    end
  end

  def handle_call({:chunk, id, payload}, from, state) do
    {number, state} = next_number(state, id)

    case state.link && Protocol.chunk(state.link, id, [payload, @sequence_tag, Wire.varint(number)]) do
      nil ->
        {:reply, {:error, lost(state)}, state}

      {:error, error} ->
        {:reply, {:error, error}, state, next(state)}

      {:ok, link} ->
        if Protocol.room?(link, id) do
          GenServer.reply(from, :ok)
          noreply(%{state | link: link})
        else
          noreply(%{state | link: link, blocked: Map.put(state.blocked, id, from)})
        end
    end
  end

  def handle_call({:drain, grace}, from, state) do
    if state.phase == :ready and state.draining == nil do
      milliseconds = if grace == :infinity, do: 0, else: grace
      if grace != :infinity, do: Process.send_after(self(), :drained_late, grace)
      noreply(%{state | draining: {from, false}, link: Protocol.drain(state.link, milliseconds)})
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

  def handle_info({Requests, :call, owner, ref, call}, state), do: state |> request(owner, ref, call) |> noreply()

  def handle_info({Requests, :consumed, ref, size}, state) do
    noreply(if state.link == nil, do: state, else: %{state | link: Protocol.grant(state.link, ref, size)})
  end

  def handle_info({Requests, :cancel, ref}, state), do: state |> cancel(ref) |> noreply()
  def handle_info({__MODULE__, :answer, id, answer}, state), do: state |> answered(id, answer) |> noreply()

  def handle_info({__MODULE__, :tell, id, event}, state) do
    noreply(if state.link == nil, do: state, else: %{state | link: Protocol.tell(state.link, id, event)})
  end

  def handle_info({:DOWN, monitor, :process, _, reason}, %{monitors: monitors} = state)
      when is_map_key(monitors, monitor) do
    case Map.pop(monitors, monitor) do
      {{:owner, ref}, monitors} -> noreply(cancel(%{state | monitors: monitors}, ref))
      {{:task, id}, monitors} -> noreply(task_down(%{state | monitors: monitors}, id, reason))
    end
  end

  def handle_info(:sweep, state), do: state |> sweep() |> noreply()
  def handle_info({:deadline, id, seconds}, state), do: state |> expire(id, seconds) |> noreply()
  def handle_info({:kill, pid}, state), do: with(true <- Process.exit(pid, :kill), do: noreply(state))
  def handle_info({:not_ready, from}, state), do: state |> not_ready(from) |> noreply()
  def handle_info({:ping, http}, state), do: state |> ping(http) |> noreply()
  def handle_info(:dial, %{phase: :waiting} = state), do: state |> dial() |> noreply()
  def handle_info(:dial, state), do: noreply(state)

  def handle_info({:greeting, gun}, %{http: %{gun: gun}, phase: phase} = state) when phase in [:dialling, :greeting] do
    noreply(ended(state, Error.connection("the hub said nothing for #{div(@greeting_timeout, 1000)} s")))
  end

  def handle_info({:greeting, _}, state), do: noreply(state)

  def handle_info(:drained_late, %{draining: {from, _}} = state) do
    error = Error.new("Cancelled", "the call was cancelled: its worker leaves")
    state = Enum.reduce(Map.keys(state.served), state, &stop_task(&2, &1, error))
    GenServer.reply(from, false)
    {:stop, :normal, flush(%{state | draining: nil})}
  end

  def handle_info({:EXIT, _, reason}, state) when reason in [:normal, :shutdown], do: noreply(state)

  def handle_info(message, state) do
    case state.http && HTTP2.handle(state.http, message) do
      ignored when ignored in [nil, :ignore] ->
        noreply(state)

      :up ->
        http = HTTP2.open(state.http, state.endpoint)
        noreply(flush(%{state | http: http, phase: :greeting}))

      {:status, http} ->
        noreply(%{state | http: http})

      {:frames, frames, http} ->
        %{state | http: http} |> take_frames(frames) |> stop_if_drained()

      {:ended, error} ->
        noreply(ended(state, error))
    end
  end

  @impl true
  def terminate(_, state) do
    state = flush(state)
    _ = if state.http, do: HTTP2.close(state.http)
    Enum.each(state.served, fn {_, task} -> Process.exit(task.pid, :shutdown) end)
  end

  # Frames are sent once nothing more has come, so that they are as full as can be.
  defp noreply(%{messages: messages} = state) when messages >= @max_messages, do: {:noreply, flush(state), :infinity}

  defp noreply(state) do
    case next(state) do
      0 -> {:noreply, %{state | messages: state.messages + 1}, 0}
      timeout -> {:noreply, state, timeout}
    end
  end

  defp next(%{link: nil}), do: :infinity
  defp next(%{http: %{stream: nil}}), do: :infinity
  defp next(%{link: link}), do: if(Protocol.output?(link), do: 0, else: :infinity)

  defp flush(%{http: %{stream: stream} = http, link: link} = state) when stream != nil and link != nil do
    if Protocol.output?(link) do
      {frame, link} = Protocol.next_frame(link)
      HTTP2.send_frame(http, frame)
      unblock(%{state | link: link}) |> flush()
    else
      %{state | messages: 0, pace: Pace.sent(state.pace)}
    end
  end

  defp flush(state), do: %{state | messages: 0, pace: Pace.sent(state.pace)}

  # ---------------------------------------------------------------------------------------------------- dialling

  defp dial(state) do
    case HTTP2.dial(state.endpoint) do
      {:ok, http} ->
        Process.send_after(self(), {:greeting, http.gun}, @greeting_timeout)
        %{state | http: http, link: Protocol.new(:dialer, state.hello), phase: :dialling}

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
    state |> drop_link(error) |> failed(error)
  end

  defp drop_link(state, error) do
    unsent = MapSet.new(Protocol.unsent(state.link), &elem(&1, 0))
    text = "the link to #{state.where} was lost: #{error.message}"

    # Those that were not sent go over the next link, before all that wait already.
    {again, lost} = Enum.split_with(Map.keys(state.link.calls), &MapSet.member?(unsent, &1))
    again = Enum.filter(again, &is_map_key(state.requests, &1))
    state = %{state | link: nil, pending: :queue.join(:queue.from_list(again), state.pending)}
    state = Enum.reduce(lost, state, &finish(&2, &1, {:error, Error.connection(text)}))

    Enum.each(state.blocked, fn {_, from} -> GenServer.reply(from, {:error, Error.connection(text)}) end)
    Enum.each(state.served, fn {_, task} -> end_task(task) end)
    monitors = Map.drop(state.monitors, for({_, task} <- state.served, do: task.monitor))
    %{state | blocked: %{}, served: %{}, monitors: monitors}
  end

  defp failed(%{draining: {from, _}} = state, _) do
    GenServer.reply(from, map_size(state.served) == 0)
    send(self(), {:EXIT, self(), :shutdown})
    %{state | draining: nil}
  end

  defp failed(state, error) do
    wait = round(state.wait * (0.5 + :rand.uniform() / 2))

    if state.failure == nil,
      do: Logger.warning("tool_bridge: no link to #{state.where}: #{error.message}; dialling again")

    Process.send_after(self(), :dial, wait)
    state = %{state | phase: :waiting, wait: min(state.wait * 2, @last_wait), failure: error}
    if permanent?(error), do: refuse(state, error), else: schedule_sweep(state)
  end

  defp permanent?(error), do: error.type in @permanent or error.type in ["AlreadyExists", "Unimplemented"]

  # Dialling again helps only once somebody has changed something.
  defp refuse(state, error) do
    for {from, timer} <- state.awaiting do
      if timer, do: Process.cancel_timer(timer)
      GenServer.reply(from, {:error, error})
    end

    refs = :queue.to_list(state.pending)
    Enum.reduce(refs, %{state | awaiting: [], pending: :queue.new()}, &finish(&2, &1, {:error, error}))
  end

  defp not_ready(state, from) do
    case List.keytake(state.awaiting, from, 0) do
      nil ->
        state

      {_, awaiting} ->
        why = if state.failure, do: ": #{state.failure.message}", else: ""
        GenServer.reply(from, {:error, Error.connection("the hub at #{state.where} was not reached in time#{why}")})
        %{state | awaiting: awaiting}
    end
  end

  # --------------------------------------------------------------------------------------------------- handshake

  defp greeted(state) do
    Process.send_after(self(), {:ping, state.http.gun}, @ping_interval)
    steps = state.handshake.(state.info, not state.ready_before)
    next_step(%{state | phase: :handshake, steps: steps, since: now()})
  end

  defp next_step(%{steps: []} = state) do
    for {from, timer} <- state.awaiting do
      if timer, do: Process.cancel_timer(timer)
      GenServer.reply(from, {:ok, state.info})
    end

    if state.failure, do: Logger.info("tool_bridge: the link to #{state.where} is up")
    send_pending(%{state | phase: :ready, ready_before: true, failure: nil, step: nil, awaiting: []})
  end

  defp next_step(%{steps: [{method, payload, meaning} | rest]} = state) do
    payload = if is_function(payload, 1), do: payload.(state.info), else: payload
    step = {:step, method}

    case Protocol.call(state.link, step, method, payload, timeout_ms: @pending_timeout) do
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

  # ------------------------------------------------------------------------------------------- calls of this end

  defp request(state, owner, ref, {method, payload, opts}) do
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
      metadata: if(origin, do: %{"tool-bridge-origin" => Integer.to_string(origin)}, else: %{}),
      deadline: timeout && now() + timeout,
      expires: now() + (timeout || @pending_timeout)
    }

    state = %{
      state
      | requests: Map.put(state.requests, ref, request),
        monitors: Map.put(state.monitors, monitor, {:owner, ref}),
        pace: Pace.queued(state.pace)
    }

    cond do
      # A nested call can only go over the link of its outer call.
      origin != nil and not is_map_key(state.served, origin) ->
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

    payload =
      if request.session,
        do: [Wire.varint(request.session * 8 + 2), Wire.write(:string, state.info.session_id) | request.payload],
        else: request.payload

    case Protocol.call(state.link, request.ref, request.method, payload, opts) do
      {:ok, link} ->
        state = %{state | link: link}
        state = if request.deadline, do: schedule_sweep(state), else: state
        if Protocol.waiting(link) >= Outbox.frame_bytes(), do: flush(state), else: state

      {:error, error} ->
        finish(state, request.ref, {:error, error})
    end
  end

  defp send_pending(%{phase: :ready} = state) do
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

  defp send_pending(state), do: state

  defp finish(state, ref, result) do
    case Map.pop(state.requests, ref) do
      {nil, _} ->
        state

      {request, requests} ->
        Process.demonitor(request.monitor, [:flush])
        send(ref, {ref, result})
        monitors = Map.delete(state.monitors, request.monitor)
        %{state | requests: requests, monitors: monitors, pace: Pace.delivered(state.pace)}
    end
  end

  defp cancel(state, ref) do
    case Map.pop(state.requests, ref) do
      {nil, _} ->
        state

      {request, requests} ->
        Process.demonitor(request.monitor, [:flush])
        state = %{state | requests: requests, monitors: Map.delete(state.monitors, request.monitor)}
        if state.link == nil, do: state, else: send_pending(%{state | link: Protocol.cancel(state.link, ref)})
    end
  end

  defp schedule_sweep(%{sweep: nil} = state), do: %{state | sweep: Process.send_after(self(), :sweep, @sweep)}
  defp schedule_sweep(state), do: state

  # Ends the calls that nobody has answered, a little after the hub should have.
  defp sweep(state) do
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
    Error.connection("there was no link to #{state.where} in time#{why}")
  end

  defp no_answer(request) do
    text = "#{request.method} was not answered in time; whether the call had begun is not known"
    Error.new("TimeoutError", text, origin: :connection)
  end

  defp lost(state), do: Error.connection("the link to #{state.where} was lost")

  # ------------------------------------------------------------------------------------------------------ events

  defp take_frames(state, []), do: send_pending(state)

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
  defp take({:reply, ref, payload}, state), do: finish(state, ref, {:ok, payload})

  defp take({:chunk, ref, payload}, state) do
    send(ref, {ref, {:chunk, payload}})
    state
  end

  defp take({:end, {:step, _}, status}, state), do: step_failed(state, Error.from_status(status))
  defp take({:end, ref, %LinkStatus{code: 0}}, state), do: finish(state, ref, :done)
  defp take({:end, ref, status}, state), do: finish(state, ref, {:error, Error.from_status(status)})

  defp take({:event, {:step, _}, %{kind: {:log, record}}}, state) do
    %{state | step_events: Map.put(state.step_events, record.logger, record)}
  end

  defp take({:event, _, _}, state), do: state
  defp take({:answer, _, _}, state), do: state
  defp take({:call, id, call}, state), do: serve(state, id, call)
  defp take({:cancel, id, _}, state), do: cancelled(state, id)
  defp take({:credit, id}, state), do: unblock(state, id)
  defp take({:hello, _}, state), do: greeted(state)
  defp take({:pong, _}, state), do: %{state | pings: 0}
  defp take({:drain, _}, %{draining: {from, _}} = state), do: %{state | draining: {from, true}}
  defp take({:drain, _}, state), do: state

  # The hub drains in turn once it has no call left here.
  defp stop_if_drained(%{draining: {from, true}, served: served} = state) when served == %{} do
    GenServer.reply(from, true)
    {:stop, :normal, %{state | draining: nil}}
  end

  defp stop_if_drained(state), do: noreply(state)

  defp ping(%{http: %{gun: gun}, link: link} = state, gun) do
    if state.pings >= @max_pings do
      ended(state, Error.connection("the hub answered no ping for #{div(@ping_interval * @max_pings, 1000)} s"))
    else
      Process.send_after(self(), {:ping, gun}, @ping_interval)
      {_, link} = Protocol.ping(link)
      %{state | link: link, pings: state.pings + 1}
    end
  end

  defp ping(state, _), do: state

  # --------------------------------------------------------------------------------------------- calls of the hub

  defp serve(%{handler: nil} = state, id, call) do
    unserved(state, id, Error.new("Unimplemented", "a client does not offer #{String.slice(call.method, 0, 100)}"))
  end

  defp serve(state, id, call) do
    case state.handler.(self(), id, call) do
      {:ok, pid} ->
        monitor = Process.monitor(pid)

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

  defp unserved(state, id, error), do: %{state | link: Protocol.finish(state.link, id, Error.to_status(error))}

  defp next_number(state, id) do
    case state.served do
      %{^id => task} ->
        {task.chunks, %{state | served: Map.put(state.served, id, %{task | chunks: task.chunks + 1})}}

      _ ->
        {0, state}
    end
  end

  defp answered(%{link: nil} = state, _, _), do: state

  defp answered(state, id, answer) do
    case Map.pop(state.served, id) do
      {nil, _} ->
        state

      {task, served} ->
        Process.demonitor(task.monitor, [:flush])
        if task.timer, do: Process.cancel_timer(task.timer)
        monitors = Map.delete(state.monitors, task.monitor)
        state = %{state | served: served, monitors: monitors, pace: Pace.queued(state.pace)}
        put_answer(state, id, if(task.error, do: {:end, Error.to_status(task.error)}, else: answer))
    end
  end

  defp put_answer(state, id, {:end, status}), do: %{state | link: Protocol.finish(state.link, id, status)}

  defp put_answer(state, id, {:reply, payload}) do
    case Protocol.reply(state.link, id, payload) do
      {:ok, link} ->
        state = %{state | link: link}
        if Protocol.waiting(link) >= Outbox.frame_bytes(), do: flush(state), else: state

      {:error, error} ->
        unserved(state, id, error)
    end
  end

  # A task that did not answer: it was stopped, or it was killed with something that it is linked to.
  defp task_down(%{link: nil} = state, id, _), do: %{state | served: Map.delete(state.served, id)}

  defp task_down(state, id, reason) do
    task = Map.fetch!(state.served, id)
    if task.timer, do: Process.cancel_timer(task.timer)
    error = task.error || Error.of_tool(:exit, reason, [])
    unserved(%{state | served: Map.delete(state.served, id)}, id, error)
  end

  defp cancelled(state, id), do: stop_task(state, id, Error.new("Cancelled", "the call was cancelled"))

  defp expire(state, id, seconds) do
    text = "the tool took longer than the timeout of its call, #{:erlang.float_to_binary(seconds, [:short])} s"
    stop_task(state, id, Error.new("TimeoutError", text, details: %{"started" => "true"}))
  end

  # The call is answered when the task has ended.
  defp stop_task(state, id, error) do
    case state.served do
      %{^id => %{error: nil} = task} ->
        end_task(task)
        {from, blocked} = Map.pop(state.blocked, id)
        if from, do: GenServer.reply(from, {:error, error})
        %{state | served: Map.put(state.served, id, %{task | error: error}), blocked: blocked}

      _ ->
        state
    end
  end

  defp end_task(task) do
    Process.exit(task.pid, :shutdown)
    Process.send_after(self(), {:kill, task.pid}, @kill_after)
  end

  defp unblock(%{blocked: blocked} = state) when blocked == %{}, do: state
  defp unblock(state), do: Enum.reduce(Map.keys(state.blocked), state, &unblock(&2, &1))

  defp unblock(state, id) do
    case state.blocked do
      %{^id => from} ->
        if Protocol.room?(state.link, id) do
          GenServer.reply(from, :ok)
          %{state | blocked: Map.delete(state.blocked, id)}
        else
          state
        end

      _ ->
        state
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
