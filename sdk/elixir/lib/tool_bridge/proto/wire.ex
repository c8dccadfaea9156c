defmodule ToolBridge.Proto.Wire do
  @moduledoc false
  # The wire format of protobuf: scalars, lengths, and fields that are skipped.

  import Bitwise

  @max_int32 0x7FFFFFFF
  @max_int64 0x7FFFFFFFFFFFFFFF
  @mask64 0xFFFFFFFFFFFFFFFF

  @type kind :: 0 | 1 | 2 | 5

  @doc "Raised for bytes that are not a message; converted to a `ToolBridge.Error` where bytes come from outside."
  @spec malformed!(String.t()) :: no_return()
  def malformed!(text), do: throw({:malformed, text})

  # ------------------------------------------------------------------------------------------------- varints

  @spec varint(non_neg_integer()) :: iodata()
  def varint(number) when number < 0x80, do: <<number>>
  def varint(number) when number < 0x4000, do: <<1::1, number::7, number >>> 7>>
  def varint(number), do: [<<1::1, number::7>> | varint(number >>> 7)]

  @spec read_varint(binary()) :: {non_neg_integer(), binary()}
  def read_varint(<<0::1, number::7, rest::binary>>), do: {number, rest}
  def read_varint(<<1::1, a::7, 0::1, b::7, rest::binary>>), do: {b <<< 7 ||| a, rest}
  def read_varint(<<1::1, a::7, 1::1, b::7, 0::1, c::7, rest::binary>>), do: {c <<< 14 ||| b <<< 7 ||| a, rest}
  def read_varint(bytes), do: read_varint(bytes, 0, 0)

  defp read_varint(<<more::1, bits::7, rest::binary>>, shift, number) when shift < 70 do
    number = number ||| bits <<< shift
    if more == 1, do: read_varint(rest, shift + 7, number), else: {number &&& @mask64, rest}
  end

  defp read_varint(<<>>, _, _), do: malformed!("a number is cut off")
  defp read_varint(_, _, _), do: malformed!("a number has more than ten bytes")

  @doc "Reads the number and the wire type of a field."
  @spec read_tag(binary()) :: {non_neg_integer(), binary()}
  def read_tag(bytes) do
    case read_varint(bytes) do
      {tag, _} when tag > 0xFFFFFFFF -> malformed!("a field has a number of more than 29 bits")
      read -> read
    end
  end

  # ------------------------------------------------------------------------------------------------- scalars

  @spec kind_of(atom() | tuple()) :: kind()
  def kind_of(:double), do: 1
  def kind_of(:float), do: 5
  def kind_of(kind) when kind in [:string, :bytes], do: 2
  def kind_of({:message, _}), do: 2
  def kind_of(_), do: 0

  @doc "Writes a scalar without its tag."
  @spec write(atom(), term()) :: iodata()
  def write(:string, text), do: [varint(byte_size(text)), text]
  def write(:bytes, data) when is_binary(data), do: [varint(byte_size(data)), data]
  def write(:bytes, data), do: [varint(IO.iodata_length(data)), data]
  def write(:bool, true), do: <<1>>
  def write(:bool, false), do: <<0>>
  def write(kind, number) when kind in [:int32, :int64], do: varint(number &&& @mask64)
  def write(kind, number) when kind in [:uint32, :uint64], do: varint(number)
  def write(kind, number) when kind in [:sint32, :sint64] and number >= 0, do: varint(number <<< 1)
  def write(kind, number) when kind in [:sint32, :sint64], do: varint(-number * 2 - 1)
  def write(:double, number), do: write_double(number)
  def write(:float, number), do: write_float(number)

  defp write_double(number) when is_number(number), do: <<number::float-little-64>>
  defp write_double(:nan), do: <<0, 0, 0, 0, 0, 0, 0xF8, 0x7F>>
  defp write_double(:infinity), do: <<0, 0, 0, 0, 0, 0, 0xF0, 0x7F>>
  defp write_double(:neg_infinity), do: <<0, 0, 0, 0, 0, 0, 0xF0, 0xFF>>

  defp write_float(number) when is_number(number), do: <<number::float-little-32>>
  defp write_float(:nan), do: <<0, 0, 0xC0, 0x7F>>
  defp write_float(:infinity), do: <<0, 0, 0x80, 0x7F>>
  defp write_float(:neg_infinity), do: <<0, 0, 0x80, 0xFF>>

  @doc "Reads a scalar without its tag."
  @spec read(atom(), binary()) :: {term(), binary()}
  def read(:string, bytes) do
    {text, rest} = read_bytes(bytes)
    {text!(text), rest}
  end

  def read(:bytes, bytes), do: read_bytes(bytes)
  def read(:double, <<number::float-little-64, rest::binary>>), do: {number, rest}
  def read(:double, <<bits::little-64, rest::binary>>), do: {no_number(bits >>> 63, bits &&& (1 <<< 52) - 1), rest}
  def read(:float, <<number::float-little-32, rest::binary>>), do: {number, rest}
  def read(:float, <<bits::little-32, rest::binary>>), do: {no_number(bits >>> 31, bits &&& (1 <<< 23) - 1), rest}
  def read(kind, _) when kind in [:double, :float], do: malformed!("a number is cut off")

  def read(kind, bytes) do
    {number, rest} = read_varint(bytes)
    {from_varint(kind, number), rest}
  end

  defp from_varint(:int64, number) when number > @max_int64, do: number - (1 <<< 64)
  defp from_varint(:int32, number) when number > @max_int32, do: signed32(number &&& 0xFFFFFFFF)
  defp from_varint(:uint32, number), do: number &&& 0xFFFFFFFF
  defp from_varint(:bool, number), do: number != 0
  defp from_varint(:sint32, number), do: from_zigzag(number &&& 0xFFFFFFFF)
  defp from_varint(:sint64, number), do: from_zigzag(number)
  defp from_varint(_, number), do: number

  defp signed32(number) when number > @max_int32, do: number - (1 <<< 32)
  defp signed32(number), do: number

  defp from_zigzag(number) when (number &&& 1) == 0, do: number >>> 1
  defp from_zigzag(number), do: -((number + 1) >>> 1)

  defp no_number(0, 0), do: :infinity
  defp no_number(1, 0), do: :neg_infinity
  defp no_number(_, _), do: :nan

  @spec read_bytes(binary()) :: {binary(), binary()}
  def read_bytes(bytes) do
    {size, rest} = read_varint(bytes)

    case rest do
      <<data::binary-size(size), rest::binary>> -> {data, rest}
      _ -> malformed!("a field of #{size} bytes is cut off")
    end
  end

  @doc "Checks that a text is UTF-8."
  @spec text!(binary()) :: String.t()
  def text!(text), do: if(utf8?(text), do: text, else: malformed!("a text is not UTF-8"))

  @doc "Whether a text is UTF-8; faster than `String.valid?/1`, in C."
  @spec utf8?(binary()) :: boolean()
  def utf8?(text), do: :unicode.bin_is_7bit(text) or :unicode.characters_to_binary(text) == text

  # ------------------------------------------------------------------------------------------ skipped fields

  @doc "Skips the value of a field that is not known."
  @spec skip(non_neg_integer(), binary()) :: binary()
  def skip(tag, bytes), do: skip(tag >>> 3, tag &&& 7, bytes)

  defp skip(0, _, _), do: malformed!("a field has the number 0")
  defp skip(_, 0, bytes), do: bytes |> read_varint() |> elem(1)
  defp skip(_, 1, <<_::64, rest::binary>>), do: rest
  defp skip(_, 2, bytes), do: bytes |> read_bytes() |> elem(1)
  defp skip(_, 5, <<_::32, rest::binary>>), do: rest
  defp skip(number, 3, bytes), do: skip_group(number, bytes, 100)
  defp skip(_, kind, _) when kind in [1, 5], do: malformed!("a number is cut off")
  defp skip(_, kind, _), do: malformed!("a field has the wire type #{kind}")

  defp skip_group(_, _, 0), do: malformed!("groups are nested too deep")

  defp skip_group(number, bytes, depth) do
    {tag, rest} = read_varint(bytes)

    case {tag >>> 3, tag &&& 7} do
      {^number, 4} -> rest
      {inner, 3} -> skip_group(number, skip_group(inner, rest, depth - 1), depth)
      _ -> skip_group(number, skip(tag, rest), depth)
    end
  end
end
