defmodule ToolBridge.FixtureTools do
  @moduledoc false
  # The tools that the tests of the testing strategy call.

  use ToolBridge.Tools

  @doc "Takes anything."
  @tool true
  @spec any_tool(term()) :: String.t()
  def any_tool(input), do: "got #{inspect(input)}"

  @doc "Searches the web."
  @tool true
  @spec search_web(String.t()) :: [%{title: String.t(), query: String.t()}]
  def search_web(query), do: for(title <- String.split(query), do: %{title: title, query: query})

  @doc "Calculates an arithmetic expression."
  @tool true
  @spec calculate(String.t()) :: number()
  def calculate(expression) do
    case Code.string_to_quoted(expression) do
      {:ok, syntax} -> value(syntax)
      {:error, _} -> raise ArgumentError, "#{expression} is no arithmetic expression"
    end
  end

  defp value(number) when is_number(number), do: number
  defp value({:-, _, [number]}), do: -value(number)
  defp value({:+, _, [left, right]}), do: value(left) + value(right)
  defp value({:-, _, [left, right]}), do: value(left) - value(right)
  defp value({:*, _, [left, right]}), do: value(left) * value(right)
  defp value({:/, _, [left, right]}), do: value(left) / value(right)
  defp value(other), do: raise(ArgumentError, "#{Macro.to_string(other)} is no arithmetic expression")

  @doc "Returns its argument."
  @tool true
  @spec echo_tool(term()) :: term()
  def echo_tool(input), do: input

  @doc "Returns its argument at once."
  @tool true
  @spec fast_tool(String.t()) :: String.t()
  def fast_tool(input), do: input

  @doc "Yields chunks of 64 KiB."
  @tool true
  @spec stream_processor(non_neg_integer()) :: Enumerable.t()
  def stream_processor(n) do
    chunk = %ToolBridge.Value.Bytes{data: :binary.copy(<<0>>, 65_536)}
    Stream.map(1..n//1, fn _ -> chunk end)
  end

  @doc "Computes something."
  @tool true
  @spec compute_tool(integer()) :: integer()
  def compute_tool(number), do: number * number
end
