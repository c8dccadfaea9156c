defmodule ToolBridge.Context do
  @moduledoc """
  What a tool knows of its call. A parameter of the type `ToolBridge.Context.t()` is filled in by the worker.

    * `session_id` - the session of the call
    * `tool` - the tool's name
    * `request_id` - the id of the call, as in the hub's log: the caller's, or one that the hub has made
    * `metadata` - texts from the caller, such as trace ids
    * `principal` - on whose behalf the tool is called, a `ToolBridge.Principal`; nil: the hub does not authenticate, or
      calls the tool itself
    * `via` - how the call came from there, such as `["agent:planner", "tool:report"]`; the last one has made it

  Every function of `ToolBridge.Client`, `ToolBridge.Variables` and `ToolBridge.Agents` takes a context in the place of a
  client. Such a call is nested in the tool's: it shares its deadline and its place among the session's concurrent
  calls, and ends with it.

      @tool true
      @spec price(String.t(), ToolBridge.Context.t()) :: {:ok, float()} | {:error, term()}
      def price(product, context) do
        with {:ok, rate} <- ToolBridge.Variables.get(context, "rate"),
             {:ok, price} <- ToolBridge.Client.call(context, "price_in_dollars", [product]) do
          {:ok, price * rate}
        end
      end
  """

  alias ToolBridge.{Caller, Connection, Error, Question}
  alias ToolBridge.Proto.{LogRecord, Progress, StreamMetadata, ToolStreamChunk}
  alias ToolBridge.Proto.Google.{Any, Timestamp}

  @enforce_keys [:connection, :call, :session_id, :tool]
  defstruct [
    :connection,
    :call,
    :session_id,
    :tool,
    :deadline,
    request_id: "",
    metadata: %{},
    principal: nil,
    via: [],
    events: false,
    asks: false
  ]

  @type t :: %__MODULE__{
          connection: pid(),
          call: ToolBridge.Connection.call_key(),
          session_id: String.t(),
          tool: String.t(),
          deadline: integer() | nil,
          request_id: String.t(),
          metadata: %{optional(String.t()) => String.t()},
          principal: ToolBridge.Principal.t() | nil,
          via: [String.t()],
          events: boolean(),
          asks: boolean()
        }

  @levels [:debug, :info, :warning, :error]

  @doc "Milliseconds until the call times out; `:infinity` if it does not."
  @spec time_left(t()) :: non_neg_integer() | :infinity
  def time_left(%__MODULE__{deadline: nil}), do: :infinity
  def time_left(%__MODULE__{deadline: deadline}), do: max(0, deadline - System.monotonic_time(:millisecond))

  @doc """
  Tells the caller how far the call is; does nothing if it does not listen. A `total` of 0 is not known.
  """
  @spec progress(t(), number(), number(), String.t()) :: :ok
  def progress(context, current, total \\ 0, message \\ "")
  def progress(%__MODULE__{events: false}, _, _, _), do: :ok

  def progress(%__MODULE__{} = context, current, total, message) do
    emit(context, "progress", %Progress{current: current * 1.0, total: total * 1.0, message: message})
  end

  @doc """
  Sends the caller a log line; does nothing if it does not listen.

  `level` is `:debug`, `:info`, `:warning` or `:error`; `fields` become texts.
  """
  @spec log(t(), :debug | :info | :warning | :error, String.t(), Enumerable.t()) :: :ok
  def log(context, level, message, fields \\ [])
  def log(%__MODULE__{events: false}, level, _, _) when level in @levels, do: :ok

  def log(%__MODULE__{} = context, level, message, fields) when level in @levels do
    microseconds = System.os_time(:microsecond)

    emit(context, "log", %LogRecord{
      level: Atom.to_string(level),
      logger: context.tool,
      message: message,
      fields: Map.new(fields, fn {key, value} -> {to_string(key), to_string(value)} end),
      timestamp: %Timestamp{seconds: div(microseconds, 1_000_000), nanos: rem(microseconds, 1_000_000) * 1000}
    })
  end

  @doc """
  Asks the caller a question, and waits for the answer within the call's deadline.

      @tool timeout: 600_000
      @spec delete(non_neg_integer(), ToolBridge.Context.t()) :: String.t()
      def delete(days, context) do
        schema = %{type: "object", properties: %{reason: %{type: "string"}}, required: ["reason"]}

        case ToolBridge.Context.ask!(context, "Delete files older than \#{days} days?", schema) do
          {:accept, %{"reason" => reason}} -> "deleted: \#{reason}"
          refused when refused in [:decline, :cancel] -> "nothing was deleted"
        end
      end

  `message` has 1 to 4,096 characters. `schema` is a JSON Schema of the requested content: an object whose properties
  are strings, numbers, integers, booleans and lists of some of a few strings. Without it, the caller only accepts or declines. If another tool made the
  call, the question goes to the caller of the outermost tool.

  Errors: `Unimplemented` if the caller cannot answer, `ValidationError` if the answer does not fit the schema, or the
  schema is not valid for a question, and `ResourceExhausted` if 100 questions of the call wait.
  """
  @spec ask(t(), String.t(), map() | nil) :: {:ok, Question.answer()} | {:error, Error.t()}
  def ask(context, message, schema \\ nil)

  def ask(%__MODULE__{asks: false, tool: tool}, _, _) do
    why = "#{tool} asked its caller, who cannot answer: it has no on_ask, made a plain RPC, or has gone"
    {:error, Error.new("Unimplemented", why)}
  end

  def ask(%__MODULE__{} = context, message, schema) do
    with {:ok, ask, schema} <- Question.write(message, schema),
         {:ok, answer} <- Connection.ask(context.connection, context.call, ask) do
      Question.read_answer(answer, schema)
    end
  end

  @doc "As `ask/3`, but returns the answer itself, and raises the error."
  @spec ask!(t(), String.t(), map() | nil) :: Question.answer()
  def ask!(context, message, schema \\ nil), do: context |> ask(message, schema) |> Caller.bang()

  defp emit(context, key, message) do
    module = message.__struct__
    any = %Any{type_url: "type.googleapis.com/" <> module.full_name(), value: module.encode(message)}
    chunk = %ToolStreamChunk{stream_id: context.request_id, content: {:metadata, %StreamMetadata{key: key, value: any}}}
    _ = Connection.chunk(context.connection, context.call, ToolStreamChunk.encode(chunk))
    :ok
  end
end
