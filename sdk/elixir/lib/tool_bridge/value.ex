defmodule ToolBridge.Value do
  @moduledoc """
  Elixir's terms as `google.protobuf.Any`, and back.

  | Elixir | Python |
  | --- | --- |
  | `String.t()`, `integer()`, `float()`, `boolean()`, `nil` | `str`, `int`, `float`, `bool`, `None` |
  | `:nan`, `:infinity`, `:neg_infinity` | the floats `nan`, `inf`, `-inf` |
  | any other atom | `str` |
  | a binary that is not UTF-8, `ToolBridge.Value.Bytes` | `bytes` |
  | list, map (atoms as keys become texts), tuple | `list`, `dict`, `tuple` |
  | `ToolBridge.Value.OrderedMap` | `dict`, with the order of its keys |
  | `MapSet`, `ToolBridge.Value.FrozenSet` | `set`, `frozenset` |
  | `DateTime`, `NaiveDateTime`, `Date`, `Time`, `ToolBridge.Value.Moment` | `datetime`, `date`, `time` |
  | `ToolBridge.Value.Duration` | `timedelta` |
  | `ToolBridge.Value.UUID`, `Decimal`, `Complex` of this module | `UUID`, `Decimal`, `complex` |
  | `ToolBridge.Value.Tensor` | NumPy array or scalar |
  | `ToolBridge.Value.Frame` | DataFrame of pandas or polars, Series, Index, Table of pyarrow |
  | `Range` | `list` |
  | any other struct | `dict` of its fields, or as `ToolBridge.Value.Plain` says |

  A round trip gives back the same type and value; also the order of keys, with `maps: :ordered`.
  """

  alias ToolBridge.Error
  alias ToolBridge.Proto.Google.{Any, BytesValue, DoubleValue, Int64Value, ListValue, StringValue, Struct, Value}
  alias ToolBridge.Proto.{Json, Message, RichValue, Wire}
  alias ToolBridge.Value.{Bytes, Frame, JSON, Moment, OrderedMap, Plain, Rich, Tensor}

  @prefix "type.googleapis.com/"
  @string @prefix <> "google.protobuf.StringValue"
  @int64 @prefix <> "google.protobuf.Int64Value"
  @double @prefix <> "google.protobuf.DoubleValue"
  @bool @prefix <> "google.protobuf.BoolValue"
  @bytes @prefix <> "google.protobuf.BytesValue"
  @value @prefix <> "google.protobuf.Value"
  @list @prefix <> "google.protobuf.ListValue"
  @struct @prefix <> "google.protobuf.Struct"
  @json @prefix <> "dspex.bridge.Json"
  @rich @prefix <> "dspex.bridge.RichValue"
  @tensor @prefix <> "dspex.bridge.Tensor"

  @max_depth 100
  # Beyond these, JSON is smaller than ListValue and Struct, and faster.
  @max_items 32
  @max_levels 16
  @max_exact 0x20000000000000
  @frames ~w(pandas.DataFrame pandas.Series pandas.Index pyarrow.Table polars.DataFrame)
  @numbers [:nan, :infinity, :neg_infinity]

  @type any_message :: %Any{type_url: String.t(), value: binary()}

  @doc """
  Encodes a term.

      iex> {:ok, any} = ToolBridge.Value.encode({1, :ok, %{"when" => ~D[2026-03-01]}})
      iex> ToolBridge.Value.decode(any)
      {:ok, {1, "ok", %{"when" => ~D[2026-03-01]}}}
      iex> {:error, error} = ToolBridge.Value.encode(self())
      iex> error.type
      "SerializationError"

  Options: `max_depth`, levels of containers (100).
  """
  @spec encode(term(), keyword()) :: {:ok, any_message()} | {:error, Error.t()}
  def encode(term, opts \\ []), do: guarded(fn -> pack(term, Keyword.get(opts, :max_depth, @max_depth)) end)

  @doc "As `encode/2`, but raises the error."
  @spec encode!(term(), keyword()) :: any_message()
  def encode!(term, opts \\ []), do: bang(encode(term, opts))

  @doc """
  Decodes an Any.

      iex> {:ok, any} = ToolBridge.Value.encode(%{"b" => 1, "a" => 2.0})
      iex> ToolBridge.Value.decode(any)
      {:ok, %{"a" => 2.0, "b" => 1}}

  Options: `max_depth` (100); `maps`, `:map` or `:ordered` for `ToolBridge.Value.OrderedMap`.
  """
  @spec decode(any_message(), keyword()) :: {:ok, term()} | {:error, Error.t()}
  def decode(any, opts \\ [])

  # The fast path of nearly every result.
  def decode(%Any{type_url: @int64, value: <<8, 0::1, number::7>>}, _), do: {:ok, number}

  def decode(%Any{} = any, opts) do
    maps = Keyword.get(opts, :maps, :map)
    if maps not in [:map, :ordered], do: raise(ArgumentError, "maps: is :map or :ordered, not #{inspect(maps)}")
    guarded(fn -> unpack(any, Keyword.get(opts, :max_depth, @max_depth), maps) end)
  end

  @doc "As `decode/2`, but raises the error."
  @spec decode!(any_message(), keyword()) :: term()
  def decode!(any, opts \\ []), do: bang(decode(any, opts))

  @doc false
  # A map as a google.protobuf.Struct, whose numbers are doubles, and back.
  @spec to_struct(map()) :: {:ok, %Struct{}} | {:error, Error.t()}
  def to_struct(map), do: guarded(fn -> map |> plain(@max_depth) |> any_struct() end)

  defp any_struct(map), do: %Struct{fields: Map.new(map, fn {key, value} -> {key, %Value{kind: any_kind(value)}} end)}

  defp any_kind(nil), do: {:null_value, :NULL_VALUE}
  defp any_kind(value) when is_boolean(value), do: {:bool_value, value}
  defp any_kind(value) when is_number(value), do: {:number_value, value * 1.0}
  defp any_kind(value) when is_atom(value), do: {:string_value, Atom.to_string(value)}
  defp any_kind(value) when is_binary(value), do: {:string_value, value}

  defp any_kind(value) when is_list(value),
    do: {:list_value, %ListValue{values: Enum.map(value, &%Value{kind: any_kind(&1)})}}

  defp any_kind(%OrderedMap{} = value), do: value |> OrderedMap.to_map() |> any_kind()
  defp any_kind(%_{} = value), do: unserializable(value)
  defp any_kind(value) when is_map(value), do: {:struct_value, any_struct(value)}
  defp any_kind(value), do: unserializable(value)

  @doc false
  @spec from_struct(%Struct{}) :: {:ok, map()} | {:error, Error.t()}
  def from_struct(struct), do: guarded(fn -> plain_struct(struct, @max_depth, :map) end)

  defp bang({:ok, value}), do: value
  defp bang({:error, error}), do: raise(error)

  defp guarded(work) do
    {:ok, work.()}
  catch
    :too_deep ->
      refused(
        "the value is nested deeper than its limit (max_depth, 100 levels unless set); flatten it, or raise the limit at both ends"
      )

    {:unserializable, why} ->
      refused(why)

    {:invalid, why} ->
      refused("the text is not valid JSON: #{why}")

    {:malformed, why} ->
      refused("malformed value: #{why}")
  end

  defp refused(why), do: {:error, Error.new("SerializationError", why)}

  # ------------------------------------------------------------------------------------------------- writing

  defp pack(nil, _), do: %Any{type_url: @value, value: <<8, 0>>}
  defp pack(true, _), do: %Any{type_url: @bool, value: <<8, 1>>}
  defp pack(false, _), do: %Any{type_url: @bool}

  defp pack(term, _) when term in @numbers,
    do: %Any{type_url: @double, value: DoubleValue.encode(%DoubleValue{value: term})}

  defp pack(term, depth) when is_atom(term), do: pack(Atom.to_string(term), depth)

  defp pack(term, _) when is_integer(term) and term >= -0x8000000000000000 and term <= 0x7FFFFFFFFFFFFFFF do
    %Any{type_url: @int64, value: Int64Value.encode(%Int64Value{value: term})}
  end

  defp pack(term, _) when is_integer(term), do: packed(@json, %Json{utf8: Integer.to_string(term)})
  defp pack(term, _) when is_float(term), do: packed(@double, %DoubleValue{value: term})

  defp pack(term, _) when is_binary(term) do
    if Wire.utf8?(term), do: packed(@string, %StringValue{value: term}), else: packed(@bytes, %BytesValue{value: term})
  end

  defp pack(%Bytes{data: data}, _), do: packed(@bytes, %BytesValue{value: data})
  defp pack(%Frame{kind: kind, arrow: arrow}, _), do: packed(@prefix <> kind, %BytesValue{value: arrow})
  defp pack(%Tensor{shape: []} = tensor, depth) when not tensor.scalar, do: pack_rich(tensor, depth)
  defp pack(%Tensor{} = tensor, _), do: packed(@tensor, Rich.message(tensor))
  defp pack(term, depth) when is_list(term), do: pack_container(plain(term, depth), depth)
  defp pack(%OrderedMap{} = term, depth), do: pack_container(plain(term, depth), depth)
  defp pack(term, depth) when is_tuple(term), do: pack_rich(plain(term, depth), depth)

  defp pack(%_{} = term, depth) do
    plain = plain(term, depth)
    if rich_struct?(plain), do: pack_rich(plain, depth), else: pack(plain, depth)
  end

  defp pack(term, depth) when is_map(term), do: pack_container(plain(term, depth), depth)
  defp pack(term, _), do: unserializable(term)

  defp packed(url, message), do: %Any{type_url: url, value: message.__struct__.encode(message)}

  defp pack_container(term, depth) do
    pack_struct(term) || pack_json(term, depth) || pack_rich(term, depth)
  end

  defp pack_json(term, depth) do
    packed(@json, %Json{utf8: term |> JSON.write(depth) |> IO.iodata_to_binary()})
  catch
    :not_json -> nil
  end

  defp pack_rich(term, depth), do: packed(@rich, Rich.write(term, depth, &pack_other/1))

  defp pack_other(%struct{} = term) when struct in [Tensor, Frame], do: pack(term, 1)
  defp pack_other(term), do: unserializable(term)

  defp unserializable(term) do
    throw(
      {:unserializable, "#{inspect(term, limit: 5, printable_limit: 100)} has no form; send plain data, such as a map"}
    )
  end

  # Structs as plain data, at every level. Data without structs, tuples and sets is returned as it is.
  defp plain(term, _) when is_binary(term) or is_number(term) or is_atom(term), do: term
  defp plain(term, depth) when depth < 0 and (is_list(term) or is_map(term) or is_tuple(term)), do: throw(:too_deep)

  defp plain([first | rest] = list, depth) do
    if flat?(list), do: list, else: [plain(first, depth - 1) | plain_rest(rest, depth - 1)]
  end

  defp plain(term, depth) when is_tuple(term) do
    term |> Tuple.to_list() |> Enum.map(&plain(&1, depth - 1)) |> List.to_tuple()
  end

  defp plain(%OrderedMap{pairs: pairs}, depth), do: %OrderedMap{pairs: Enum.map(pairs, &plain_pair(&1, depth))}

  defp plain(%_{} = term, depth) do
    if rich_struct?(term) or is_struct(term, Tensor) or is_struct(term, Frame) or is_struct(term, Bytes) do
      plain_members(term, depth)
    else
      term |> Plain.plain() |> plain(depth - 1)
    end
  end

  defp plain(term, depth) when is_map(term), do: Map.new(term, &plain_pair(&1, depth))
  defp plain(term, _), do: term

  defp plain_pair({key, value}, depth) when is_binary(key), do: {key, plain(value, depth - 1)}
  defp plain_pair({key, value}, depth), do: {plain_key(key, depth - 1), plain(value, depth - 1)}

  defp plain_key(key, _) when is_atom(key) and key not in [nil, true, false | @numbers], do: Atom.to_string(key)
  defp plain_key(key, depth), do: plain(key, depth)

  defp plain_rest([item | rest], depth), do: [plain(item, depth) | plain_rest(rest, depth)]
  defp plain_rest(rest, _), do: rest

  defp plain_members(%MapSet{} = set, depth), do: MapSet.new(set, &plain(&1, depth - 1))
  defp plain_members(%{members: %MapSet{} = set} = frozen, depth), do: %{frozen | members: plain_members(set, depth)}
  defp plain_members(term, _), do: term

  defp flat?([item | rest]) when is_binary(item) or is_number(item) or is_atom(item), do: flat?(rest)
  defp flat?(rest), do: rest == []

  @rich_structs [
    MapSet,
    Date,
    Time,
    DateTime,
    NaiveDateTime,
    Moment,
    ToolBridge.Value.FrozenSet,
    ToolBridge.Value.Duration,
    ToolBridge.Value.UUID,
    ToolBridge.Value.Decimal,
    ToolBridge.Value.Complex
  ]
  defp rich_struct?(%struct{}), do: struct in @rich_structs
  defp rich_struct?(_), do: false

  # ------------------------------------------------------------------------ ListValue and Struct, where exact

  defp pack_struct(term) do
    case struct_value(term, 1, @max_items) do
      {{:list_value, list}, _} -> packed(@list, list)
      {{:struct_value, struct}, _} -> packed(@struct, struct)
    end
  catch
    :not_exact -> nil
  end

  defp struct_value(nil, _, left), do: {{:null_value, :NULL_VALUE}, left}
  defp struct_value(term, _, left) when is_boolean(term), do: {{:bool_value, term}, left}
  defp struct_value(term, _, _) when term in @numbers, do: throw(:not_exact)
  defp struct_value(term, _, left) when is_atom(term), do: {{:string_value, Atom.to_string(term)}, left}

  defp struct_value(term, _, left) when is_integer(term) and abs(term) <= @max_exact,
    do: {{:number_value, term * 1.0}, left}

  defp struct_value(term, _, left) when is_float(term) do
    if trunc(term) == term, do: throw(:not_exact), else: {{:number_value, term}, left}
  end

  defp struct_value(term, _, left) when is_binary(term) do
    if Wire.utf8?(term), do: {{:string_value, term}, left}, else: throw(:not_exact)
  end

  defp struct_value(_, level, left) when level > @max_levels or left < 0, do: throw(:not_exact)

  defp struct_value(term, level, left) when is_list(term) do
    {values, left} = struct_items(term, level, left, [])
    {{:list_value, %ListValue{values: values}}, left}
  end

  # A protobuf map has no order, so it can have only one key.
  defp struct_value(%OrderedMap{pairs: [_, _ | _]}, _, _), do: throw(:not_exact)
  defp struct_value(%OrderedMap{pairs: pairs}, level, left), do: struct_value(Map.new(pairs), level, left)
  defp struct_value(%_{}, _, _), do: throw(:not_exact)

  defp struct_value(term, level, left) when is_map(term) and map_size(term) <= 1 do
    case Map.to_list(term) do
      [] ->
        {{:struct_value, %Struct{}}, left}

      [{key, value}] when is_binary(key) ->
        if not Wire.utf8?(key), do: throw(:not_exact)
        {kind, left} = struct_value(value, level + 1, left - 1)
        {{:struct_value, %Struct{fields: %{key => %Value{kind: kind}}}}, left}

      _ ->
        throw(:not_exact)
    end
  end

  defp struct_value(_, _, _), do: throw(:not_exact)

  defp struct_items([], _, left, values), do: {:lists.reverse(values), left}

  defp struct_items([item | rest], level, left, values) when left > 0 do
    {kind, left} = struct_value(item, level + 1, left - 1)
    struct_items(rest, level, left, [%Value{kind: kind} | values])
  end

  defp struct_items(_, _, _, _), do: throw(:not_exact)

  # ------------------------------------------------------------------------------------------------- reading

  defp unpack(%Any{type_url: @prefix <> name, value: data}, depth, maps), do: unpack(name, data, depth, maps)

  defp unpack(%Any{type_url: ""}, _, _),
    do: throw({:unserializable, "the Any has no type URL, so it holds no value; nil is a google.protobuf.Value"})

  defp unpack(%Any{type_url: url, value: data}, depth, maps),
    do: unpack(url |> String.split("/") |> List.last(), data, depth, maps)

  defp unpack("google.protobuf.BytesValue", data, _, _), do: %Bytes{data: message(BytesValue, data).value}
  defp unpack("google.protobuf.Empty", data, _, _), do: with(_ <- message(ToolBridge.Proto.Google.Empty, data), do: nil)

  for wrapper <- ~w(StringValue Int64Value DoubleValue BoolValue FloatValue Int32Value UInt32Value UInt64Value) do
    module = Module.concat(ToolBridge.Proto.Google, wrapper)
    defp unpack(unquote("google.protobuf." <> wrapper), data, _, _), do: message(unquote(module), data).value
  end

  defp unpack("google.protobuf.Value", data, depth, maps), do: Value |> message(data) |> plain_value(depth, maps)
  defp unpack("google.protobuf.ListValue", data, depth, maps), do: ListValue |> message(data) |> plain_list(depth, maps)
  defp unpack("google.protobuf.Struct", data, depth, maps), do: Struct |> message(data) |> plain_struct(depth, maps)
  defp unpack("dspex.bridge.Json", data, depth, maps), do: JSON.read(message(Json, data).utf8, depth, maps)
  defp unpack("dspex.bridge.Tensor", data, _, _), do: ToolBridge.Proto.Tensor |> message(data) |> Rich.tensor(true)

  defp unpack("dspex.bridge.RichValue", data, depth, maps) do
    RichValue |> message(data) |> Rich.read(depth, maps, &unpack(&1, &2, maps))
  end

  defp unpack(name, data, _, _) when name in @frames, do: %Frame{kind: name, arrow: message(BytesValue, data).value}
  defp unpack("python." <> class, data, _, _) when class != "", do: message(StringValue, data).value

  defp unpack(name, _, _, _),
    do: throw({:unserializable, "the type URL #{inspect(String.slice(name, 0, 200))} is not known"})

  defp message(module, data), do: module.decode!(data, Message.max_depth())

  defp plain_value(%Value{kind: kind}, depth, maps) do
    case kind do
      {:number_value, number} when is_float(number) -> if trunc(number) == number, do: trunc(number), else: number
      {:null_value, _} -> nil
      {:list_value, list} -> plain_list(list, depth, maps)
      {:struct_value, struct} -> plain_struct(struct, depth, maps)
      {_, value} -> value
      nil -> throw({:unserializable, "a google.protobuf.Value has no kind set; null is null_value"})
    end
  end

  defp plain_list(_, depth, _) when depth < 1, do: throw(:too_deep)
  defp plain_list(%ListValue{values: values}, depth, maps), do: Enum.map(values, &plain_value(&1, depth - 1, maps))

  defp plain_struct(_, depth, _) when depth < 1, do: throw(:too_deep)

  defp plain_struct(%Struct{fields: fields}, depth, maps) do
    plain = Map.new(fields, fn {key, value} -> {key, plain_value(value, depth - 1, maps)} end)
    if maps == :ordered, do: OrderedMap.new(Map.to_list(plain)), else: plain
  end
end
