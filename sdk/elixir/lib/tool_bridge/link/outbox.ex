defmodule ToolBridge.Link.Outbox do
  @moduledoc false
  # What waits to be sent over a link, and in which order it is sent.
  #
  # Control envelopes go first, then small payloads in their order. Large payloads and those of streams wait in a lane
  # of their call; the lanes take turns of one fragment each, so that none delays another for longer than that.

  # A payload of a unary call up to this size is sent whole, in order.
  @small 16 * 1024
  # A larger payload is sent in pieces of this size, which fits a chunk of 64 KiB with its wrapping.
  @fragment 128 * 1024
  # A frame is complete at this size; the last turn may exceed it by two fragments.
  @frame 256 * 1024
  # Of incomplete payloads at the peer.
  @reassembly 64 * 1024 * 1024

  defmodule Lane do
    @moduledoc false
    # `credit` is nil unless it is a stream. `offset` is how much of the first payload was sent. `last` is sent once
    # the lane is empty.
    defstruct queue: :queue.new(), size: 0, offset: 0, credit: nil, listed: false, last: nil
  end

  defstruct control: [], control_size: 0, small: :queue.new(), lanes: %{}, turns: :queue.new(), size: 0, begun: 0

  @type key :: term()
  @type sending :: term()
  # What a frame is made of: control as it is; or a payload of `sending`, whole or in pieces.
  @type item :: {:raw, iodata()} | {:whole | :part | :last, sending(), iodata(), non_neg_integer()}
  @type t :: %__MODULE__{}

  def small_bytes, do: @small
  def frame_bytes, do: @frame
  def reassembly_bytes, do: @reassembly

  @spec empty?(t()) :: boolean()
  def empty?(box), do: box.control == [] and :queue.is_empty(box.small) and :queue.is_empty(box.turns)

  @doc "Adds an envelope that overtakes payloads."
  @spec add_control(t(), iodata()) :: t()
  def add_control(box, envelope) do
    %{box | control: [envelope | box.control], control_size: box.control_size + IO.iodata_length(envelope)}
  end

  @doc "Adds a payload that is sent whole."
  @spec add_small(t(), sending(), iodata(), non_neg_integer()) :: t()
  def add_small(box, sending, payload, size) do
    %{box | small: :queue.in({sending, payload, size}, box.small), size: box.size + size}
  end

  @doc "Removes an unsent small payload."
  @spec remove_small(t(), sending()) :: t()
  def remove_small(box, sending) do
    kept = :queue.filter(fn {other, _, _} -> other != sending end, box.small)
    size = Enum.reduce(:queue.to_list(kept), 0, fn {_, _, size}, sum -> sum + size end)
    lanes = box.lanes |> Map.values() |> Enum.filter(& &1.listed) |> Enum.reduce(0, &(&1.size + &2))
    %{box | small: kept, size: size + lanes}
  end

  @doc "Adds a payload to a lane; `credit` is that of a new lane."
  @spec add(t(), key(), sending(), binary(), non_neg_integer() | nil) :: t()
  def add(box, key, sending, payload, credit) do
    lane = Map.get(box.lanes, key) || %Lane{credit: credit}
    size = byte_size(payload)
    lane = %{lane | queue: :queue.in({sending, payload}, lane.queue), size: lane.size + size}
    box = if lane.listed, do: %{box | size: box.size + size}, else: box
    schedule(put_lane(box, key, lane), key)
  end

  @doc "Grants a lane credit."
  @spec grant(t(), key(), non_neg_integer()) :: t()
  def grant(box, key, credit) do
    lane = Map.fetch!(box.lanes, key)
    if lane.credit == nil, do: box, else: schedule(put_lane(box, key, %{lane | credit: lane.credit + credit}), key)
  end

  @doc "Sends an envelope once the lane is empty."
  @spec finish(t(), key(), iodata()) :: t()
  def finish(box, key, envelope) do
    schedule(put_lane(box, key, %{Map.fetch!(box.lanes, key) | last: envelope}), key)
  end

  @spec lane?(t(), key()) :: boolean()
  def lane?(box, key), do: is_map_key(box.lanes, key)

  @doc "Bytes that wait in a lane."
  @spec waiting(t(), key()) :: non_neg_integer()
  def waiting(box, key) do
    case box.lanes do
      %{^key => lane} -> lane.size
      _ -> 0
    end
  end

  @doc "Drops what waits in a lane."
  @spec drop(t(), key()) :: t()
  def drop(box, key) do
    case Map.pop(box.lanes, key) do
      {nil, _} ->
        box

      {lane, lanes} ->
        turns = if lane.listed, do: :queue.filter(&(&1 != key), box.turns), else: box.turns
        size = if lane.listed, do: box.size - lane.size, else: box.size
        %{box | lanes: lanes, turns: turns, size: size, begun: box.begun - begun(lane)}
    end
  end

  @doc "The unsent payloads of which nothing was sent, with what sends them."
  @spec unsent(t()) :: [{sending(), iodata()}]
  def unsent(box) do
    small = for {sending, payload, _} <- :queue.to_list(box.small), do: {sending, payload}
    lanes = for lane <- Map.values(box.lanes), lane.offset == 0, entry <- :queue.to_list(lane.queue), do: entry
    small ++ lanes
  end

  defp put_lane(box, key, lane), do: %{box | lanes: Map.put(box.lanes, key, lane)}

  defp schedule(box, key) do
    lane = Map.fetch!(box.lanes, key)

    if not lane.listed and ready?(lane) do
      %{put_lane(box, key, %{lane | listed: true}) | turns: :queue.in(key, box.turns), size: box.size + lane.size}
    else
      box
    end
  end

  defp ready?(%Lane{offset: offset}) when offset > 0, do: true

  defp ready?(%Lane{} = lane) do
    if :queue.is_empty(lane.queue), do: lane.last != nil, else: lane.credit == nil or lane.credit > 0
  end

  defp begun(%Lane{offset: 0}), do: 0
  defp begun(%Lane{queue: queue}), do: byte_size(elem(:queue.get(queue), 1))

  # ---------------------------------------------------------------------------------------------- the frames

  @doc "Removes what the next frame is made of, and the lanes that have nothing more to send."
  @spec next(t()) :: {[item()], [key()], t()}
  def next(box) do
    {items, size, box} = take_control(box)

    if box.control == [] do
      {items, size, box} = take_small(box, items, size)
      {items, emptied, box} = take_turns(box, items, size, :queue.len(box.turns), [])
      {:lists.reverse(items), emptied, box}
    else
      # A call's events come before its answer, and a cancel before the call that takes its place.
      {:lists.reverse(items), [], box}
    end
  end

  defp take_control(%{control: []} = box), do: {[], 0, box}

  defp take_control(%{control_size: size} = box) when size <= @frame do
    {Enum.map(box.control, &{:raw, &1}), size, %{box | control: [], control_size: 0}}
  end

  defp take_control(box) do
    {items, rest, size} = take_some(:lists.reverse(box.control), [], 0)
    {items, size, %{box | control: :lists.reverse(rest), control_size: box.control_size - size}}
  end

  defp take_some([envelope | rest], items, size) when size < @frame do
    take_some(rest, [{:raw, envelope} | items], size + IO.iodata_length(envelope))
  end

  defp take_some(rest, items, size), do: {items, rest, size}

  defp take_small(box, items, size) when size >= @frame, do: {items, size, box}

  defp take_small(box, items, size) do
    case :queue.out(box.small) do
      {{:value, {sending, payload, bytes}}, small} ->
        box = %{box | small: small, size: box.size - bytes}
        take_small(box, [{:whole, sending, payload, bytes} | items], size + bytes + 16)

      {:empty, _} ->
        {items, size, box}
    end
  end

  # Each lane gets a turn in each frame until it is full; at least one does, however many payloads are ahead of it.
  defp take_turns(box, items, _, 0, emptied), do: {items, emptied, box}

  defp take_turns(box, items, size, left, emptied) do
    case :queue.out(box.turns) do
      {{:value, key}, turns} ->
        {taken, sent, box} = turn(%{box | turns: turns}, key)
        gone = if is_map_key(box.lanes, key), do: emptied, else: [key | emptied]
        # Streams fill the rest; a large payload of a unary call does not, since it would delay small calls.
        left = if taken != [] and stream?(box, key), do: left, else: left - 1
        left = if size + sent >= @frame, do: 0, else: left
        take_turns(box, taken ++ items, size + sent, left, gone)

      {:empty, _} ->
        {items, emptied, box}
    end
  end

  defp stream?(box, key) do
    case box.lanes do
      %{^key => %Lane{credit: credit, listed: true}} -> credit != nil
      _ -> false
    end
  end

  defp turn(box, key) do
    lane = Map.fetch!(box.lanes, key)

    if blocked?(box, lane) do
      {[], 0, %{box | turns: :queue.in(key, box.turns)}}
    else
      before = begun(lane)
      {items, sent, after_turn} = take_turn(lane, [], 0)
      box = %{box | size: box.size - (lane.size - after_turn.size), begun: box.begun - before + begun(after_turn)}

      cond do
        ready?(after_turn) ->
          {items, sent, %{put_lane(box, key, after_turn) | turns: :queue.in(key, box.turns)}}

        :queue.is_empty(after_turn.queue) and lane.last != nil ->
          {items, sent, %{box | lanes: Map.delete(box.lanes, key)}}

        # A unary payload that is sent completely.
        :queue.is_empty(after_turn.queue) and lane.credit == nil ->
          {items, sent, %{box | lanes: Map.delete(box.lanes, key)}}

        true ->
          {items, sent, %{put_lane(box, key, %{after_turn | listed: false}) | size: box.size - after_turn.size}}
      end
    end
  end

  # The peer has no room for another payload in pieces.
  defp blocked?(box, %Lane{offset: 0} = lane) do
    case :queue.peek(lane.queue) do
      {:value, {_, payload}} -> byte_size(payload) > @fragment and box.begun + byte_size(payload) > @reassembly
      :empty -> false
    end
  end

  defp blocked?(_, _), do: false

  defp take_turn(lane, items, sent) when sent >= @fragment, do: {items, sent, lane}

  defp take_turn(lane, items, sent) do
    cond do
      not ready?(lane) -> {items, sent, lane}
      :queue.is_empty(lane.queue) -> {[{:raw, lane.last} | items], sent, %{lane | last: nil}}
      true -> take_payload(lane, :queue.get(lane.queue), items, sent)
    end
  end

  defp take_payload(lane, {sending, payload}, items, sent) do
    left = byte_size(payload) - lane.offset

    cond do
      # Whether it may begin is checked before each turn.
      left > @fragment and lane.offset == 0 and sent > 0 ->
        {items, sent, lane}

      left > @fragment ->
        lane = lane |> charge(payload) |> Map.update!(:size, &(&1 - @fragment))
        piece = binary_part(payload, lane.offset, @fragment)
        {[{:part, sending, piece, @fragment} | items], sent + @fragment, %{lane | offset: lane.offset + @fragment}}

      true ->
        kind = if lane.offset == 0, do: :whole, else: :last
        piece = binary_part(payload, lane.offset, left)
        lane = charge(lane, payload)
        lane = %{lane | queue: :queue.drop(lane.queue), size: lane.size - left, offset: 0}
        take_turn(lane, [{kind, sending, piece, left} | items], sent + left)
    end
  end

  # A chunk's whole size is taken from the credit when it begins.
  defp charge(%Lane{credit: credit, offset: 0} = lane, payload) when credit != nil do
    %{lane | credit: credit - byte_size(payload)}
  end

  defp charge(lane, _), do: lane
end
