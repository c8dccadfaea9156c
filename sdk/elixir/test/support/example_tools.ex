defmodule ToolBridge.ExampleTools do
  @moduledoc false
  use ToolBridge.Tools

  @doc "Adds two numbers."
  @tool true
  @spec add(integer(), integer()) :: integer()
  def add(a, b \\ 1), do: a + b

  @doc "Counts."
  @tool idempotent: true
  @spec count(non_neg_integer(), ToolBridge.Context.t()) :: Enumerable.t()
  def count(n, context) do
    Stream.each(1..n//1, &ToolBridge.Context.progress(context, &1, n))
  end
end
