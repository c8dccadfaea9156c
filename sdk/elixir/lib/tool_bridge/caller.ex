defmodule ToolBridge.Caller do
  @moduledoc false
  # The one way in which calls are made: by a client, or by a tool through its context.
  #
  # A client's connection fills in the session; a context names its session and the call that it belongs to.

  alias ToolBridge.Connection.Requests
  alias ToolBridge.{Context, Error, Proto}

  @max_message 10 * 1024 * 1024

  @type target :: GenServer.server() | Context.t()

  @doc "Makes a call and reads its answer; an answer that holds an error is that error."
  @spec unary(target(), String.t(), struct(), keyword()) :: {:ok, struct()} | {:error, Error.t()}
  def unary(target, method, request, opts \\ []) do
    result = with {:ok, answer} <- raw(target, method, request, opts), do: checked(answer, method)
    with {:error, error} <- result, do: {:error, %{error | tool: opts[:tool]}}
  end

  @doc "Makes a call and returns its answer as it is."
  @spec raw(target(), String.t(), struct(), keyword()) :: {:ok, struct()} | {:error, Error.t()}
  def raw(target, method, request, opts \\ []) do
    {_, response, _} = Proto.method(method)

    with {:ok, connection, payload, call} <- prepared(target, method, request, opts),
         {:ok, bytes} <- Requests.unary(connection, method, payload, call) do
      response.decode(bytes)
    end
  end

  @doc "Iterates over the messages of a stream, which begins with the enumeration; errors are raised."
  @spec stream(target(), String.t(), struct(), keyword()) :: Enumerable.t()
  def stream(target, method, request, opts \\ []) do
    {_, response, _} = Proto.method(method)
    tool = opts[:tool]

    Stream.resource(
      fn ->
        with {:ok, connection, payload, call} <- prepared(target, method, request, opts),
             {:ok, stream} <- Requests.open(connection, method, payload, call) do
          stream
        else
          {:error, error} -> raise %{error | tool: tool}
        end
      end,
      fn stream ->
        with {:ok, bytes} <- Requests.next(stream),
             {:ok, message} <- response.decode(bytes) do
          {[message], stream}
        else
          :done -> {:halt, stream}
          {:error, error} -> raise %{error | tool: tool}
        end
      end,
      &Requests.close/1
    )
  end

  defp prepared(%Context{} = context, _, request, opts) do
    left = Context.time_left(context)

    if left == 0 do
      {:error, Error.new("TimeoutError", "#{context.tool} has no time left for a request to the hub")}
    else
      request = if is_map_key(request, :session_id), do: %{request | session_id: context.session_id}, else: request
      timeout = shorter(opts[:timeout], left)

      with {:ok, payload} <- sized(request),
           do: {:ok, context.connection, payload, [origin: context.call, timeout: timeout]}
    end
  end

  defp prepared(client, _, request, opts) do
    call = [timeout: check_timeout(opts[:timeout]), session: session_field(request), tool: opts[:tool]]
    with {:ok, payload} <- sized(request), do: {:ok, client, payload, call}
  end

  # Only requests that name no session get the client's own.
  defp session_field(%Proto.ExecuteAgentRequest{session_id: ""}), do: 5
  defp session_field(%{session_id: ""}), do: 1
  defp session_field(_), do: nil

  defp shorter(nil, :infinity), do: nil
  defp shorter(nil, left), do: left
  defp shorter(timeout, left), do: min(check_timeout(timeout), left)

  defp check_timeout(nil), do: nil
  defp check_timeout(:infinity), do: nil
  defp check_timeout(timeout) when is_integer(timeout) and timeout > 0 and timeout <= 0xFFFFFFFF, do: timeout

  defp check_timeout(other) do
    raise ArgumentError, "timeout: is a number of milliseconds above 0, or :infinity, not #{inspect(other)}"
  end

  defp sized(request) do
    payload = request.__struct__.encode_iodata(request)

    case IO.iodata_length(payload) do
      size when size > @max_message -> {:error, Error.too_large("the request", size, @max_message)}
      _ -> {:ok, payload}
    end
  end

  @doc "Returns the error that an answer holds."
  @spec checked(struct(), String.t()) :: {:ok, struct()} | {:error, Error.t()}
  def checked(%{error: %Proto.ErrorInfo{} = info}, _), do: {:error, Error.from_info(info)}

  def checked(%{success: false}, method) do
    {:error, Error.new("ProtocolError", "the answer to #{method} reports a failure, but has no error")}
  end

  def checked(answer, _), do: {:ok, answer}

  @doc "Returns the value, or raises the error."
  @spec bang({:ok, value} | {:error, Error.t()}) :: value when value: term()
  def bang({:ok, value}), do: value
  def bang({:error, error}), do: raise(error)
end
