defmodule ToolBridge.Connection.State do
  @moduledoc false
  # What a connection knows. `requests` are the calls of other processes by their references, of which `pending` wait for
  # a link; `served` are the tasks of the hub's calls by id, of which `blocked` wait for room to send.

  alias ToolBridge.Connection.Pace

  defmodule Request do
    @moduledoc false
    # A call of a process: `monitor` of it, `deadline` in monotonic milliseconds, `expires` while it waits for a link.
    defstruct [:ref, :monitor, :method, :payload, :session, :stream, :metadata, :deadline, :expires]
  end

  defstruct [
    :endpoint,
    :where,
    :handshake,
    :handler,
    :hello,
    :http,
    :link,
    :since,
    :failure,
    :sweep,
    phase: :waiting,
    info: %{},
    ready_before: false,
    steps: [],
    step: nil,
    step_events: %{},
    wait: 100,
    requests: %{},
    pending: :queue.new(),
    monitors: %{},
    served: %{},
    blocked: %{},
    awaiting: [],
    pings: 0,
    messages: 0,
    pace: %Pace{},
    draining: nil
  ]

  @type t :: %__MODULE__{}

  @doc "Milliseconds of a clock that does not jump."
  @spec now() :: integer()
  def now, do: System.monotonic_time(:millisecond)
end
