# Figures of the Elixir SDK, as lines of JSON: `mix run bench/bench.exs`. Run it while the machine is quiet. Each figure
# is the best of some rounds, since whatever else the machine does only makes them worse.
#
# The hub and the other peers are Python processes of their own; bare gRPC is grpc.aio with one unary method.

defmodule ToolBridge.Bench do
  @moduledoc false

  alias ToolBridge.{Client, Hub, Tool, Worker}
  alias ToolBridge.Value.{Bytes, JSON}

  @root Path.expand("../../..", __DIR__)
  @seconds 1.0
  @rounds 5

  def run do
    python = System.get_env("TOOL_BRIDGE_PYTHON", Path.join(@root, ".venv/bin/python"))

    {:ok, hub} =
      Hub.start_link(command: [python, Path.expand("../test/support/hub.py", __DIR__)], address: "127.0.0.1:0")

    address = Hub.address(hub)
    {:ok, client} = Client.start_link(address: address)
    {:ok, _} = Client.await_ready(client)
    call = fn -> {:ok, 3} = Client.call(client, "add", [1, 2]) end

    # The code is loaded, and the hub knows the tool.
    _ = rate(call, 100, 1.0)
    say("elixir client, one at a time, us", 1.0e6 / best(fn -> rate(call, 1, @seconds) end))
    say("elixir client, 100 at once, calls/s", best(fn -> rate(call, 100, @seconds) end))
    say("elixir client, 64 KiB stream, MB/s", best(fn -> stream(client, "chunks", [65_536, 2_000]) end))

    chunk = %Bytes{data: :binary.copy(<<0>>, 65_536)}

    {:ok, worker} =
      Worker.start_link(
        address: address,
        tools: [
          Tool.new("worker_add", fn a, b -> a + b end, spec: "(a :: integer(), b :: integer()) :: integer()"),
          Tool.new("worker_chunks", fn n -> Stream.map(1..n, fn _ -> chunk end) end,
            spec: "(n :: integer()) :: Enumerable.t()"
          )
        ]
      )

    :ok = Worker.await_ready(worker)
    both = fn -> {:ok, 3} = Client.call(client, "worker_add", [1, 2]) end
    _ = rate(both, 100, 1.0)
    say("elixir client and worker, 100 at once, calls/s", best(fn -> rate(both, 100, @seconds) end))
    {output, 0} = System.cmd(python, [Path.expand("python_side.py", __DIR__), address])
    IO.write(output)
  end

  defp best(measure), do: Enum.max(for _ <- 1..@rounds, do: measure.())

  # Calls per second of so many processes.
  defp rate(call, processes, seconds) do
    ends = System.monotonic_time(:millisecond) + round(seconds * 1000)
    began = System.monotonic_time(:microsecond)

    calls =
      1..processes
      |> Enum.map(fn _ -> Task.async(fn -> repeat(call, ends, 0) end) end)
      |> Task.await_many(:infinity)
      |> Enum.sum()

    calls / ((System.monotonic_time(:microsecond) - began) / 1.0e6)
  end

  defp repeat(call, ends, count) do
    call.()
    if System.monotonic_time(:millisecond) < ends, do: repeat(call, ends, count + 1), else: count + 1
  end

  defp stream(client, tool, args) do
    began = System.monotonic_time(:microsecond)
    bytes = client |> Client.stream(tool, args) |> Enum.reduce(0, &(byte_size(&1.data) + &2))
    bytes / (System.monotonic_time(:microsecond) - began)
  end

  defp say(name, figure) do
    IO.puts(JSON.write(%{"name" => name, "figure" => Float.round(figure, 1)}, 3))
  end
end

ToolBridge.Bench.run()
