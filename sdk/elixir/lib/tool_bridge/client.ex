defmodule ToolBridge.Client do
  @moduledoc """
  A session at a hub, and the calls of its tools.

      iex> {:ok, client} = ToolBridge.Client.start_link(address: ToolBridge.TestHub.address())
      iex> ToolBridge.Client.call(client, "add", [1, 2])
      {:ok, 3}
      iex> ToolBridge.Client.stream(client, "count", [3]) |> Enum.to_list()
      [0, 1, 2]
      iex> ToolBridge.Client.stop(client)
      :ok

  A client is a process with one connection, which any number of processes use at once. Under a supervisor:

      {ToolBridge.Client, address: "127.0.0.1:50051", session_id: "chat-7", name: MyApp.Bridge}

  It connects in the background; calls wait for the connection within their timeout. If the connection is lost, calls
  that were sent fail with a `ConnectionError`, since nobody can know whether they took effect; the others wait for the
  next connection, over which the session is resumed.

  A call ends with its caller: if the calling process dies, the hub cancels the tool.

  ## Options of `start_link/1`

    * `:address` - the hub, `host:port` or `[ipv6]:port`; several hubs of a cluster as `"a:50051,b:50051"`: the next one is
      used when a hub is gone
    * `:session_id` - the session to create or to attach to; default: the hub generates one
    * `:session_metadata` - a map of texts, kept with a new session
    * `:session_config` - of a new session: `max_concurrent_tools`, `default_timeout_ms`, `enable_caching`
    * `:on_ask` - a function that answers tools' questions; see `ToolBridge.Question`. Without it, tools that ask get an
      error.
    * `:token` - a bearer token; without TLS only for this machine, unless `:allow_insecure` is true
    * `:tls` - true, or options of `:ssl` such as `[cacertfile: "ca.pem"]`
    * `:name` - of the process

  In place of a client, every function takes a `ToolBridge.Context`: a tool's calls are nested in its own.
  """

  alias ToolBridge.{Arguments, Caller, Connection, Context, Error, Session, Value}

  alias ToolBridge.Proto.{
    BatchConfig,
    BatchToolCallRequest,
    CleanupSessionRequest,
    ErrorInfo,
    GetSessionInfoRequest,
    GetSessionToolsRequest,
    HealthCheckRequest,
    LogRecord,
    Progress,
    StreamConfig,
    ToolCallItem,
    ToolCallRequest,
    ToolStreamRequest
  }

  @type client :: GenServer.server() | Context.t()
  @type arguments :: list() | map() | keyword()
  @type result :: {:ok, term()} | {:error, Error.t()}

  @typedoc "Options of a call; see `call/4`."
  @type option ::
          {:timeout, pos_integer() | :infinity}
          | {:named, map() | keyword()}
          | {:idempotency_key, String.t()}
          | {:metadata, map()}
          | {:max_retries, non_neg_integer()}
          | {:maps, :map | :ordered}

  @batch_timeout 600_000
  @first_wait 100
  @last_wait 5_000

  @doc false
  def child_spec(opts), do: %{id: Keyword.get(opts, :name, __MODULE__), start: {__MODULE__, :start_link, [opts]}}

  @doc "Starts a client; see the options above."
  @spec start_link(keyword()) :: GenServer.on_start() | {:error, Error.t()}
  def start_link(opts) do
    session = Keyword.take(opts, [:session_id, :session_metadata, :session_config])
    link = Keyword.take(opts, [:address, :token, :tls, :allow_insecure, :name, :on_ask])

    unless is_function(opts[:on_ask], 1) or opts[:on_ask] == nil,
      do: raise(ArgumentError, "on_ask: is a function of one question, not #{inspect(opts[:on_ask])}")

    Connection.start_link([{:handshake, fn info, _ -> [Session.step(info, session)] end} | link])
  end

  @doc """
  Waits until the session is open, at most `timeout` milliseconds.

  Returns the session: its `:session_id`, whether this client `:created` it, the hub's `:capabilities`, and its
  `:defaults` in milliseconds. An error says why the hub was not reached, or refused.
  """
  @spec await_ready(GenServer.server(), timeout()) :: {:ok, map()} | {:error, Error.t()}
  def await_ready(client, timeout \\ 5_000), do: Connection.await_ready(client, timeout)

  @doc """
  The id of the session; waits until it is open.

      iex> {:ok, client} = ToolBridge.Client.start_link(address: ToolBridge.TestHub.address(), session_id: "mine")
      iex> ToolBridge.Client.session_id(client)
      {:ok, "mine"}
  """
  @spec session_id(client()) :: {:ok, String.t()} | {:error, Error.t()}
  def session_id(%Context{session_id: session_id}), do: {:ok, session_id}
  def session_id(client), do: with({:ok, info} <- await_ready(client), do: {:ok, info.session_id})

  @doc """
  Stops a client.

  A session that it created ends too, unless `keep_session: true`; calls of it in flight finish first, within `:timeout`
  milliseconds (5,000).
  """
  @spec stop(GenServer.server(), keyword()) :: :ok
  def stop(client, opts \\ []) do
    timeout = Keyword.get(opts, :timeout, 5_000)

    keep = Keyword.get(opts, :keep_session, false)

    _ =
      with false <- keep,
           {:ok, %{created: true}} <- await_ready(client, 0) do
        end_session(client, timeout: timeout)
      end

    GenServer.stop(client)
  end

  @doc """
  Ends the session, with its variables and tools. Calls in flight finish first; `force: true` cancels them instead.
  """
  @spec end_session(client(), keyword()) :: :ok | {:error, Error.t()}
  def end_session(client, opts \\ []) do
    request = %CleanupSessionRequest{force: Keyword.get(opts, :force, false)}
    with {:ok, _} <- Caller.unary(client, "CleanupSession", request, Keyword.take(opts, [:timeout])), do: :ok
  end

  @doc """
  Describes the session: a `ToolBridge.Proto.SessionInfo`, with the number of its tools, variables and calls.

      iex> {:ok, client} = ToolBridge.Client.start_link(address: ToolBridge.TestHub.address())
      iex> {:ok, info} = ToolBridge.Client.session_info(client)
      iex> info.variable_count
      0
  """
  @spec session_info(client()) :: {:ok, struct()} | {:error, Error.t()}
  def session_info(client), do: Caller.unary(client, "GetSessionInfo", %GetSessionInfoRequest{})

  @doc """
  The tools that the session sees: `ToolBridge.Proto.ToolSpec`s by name.

      iex> {:ok, client} = ToolBridge.Client.start_link(address: ToolBridge.TestHub.address())
      iex> {:ok, %{"add" => add}} = ToolBridge.Client.tools(client)
      iex> add.description
      "Adds two numbers."
  """
  @spec tools(client()) :: {:ok, %{optional(String.t()) => struct()}} | {:error, Error.t()}
  def tools(client), do: read_tools(client, "", %{}, 10)

  defp read_tools(client, token, tools, tries) do
    case Caller.unary(client, "GetSessionTools", %GetSessionToolsRequest{page_token: token}) do
      {:ok, page} ->
        tools = for spec <- page.tools, into: tools, do: {spec.name, spec}
        if page.next_page_token == "", do: {:ok, tools}, else: read_tools(client, page.next_page_token, tools, tries)

      # The tools have changed before the last page was read.
      {:error, %Error{type: "RevisionConflict"}} when tries > 1 ->
        read_tools(client, "", %{}, tries - 1)

      {:error, error} ->
        {:error, error}
    end
  end

  @doc """
  Whether the hub is serving.

      iex> {:ok, client} = ToolBridge.Client.start_link(address: ToolBridge.TestHub.address())
      iex> ToolBridge.Client.healthy?(client)
      true
  """
  @spec healthy?(client()) :: boolean()
  def healthy?(client) do
    match?({:ok, %{status: :SERVING}}, Caller.unary(client, "HealthCheck", %HealthCheckRequest{}))
  end

  # ------------------------------------------------------------------------------------------------------ calls

  @doc """
  Calls a tool.

  A list holds positional arguments; a map or a keyword list, arguments by name.

      iex> {:ok, client} = ToolBridge.Client.start_link(address: ToolBridge.TestHub.address())
      iex> ToolBridge.Client.call(client, "add", a: 40, b: 2)
      {:ok, 42}
      iex> {:error, error} = ToolBridge.Client.call(client, "add", ["x", 2])
      iex> error.type
      "ValidationError"

  Options:

    * `:timeout` - milliseconds; default: the tool's own limit, or the session's default
    * `:named` - arguments by name, beside positional ones
    * `:idempotency_key` - a call with the key and arguments of an earlier one gets its answer, and does not run again
    * `:metadata` - a map of texts for the tool's context
    * `:max_retries` - how often a call that nobody answered, or whose error is retryable, is made again, with growing
      pauses (0)
    * `:maps` - `:ordered` for results with `ToolBridge.Value.OrderedMap`
  """
  @spec call(client(), String.t(), arguments(), [option()]) :: result()
  def call(client, tool, args \\ [], opts \\ []) when is_binary(tool) do
    with {:ok, request} <- call_request(tool, args, opts) do
      retried(Keyword.get(opts, :max_retries, 0), @first_wait, fn -> execute(client, tool, request, opts) end)
    end
  end

  @doc "As `call/4`, but returns the result itself, and raises the error."
  @spec call!(client(), String.t(), arguments(), [option()]) :: term()
  def call!(client, tool, args \\ [], opts \\ []), do: client |> call(tool, args, opts) |> Caller.bang()

  defp call_request(tool, args, opts) do
    with {:ok, args, named} <- Arguments.encode(args, Keyword.get(opts, :named, [])) do
      {:ok,
       %ToolCallRequest{
         tool_id: tool,
         args: args,
         kwargs: named,
         idempotency_key: Keyword.get(opts, :idempotency_key, ""),
         context: texts(Keyword.get(opts, :metadata, %{}))
       }}
    end
  end

  defp execute(client, tool, request, opts) do
    with {:ok, response} <- Caller.unary(client, "ExecuteTool", request, timeout: opts[:timeout], tool: tool) do
      result_of(response.result, opts)
    end
  end

  defp result_of(nil, _), do: {:error, Error.new("ProtocolError", "the answer has neither a result nor an error")}
  defp result_of(any, opts), do: Value.decode(any, Keyword.take(opts, [:maps]))

  defp texts(map), do: Map.new(map, fn {key, text} -> {to_string(key), to_string(text)} end)

  defp retried(0, _, attempt), do: attempt.()

  defp retried(left, wait, attempt) do
    case attempt.() do
      {:error, %Error{retryable: true} = error} ->
        pause =
          if seconds = Error.retry_after(error),
            do: round(seconds * 1000),
            else: round(wait * (0.5 + :rand.uniform() / 2))

        Process.sleep(pause)
        retried(left - 1, min(wait * 2, @last_wait), attempt)

      result ->
        result
    end
  end

  @doc """
  Calls a tool, and returns an Enumerable of what it yields; of a tool that returns, of its one result.

  The call begins when the enumeration does, and is cancelled when that ends early. Errors are raised.

      iex> {:ok, client} = ToolBridge.Client.start_link(address: ToolBridge.TestHub.address())
      iex> client |> ToolBridge.Client.stream("count", [1_000_000]) |> Enum.take(2)
      [0, 1]

  Options are `:timeout` of the whole stream, `:named`, `:metadata`, `:maps`, and `:events`: with true, the elements are
  `{:data, value}`, `{:progress, progress}` and `{:log, record}`, of `ToolBridge.Proto`.
  """
  @spec stream(client(), String.t(), arguments(), keyword()) :: Enumerable.t()
  def stream(client, tool, args \\ [], opts \\ []) when is_binary(tool) do
    events = Keyword.get(opts, :events, false)

    case Arguments.encode(args, Keyword.get(opts, :named, [])) do
      {:ok, args, named} ->
        request = %ToolStreamRequest{
          tool_id: tool,
          args: args,
          kwargs: named,
          config: if(events, do: %StreamConfig{include_events: true}),
          context: texts(Keyword.get(opts, :metadata, %{}))
        }

        client
        |> Caller.stream("StreamTool", request, timeout: opts[:timeout], tool: tool)
        |> Stream.transform(0, &element(&1, &2, tool, events, opts))

      {:error, error} ->
        Stream.map([error], &raise/1)
    end
  end

  defp element(%{sequence: sequence}, expected, tool, _, _) when sequence != expected do
    raise Error.new("ProtocolError", "chunk #{sequence} of the stream came, but #{expected} was next", tool: tool)
  end

  defp element(%{content: {:data, any}}, number, tool, events, opts) do
    case Value.decode(any, Keyword.take(opts, [:maps])) do
      {:ok, value} -> {[if(events, do: {:data, value}, else: value)], number + 1}
      {:error, error} -> raise %{error | tool: tool}
    end
  end

  defp element(%{content: {:metadata, metadata}}, number, _, true, _), do: {event(metadata), number + 1}
  defp element(%{content: {:error, info}}, _, tool, _, _), do: raise(Error.from_info(info, tool))
  defp element(_, number, _, _, _), do: {[], number + 1}

  defp event(%{key: "progress", value: any}),
    do: with({:ok, progress} <- Progress.decode(any.value), do: [{:progress, progress}])

  defp event(%{key: "log", value: any}), do: with({:ok, record} <- LogRecord.decode(any.value), do: [{:log, record}])
  defp event(_), do: []

  @doc """
  Makes many calls in one request; returns a result for each, in order.

  An item is `{tool, args}` or `{tool, args, named}`, as for `call/4`.

      iex> {:ok, client} = ToolBridge.Client.start_link(address: ToolBridge.TestHub.address())
      iex> {:ok, [{:ok, 3}, {:error, error}]} = ToolBridge.Client.batch(client, [{"add", [1, 2]}, {"none", []}])
      iex> error.type
      "ToolNotFound"

  Options: `:parallel` (true), `:stop_on_error` (false: the calls after a failed one are `Cancelled`), `:max_parallel`,
  `:timeout` of the whole batch (600,000 ms), `:maps`.
  """
  @spec batch(client(), [{String.t(), arguments()} | {String.t(), arguments(), map() | keyword()}], keyword()) ::
          {:ok, [result()]} | {:error, Error.t()}
  def batch(client, items, opts \\ []) do
    with {:ok, items} <- batch_items(items, 0, []) do
      request = %BatchToolCallRequest{
        items: items,
        config: %BatchConfig{
          parallel: Keyword.get(opts, :parallel, true),
          stop_on_error: Keyword.get(opts, :stop_on_error, false),
          max_parallel: Keyword.get(opts, :max_parallel, 0)
        }
      }

      timeout = Keyword.get(opts, :timeout, @batch_timeout)

      with {:ok, response} <- Caller.unary(client, "BatchExecuteTools", request, timeout: timeout) do
        if length(response.results) == length(items) do
          {:ok, Enum.zip_with(items, response.results, &batch_result(&1, &2, opts))}
        else
          {:error,
           Error.new("ProtocolError", "a batch of #{length(items)} calls has #{length(response.results)} results")}
        end
      end
    end
  end

  @doc "As `batch/3`, but returns the list itself, and raises an error of the whole batch."
  @spec batch!(client(), list(), keyword()) :: [result()]
  def batch!(client, items, opts \\ []), do: client |> batch(items, opts) |> Caller.bang()

  defp batch_items([], _, items), do: {:ok, :lists.reverse(items)}
  defp batch_items([{tool, args} | rest], index, items), do: batch_items([{tool, args, []} | rest], index, items)

  defp batch_items([{tool, args, named} | rest], index, items) when is_binary(tool) do
    case Arguments.encode(args, named) do
      {:ok, args, named} ->
        batch_items(rest, index + 1, [%ToolCallItem{index: index, tool_id: tool, args: args, kwargs: named} | items])

      {:error, error} ->
        {:error, %{error | message: "call #{index + 1}: #{error.message}", tool: tool}}
    end
  end

  defp batch_items([other | _], index, _) do
    {:error,
     Error.new(
       "ValidationError",
       "call #{index + 1} is #{inspect(other, limit: 3)}; write {tool, args} or {tool, args, named}"
     )}
  end

  defp batch_result(item, %{success: false, error: error}, _) do
    info = error || %ErrorInfo{type: "ProtocolError", message: "a failed call of a batch has no error"}
    {:error, Error.from_info(info, item.tool_id)}
  end

  defp batch_result(_, result, opts), do: result_of(result.result, opts)
end
