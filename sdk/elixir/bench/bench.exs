# Figures of the Elixir SDK beside those of a peer, as lines of JSON: `mix run bench/bench.exs`.
#
# Both are measured in turns, so that whatever else the machine does disturbs both: `figure` and `peer` are the best of the
# rounds, `ratio` is the median of the rounds' ratios. The hub and the peers are Python processes; bare gRPC is grpc.aio
# with one unary method.

defmodule ToolBridge.Bench do
  @moduledoc false

  alias ToolBridge.{Client, Hub, Tool, Worker}
  alias ToolBridge.Value.{Bytes, JSON}

  @root Path.expand("../../..", __DIR__)
  @python System.get_env("TOOL_BRIDGE_PYTHON", Path.join(@root, ".venv/bin/python"))
  @milliseconds 1_000
  @rounds 5
  @chunks 2_000

  def run do
    {:ok, hub} =
      Hub.start_link(command: [@python, Path.expand("../test/support/hub.py", __DIR__)], address: "127.0.0.1:0")

    address = Hub.address(hub)
    {:ok, worker} = Worker.start_link(address: address, tools: tools())
    :ok = Worker.await_ready(worker)
    {:ok, client} = Client.start_link(address: address)
    python = start_python(address)

    call = fn -> {:ok, 3} = Client.call(client, "add", [1, 2]) end
    worker_call = fn -> {:ok, 3} = Client.call(client, "worker_add", [1, 2]) end
    # The code is loaded, and the hub knows the tools.
    for call <- [call, worker_call], do: rate(call, 100)

    compare("client, one at a time, calls/s; bare gRPC", fn -> rate(call, 1) end, python, "bare 1")
    compare("client, 100 at once, calls/s; bare gRPC", fn -> rate(call, 100) end, python, "bare 100")
    compare("client and worker, 100 at once, calls/s; bare gRPC", fn -> rate(worker_call, 100) end, python, "bare 100")

    compare(
      "worker called by Python, 100 at once, calls/s; a Python worker",
      fn -> ask(python, "call worker_add") end,
      python,
      "call python_add"
    )

    compare(
      "worker read by Python, 64 KiB chunks, MB/s; a Python worker",
      fn -> ask(python, "stream worker_chunks") end,
      python,
      "stream python_chunks"
    )

    compare(
      "client, 64 KiB chunks of a Python worker, MB/s; Python's client",
      fn -> stream(client, "python_chunks") end,
      python,
      "stream python_chunks"
    )

    # Its end is waited for, while there is a hub that it can leave.
    Port.command(python, "end .\n")
    "ended" = line(python)
  end

  defp tools do
    chunk = %Bytes{data: :binary.copy(<<0>>, 65_536)}

    [
      Tool.new("worker_add", fn a, b -> a + b end, spec: "(a :: integer(), b :: integer()) :: integer()"),
      Tool.new("worker_chunks", fn n -> Stream.map(1..n, fn _ -> chunk end) end,
        spec: "(n :: integer()) :: Enumerable.t()"
      )
    ]
  end

  defp compare(name, measure, python, peer) do
    rounds = for _ <- 1..@rounds, do: {measure.(), ask(python, peer)}
    {figures, peers} = Enum.unzip(rounds)
    ratio = rounds |> Enum.map(fn {figure, peer} -> figure / peer end) |> Enum.sort() |> Enum.at(div(@rounds, 2))

    %{
      "name" => name,
      "figure" => Float.round(Enum.max(figures), 1),
      "peer" => Float.round(Enum.max(peers), 1),
      "ratio" => Float.round(ratio, 2)
    }
    |> JSON.write(3)
    |> IO.puts()
  end

  # Calls per second of so many processes.
  defp rate(call, processes) do
    began = System.monotonic_time(:microsecond)
    ends = System.monotonic_time(:millisecond) + @milliseconds
    tasks = for _ <- 1..processes, do: Task.async(fn -> repeat(call, ends, 0) end)
    calls = tasks |> Task.await_many(:infinity) |> Enum.sum()
    calls * 1.0e6 / (System.monotonic_time(:microsecond) - began)
  end

  defp repeat(call, ends, count) do
    call.()
    if System.monotonic_time(:millisecond) < ends, do: repeat(call, ends, count + 1), else: count + 1
  end

  defp stream(client, tool) do
    began = System.monotonic_time(:microsecond)
    bytes = client |> Client.stream(tool, [@chunks]) |> Enum.reduce(0, &(byte_size(&1.data) + &2))
    bytes / (System.monotonic_time(:microsecond) - began)
  end

  defp start_python(address) do
    args = [Path.expand("python_side.py", __DIR__), address]
    python = Port.open({:spawn_executable, @python}, [:binary, {:line, 100}, args: args])
    "ready" = line(python)
    python
  end

  defp ask(python, what) do
    Port.command(python, what <> "\n")
    python |> line() |> String.to_float()
  end

  defp line(python) do
    receive do
      {^python, {:data, {:eol, line}}} -> line
    end
  end
end

ToolBridge.Bench.run()
