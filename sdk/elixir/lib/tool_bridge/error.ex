defmodule ToolBridge.Error do
  @moduledoc """
  The one error of this library: every function that can fail returns `{:error, %ToolBridge.Error{}}`, and its twin
  with `!` raises it.

    * `:type` - a name of the bridge's error table, or the class of the exception that a tool raised
    * `:message` - what was wrong, and what to do
    * `:details` - further facts, by name
    * `:retryable` - whether the same call may succeed later
    * `:origin` - `:tool` if the tool raised it; `:bridge` if the bridge refused the call or ended it; `:connection` if
      nobody answered, so that it is not known whether the call took effect
    * `:tool` - the tool's name, if the call was one of a tool
    * `:stacktrace` - the remote stack trace, as text

  ## Types

  | type | meaning | retryable |
  | --- | --- | --- |
  | `ToolNotFound`, `VariableNotFound`, `AgentNotFound` | there is no such thing in the session | no |
  | `SessionNotFound`, `SessionExpired` | the session never existed, or has ended | no |
  | `ValidationError`, `SerializationError` | arguments or values are not valid | no |
  | `AlreadyExists` | the name is taken | no |
  | `RevisionConflict`, `IdempotencyConflict` | the variable has changed; the key was used with other arguments | no |
  | `RateLimitExceeded`, `ResourceExhausted` | a limit is reached; see `retry_after/1` | yes |
  | `TimeoutError` | the call timed out | yes |
  | `Cancelled` | the call was cancelled | no |
  | `MessageTooLarge` | a message is over the limit | no |
  | `WorkerUnavailable` | the tool's worker was lost | yes |
  | `PermissionDenied`, `Unauthenticated` | the hub does not admit this peer | no |
  | `ConnectionError` | the hub was not reached, or the connection was lost | yes |
  | `ProtocolError` | the answer breaks the protocol | no |
  | `InternalError` | a fault of the bridge | no |
  | any other | the class of the exception that the tool raised | no |

  A tool in Elixir that throws, exits or returns `{:error, reason}` fails with the type `Throw`, `Exit` or `Error`.
  """

  alias ToolBridge.Proto.{ErrorInfo, LinkStatus}
  alias ToolBridge.Proto.Google.Timestamp

  @type origin :: :tool | :bridge | :connection
  @type t :: %__MODULE__{
          type: String.t(),
          message: String.t(),
          details: %{optional(String.t()) => String.t()},
          retryable: boolean(),
          origin: origin(),
          tool: String.t() | nil,
          stacktrace: String.t()
        }

  defexception type: "InternalError",
               message: "",
               details: %{},
               retryable: false,
               origin: :bridge,
               tool: nil,
               stacktrace: ""

  # gRPC's codes of the statuses that end a call of a link, and whether the same call may succeed later.
  @table %{
    "ToolNotFound" => {5, false},
    "VariableNotFound" => {5, false},
    "AgentNotFound" => {5, false},
    "SessionNotFound" => {5, false},
    "SessionExpired" => {9, false},
    "ValidationError" => {3, false},
    "SerializationError" => {3, false},
    "AlreadyExists" => {6, false},
    "RevisionConflict" => {10, false},
    "IdempotencyConflict" => {10, false},
    "RateLimitExceeded" => {8, true},
    "ResourceExhausted" => {8, true},
    "TimeoutError" => {4, true},
    "Cancelled" => {1, false},
    "MessageTooLarge" => {8, false},
    "WorkerUnavailable" => {14, true},
    "PermissionDenied" => {7, false},
    "Unauthenticated" => {16, false},
    "Unimplemented" => {12, false},
    "InternalError" => {13, false},
    "ConnectionError" => {14, true},
    "ProtocolError" => {13, false}
  }
  @tool_raised {2, false}

  # The statuses of gRPC, and the types of those that come without an error of the bridge.
  @statuses %{
    1 => {"CANCELLED", "Cancelled"},
    2 => {"UNKNOWN", "ConnectionError"},
    3 => {"INVALID_ARGUMENT", "ValidationError"},
    4 => {"DEADLINE_EXCEEDED", "TimeoutError"},
    5 => {"NOT_FOUND", "ToolNotFound"},
    6 => {"ALREADY_EXISTS", "AlreadyExists"},
    7 => {"PERMISSION_DENIED", "PermissionDenied"},
    8 => {"RESOURCE_EXHAUSTED", "ResourceExhausted"},
    9 => {"FAILED_PRECONDITION", "ConnectionError"},
    10 => {"ABORTED", "RevisionConflict"},
    11 => {"OUT_OF_RANGE", "ConnectionError"},
    12 => {"UNIMPLEMENTED", "Unimplemented"},
    13 => {"INTERNAL", "InternalError"},
    14 => {"UNAVAILABLE", "ConnectionError"},
    15 => {"DATA_LOSS", "ConnectionError"},
    16 => {"UNAUTHENTICATED", "Unauthenticated"}
  }
  @retryable_statuses [4, 14]

  # Nobody reads longer ones, and they must not fill a frame.
  @max_message 16_384
  @max_stacktrace 65_536
  @max_detail 4_096
  @max_details 64

  @impl true
  def message(%__MODULE__{tool: nil} = error), do: "#{error.type}: #{error.message}"

  def message(%__MODULE__{tool: tool} = error) do
    "#{tool}: #{error.type}: #{String.replace_prefix(error.message, tool <> ": ", "")}"
  end

  @doc """
  Makes an error; what `opts` leave out is as the type says.

      iex> ToolBridge.Error.new("TimeoutError", "it took too long").retryable
      true
  """
  @spec new(String.t(), String.t(), keyword()) :: t()
  def new(type, message, opts \\ []) when is_binary(type) and is_binary(message) do
    origin = Keyword.get(opts, :origin, :bridge)
    {_, retryable} = rule(type, origin)
    struct!(%__MODULE__{type: type, message: message, origin: origin, retryable: retryable}, opts)
  end

  @doc """
  Seconds to wait before the next try, if the hub said so.

      iex> ToolBridge.Error.retry_after(%ToolBridge.Error{details: %{"retry_after" => "1.5"}})
      1.5
      iex> ToolBridge.Error.retry_after(%ToolBridge.Error{})
      nil
  """
  @spec retry_after(t()) :: float() | nil
  def retry_after(%__MODULE__{details: details}) do
    with text when is_binary(text) <- details["retry_after"],
         {seconds, ""} when seconds >= 0 <- Float.parse(text) do
      seconds
    else
      _ -> nil
    end
  end

  # -------------------------------------------------------------------------------------- to and from the wire

  @doc false
  @spec from_info(ErrorInfo.t(), String.t() | nil) :: t()
  def from_info(%ErrorInfo{} = info, tool \\ nil) do
    origin = if info.details["origin"] == "tool", do: :tool, else: :bridge
    {_, retryable} = rule(info.type, origin)

    %__MODULE__{
      type: if(info.type == "", do: "InternalError", else: info.type),
      message: info.message,
      details: info.details,
      # A peer may leave the flag out.
      retryable: info.retryable or retryable,
      origin: origin,
      tool: tool,
      stacktrace: info.stacktrace
    }
  end

  @doc false
  @spec to_info(t()) :: ErrorInfo.t()
  def to_info(%__MODULE__{} = error) do
    details =
      error.details
      |> Map.delete("origin")
      |> Enum.take(@max_details - 1)
      |> Map.new(fn {name, text} -> {clip(to_string(name), 256), clip(to_string(text), @max_detail)} end)

    %ErrorInfo{
      type: clip(error.type, 256),
      message: clip(error.message, @max_message),
      details: Map.put(details, "origin", if(error.origin == :tool, do: "tool", else: "bridge")),
      stacktrace: clip(error.stacktrace, @max_stacktrace),
      timestamp: now(),
      retryable: error.retryable
    }
  end

  @doc false
  @spec to_status(t()) :: LinkStatus.t()
  def to_status(%__MODULE__{} = error) do
    {code, _} = rule(error.type, error.origin)
    %LinkStatus{code: code, message: clip(error.message, @max_message), error: to_info(error)}
  end

  @doc false
  @spec from_status(LinkStatus.t()) :: t()
  def from_status(%LinkStatus{error: %ErrorInfo{type: type} = info}) when type != "", do: from_info(info)

  def from_status(%LinkStatus{code: code, message: message}), do: from_code(code, message)

  @doc false
  # The error of a gRPC status without an error of the bridge; `details` has the status.
  @spec from_code(integer(), String.t()) :: t()
  def from_code(code, message) do
    if code == 8 and message =~ ~r/message larger than max/i do
      new("MessageTooLarge", "message too large: #{message}")
    else
      of_code(code, message)
    end
  end

  defp of_code(code, message) do
    {status, type} = Map.get(@statuses, code, {"UNKNOWN", "ConnectionError"})

    %__MODULE__{
      type: type,
      message: if(message == "", do: "the peer gave no reason", else: message),
      details: %{"status" => status},
      retryable: code in @retryable_statuses,
      origin: :connection
    }
  end

  @doc false
  # The error of a gRPC status, and of the trailer that may hold the error itself.
  @spec from_trailer(integer(), String.t(), binary() | nil) :: t()
  def from_trailer(code, message, nil), do: from_code(code, message)

  def from_trailer(code, message, trailer) do
    case ErrorInfo.decode(trailer) do
      {:ok, %ErrorInfo{type: type} = info} when type != "" -> from_info(info)
      _ -> from_code(code, message)
    end
  end

  @doc false
  @spec malformed(module(), String.t()) :: t()
  def malformed(message, why), do: new("SerializationError", "malformed #{message.full_name()}: #{why}")

  @doc false
  @spec too_large(String.t(), non_neg_integer(), pos_integer()) :: t()
  def too_large(what, size, limit) do
    text = "message too large: #{what} takes #{size} bytes, the limit is #{limit}; stream it in parts"
    new("MessageTooLarge", text, details: %{"size" => to_string(size), "limit" => to_string(limit)})
  end

  @doc false
  @spec connection(String.t()) :: t()
  def connection(why) do
    new("ConnectionError", why, origin: :connection, retryable: true, details: %{"status" => "UNAVAILABLE"})
  end

  @doc """
  Describes an exception, throw or exit of a tool: its type is the exception's module without `Elixir.`.

      iex> {:error, error} = try do
      ...>   {:ok, raise(ArgumentError, "no")}
      ...> rescue
      ...>   error -> {:error, ToolBridge.Error.of_tool(:error, error, __STACKTRACE__)}
      ...> end
      iex> {error.type, error.message, error.origin}
      {"ArgumentError", "no", :tool}
  """
  @spec of_tool(:error | :exit | :throw, term(), Exception.stacktrace()) :: t()
  def of_tool(:error, %__MODULE__{} = error, _), do: error

  def of_tool(:error, reason, stacktrace) do
    exception = Exception.normalize(:error, reason, stacktrace)
    text = Exception.format(:error, exception, stacktrace)
    new(class_of(exception), message_of(exception), origin: :tool, stacktrace: text)
  end

  def of_tool(kind, reason, stacktrace) do
    {type, text} = if kind == :exit, do: {"Exit", Exception.format_exit(reason)}, else: {"Throw", inspect(reason)}
    new(type, text, origin: :tool, stacktrace: Exception.format(kind, reason, stacktrace))
  end

  defp class_of(%module{}), do: module |> Atom.to_string() |> String.replace_prefix("Elixir.", "")

  # An exception's message/1 is a tool's own code.
  defp message_of(exception) do
    Exception.message(exception)
  rescue
    _ -> "the exception has no text"
  end

  defp rule(_, :tool), do: @tool_raised
  defp rule(type, _), do: Map.get(@table, type, @tool_raised)

  defp now do
    microseconds = System.os_time(:microsecond)
    %Timestamp{seconds: div(microseconds, 1_000_000), nanos: rem(microseconds, 1_000_000) * 1000}
  end

  defp clip(text, most) when byte_size(text) <= most, do: valid(text)
  defp clip(text, most), do: text |> valid() |> String.slice(0, most - 1) |> Kernel.<>("…")

  defp valid(text), do: if(String.valid?(text), do: text, else: inspect(text, limit: 500))
end
