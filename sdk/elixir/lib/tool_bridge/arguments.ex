defmodule ToolBridge.Arguments do
  @moduledoc false
  # The arguments of a call: a list is positional, a map or a keyword list is by name.

  alias ToolBridge.{Error, Value}
  alias ToolBridge.Proto.Google.Any

  @spec encode(list() | map(), map() | keyword()) ::
          {:ok, [%Any{}], %{optional(String.t()) => %Any{}}} | {:error, Error.t()}
  def encode(args, more \\ [])

  def encode(args, more) when is_map(args) and not is_struct(args), do: encode([], Enum.concat(args, more))

  def encode([{name, _} | _] = args, more) when is_atom(name) do
    if Keyword.keyword?(args), do: encode([], Enum.concat(args, more)), else: pack(args, more)
  end

  def encode(args, more) when is_list(args), do: pack(args, more)

  def encode(args, _) do
    {:error,
     Error.new(
       "ValidationError",
       "the arguments of a tool are a list, a map or a keyword list, not #{inspect(args, limit: 3)}"
     )}
  end

  defp pack(args, named) do
    with {:ok, packed} <- each(args, 0, []),
         {:ok, named} <- named(Enum.to_list(named), %{}) do
      {:ok, packed, named}
    end
  end

  defp each([], _, packed), do: {:ok, :lists.reverse(packed)}

  defp each([value | rest], index, packed) do
    case Value.encode(value) do
      {:ok, any} -> each(rest, index + 1, [any | packed])
      {:error, error} -> {:error, %{error | message: "argument #{index + 1}: " <> error.message}}
    end
  end

  defp named([], packed), do: {:ok, packed}

  defp named([{name, value} | rest], packed) do
    case Value.encode(value) do
      {:ok, any} -> named(rest, Map.put(packed, to_string(name), any))
      {:error, error} -> {:error, %{error | message: "argument #{name}: " <> error.message}}
    end
  end

  @doc "Reads the arguments of a request; `maps` as of `ToolBridge.Value.decode/2`."
  @spec decode([%Any{}], %{optional(String.t()) => %Any{}}, :map | :ordered) ::
          {:ok, list(), map()} | {:error, Error.t()}
  def decode(args, kwargs, maps) do
    with {:ok, args} <- read_all(args, maps, []),
         {:ok, kwargs} <- read_named(Map.to_list(kwargs), maps, %{}) do
      {:ok, args, kwargs}
    end
  end

  defp read_all([], _, read), do: {:ok, :lists.reverse(read)}

  defp read_all([any | rest], maps, read) do
    with {:ok, value} <- Value.decode(any, maps: maps), do: read_all(rest, maps, [value | read])
  end

  defp read_named([], _, read), do: {:ok, read}

  defp read_named([{name, any} | rest], maps, read) do
    with {:ok, value} <- Value.decode(any, maps: maps), do: read_named(rest, maps, Map.put(read, name, value))
  end
end
