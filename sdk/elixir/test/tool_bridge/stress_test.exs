defmodule ToolBridge.StressTest do
  use ExUnit.Case, async: true

  alias ToolBridge.{Client, TestHub, Tool, Worker}
  alias ToolBridge.Value.Bytes

  @tag timeout: 300_000
  test "nothing is left of calls, streams and cancellations of all sizes at once" do
    client = start_supervised!({Client, address: TestHub.address()})
    {:ok, id} = Client.session_id(client)

    tools = [
      Tool.new("back", & &1, spec: "(value :: term()) :: term()"),
      Tool.new("slow", fn -> Process.sleep(:infinity) end),
      Tool.new("many", fn size, n -> Stream.map(1..n, fn _ -> %Bytes{data: :binary.copy(<<7>>, size)} end) end,
        spec: "(size :: integer(), n :: integer()) :: Enumerable.t()"
      )
    ]

    worker = start_supervised!({Worker, address: TestHub.address(), session_id: id, tools: tools, capacity: 500})
    :ok = Worker.await_ready(worker)
    :rand.seed(:exsss, {1, 2, 3})

    work =
      for number <- 1..600,
          do: {number, Enum.random([:small, :large, :leave, :read, :kill]), Enum.random([10, 20_000, 300_000])}

    work
    |> Task.async_stream(&one(client, &1), max_concurrency: 50, timeout: 120_000, ordered: false)
    |> Enum.each(&assert({:ok, :ok} = &1))

    {_, connection, _, _} = worker |> Supervisor.which_children() |> List.keyfind!(ToolBridge.Connection, 0)

    for process <- [client, connection] do
      TestHub.eventually(fn -> idle?(:sys.get_state(process)) end)
      assert %{outbox: outbox, pieces: pieces} = :sys.get_state(process).link
      assert %{size: 0, control_size: 0, begun: 0, lanes: lanes} = outbox
      assert lanes == %{}
      assert %{bytes: 0, count: 0} = pieces
    end
  end

  defp idle?(state) do
    state.requests == %{} and state.served == %{} and state.children == %{} and state.monitors == %{} and
      state.blocked == %{} and
      :queue.is_empty(state.pending) and state.link.calls == %{} and state.link.ids == %{} and
      state.link.incoming == %{} and state.link.incoming_bytes == 0
  end

  defp one(client, {number, :small, _}), do: check(Client.call(client, "back", [number]) == {:ok, number})

  defp one(client, {number, :large, size}) do
    text = String.duplicate("#{rem(number, 10)}", size)
    check(Client.call(client, "back", [text], timeout: 60_000) == {:ok, text})
  end

  defp one(client, {_, :leave, size}) do
    check(length(client |> Client.stream("many", [size, 1_000]) |> Enum.take(2)) == 2)
  end

  defp one(client, {_, :read, size}) do
    read = client |> Client.stream("many", [size, 5]) |> Enum.map(&byte_size(&1.data))
    check(read == List.duplicate(size, 5))
  end

  defp one(client, {number, :kill, size}) do
    {pid, monitor} =
      spawn_monitor(fn ->
        Client.call(client, "slow", [], metadata: %{number: String.duplicate("x", rem(size, 1000))})
      end)

    Process.sleep(rem(number, 20))
    Process.exit(pid, :kill)

    receive do
      {:DOWN, ^monitor, :process, _, _} -> :ok
    end
  end

  defp check(true), do: :ok
end
