defmodule ToolBridge.Proto.Message do
  @moduledoc false
  # Makes a module of a row of `ToolBridge.Proto.Table`: a struct, and the functions that write and read it.
  #
  # Each field becomes a clause, so that a message is read by matching its tags. Most fields have a number below 16 and
  # fewer than 16 KiB, or a number below 128: those are read whole by one clause, and all others step by step.

  alias ToolBridge.Proto.Wire

  # As Python's protobuf; a value nests further by an Any in it, which is read separately.
  @max_depth 100
  # Scalars whose default is known by its value alone.
  @plain [:string, :bytes, :bool, :int32, :int64, :uint32, :uint64, :sint32, :sint64]

  @doc "The body of a message's module."
  @spec body(String.t(), [tuple()]) :: Macro.t()
  def body(full_name, fields) do
    quote do
      @moduledoc false
      alias ToolBridge.Proto.{Message, Wire}

      @type t :: %__MODULE__{}

      defstruct unquote(Macro.escape(struct_of(fields)))

      def full_name, do: unquote(full_name)
      def fields, do: unquote(Macro.escape(fields))

      @spec encode(t()) :: binary()
      def encode(message), do: message |> encode_iodata() |> IO.iodata_to_binary()

      @spec encode_iodata(t()) :: iodata()
      def encode_iodata(%__MODULE__{} = message) do
        _ = message
        rest = []
        unquote_splicing(fields |> Enum.sort(:desc) |> Enum.map(&write_clause/1))
        rest
      end

      @spec decode(binary()) :: {:ok, t()} | {:error, ToolBridge.Error.t()}
      def decode(bytes) when is_binary(bytes) do
        {:ok, decode!(bytes, unquote(@max_depth))}
      catch
        {:malformed, text} -> {:error, ToolBridge.Error.malformed(__MODULE__, text)}
      end

      def decode!(bytes, depth), do: bytes |> decode_fields(%__MODULE__{}, depth) |> finish()

      unquote_splicing(Enum.flat_map(fields, &whole_clauses/1))
      defp decode_fields(<<0::1, tag::7, rest::binary>>, message, depth), do: decode_field(tag, rest, message, depth)
      defp decode_fields(<<>>, message, _), do: message

      defp decode_fields(bytes, message, depth) do
        {tag, rest} = Wire.read_tag(bytes)
        decode_field(tag, rest, message, depth)
      end

      unquote_splicing(Enum.flat_map(fields, &read_clauses/1))

      defp decode_field(tag, bytes, message, depth), do: decode_fields(Wire.skip(tag, bytes), message, depth)

      unquote(finish_clause(for {_, name, _, label, _} <- fields, label in [:repeated, :packed], do: name))
    end
  end

  # A message is written from its last field to its first, so that it is one list without what has its default.
  defp write_clause({number, name, kind, :one, nil}) when kind in @plain do
    quote do
      rest =
        case message.unquote(name) do
          unset when unset in [nil, unquote(default(kind, :one))] -> rest
          value -> [unquote(tag(number, kind)), Wire.write(unquote(kind), value) | rest]
        end
    end
  end

  defp write_clause({number, name, {:message, module}, :one, nil}) do
    quote do
      rest =
        case message.unquote(name) do
          nil -> rest
          value -> [unquote(tag(number, :bytes)), Wire.write(:bytes, unquote(module).encode_iodata(value)) | rest]
        end
    end
  end

  defp write_clause({_, name, _, _, oneof} = field) do
    quote do
      rest =
        case message.unquote(oneof || name) do
          unset when unset in [nil, [], %{}] -> rest
          value -> [Message.write_field(value, unquote(Macro.escape(field))) | rest]
        end
    end
  end

  defp tag(number, kind), do: IO.iodata_to_binary(Wire.varint(number * 8 + Wire.kind_of(kind)))

  # A field whose tag, and length or number, have few bytes.
  defp whole_clauses({number, name, kind, label, oneof}) when number < 16 and label != :packed do
    value = whole_value(kind, label, oneof, name)
    decoded = quote(do: decode_fields(rest, %{message | unquote(oneof || name) => unquote(value)}, depth))

    cond do
      Wire.kind_of(kind) == 2 or match?({:map, _}, label) ->
        [
          quote do
            defp decode_fields(
                   <<unquote(number * 8 + 2), 0::1, size::7, data::binary-size(size), rest::binary>>,
                   message,
                   depth
                 ),
                 do: unquote(decoded)
          end,
          quote do
            defp decode_fields(
                   <<unquote(number * 8 + 2), 1::1, low::7, 0::1, high::7, data::binary-size(high * 128 + low),
                     rest::binary>>,
                   message,
                   depth
                 ),
                 do: unquote(decoded)
          end
        ]

      value != nil ->
        [
          quote do
            defp decode_fields(<<unquote(number * 8), 0::1, data::7, rest::binary>>, message, depth),
              do: unquote(decoded)
          end
        ]

      true ->
        []
    end
  end

  defp whole_clauses(_), do: []

  # The expression of a field's value, from its `data`; nil if it is read step by step.
  defp whole_value(kind, {:map, key_kind}, nil, name) do
    quote(do: Message.put_entry(message.unquote(name), unquote(key_kind), unquote(Macro.escape(kind)), data, depth))
  end

  defp whole_value({:message, module}, :one, oneof, name) do
    quote do
      Message.put_message(message.unquote(oneof || name), unquote(oneof && name), unquote(module), data, depth)
    end
  end

  defp whole_value(kind, label, oneof, name) do
    value = whole_value(kind)

    cond do
      value == nil -> nil
      label == :repeated -> quote(do: [unquote(value) | message.unquote(name)])
      oneof != nil -> {name, value}
      true -> value
    end
  end

  defp whole_value({:message, module}), do: quote(do: Message.nested(unquote(module), data, depth))
  defp whole_value({:enum, module}), do: quote(do: unquote(module).name(data))
  defp whole_value(:string), do: quote(do: Wire.text!(data))
  defp whole_value(:bool), do: quote(do: data != 0)
  defp whole_value(kind) when kind in [:bytes, :int32, :int64, :uint32, :uint64], do: quote(do: data)
  defp whole_value(_), do: nil

  defp read_clauses({number, name, kind, label, oneof}) do
    key = oneof || name

    for {tag, way} <- ways_to_read(number, kind, label) do
      quote do
        defp decode_field(unquote(tag), bytes, message, depth) do
          {value, rest} = unquote(reader(way, kind, label, oneof && name, key))
          decode_fields(rest, %{message | unquote(key) => value}, depth)
        end
      end
    end
  end

  # A plain scalar, as most fields are, is read directly.
  defp reader(:single, kind, label, nil, _) when is_atom(kind) and label in [:one, :optional] do
    quote do: Wire.read(unquote(kind), bytes)
  end

  defp reader(way, kind, label, oneof, key) do
    quote do
      Message.read_field(
        unquote(way),
        unquote(Macro.escape(kind)),
        unquote(Macro.escape(label)),
        bytes,
        message.unquote(key),
        unquote(oneof),
        depth
      )
    end
  end

  defp finish_clause([]), do: quote(do: defp(finish(message), do: message))

  defp finish_clause(names) do
    changes = for name <- names, do: {name, quote(do: :lists.reverse(message.unquote(name)))}
    quote(do: defp(finish(message), do: %{message | unquote_splicing(changes)}))
  end

  @doc "How deep messages may be nested."
  def max_depth, do: @max_depth

  @doc "The fields of a struct with their defaults; a oneof is one field, nil or `{name, value}`."
  def struct_of(fields) do
    fields
    |> Enum.map(fn
      {_, _, _, _, oneof} when oneof != nil -> {oneof, nil}
      {_, name, kind, label, nil} -> {name, default(kind, label)}
    end)
    |> Enum.uniq()
  end

  def default(_, :optional), do: nil
  def default(_, label) when label in [:repeated, :packed], do: []
  def default(_, {:map, _}), do: %{}
  def default({:message, _}, :one), do: nil
  def default({:enum, module}, :one), do: module.name(0)
  def default(:string, :one), do: ""
  def default(:bytes, :one), do: ""
  def default(:bool, :one), do: false
  def default(kind, :one) when kind in [:double, :float], do: 0.0
  def default(_, :one), do: 0

  @doc "The tags by which a field may come, and how it is read then."
  def ways_to_read(number, kind, label) do
    own = {number * 8 + Wire.kind_of(kind), :single}

    cond do
      match?({:map, _}, label) -> [{number * 8 + 2, :entry}]
      label == :packed -> [{number * 8 + 2, :packed}, own]
      true -> [own]
    end
  end

  # ------------------------------------------------------------------------------------------------- writing

  @doc "Writes a field with its tag; nothing if it has its default."
  def write_field(nil, _), do: []

  def write_field({name, value}, {number, name, kind, :one, _}), do: write_one(number, kind, value)
  def write_field({_, _}, {_, _, _, :one, oneof}) when oneof != nil, do: []
  def write_field([], _), do: []
  def write_field(value, {number, _, kind, :repeated, _}), do: Enum.map(value, &write_one(number, kind, &1))

  def write_field(value, {number, _, kind, :packed, _}) do
    packed = value |> Enum.map(&write_value(kind, &1)) |> IO.iodata_to_binary()
    [Wire.varint(number * 8 + 2), Wire.write(:bytes, packed)]
  end

  def write_field(value, {number, _, kind, {:map, key_kind}, _}) do
    for {key, item} <- value do
      entry = [write_one(1, key_kind, key), write_one(2, kind, item)]
      [Wire.varint(number * 8 + 2), Wire.write(:bytes, entry)]
    end
  end

  def write_field(value, {number, _, kind, :optional, _}), do: write_one(number, kind, value)
  def write_field("", {_, _, kind, :one, _}) when kind in [:string, :bytes], do: []
  def write_field(false, {_, _, :bool, :one, _}), do: []
  def write_field(0, {_, _, _, :one, _}), do: []

  # -0.0 is written, as everywhere.
  def write_field(value, {_, _, kind, :one, _} = field) when is_float(value) and value == 0.0 do
    if <<value::float>> == <<0::64>>, do: [], else: write_one(elem(field, 0), kind, value)
  end

  def write_field(value, {number, _, {:enum, module} = kind, :one, _}) do
    if module.number(value) == 0, do: [], else: write_one(number, kind, value)
  end

  def write_field(value, {number, _, kind, :one, _}), do: write_one(number, kind, value)

  defp write_one(number, kind, value), do: [Wire.varint(number * 8 + Wire.kind_of(kind)) | write_value(kind, value)]

  defp write_value({:message, module}, value), do: Wire.write(:bytes, module.encode_iodata(value))
  defp write_value({:enum, module}, value), do: Wire.write(:int32, module.number(value))
  defp write_value(kind, value), do: Wire.write(kind, value)

  # ------------------------------------------------------------------------------------------------- reading

  @doc "Reads a field that is no plain scalar; returns its value in the struct, and the rest."
  def read_field(:single, {:message, module}, :one, bytes, before, oneof, depth) do
    {data, rest} = Wire.read_bytes(bytes)
    {put_message(before, oneof, module, data, depth), rest}
  end

  def read_field(:single, kind, label, bytes, _, oneof, depth) when label in [:one, :optional] do
    {value, rest} = read_value(kind, bytes, depth)
    {named(oneof, value), rest}
  end

  # Lists are read backwards; the message turns them round at its end.
  def read_field(:single, kind, _, bytes, before, nil, depth) do
    {value, rest} = read_value(kind, bytes, depth)
    {[value | before], rest}
  end

  def read_field(:packed, kind, _, bytes, before, nil, depth) do
    {data, rest} = Wire.read_bytes(bytes)
    {read_packed(kind, data, before, depth), rest}
  end

  def read_field(:entry, kind, {:map, key_kind}, bytes, before, nil, depth) do
    {data, rest} = Wire.read_bytes(bytes)
    {put_entry(before, key_kind, kind, data, depth), rest}
  end

  @doc "Reads a message into a field that is not repeated, or into a oneof under the name `oneof`."
  def put_message(before, oneof, module, data, depth) do
    value =
      case {before, oneof} do
        {nil, _} -> nested(module, data, depth)
        {{^oneof, present}, _} -> merged(module, present, data, depth)
        {{_, _}, _} -> nested(module, data, depth)
        {present, nil} -> merged(module, present, data, depth)
      end

    named(oneof, value)
  end

  @doc "Reads an entry into a map."
  def put_entry(before, key_kind, kind, data, depth) do
    case read_entry(data, key_kind, kind, {default(key_kind, :one), nil}, depth) do
      # As in Python, an entry with an unknown field is an unknown field itself.
      :unknown -> before
      {key, nil} -> Map.put(before, key, empty(kind))
      {key, value} -> Map.put(before, key, value)
    end
  end

  @doc "Reads a message in a message."
  def nested(_, _, 0), do: Wire.malformed!("messages are nested more than #{@max_depth} deep")
  def nested(module, data, depth), do: module.decode!(data, depth - 1)

  defp read_packed(_, <<>>, items, _), do: items

  defp read_packed(kind, bytes, items, depth) do
    {value, rest} = read_value(kind, bytes, depth)
    read_packed(kind, rest, [value | items], depth)
  end

  defp read_entry(<<>>, _, _, entry, _), do: entry

  defp read_entry(bytes, key_kind, kind, {key, value}, depth) do
    {tag, rest} = Wire.read_tag(bytes)
    key_tag = 8 + Wire.kind_of(key_kind)
    value_tag = 16 + Wire.kind_of(kind)

    case tag do
      ^key_tag ->
        {key, rest} = read_value(key_kind, rest, depth)
        read_entry(rest, key_kind, kind, {key, value}, depth)

      ^value_tag ->
        {value, rest} = read_value(kind, rest, depth)
        read_entry(rest, key_kind, kind, {key, value}, depth)

      _ ->
        _ = read_entry(Wire.skip(tag, rest), key_kind, kind, {key, value}, depth)
        :unknown
    end
  end

  defp empty({:message, module}), do: struct(module)
  defp empty(kind), do: default(kind, :one)

  defp read_value({:message, module}, bytes, depth) do
    {data, rest} = Wire.read_bytes(bytes)
    {nested(module, data, depth), rest}
  end

  defp read_value({:enum, module}, bytes, _) do
    {number, rest} = Wire.read(:int32, bytes)
    {module.name(number), rest}
  end

  defp read_value(kind, bytes, _), do: Wire.read(kind, bytes)

  # A message that comes twice is merged.
  defp merged(module, present, data, depth), do: nested(module, module.encode(present) <> data, depth)

  defp named(nil, value), do: value
  defp named(name, value), do: {name, value}
end
