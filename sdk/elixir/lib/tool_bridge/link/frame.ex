defmodule ToolBridge.Link.Frame do
  @moduledoc false
  # The frames of a link, written and read by hand: a payload is copied only once, into the frame.

  alias ToolBridge.Proto.{LinkCall, LinkCancel, LinkDrain, LinkEvent, LinkHello, LinkStatus, Message, Wire}

  @envelope_tag 0x0A
  @id_tag 0x08
  @tags %{reply: 0x1A, chunk: 0x22, part: 0x62}
  @messages %{
    2 => {:call, LinkCall},
    5 => {:end, LinkStatus},
    6 => {:cancel, LinkCancel},
    8 => {:hello, LinkHello},
    11 => {:drain, LinkDrain},
    13 => {:event, LinkEvent}
  }
  @bytes %{3 => :reply, 4 => :chunk, 12 => :part}
  @numbers %{7 => :credit, 9 => :ping, 10 => :pong}

  @type envelope :: {non_neg_integer(), atom() | nil, term()}

  # ------------------------------------------------------------------------------------------------- writing

  @doc "An envelope whose content is a message, or a number."
  @spec envelope(non_neg_integer(), atom(), struct() | non_neg_integer()) :: iodata()
  for {number, {kind, _}} <- @messages do
    def envelope(id, unquote(kind), message) do
      data = message.__struct__.encode(message)
      wrap([id_field(id), unquote(number * 8 + 2), Wire.varint(byte_size(data)), data])
    end
  end

  for {number, kind} <- @numbers do
    def envelope(id, unquote(kind), value), do: wrap([id_field(id), unquote(number * 8), Wire.varint(value)])
  end

  @doc "An envelope whose content is bytes: a :reply, a :chunk or a :part."
  @spec payload(atom(), non_neg_integer(), iodata(), non_neg_integer()) :: iodata()
  def payload(kind, id, payload, size) do
    head = [@id_tag, Wire.varint(id), Map.fetch!(@tags, kind), Wire.varint(size)]
    [@envelope_tag, Wire.varint(IO.iodata_length(head) + size), head, payload]
  end

  @doc "What of a call does not depend on its id and payload."
  @spec prefix(String.t(), non_neg_integer(), map(), non_neg_integer()) :: binary()
  def prefix(method, timeout_ms, metadata, initial_credit) do
    LinkCall.encode(%LinkCall{
      method: method,
      timeout_ms: timeout_ms,
      metadata: metadata,
      initial_credit: initial_credit
    })
  end

  @doc "The envelope of a call, or of its last piece."
  @spec call(binary(), non_neg_integer(), iodata(), non_neg_integer()) :: iodata()
  def call(prefix, id, payload, size) do
    length = Wire.varint(size)
    call_size = byte_size(prefix) + 1 + IO.iodata_length(length) + size
    head = [@id_tag, Wire.varint(id), 0x12, Wire.varint(call_size), prefix, 0x12, length]
    [@envelope_tag, Wire.varint(IO.iodata_length(head) + size), head, payload]
  end

  defp wrap(content), do: [@envelope_tag, Wire.varint(IO.iodata_length(content)), content]

  defp id_field(0), do: []
  defp id_field(id), do: [@id_tag, Wire.varint(id)]

  # ------------------------------------------------------------------------------------------------- reading

  @doc "The envelopes of a frame, in order."
  @spec decode(binary()) :: {:ok, [envelope()]} | {:error, String.t()}
  def decode(frame) do
    {:ok, envelopes(frame, [])}
  catch
    {:malformed, why} -> {:error, "a frame of #{byte_size(frame)} bytes cannot be read: #{why}"}
  end

  defp envelopes(<<>>, read), do: :lists.reverse(read)

  defp envelopes(<<@envelope_tag, rest::binary>>, read) do
    {data, rest} = Wire.read_bytes(rest)
    envelopes(rest, [fields(data, 0, nil, nil) | read])
  end

  defp envelopes(bytes, read) do
    {tag, rest} = Wire.read_tag(bytes)
    envelopes(Wire.skip(tag, rest), read)
  end

  defp fields(<<>>, id, kind, content), do: {id, kind, content}

  defp fields(<<@id_tag, rest::binary>>, _, kind, content) do
    {id, rest} = Wire.read_varint(rest)
    fields(rest, id, kind, content)
  end

  for {number, kind} <- @bytes do
    defp fields(<<unquote(number * 8 + 2), rest::binary>>, id, _, _) do
      {data, rest} = Wire.read_bytes(rest)
      fields(rest, id, unquote(kind), data)
    end
  end

  for {number, kind} <- @numbers do
    defp fields(<<unquote(number * 8), rest::binary>>, id, _, _) do
      {value, rest} = Wire.read_varint(rest)
      fields(rest, id, unquote(kind), value)
    end
  end

  for {number, {kind, module}} <- @messages do
    defp fields(<<unquote(number * 8 + 2), rest::binary>>, id, _, _) do
      {data, rest} = Wire.read_bytes(rest)
      fields(rest, id, unquote(kind), unquote(module).decode!(data, Message.max_depth()))
    end
  end

  defp fields(bytes, id, kind, content) do
    {tag, rest} = Wire.read_tag(bytes)
    fields(Wire.skip(tag, rest), id, kind, content)
  end
end
