# A worker in Elixir: cd sdk/elixir && mix run ../../examples/elixir/worker.exs HOST:PORT
defmodule Words do
  use ToolBridge.Tools

  @doc "Counts how often each word comes."
  @tool true
  @spec count_words(String.t()) :: %{optional(String.t()) => integer()}
  def count_words(text), do: text |> String.downcase() |> String.split(~r/\W+/u, trim: true) |> Enum.frequencies()
end

address = List.first(System.argv(), "127.0.0.1:50051")
{:ok, worker} = ToolBridge.Worker.start_link(address: address, tools: [Words])
:ok = ToolBridge.Worker.await_ready(worker)
IO.puts("offers count_words")
Process.sleep(:infinity)
