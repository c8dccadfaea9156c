defmodule ToolBridge.Value.JSON do
  @moduledoc false
  # JSON that keeps what Elixir's libraries do not: the order of keys, and which numbers are integers.
  #
  # Writing throws :not_json for what JSON cannot restore; reading throws {:invalid, text}.

  alias ToolBridge.Proto.Wire
  alias ToolBridge.Value.OrderedMap

  @max_digits 100_000

  @doc "Writes a value that JSON restores exactly; throws :not_json or :too_deep."
  @spec write(term(), non_neg_integer()) :: iodata()
  def write(value, depth)
  def write(nil, _), do: "null"
  def write(true, _), do: "true"
  def write(false, _), do: "false"
  def write(value, _) when is_integer(value), do: Integer.to_string(value)
  def write(value, _) when is_float(value), do: :erlang.float_to_binary(value, [:short])
  def write(value, _) when is_binary(value), do: text(value)
  def write(value, _) when is_atom(value) and value not in [:nan, :infinity, :neg_infinity], do: text(to_string(value))
  def write(_, 0), do: throw(:too_deep)
  def write([], _), do: "[]"
  def write([first | rest], depth), do: [?[, write(first, depth - 1) | items(rest, depth - 1)]
  def write(%OrderedMap{pairs: pairs}, depth), do: object(pairs, depth - 1)
  def write(%_{}, _), do: throw(:not_json)
  def write(value, depth) when is_map(value), do: object(:maps.to_list(value), depth - 1)
  def write(_, _), do: throw(:not_json)

  defp items([], _), do: "]"
  defp items([item | rest], depth), do: [?,, write(item, depth) | items(rest, depth)]
  # An improper list.
  defp items(_, _), do: throw(:not_json)

  defp object([], _), do: "{}"
  defp object([{key, value} | rest], depth), do: [?{, key(key), ?:, write(value, depth) | members(rest, depth)]

  defp members([], _), do: "}"
  defp members([{key, value} | rest], depth), do: [?,, key(key), ?:, write(value, depth) | members(rest, depth)]

  defp key(key) when is_binary(key), do: text(key)
  defp key(key) when is_atom(key) and key not in [nil, true, false], do: text(Atom.to_string(key))
  defp key(_), do: throw(:not_json)

  defp text(text) do
    if not Wire.utf8?(text), do: throw(:not_json)
    [?", escape(text, text, 0, 0), ?"]
  end

  # Runs that need no escape are taken whole.
  defp escape(<<byte, rest::binary>>, all, start, size) when byte >= 0x20 and byte != ?" and byte != ?\\ do
    escape(rest, all, start, size + 1)
  end

  defp escape(<<byte, rest::binary>>, all, start, size) do
    [binary_part(all, start, size), escaped(byte) | escape(rest, all, start + size + 1, 0)]
  end

  defp escape(<<>>, all, start, size), do: [binary_part(all, start, size)]

  defp escaped(?"), do: "\\\""
  defp escaped(?\\), do: "\\\\"
  defp escaped(?\n), do: "\\n"
  defp escaped(?\r), do: "\\r"
  defp escaped(?\t), do: "\\t"
  defp escaped(byte), do: ["\\u00", byte |> Integer.to_string(16) |> String.pad_leading(2, "0")]

  # ------------------------------------------------------------------------------------------------- reading

  @doc "Reads a text; `maps` is :map or :ordered. Throws {:invalid, why} or :too_deep."
  @spec read(binary(), non_neg_integer(), :map | :ordered) :: term()
  def read(text, depth, maps \\ :map) do
    if not Wire.utf8?(text), do: invalid("it is not UTF-8")
    {value, rest} = value(space(text), depth, maps)
    if space(rest) != "", do: invalid("something follows the value: #{shown(rest)}")
    value
  end

  defp value(<<?", rest::binary>>, _, _), do: string(rest, rest, 0, [])
  defp value(<<"{", _::binary>>, 0, _), do: throw(:too_deep)
  defp value(<<"[", _::binary>>, 0, _), do: throw(:too_deep)

  defp value(<<"{", rest::binary>>, depth, maps) do
    case space(rest) do
      <<"}", rest::binary>> -> {made([], maps), rest}
      rest -> members(rest, depth - 1, maps, [])
    end
  end

  defp value(<<"[", rest::binary>>, depth, maps) do
    case space(rest) do
      <<"]", rest::binary>> -> {[], rest}
      rest -> elements(rest, depth - 1, maps, [])
    end
  end

  defp value(<<"null", rest::binary>>, _, _), do: {nil, rest}
  defp value(<<"true", rest::binary>>, _, _), do: {true, rest}
  defp value(<<"false", rest::binary>>, _, _), do: {false, rest}
  defp value(<<byte, _::binary>> = text, _, _) when byte in ?0..?9 or byte == ?-, do: number(text)
  defp value("", _, _), do: invalid("it ends too early")
  defp value(text, _, _), do: invalid("there is no value at #{shown(text)}")

  defp elements(text, depth, maps, items) do
    {item, rest} = value(text, depth, maps)

    case space(rest) do
      <<",", rest::binary>> -> elements(space(rest), depth, maps, [item | items])
      <<"]", rest::binary>> -> {:lists.reverse(items, [item]), rest}
      rest -> invalid("a list goes on with #{shown(rest)}")
    end
  end

  defp members(<<?", rest::binary>>, depth, maps, pairs) do
    {key, rest} = string(rest, rest, 0, [])

    case space(rest) do
      <<":", rest::binary>> ->
        {value, rest} = value(space(rest), depth, maps)
        pairs = [{key, value} | pairs]

        case space(rest) do
          <<",", rest::binary>> -> members(space(rest), depth, maps, pairs)
          <<"}", rest::binary>> -> {made(:lists.reverse(pairs), maps), rest}
          rest -> invalid("an object goes on with #{shown(rest)}")
        end

      rest ->
        invalid("a key is followed by #{shown(rest)}")
    end
  end

  defp members(text, _, _, _), do: invalid("there is no key at #{shown(text)}")

  defp made(pairs, :map), do: :maps.from_list(pairs)

  # Of equal keys the last one counts, in the place of the first, as in Python.
  defp made(pairs, :ordered) do
    latest = :maps.from_list(pairs)
    keys = if map_size(latest) == length(pairs), do: pairs, else: Enum.uniq_by(pairs, &elem(&1, 0))
    OrderedMap.new(for {key, _} <- keys, do: {key, Map.fetch!(latest, key)})
  end

  defp space(<<byte, rest::binary>>) when byte in [?\s, ?\n, ?\r, ?\t], do: space(rest)
  defp space(text), do: text

  defp string(<<?", rest::binary>>, all, size, []), do: {binary_part(all, 0, size), rest}

  defp string(<<?", rest::binary>>, all, size, parts) do
    {IO.iodata_to_binary(:lists.reverse(parts, [binary_part(all, 0, size)])), rest}
  end

  defp string(<<?\\, rest::binary>>, all, size, parts) do
    {character, rest} = unescaped(rest)
    string(rest, rest, 0, [character, binary_part(all, 0, size) | parts])
  end

  defp string(<<byte, rest::binary>>, all, size, parts) when byte >= 0x20, do: string(rest, all, size + 1, parts)
  defp string(<<_, _::binary>>, _, _, _), do: invalid("a text has a control character in it")
  defp string(<<>>, _, _, _), do: invalid("a text does not end")

  defp unescaped(<<?u, rest::binary>>) do
    case hex(rest) do
      {high, <<"\\u", more::binary>>} when high in 0xD800..0xDBFF -> low_surrogate(high, more)
      {code, _} when code in 0xD800..0xDFFF -> invalid("a text has a lone surrogate")
      {code, rest} -> {<<code::utf8>>, rest}
    end
  end

  for {letter, character} <- [
        {?", "\""},
        {?\\, "\\"},
        {?/, "/"},
        {?b, "\b"},
        {?f, "\f"},
        {?n, "\n"},
        {?r, "\r"},
        {?t, "\t"}
      ] do
    defp unescaped(<<unquote(letter), rest::binary>>), do: {unquote(character), rest}
  end

  defp unescaped(rest), do: invalid("a text has the escape \\#{shown(rest)}")

  defp low_surrogate(high, text) do
    case hex(text) do
      {low, rest} when low in 0xDC00..0xDFFF -> {<<(high - 0xD800) * 0x400 + (low - 0xDC00) + 0x10000::utf8>>, rest}
      _ -> invalid("a text has a lone surrogate")
    end
  end

  defp hex(<<digits::binary-size(4), rest::binary>>) do
    case Base.decode16(digits, case: :mixed) do
      {:ok, <<code::16>>} -> {code, rest}
      :error -> invalid("a text has the escape \\u#{shown(digits)}")
    end
  end

  defp hex(_), do: invalid("a text does not end")

  # -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
  defp number(text) do
    {minus, rest} = with <<"-", rest::binary>> <- text, do: {1, rest}, else: (rest -> {0, rest})
    whole = whole_digits(rest)
    rest = skip(rest, whole)
    fraction = fraction(rest)
    rest = skip(rest, fraction)
    exponent = exponent(rest)
    rest = skip(rest, exponent)
    size = minus + whole + fraction + exponent

    if size > @max_digits, do: invalid("a number of #{size} digits is too large")
    {made_number(text, minus + whole, fraction, exponent), rest}
  end

  defp made_number(text, whole, 0, 0), do: text |> binary_part(0, whole) |> String.to_integer()

  defp made_number(text, whole, fraction, exponent) do
    # Erlang wants a fraction before an exponent.
    mantissa = binary_part(text, 0, whole + fraction) <> if fraction == 0, do: ".0", else: ""
    String.to_float(mantissa <> binary_part(text, whole + fraction, exponent))
  rescue
    ArgumentError -> invalid("#{shown(text)} is out of the range of a double")
  end

  defp whole_digits(<<"0", _::binary>>), do: 1

  defp whole_digits(text) do
    case digits(text, 0) do
      0 -> invalid("a number has no digits")
      count -> count
    end
  end

  defp fraction(<<".", rest::binary>>), do: 1 + some_digits(rest)
  defp fraction(_), do: 0

  defp exponent(<<e, sign, rest::binary>>) when e in ~c"eE" and sign in ~c"+-", do: 2 + some_digits(rest)
  defp exponent(<<e, rest::binary>>) when e in ~c"eE", do: 1 + some_digits(rest)
  defp exponent(_), do: 0

  defp some_digits(text) do
    case digits(text, 0) do
      0 -> invalid("a number ends too early")
      count -> count
    end
  end

  defp digits(<<byte, rest::binary>>, count) when byte in ?0..?9, do: digits(rest, count + 1)
  defp digits(_, count), do: count

  defp skip(text, count), do: binary_part(text, count, byte_size(text) - count)

  defp shown(text), do: inspect(String.slice(text, 0, 20))

  defp invalid(why), do: throw({:invalid, why})
end
