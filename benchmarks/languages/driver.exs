# The client or the worker of the figures in Elixir: `mix run driver.exs client|worker HOST:PORT`. A client answers lines
# of JSON, such as {"width": 100, "number": 1000}, with the seconds of that many calls.
defmodule Driver.Tools do
  use ToolBridge.Tools

  @chunk %ToolBridge.Value.Bytes{data: :binary.copy(<<0>>, 65_536)}

  @doc "Adds two integers."
  @tool true
  @spec add(integer(), integer()) :: integer()
  def add(a, b), do: a + b

  @doc "Yields chunks of 64 KiB."
  @tool true
  @spec chunks(integer()) :: Enumerable.t()
  def chunks(number), do: Stream.map(1..number//1, fn _ -> @chunk end)
end

defmodule Driver do
  def run(["worker", address]) do
    {:ok, worker} = ToolBridge.Worker.start_link(address: address, tools: [Driver.Tools], capacity: 1_000)
    :ok = ToolBridge.Worker.await_ready(worker)
    IO.puts(~s("ready"))
    IO.read(:stdio, :all)
  end

  def run(["client", address]) do
    {:ok, client} = ToolBridge.Client.start_link(address: address)
    {:ok, _} = ToolBridge.Client.await_ready(client)
    IO.puts(~s("ready"))

    for line <- IO.stream(:stdio, :line) do
      [width, number] = ~r/\d+/ |> Regex.scan(line) |> Enum.map(fn [digits] -> String.to_integer(digits) end)
      began = System.monotonic_time(:microsecond)
      counter = :counters.new(1, [:atomics])

      1..width
      |> Enum.map(fn _ -> Task.async(fn -> call(client, counter, number) end) end)
      |> Task.await_many(:infinity)

      IO.puts((System.monotonic_time(:microsecond) - began) / 1.0e6)
    end
  end

  defp call(client, counter, number) do
    :counters.add(counter, 1, 1)
    a = :counters.get(counter, 1)

    if a <= number do
      true = ToolBridge.Client.call!(client, "add", [a, 7]) == a + 7
      call(client, counter, number)
    end
  end
end

Driver.run(System.argv())
