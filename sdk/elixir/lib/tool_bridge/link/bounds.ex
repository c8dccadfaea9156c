defmodule ToolBridge.Link.Bounds do
  @moduledoc false
  # What one end of a link takes, and the errors for what is beyond.

  alias ToolBridge.Error
  alias ToolBridge.Link.Outbox

  # Of unanswered requests.
  @max_incoming 256 * 1024 * 1024
  @max_metadata 64
  @max_metadata_bytes 8_192

  @doc "Why a call of the peer is refused, which is counted already; nil if it is taken."
  @spec refusal(non_neg_integer(), non_neg_integer(), non_neg_integer(), map()) :: Error.t() | nil
  def refusal(capacity, calls, bytes, metadata) do
    cond do
      capacity > 0 and calls > capacity ->
        too_much("#{capacity} concurrent calls")

      bytes > @max_incoming ->
        too_much("#{@max_incoming} bytes of requests at once")

      map_size(metadata) > 0 and long?(metadata) ->
        Error.new(
          "ValidationError",
          "the metadata of a call on a link has at most #{@max_metadata} entries and #{@max_metadata_bytes} bytes"
        )

      true ->
        nil
    end
  end

  defp long?(metadata) do
    bytes = Enum.reduce(metadata, 0, fn {key, text}, sum -> sum + byte_size(key) + byte_size(text) end)
    map_size(metadata) > @max_metadata or bytes > @max_metadata_bytes
  end

  defp too_much(limit) do
    text = "the link takes #{limit}; call again when some were answered"
    Error.new("ResourceExhausted", text, details: %{"retry_after" => "0.1"})
  end

  @doc "The error for a payload that a link cannot carry."
  @spec too_large(String.t(), non_neg_integer()) :: Error.t()
  def too_large(what, size), do: Error.too_large(what, size, Outbox.reassembly_bytes())
end
