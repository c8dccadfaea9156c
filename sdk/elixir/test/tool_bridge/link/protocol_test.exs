defmodule ToolBridge.Link.ProtocolTest do
  # The transcripts of conformance test the rules one by one; here two ends talk.
  use ExUnit.Case, async: true

  @moduletag :unit

  alias ToolBridge.Link.{Outbox, Protocol}
  alias ToolBridge.Proto.{LinkHello, LinkStatus}

  defp pair do
    {[{:hello, _}], dialler, hub} =
      exchange(Protocol.new(:dialer, %LinkHello{peer: "a"}), Protocol.new(:hub, %LinkHello{peer: "b"}))

    {dialler, hub}
  end

  # All that the dialler sends, then all that the hub sends; returns the dialler's events, the hub's being in its mailbox.
  defp exchange(dialler, hub) do
    {hub_events, dialler, hub} = carry(dialler, hub, [])
    {events, hub, dialler} = carry(hub, dialler, [])
    for event <- hub_events, do: send(self(), {:hub, event})
    {events, dialler, hub}
  end

  defp carry(from, to, events) do
    if Protocol.output?(from) do
      {frame, from} = Protocol.next_frame(from)
      frame = IO.iodata_to_binary(frame)
      assert byte_size(frame) <= 1024 * 1024
      {:ok, new, to} = Protocol.receive_frame(to, frame)
      carry(from, to, events ++ new)
    else
      {events, from, to}
    end
  end

  test "a call and its answer" do
    {dialler, hub} = pair()
    {:ok, dialler} = Protocol.call(dialler, :key, "ExecuteTool", "request", timeout_ms: 5)
    {[], dialler, hub} = exchange(dialler, hub)
    assert_received {:hub, {:call, 1, %{method: "ExecuteTool", payload: "request", timeout_ms: 5}}}
    {:ok, hub} = Protocol.reply(hub, 1, "answer")
    assert {[{:reply, :key, "answer"}], dialler, hub} = exchange(dialler, hub)
    assert dialler.calls == %{} and dialler.ids == %{} and hub.incoming == %{} and hub.incoming_bytes == 0
  end

  test "many calls go out in one frame, and large ones take turns" do
    {dialler, hub} = pair()
    big = :binary.copy("x", 3 * 1024 * 1024)

    dialler =
      Enum.reduce(1..100, dialler, fn number, link ->
        {:ok, link} = Protocol.call(link, number, "ExecuteTool", if(number in [1, 2], do: big, else: "small"))
        link
      end)

    {frame, _} = Protocol.next_frame(dialler)
    assert IO.iodata_length(frame) < 2 * Outbox.frame_bytes() + 20_000
    {[], _, _} = exchange(dialler, hub)

    calls =
      for {:hub, {:call, id, call}} <- Process.info(self(), :messages) |> elem(1), do: {id, byte_size(call.payload)}

    # The small ones come first, and the large ones whole.
    assert length(calls) == 100
    assert calls |> Enum.take(98) |> Enum.all?(&match?({_, 5}, &1))
    assert calls |> Enum.drop(98) |> Enum.map(&elem(&1, 1)) == [byte_size(big), byte_size(big)]
    assert calls |> Enum.map(&elem(&1, 0)) |> Enum.sort() == Enum.to_list(1..199//2)
  end

  test "a stream stops at its credit, and goes on with more" do
    {dialler, hub} = pair()
    {:ok, dialler} = Protocol.call(dialler, :stream, "StreamTool", "", stream: true, credit: 1000)
    {[], dialler, hub} = exchange(dialler, hub)

    hub = Enum.reduce(1..5, hub, fn _, hub -> elem({:ok, _} = Protocol.chunk(hub, 1, :binary.copy("c", 600)), 1) end)
    hub = Protocol.finish(hub, 1, %LinkStatus{})
    {events, dialler, hub} = exchange(dialler, hub)
    assert [{:chunk, :stream, _}, {:chunk, :stream, _}] = events

    dialler = Protocol.grant(dialler, :stream, 1200)
    {events, dialler, hub} = exchange(dialler, hub)
    assert [{:chunk, :stream, _}, {:chunk, :stream, _}] = events

    dialler = Protocol.grant(dialler, :stream, 1200)
    assert {[{:chunk, :stream, _}, {:end, :stream, %{code: 0}}], dialler, hub} = exchange(dialler, hub)
    assert dialler.calls == %{} and hub.incoming == %{} and hub.outbox == %Outbox{hub.outbox | lanes: %{}, size: 0}
  end

  test "a cancelled call counts until its end" do
    {dialler, hub} = pair()
    {:ok, dialler} = Protocol.call(dialler, :key, "ExecuteTool", "")
    {[], dialler, hub} = exchange(dialler, hub)
    dialler = Protocol.cancel(dialler, :key, "enough")
    {[], dialler, hub} = exchange(dialler, hub)
    assert_received {:hub, {:cancel, 1, "enough"}}
    assert map_size(dialler.calls) == 1
    hub = Protocol.finish(hub, 1, %LinkStatus{code: 1})
    {[], dialler, _} = exchange(dialler, hub)
    assert dialler.calls == %{}
  end

  test "a call that was cancelled before it was sent is not sent" do
    {dialler, _} = pair()

    for payload <- ["small", :binary.copy("x", 100_000)] do
      {:ok, link} = Protocol.call(dialler, :key, "ExecuteTool", payload)
      link = Protocol.cancel(link, :key)
      refute Protocol.output?(link)
      assert Protocol.waiting(link) == 0
    end
  end

  test "unsent calls are known, so that another link can send them" do
    {dialler, _} = pair()
    {:ok, dialler} = Protocol.call(dialler, :one, "ExecuteTool", "1")
    {_, dialler} = Protocol.next_frame(dialler)
    {:ok, dialler} = Protocol.call(dialler, :two, "ExecuteTool", "2")
    {:ok, dialler} = Protocol.call(dialler, :three, "ExecuteTool", :binary.copy("x", 100_000))
    assert [{:two, "2"}, {:three, _}] = Protocol.unsent(dialler)
  end

  test "calls are made within the capacity of the peer" do
    {_, dialler, _} = exchange(Protocol.new(:dialer, %LinkHello{}), Protocol.new(:hub, %LinkHello{capacity: 1}))
    assert Protocol.takes_calls?(dialler)
    {:ok, dialler} = Protocol.call(dialler, :one, "ExecuteTool", "")
    refute Protocol.takes_calls?(dialler)
  end
end
