defmodule ToolBridge.Link.Pieces do
  @moduledoc false
  # The pieces of all payloads of a link that are not complete yet, and their bounds.

  @max_bytes 64 * 1024 * 1024
  # Pieces of any size: each has an overhead.
  @max_count 64 * 1024

  defstruct bytes: 0, count: 0

  @typedoc "The pieces of one payload, the last one first, with their bytes and their number."
  @type parts :: {non_neg_integer(), non_neg_integer(), [binary()]}
  @type t :: %__MODULE__{}

  @doc "Adds a piece to those of a payload; nil: it is its first."
  @spec add(t(), parts() | nil, binary()) :: {:ok, parts(), t()} | {:error, String.t()}
  def add(pieces, parts, piece) do
    {bytes, count, before} = parts || {0, 0, []}
    pieces = %{pieces | bytes: pieces.bytes + byte_size(piece), count: pieces.count + 1}

    cond do
      pieces.bytes > @max_bytes ->
        {:error, "pieces of more than #{@max_bytes} bytes came before they made a whole"}

      pieces.count > @max_count ->
        {:error, "more than #{@max_count} pieces came before they made a whole; send larger ones"}

      true ->
        {:ok, {bytes + byte_size(piece), count + 1, [piece | before]}, pieces}
    end
  end

  @doc "Returns the payload made of its pieces and the last one."
  @spec join(t(), parts(), binary()) :: {binary(), t()}
  def join(pieces, {_, _, before} = parts, last) do
    {IO.iodata_to_binary(:lists.reverse(before, [last])), forget(pieces, parts)}
  end

  @doc "Drops the pieces of a payload."
  @spec forget(t(), parts()) :: t()
  def forget(pieces, {bytes, count, _}), do: %{pieces | bytes: pieces.bytes - bytes, count: pieces.count - count}
end
