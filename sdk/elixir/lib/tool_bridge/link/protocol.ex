defmodule ToolBridge.Link.Protocol do
  @moduledoc false
  # The protocol of a link, without any I/O.
  #
  # A link carries calls in both directions over one stream of frames. This is one end of it: it takes the frames that
  # were received and returns events, and it returns the next frame to send. The rules are those of `LinkFrame` and
  # `Envelope` in proto/dspex_bridge.proto.
  #
  # Events:
  #   {:hello, hello} · {:drain, grace_ms} · {:pong, number}
  #   {:reply, key, payload} · {:chunk, key, payload} · {:end, key, status} · {:event, key, event}: of a call of this
  #     end, by the key that it was made with
  #   {:call, id, call} · {:cancel, id, reason} · {:answer, id, answer} · {:credit, id}: of a call of the peer

  alias ToolBridge.Error
  alias ToolBridge.Link.{Bounds, Frame, Outbox, Pieces}
  alias ToolBridge.Proto.{LinkCancel, LinkDrain, LinkEvent, LinkHello, LinkStatus}

  @protocol 1
  @initial_credit 1024 * 1024
  # If more bytes wait to be sent, no further calls should be made.
  @high_water 1024 * 1024
  # A peer that lets so much control pile up does not read.
  @max_control 16 * 1024 * 1024
  # Calls that are remembered because a late envelope may still come.
  @max_remembered 1_000
  # If more bytes of a stream wait, its producer waits.
  @lane_bytes 256 * 1024

  defmodule Call do
    @moduledoc false
    # A call of this end; `id` is nil until its first piece is sent.
    defstruct [
      :key,
      :prefix,
      :id,
      :parts,
      stream: false,
      window: 0,
      credit: 0,
      consumed: 0,
      given_up: false,
      answers: false
    ]
  end

  defmodule Incoming do
    @moduledoc false
    # A call of the peer that is not answered completely.
    defstruct [:id, size: 0, credit: 0, answered: false, cancelled: false]
  end

  defstruct parity: 1,
            next_id: 1,
            peer: nil,
            peer_capacity: 0,
            draining: false,
            capacity: 0,
            answers: false,
            outbox: %Outbox{},
            calls: %{},
            ids: %{},
            incoming: %{},
            incoming_bytes: 0,
            last_id: 0,
            assembling: %{},
            pieces: %Pieces{},
            crossed: %{},
            pings: 0

  @type t :: %__MODULE__{}
  @type key :: term()
  @type event :: tuple()

  @doc "One end; `role` is `:dialer` or `:hub`."
  @spec new(:dialer | :hub, %LinkHello{}) :: t()
  def new(role, %LinkHello{} = hello) do
    {parity, last_id} = if role == :dialer, do: {1, 0}, else: {0, -1}

    control(
      %__MODULE__{
        parity: parity,
        next_id: 2 - parity,
        last_id: last_id,
        capacity: hello.capacity,
        answers: "ask" in hello.features
      },
      Frame.envelope(0, :hello, %{hello | protocol: @protocol})
    )
  end

  # ------------------------------------------------------------------------------------------------- sending

  @spec output?(t()) :: boolean()
  def output?(link), do: not Outbox.empty?(link.outbox)

  @doc "Bytes that may be sent now."
  @spec waiting(t()) :: non_neg_integer()
  def waiting(link), do: link.outbox.size + link.outbox.control_size

  @doc "Whether a call may be made now, within all limits."
  @spec takes_calls?(t()) :: boolean()
  def takes_calls?(%{peer: nil}), do: false
  def takes_calls?(%{draining: true}), do: false

  def takes_calls?(link) do
    waiting(link) < @high_water and (link.peer_capacity == 0 or map_size(link.calls) < link.peer_capacity)
  end

  @doc """
  Makes a call. Options: `timeout_ms`, `metadata`, `stream` (whether its answer is one), `credit` (bytes of a stream
  that the peer may send ahead).
  """
  @spec call(t(), key(), String.t(), iodata(), keyword()) :: {:ok, t()} | {:error, Error.t()}
  def call(link, key, method, payload, opts \\ []) do
    size = IO.iodata_length(payload)
    stream = Keyword.get(opts, :stream, false)
    credit = Keyword.get(opts, :credit, 0)
    prefix = Frame.prefix(method, Keyword.get(opts, :timeout_ms, 0), Keyword.get(opts, :metadata, %{}), credit)
    window = if credit == 0, do: @initial_credit, else: credit
    answers = is_map_key(Keyword.get(opts, :metadata, %{}), "tool-bridge-asks")
    call = %Call{key: key, prefix: prefix, stream: stream, window: window, credit: window, answers: answers}
    link = %{link | calls: Map.put(link.calls, key, call)}

    cond do
      size <= Outbox.small_bytes() ->
        {:ok, %{link | outbox: Outbox.add_small(link.outbox, {:call, key}, payload, size)}}

      size <= Outbox.reassembly_bytes() ->
        {:ok, %{link | outbox: Outbox.add(link.outbox, {:call, key}, {:call, key}, IO.iodata_to_binary(payload), nil)}}

      true ->
        {:error, Bounds.too_large("the request", size)}
    end
  end

  @doc "Cancels a call; one that was sent counts until its end is received."
  @spec cancel(t(), key(), String.t()) :: t()
  def cancel(link, key, reason \\ "") do
    case link.calls do
      %{^key => %Call{given_up: true}} ->
        link

      %{^key => %Call{id: nil}} ->
        outbox = link.outbox |> Outbox.drop({:call, key}) |> Outbox.remove_small({:call, key})
        %{link | calls: Map.delete(link.calls, key), outbox: outbox}

      %{^key => call} ->
        link = forget(link, call.parts)
        outbox = Outbox.drop(link.outbox, {:call, key})
        calls = Map.put(link.calls, key, %{call | given_up: true, parts: nil})
        control(%{link | calls: calls, outbox: outbox}, Frame.envelope(call.id, :cancel, %LinkCancel{reason: reason}))

      _ ->
        link
    end
  end

  @doc "Notes that bytes of a stream were consumed; the credit is sent once it is half a window."
  @spec grant(t(), key(), non_neg_integer()) :: t()
  def grant(link, key, size) do
    case link.calls do
      %{^key => %Call{given_up: false, id: id} = call} when id != nil ->
        consumed = call.consumed + size

        if consumed * 2 >= call.window do
          call = %{call | consumed: 0, credit: call.credit + consumed}
          control(%{link | calls: Map.put(link.calls, key, call)}, Frame.envelope(id, :credit, consumed))
        else
          %{link | calls: Map.put(link.calls, key, %{call | consumed: consumed})}
        end

      _ ->
        link
    end
  end

  @doc "Answers a unary call."
  @spec reply(t(), non_neg_integer(), iodata()) :: {:ok, t()} | {:error, Error.t()}
  def reply(link, id, payload) do
    size = IO.iodata_length(payload)

    case link.incoming do
      %{^id => %Incoming{answered: false}} when size <= 16_384 ->
        outbox = Outbox.add_small(link.outbox, {:reply, id}, payload, size)
        {:ok, over(%{link | outbox: outbox}, id)}

      %{^id => %Incoming{answered: false} = call} ->
        if size > Outbox.reassembly_bytes() do
          {:error, Bounds.too_large("the answer", size)}
        else
          outbox = Outbox.add(link.outbox, {:answer, id}, {:reply, id}, IO.iodata_to_binary(payload), nil)
          {:ok, %{link | outbox: outbox, incoming: Map.put(link.incoming, id, %{call | answered: true})}}
        end

      _ ->
        {:ok, link}
    end
  end

  @doc "Sends a message of a stream as soon as the peer's credit allows."
  @spec chunk(t(), non_neg_integer(), iodata()) :: {:ok, t()} | {:error, Error.t()}
  def chunk(link, id, payload) do
    size = IO.iodata_length(payload)

    case link.incoming do
      %{^id => %Incoming{answered: false, cancelled: false} = call} ->
        if size > Outbox.reassembly_bytes() do
          {:error, Bounds.too_large("a message of the stream", size)}
        else
          data = IO.iodata_to_binary(payload)
          {:ok, %{link | outbox: Outbox.add(link.outbox, {:answer, id}, {:chunk, id}, data, call.credit)}}
        end

      _ ->
        {:ok, link}
    end
  end

  @doc "Whether a stream may have another message."
  @spec room?(t(), non_neg_integer()) :: boolean()
  def room?(link, id), do: Outbox.waiting(link.outbox, {:answer, id}) < @lane_bytes

  @doc "Ends a call: a stream after its last message, a unary one with an error."
  @spec finish(t(), non_neg_integer(), %LinkStatus{}) :: t()
  def finish(link, id, %LinkStatus{} = status) do
    case link.incoming do
      %{^id => %Incoming{answered: false} = call} ->
        envelope = Frame.envelope(id, :end, status)

        if Outbox.waiting(link.outbox, {:answer, id}) > 0 do
          outbox = Outbox.finish(link.outbox, {:answer, id}, envelope)
          %{link | outbox: outbox, incoming: Map.put(link.incoming, id, %{call | answered: true})}
        else
          link = %{link | outbox: Outbox.drop(link.outbox, {:answer, id})}
          link |> over(id) |> control(envelope)
        end

      _ ->
        link
    end
  end

  @doc "Sends an event of a call of the peer; it arrives before the call's end."
  @spec tell(t(), non_neg_integer(), %LinkEvent{}) :: t()
  def tell(link, id, event) do
    case link.incoming do
      %{^id => %Incoming{answered: false, cancelled: false}} -> control(link, Frame.envelope(id, :event, event))
      _ -> link
    end
  end

  @doc "Sends an answer to a question about a call of this end."
  @spec answer(t(), key(), %LinkEvent{}) :: t()
  def answer(link, key, event) do
    case link.calls do
      %{^key => %Call{given_up: false, id: id}} when id != nil -> control(link, Frame.envelope(id, :event, event))
      _ -> link
    end
  end

  @doc "Sends a ping; `{:pong, number}` answers it."
  @spec ping(t()) :: {pos_integer(), t()}
  def ping(link) do
    number = link.pings + 1
    {number, control(%{link | pings: number}, Frame.envelope(0, :ping, number))}
  end

  @doc "Tells the peer to make no new calls."
  @spec drain(t(), non_neg_integer()) :: t()
  def drain(link, grace_ms), do: control(link, Frame.envelope(0, :drain, %LinkDrain{grace_ms: grace_ms}))

  @doc "The keys of calls of which nothing was sent."
  @spec unsent(t()) :: [{key(), iodata()}]
  def unsent(link), do: for({{:call, key}, payload} <- Outbox.unsent(link.outbox), do: {key, payload})

  @doc "Removes and returns the next frame."
  @spec next_frame(t()) :: {iodata(), t()}
  def next_frame(link) do
    {items, emptied, outbox} = Outbox.next(link.outbox)
    {frame, link} = Enum.map_reduce(items, %{link | outbox: outbox}, &write/2)
    {frame, Enum.reduce(emptied, link, &emptied/2)}
  end

  defp emptied({:answer, id}, link), do: over(link, id)
  defp emptied(_, link), do: link

  defp write({:raw, envelope}, link), do: {envelope, link}
  defp write({:whole, {:reply, id}, payload, size}, link), do: {Frame.payload(:reply, id, payload, size), link}
  defp write({:whole, {:chunk, id}, payload, size}, link), do: {Frame.payload(:chunk, id, payload, size), link}

  defp write({kind, {:call, key}, payload, size}, link) do
    call = Map.fetch!(link.calls, key)
    {call, link} = numbered(call, link)
    # Only a call whose pieces are complete has its method.
    if kind == :part,
      do: {Frame.payload(:part, call.id, payload, size), link},
      else: {Frame.call(call.prefix, call.id, payload, size), link}
  end

  defp write({:part, {_, id}, payload, size}, link), do: {Frame.payload(:part, id, payload, size), link}
  defp write({:last, {kind, id}, payload, size}, link), do: {Frame.payload(kind, id, payload, size), link}

  # Not earlier: ids rise in the order of sending, and a small call may overtake a large one.
  defp numbered(%Call{id: nil} = call, link) do
    call = %{call | id: link.next_id}
    ids = Map.put(link.ids, call.id, call.key)
    {call, %{link | calls: Map.put(link.calls, call.key, call), ids: ids, next_id: link.next_id + 2}}
  end

  defp numbered(call, link), do: {call, link}

  defp control(link, envelope), do: %{link | outbox: Outbox.add_control(link.outbox, envelope)}

  defp over(link, id) do
    case Map.pop(link.incoming, id) do
      {nil, _} -> link
      {call, incoming} -> %{link | incoming: incoming, incoming_bytes: link.incoming_bytes - call.size}
    end
  end

  defp close(link, call), do: %{link | calls: Map.delete(link.calls, call.key), ids: Map.delete(link.ids, call.id)}

  # ----------------------------------------------------------------------------------------------- receiving

  @doc "Returns the events of a frame, or how it breaks the protocol."
  @spec receive_frame(t(), binary()) :: {:ok, [event()], t()} | {:error, String.t()}
  def receive_frame(link, frame) do
    with {:ok, envelopes} <- Frame.decode(frame) do
      {events, link} = Enum.reduce(envelopes, {[], link}, &take/2)

      if link.outbox.control_size > @max_control do
        {:error, "the peer keeps sending without reading the answers"}
      else
        {:ok, :lists.reverse(events), link}
      end
    end
  catch
    {:broken, why} -> {:error, why}
  end

  defp take({id, nil, _}, _), do: broken("an envelope of the call #{id} has nothing in it that is known here")
  defp take({_, :hello, hello}, {events, link}), do: take_hello(hello, events, link)

  defp take({_, kind, _}, {_, %{peer: nil}}) do
    broken("the first envelope is '#{kind}'; it must be the peer's hello")
  end

  defp take({id, :reply, payload}, {events, link}) do
    call = own(link, id, "reply")
    if call.stream, do: broken("the call #{id} is a stream, but a reply came")
    link = close(link, call)

    if call.given_up do
      {events, remember(link, id)}
    else
      {payload, link} = joined(link, call.parts, payload)
      {[{:reply, call.key, payload} | events], link}
    end
  end

  defp take({id, :call, call}, {events, link}), do: take_call(id, call, events, link)

  defp take({id, :chunk, payload}, {events, link}) do
    call = own(link, id, "chunk")
    if not call.stream, do: broken("the call #{id} is not a stream, but a chunk came")

    cond do
      call.given_up ->
        {events, link}

      # The credit was checked with the first piece.
      call.parts == nil and call.credit <= 0 ->
        broken("the peer sent more of the stream #{id} than it was granted")

      true ->
        {payload, link} = joined(link, call.parts, payload)
        call = %{call | parts: nil, credit: call.credit - byte_size(payload)}
        {[{:chunk, call.key, payload} | events], %{link | calls: Map.put(link.calls, call.key, call)}}
    end
  end

  defp take({id, :end, status}, {events, %{crossed: crossed} = link})
       when is_map_key(crossed, id) and not is_map_key(link.ids, id) do
    _ = status
    {events, %{link | crossed: Map.delete(crossed, id)}}
  end

  defp take({id, :end, status}, {events, link}) do
    call = own(link, id, "end")

    if status.code == 0 and not call.stream and not call.given_up do
      broken("the call #{id} ended successfully, but without its reply")
    end

    link = link |> close(call) |> forget(call.parts)
    # The call may have been refused before all of it was sent.
    link = %{link | outbox: Outbox.drop(link.outbox, {:call, call.key})}
    {if(call.given_up, do: events, else: [{:end, call.key, status} | events]), link}
  end

  defp take({id, :cancel, cancel}, {events, link}), do: take_cancel(id, cancel, events, link)

  defp take({id, :credit, credit}, {events, link}) do
    case link.incoming do
      %{^id => call} ->
        key = {:answer, id}

        if Outbox.lane?(link.outbox, key) do
          {[{:credit, id} | events], %{link | outbox: Outbox.grant(link.outbox, key, credit)}}
        else
          {events, %{link | incoming: Map.put(link.incoming, id, %{call | credit: call.credit + credit})}}
        end

      _ ->
        check_old(link, id, "credit")
        {events, link}
    end
  end

  defp take({_, :ping, number}, {events, link}), do: {events, control(link, Frame.envelope(0, :pong, number))}
  defp take({_, :pong, number}, {events, link}), do: {[{:pong, number} | events], link}

  defp take({_, :drain, drain}, {events, link}) do
    {[{:drain, drain.grace_ms} | events], %{link | draining: true}}
  end

  defp take({id, :part, piece}, {events, link}), do: {events, take_part(link, id, piece)}

  defp take({id, :event, %LinkEvent{kind: {:answer, answer}}}, {events, link}) do
    case link.incoming do
      %{^id => _} ->
        {[{:answer, id, answer} | events], link}

      _ ->
        check_old(link, id, "answer")
        {events, link}
    end
  end

  defp take({id, :event, event}, {events, link}) do
    call = own(link, id, "event")

    if match?({:ask, _}, event.kind) and not (link.answers or call.answers),
      do: broken("a question came for the call #{id}, whose caller cannot answer")

    {if(call.given_up, do: events, else: [{:event, call.key, event} | events]), link}
  end

  defp take_hello(_, _, %{peer: peer}) when peer != nil, do: broken("a second hello came")

  defp take_hello(%LinkHello{protocol: @protocol} = hello, events, link) do
    {[{:hello, hello} | events], %{link | peer: hello, peer_capacity: hello.capacity}}
  end

  defp take_hello(hello, _, _) do
    broken("the peer speaks version #{hello.protocol} of the link's protocol; this is #{@protocol}")
  end

  defp take_call(id, call, events, link) do
    {parts, assembling} = Map.pop(link.assembling, id)
    link = if parts == nil, do: check_new(link, id), else: %{link | assembling: assembling}
    {payload, link} = joined(link, parts, call.payload)
    credit = if call.initial_credit == 0, do: @initial_credit, else: call.initial_credit
    size = byte_size(payload)
    incoming = Map.put(link.incoming, id, %Incoming{id: id, size: size, credit: credit})
    link = %{link | incoming: incoming, incoming_bytes: link.incoming_bytes + size}

    case Bounds.refusal(link.capacity, map_size(incoming), link.incoming_bytes, call.metadata) do
      nil -> {[{:call, id, %{call | payload: payload}} | events], link}
      error -> {events, finish(link, id, Error.to_status(error))}
    end
  end

  defp take_cancel(id, cancel, events, link) do
    case {Map.pop(link.assembling, id), link.incoming} do
      {{nil, _}, %{^id => %Incoming{cancelled: true}}} ->
        {events, link}

      {{nil, _}, %{^id => call}} ->
        link = %{link | outbox: Outbox.drop(link.outbox, {:answer, id})}
        link = %{link | incoming: Map.put(link.incoming, id, %{call | cancelled: true})}
        # If it is answered, some of its answer was still waiting.
        if call.answered,
          do: {events, ended_cancelled(over(link, id), id)},
          else: {[{:cancel, id, cancel.reason} | events], link}

      {{nil, _}, _} ->
        # It was answered already, or never made.
        check_old(link, id, "cancel")
        {events, link}

      {{parts, assembling}, _} ->
        {events, %{link | assembling: assembling} |> forget(parts) |> ended_cancelled(id)}
    end
  end

  defp ended_cancelled(link, id) do
    control(link, Frame.envelope(id, :end, %LinkStatus{code: 1, message: "the call was cancelled"}))
  end

  defp take_part(link, id, piece) do
    if rem(id, 2) == link.parity do
      call = own(link, id, "part")

      cond do
        call.given_up ->
          link

        call.parts == nil and call.stream and call.credit <= 0 ->
          broken("the peer sent more of the stream #{id} than it was granted")

        true ->
          {parts, link} = add_piece(link, call.parts, piece)
          %{link | calls: Map.put(link.calls, call.key, %{call | parts: parts})}
      end
    else
      link = if is_map_key(link.assembling, id), do: link, else: check_new(link, id)
      {parts, link} = add_piece(link, Map.get(link.assembling, id), piece)
      %{link | assembling: Map.put(link.assembling, id, parts)}
    end
  end

  defp add_piece(link, parts, piece) do
    case Pieces.add(link.pieces, parts, piece) do
      {:ok, parts, pieces} -> {parts, %{link | pieces: pieces}}
      {:error, why} -> broken(why)
    end
  end

  defp joined(link, nil, last), do: {last, link}

  defp joined(link, parts, last) do
    {payload, pieces} = Pieces.join(link.pieces, parts, last)
    {payload, %{link | pieces: pieces}}
  end

  defp forget(link, nil), do: link
  defp forget(link, parts), do: %{link | pieces: Pieces.forget(link.pieces, parts)}

  # ----------------------------------------------------------------------------------------------------- ids

  defp own(link, id, what) do
    case link.ids do
      %{^id => key} ->
        Map.fetch!(link.calls, key)

      _ ->
        if id < link.next_id and id > 0 and rem(id, 2) == link.parity do
          broken("a #{what} came for the call #{id}, which was answered before")
        else
          broken("a #{what} came for the call #{id}, which was never made")
        end
    end
  end

  defp check_new(link, id) do
    if id <= link.last_id or rem(id, 2) == link.parity do
      broken(
        "a call came with the number #{id}; the peer's last one was #{max(link.last_id, 0)}, and numbers rise by two"
      )
    end

    %{link | last_id: id}
  end

  defp check_old(link, id, what) do
    if id < 1 or id > link.last_id or rem(id, 2) == link.parity do
      broken("a #{what} came for the call #{id}, which the peer never made")
    end
  end

  defp remember(link, id) do
    crossed = Map.put(link.crossed, id, true)

    crossed =
      if map_size(crossed) > @max_remembered,
        do: Map.delete(crossed, crossed |> Map.keys() |> Enum.min()),
        else: crossed

    %{link | crossed: crossed}
  end

  @spec broken(String.t()) :: no_return()
  defp broken(why), do: throw({:broken, why})
end
