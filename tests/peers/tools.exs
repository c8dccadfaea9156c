# The tools of the round trip in Elixir: `mix run --no-halt tools.exs HOST:PORT`.
defmodule RoundTrip.KettleError do
  defexception message: "the kettle is empty"
end

defmodule RoundTrip.Tools do
  use ToolBridge.Tools

  alias ToolBridge.{Client, Context, Value, Variables}

  @doc "Searches the web."
  @tool true
  @spec search_web(String.t()) :: [String.t()]
  def search_web(query), do: ["a page about #{query}"]

  @doc "Adds by the tool of Python, and doubles."
  @tool true
  @spec elixir_double_sum(integer(), integer(), Context.t()) :: {:ok, integer()} | {:error, term()}
  def elixir_double_sum(a, b, context) do
    with {:ok, sum} <- Client.call(context, "python_add", [a, b]), do: {:ok, 2 * sum}
  end

  @doc "Sets a variable."
  @tool true
  @spec elixir_set(String.t(), term(), Context.t()) :: {:ok, non_neg_integer()} | {:error, term()}
  def elixir_set(name, value, context), do: Variables.put(context, name, value)

  @doc "Fails."
  @tool true
  @spec elixir_fail(String.t()) :: no_return()
  def elixir_fail(why), do: raise(RoundTrip.KettleError, message: why)

  @doc "Counts."
  @tool true
  @spec elixir_count(non_neg_integer()) :: Enumerable.t()
  def elixir_count(n), do: Stream.map(1..n//1, & &1)

  @doc "Returns the id of its call."
  @tool true
  @spec elixir_request_id(Context.t()) :: String.t()
  def elixir_request_id(context), do: context.request_id

  @doc "Returns its argument."
  @tool maps: :ordered
  @spec elixir_echo(term()) :: term()
  def elixir_echo(value), do: value

  @doc "Returns so many bytes."
  @tool true
  @spec elixir_bytes(non_neg_integer()) :: term()
  def elixir_bytes(size), do: %Value.Bytes{data: :binary.copy("x", size)}

  @doc "Says in variables when it begins and when it was stopped."
  @tool true
  @spec elixir_wait(Context.t()) :: nil
  def elixir_wait(context) do
    tool = self()

    spawn(fn ->
      reference = Process.monitor(tool)
      # A connection of its own, since that of the call ends with it.
      {:ok, client} = Client.start_link(address: hd(System.argv()), session_id: context.session_id)
      Variables.put!(client, "elixir_begun", true)

      receive do
        {:DOWN, ^reference, :process, _, reason} -> Variables.put!(client, "elixir_stopped", inspect(reason))
      end
    end)

    Process.sleep(:infinity)
  end

  @doc "Says where it runs."
  @tool input_schema: %{"type" => "object", "properties" => %{}, "additionalProperties" => false},
        output_schema: %{"type" => "string"}
  @spec where() :: String.t()
  def where, do: "elixir"
end

{:ok, worker} = ToolBridge.Worker.start_link(address: hd(System.argv()), tools: [RoundTrip.Tools])
:ok = ToolBridge.Worker.await_ready(worker, 30_000)
Process.sleep(:infinity)
