defmodule ToolBridge.Connection.Pace do
  @moduledoc false
  # Decides when a frame is sent that could be sent now.
  #
  # A frame costs as much as some ten calls. Callers that have just got an answer may call again, and tasks that have
  # just begun may answer, each in its own time: if each had a frame of its own, it would come back in one. So a frame
  # waits, at most @gather, for what is expected to join it; and while frames are large, until it is as large as a
  # quarter of the calls under way. A call alone never waits.

  # Microseconds.
  @gather 1_000

  # `expected`: deliveries that nothing has followed yet. `queued`: calls and answers for the next frame, since `since`.
  # `last`: how many the last frame had.
  defstruct expected: 0, delivered_at: 0, queued: 0, since: 0, last: 1

  @type t :: %__MODULE__{}

  @doc "Something was delivered, upon which something to send may come soon."
  @spec delivered(t()) :: t()
  def delivered(pace), do: %{pace | expected: max(pace.expected, 0) + 1, delivered_at: now()}

  @doc "A call or an answer waits to be sent."
  @spec queued(t()) :: t()
  def queued(%{queued: 0} = pace), do: %{pace | queued: 1, since: now(), expected: pace.expected - 1}
  def queued(pace), do: %{pace | queued: pace.queued + 1, expected: pace.expected - 1}

  @doc "All that waited was sent."
  @spec sent(t()) :: t()
  def sent(%{queued: 0} = pace), do: pace
  def sent(pace), do: %{pace | last: pace.queued, queued: 0, expected: 0}

  @doc "Whether a frame with what is queued should wait for more; `open` calls are under way in both directions."
  @spec hold?(t(), non_neg_integer()) :: boolean()
  def hold?(%{queued: 0}, _), do: false

  def hold?(pace, open) do
    cond do
      now() - pace.since >= @gather -> false
      pace.expected > 0 and pace.since - pace.delivered_at < @gather -> true
      true -> pace.queued < min(2 * pace.last - 1, div(open, 4))
    end
  end

  defp now, do: System.monotonic_time(:microsecond)
end
