defmodule ToolBridge.Connection.State do
  @moduledoc false
  # What a connection knows. `requests` are the calls of other processes by their references, of which `pending` wait for
  # a link; `monitors` are the references by the monitors of those processes. `served` are the hub's calls by id, of which
  # `blocked` wait for room to send; `children` are the processes that run them, with the ids of those that have not
  # answered. `deadlines` is the timer for the first of their deadlines, and when it fires.

  alias ToolBridge.Connection.Pace

  defmodule Request do
    @moduledoc false
    # A call of a process: `monitor` of it, `deadline` in monotonic milliseconds, `expires` while it waits for a link.
    defstruct [:ref, :monitor, :method, :payload, :session, :stream, :metadata, :deadline, :expires]
  end

  defmodule Served do
    @moduledoc false
    # A call of the hub: the process that runs it, its timeout and deadline in (monotonic) milliseconds, and the error
    # that it is answered with once it is stopped.
    @enforce_keys [:pid, :timeout, :deadline]
    defstruct [:pid, :timeout, :deadline, error: nil, chunks: 0]
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
    :deadlines,
    link_number: 0,
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
    children: %{},
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
