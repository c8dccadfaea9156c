defmodule ToolBridge.Value.Rich do
  @moduledoc false
  # RichValue: what JSON cannot hold exactly, and containers of it.
  #
  # A protobuf message may be nested 100 levels deep, and each level of a value takes two. So every few levels the value
  # continues in an Any, which is read separately.

  alias ToolBridge.Proto.{RichComplex, RichDelta, RichDict, RichList, RichValue}
  alias ToolBridge.Proto.Google.Any
  alias ToolBridge.Value.{Bytes, Complex, Decimal, Duration, FrozenSet, Moment, Moments, OrderedMap, Tensor, UUID}

  @levels 32
  @url "type.googleapis.com/dspex.bridge.RichValue"
  @int64 -0x8000000000000000..0x7FFFFFFFFFFFFFFF
  @max_digits 100_000

  @doc """
  Writes a value. `other` writes what has no field of its own, as an Any. Throws {:unserializable, why} or :too_deep.
  """
  @spec write(term(), pos_integer(), (term() -> Any.t())) :: RichValue.t()
  def write(value, depth, other), do: %RichValue{kind: kind(value, 0, depth, other)}

  defp kind(nil, _, _, _), do: {:null, true}
  defp kind(value, _, _, _) when is_boolean(value), do: {:boolean, value}
  defp kind(value, _, _, _) when is_integer(value) and value in @int64, do: {:integer, value}
  defp kind(value, _, _, _) when is_integer(value), do: {:big_integer, Integer.to_string(value)}
  defp kind(value, _, _, _) when is_float(value), do: {:number, value}
  defp kind(value, _, _, _) when value in [:nan, :infinity, :neg_infinity], do: {:number, value}
  defp kind(value, _, _, _) when is_atom(value), do: {:text, Atom.to_string(value)}

  defp kind(value, _, _, _) when is_binary(value) do
    if String.valid?(value), do: {:text, value}, else: {:binary, value}
  end

  defp kind(%Bytes{data: data}, _, _, _), do: {:binary, data}
  defp kind(%Date{} = date, _, _, _), do: {:date, Date.to_iso8601(date)}
  defp kind(%Time{} = time, _, _, _), do: {:time, Moments.write(time)}
  defp kind(%Moment{kind: kind} = moment, _, _, _), do: {kind, Moments.write(moment)}

  defp kind(%struct{} = moment, _, _, _) when struct in [DateTime, NaiveDateTime],
    do: {:datetime, Moments.write(moment)}

  defp kind(%UUID{text: text}, _, _, _), do: {:uuid, text}
  defp kind(%Decimal{text: text}, _, _, _), do: {:decimal, text}
  defp kind(%Complex{real: real, imag: imag}, _, _, _), do: {:complex, %RichComplex{real: real, imag: imag}}
  defp kind(%Tensor{shape: []} = scalar, _, _, other) when scalar.scalar, do: {:any, other.(scalar)}
  defp kind(%Tensor{} = tensor, _, _, _), do: {:tensor, message(tensor)}

  defp kind(%Duration{} = duration, _, _, _) do
    {:timedelta, %RichDelta{days: duration.days, seconds: duration.seconds, microseconds: duration.microseconds}}
  end

  defp kind(value, level, depth, other) do
    case container(value) do
      nil -> {:any, other.(value)}
      _ when depth < 1 -> throw(:too_deep)
      parts when level > 0 and rem(level, @levels) == 0 -> {:any, inner(parts, level, depth, other)}
      parts -> filled(parts, level, depth, other)
    end
  end

  @doc "The kind and the parts of a container; nil for anything else."
  @spec container(term()) :: {atom(), list()} | nil
  def container(value) when is_list(value), do: {:list, proper(value)}
  def container(value) when is_tuple(value), do: {:tuple, Tuple.to_list(value)}
  def container(%MapSet{} = set), do: {:set, MapSet.to_list(set)}
  def container(%FrozenSet{members: set}), do: {:frozenset, MapSet.to_list(set)}
  def container(%OrderedMap{pairs: pairs}), do: {:dict, pairs}
  def container(%_{}), do: nil
  def container(value) when is_map(value), do: {:dict, :maps.to_list(value)}
  def container(_), do: nil

  defp proper(list) do
    if List.improper?(list), do: throw({:unserializable, "an improper list has no form; send a tuple"}), else: list
  end

  defp inner(parts, level, depth, other) do
    value = %RichValue{kind: filled(parts, level, depth, other)}
    %Any{type_url: @url, value: RichValue.encode(value)}
  end

  defp filled({:dict, pairs}, level, depth, other) do
    each = fn value -> %RichValue{kind: kind(value, level + 1, depth - 1, other)} end
    {keys, values} = Enum.unzip(pairs)
    {:dict, %RichDict{keys: Enum.map(keys, each), values: Enum.map(values, each)}}
  end

  defp filled({kind, items}, level, depth, other) do
    {kind, %RichList{items: Enum.map(items, &%RichValue{kind: kind(&1, level + 1, depth - 1, other)})}}
  end

  @doc "The message of a tensor."
  def message(%Tensor{} = tensor) do
    %ToolBridge.Proto.Tensor{dtype: tensor.dtype, shape: tensor.shape, data: tensor.data}
  end

  # ------------------------------------------------------------------------------------------------- reading

  @doc """
  Reads a value. `any` reads an Any with at most the given levels, `maps` is :map or :ordered.

  Throws {:unserializable, why} or :too_deep.
  """
  @spec read(RichValue.t(), non_neg_integer(), atom(), (Any.t(), non_neg_integer() -> term())) :: term()
  def read(%RichValue{kind: nil}, _, _, _), do: bad("a RichValue has no kind set; null is null = true")
  def read(%RichValue{kind: {:null, _}}, _, _, _), do: nil
  def read(%RichValue{kind: {kind, value}}, _, _, _) when kind in [:boolean, :integer, :number, :text], do: value
  def read(%RichValue{kind: {:binary, data}}, _, _, _), do: %Bytes{data: data}
  def read(%RichValue{kind: {:big_integer, digits}}, _, _, _), do: integer(digits)
  def read(%RichValue{kind: {:date, iso}}, _, _, _), do: Moments.read_date(iso)
  def read(%RichValue{kind: {:datetime, moment}}, _, _, _), do: Moments.read_datetime(moment)
  def read(%RichValue{kind: {:time, moment}}, _, _, _), do: Moments.read_time(moment)
  def read(%RichValue{kind: {:uuid, text}}, _, _, _), do: uuid(text)
  def read(%RichValue{kind: {:decimal, text}}, _, _, _), do: decimal(text)
  def read(%RichValue{kind: {:complex, complex}}, _, _, _), do: %Complex{real: complex.real, imag: complex.imag}
  def read(%RichValue{kind: {:tensor, tensor}}, _, _, _), do: tensor(tensor, false)

  def read(%RichValue{kind: {:timedelta, delta}}, _, _, _) do
    # The parts may be denormal, as Python takes them.
    Duration.new((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds)
  end

  def read(%RichValue{kind: {:any, inner}}, depth, maps, any) do
    if inner.type_url |> String.split("/") |> List.last() == "dspex.bridge.RichValue" do
      case RichValue.decode(inner.value) do
        {:ok, %RichValue{kind: {:any, _}}} ->
          bad("a RichValue in an Any holds nothing but another Any; send the value itself")

        {:ok, value} ->
          read(value, depth, maps, any)

        {:error, error} ->
          bad(error.message)
      end
    else
      any.(inner, depth)
    end
  end

  def read(%RichValue{}, depth, _, _) when depth < 1, do: throw(:too_deep)

  def read(%RichValue{kind: {:dict, dict}}, depth, maps, any) do
    if length(dict.keys) != length(dict.values) do
      bad("a dict came with #{length(dict.keys)} keys and #{length(dict.values)} values")
    end

    pairs =
      Enum.zip_with(dict.keys, dict.values, fn key, value ->
        {read(key, depth - 1, maps, any), read(value, depth - 1, maps, any)}
      end)

    map = Map.new(pairs)
    distinct(map_size(map), pairs, "dict")
    if maps == :ordered, do: OrderedMap.new(pairs), else: map
  end

  def read(%RichValue{kind: {kind, list}}, depth, maps, any) do
    items = Enum.map(list.items, &read(&1, depth - 1, maps, any))

    case kind do
      :list -> items
      :tuple -> List.to_tuple(items)
      :set -> set(items, "set")
      :frozenset -> %FrozenSet{members: set(items, "frozenset")}
    end
  end

  defp set(items, kind) do
    set = MapSet.new(items)
    distinct(MapSet.size(set), items, kind)
    set
  end

  defp distinct(size, items, kind) do
    if size != length(items), do: bad("a #{kind} came with a duplicate key or member")
  end

  @doc "Reads a tensor; a tensor of an Any without dimensions is a scalar."
  def tensor(message, scalar?) do
    if length(message.shape) > 64, do: bad("a tensor has #{length(message.shape)} dimensions; arrays have at most 64")

    if Enum.any?(message.shape, &(&1 < 0)),
      do: bad("a tensor has the shape #{inspect(message.shape)}; no dimension may be negative")

    size = item_size(message.dtype)
    expected = Enum.product(message.shape) * size

    if expected != byte_size(message.data) do
      bad(
        "a tensor of dtype #{message.dtype} and shape #{inspect(Enum.take(message.shape, 8))} takes #{expected} bytes, " <>
          "but #{byte_size(message.data)} were received"
      )
    end

    %Tensor{dtype: message.dtype, shape: message.shape, data: message.data, scalar: scalar? and message.shape == []}
  end

  @dtype ~r/\A[<>|=]([biufcmMSUV])([0-9]{0,9})(\[[0-9]{0,9}(generic|Y|M|W|D|h|m|s|ms|us|μs|ns|ps|fs|as)\])?\z/u
  @sizes %{
    "b" => [1],
    "i" => [1, 2, 4, 8],
    "u" => [1, 2, 4, 8],
    "f" => [2, 4, 8, 12, 16],
    "c" => [8, 16, 24, 32],
    "m" => [8],
    "M" => [8]
  }

  defp item_size(dtype) do
    with [_, kind, digits | _] <- Regex.run(@dtype, dtype),
         {size, ""} <- Integer.parse(digits),
         true <- size in Map.get(@sizes, kind, [size]) do
      if kind == "U", do: size * 4, else: size
    else
      _ -> bad("#{inspect(String.slice(dtype, 0, 40))} is not a plain dtype of numpy, such as '<f8'")
    end
  end

  @doc "Reads an integer of any size."
  def integer(digits) do
    cond do
      byte_size(digits) > @max_digits + 1 ->
        bad("an integer of #{byte_size(digits)} digits is too large: it may have #{@max_digits}")

      digits =~ ~r/\A-?[0-9]+\z/ ->
        String.to_integer(digits)

      true ->
        bad("#{inspect(String.slice(digits, 0, 40))} is not an integer: expected decimal digits")
    end
  end

  defp uuid(text) do
    hex = text |> String.replace(["urn:", "uuid:"], "") |> String.replace(["-", "{", "}"], "") |> String.downcase()

    case hex do
      <<a::binary-size(8), b::binary-size(4), c::binary-size(4), d::binary-size(4), e::binary-size(12)>> ->
        if hex =~ ~r/\A[0-9a-f]{32}\z/,
          do: %UUID{text: Enum.join([a, b, c, d, e], "-")},
          else: bad("#{inspect(text)} is not a UUID")

      _ ->
        bad("#{inspect(String.slice(text, 0, 60))} is not a UUID")
    end
  end

  @decimal ~r/\A[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf(inity)?|s?nan\d*)\z/i

  defp decimal(text) do
    if byte_size(text) <= @max_digits and text =~ @decimal do
      %Decimal{text: text}
    else
      bad("#{inspect(String.slice(text, 0, 40))} is not a Decimal")
    end
  end

  defp bad(why), do: throw({:unserializable, why})
end
