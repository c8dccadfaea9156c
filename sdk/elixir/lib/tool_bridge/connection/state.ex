defmodule ToolBridge.Connection.State do
  @moduledoc false
  # What a connection knows. `requests` are the calls of other processes by their references, of which `pending` wait for
  # a link; `monitors` are the references by the monitors of those processes. `served` are the hub's calls by id, of which
  # `blocked` wait for room to send; `deadlines` is the timer for the first of their deadlines, and when it fires.
  # `children` are the processes that the connection has started, with what they do.

  alias ToolBridge.Connection.Pace

  defmodule Request do
    @moduledoc false
    # A call of a process: `monitor` of it, `deadline` in monotonic milliseconds, `expires` while it waits for a link,
    # and how many `questions` of its tool are being answered.
    defstruct [
      :ref,
      :monitor,
      :method,
      :payload,
      :session,
      :stream,
      :metadata,
      :deadline,
      :expires,
      :tool,
      questions: 0
    ]
  end

  defmodule Served do
    @moduledoc false
    # A call of the hub: the process that runs it, its timeout and deadline in (monotonic) milliseconds, the error that
    # it is answered with once it is stopped, how many `chunks` it has sent, and which `asks` of how many wait.
    @enforce_keys [:pid, :timeout, :deadline]
    defstruct [:pid, :timeout, :deadline, error: nil, chunks: 0, asks: %{}, asked: 0]
  end

  defstruct [
    :places,
    :handshake,
    :handler,
    :on_ask,
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
