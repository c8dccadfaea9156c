defmodule ToolBridge.Worker.Runner do
  @moduledoc false
  # Runs one call of the hub, in a process of its own, and returns its answer. Whatever the tool raises is its answer.

  alias ToolBridge.{Arguments, Connection, Context, Error, Principal, Tool, Value}

  alias ToolBridge.Proto.{
    CompleteSignal,
    ExecutionMetrics,
    LinkStatus,
    ToolCallRequest,
    ToolCallResponse,
    ToolStreamChunk,
    ToolStreamRequest
  }

  alias ToolBridge.Worker.Catalog

  @max_message 10 * 1024 * 1024
  # Metadata of a call whose tool may ask.
  @asks_key "tool-bridge-asks"

  @doc "Runs a call; `made_id` is its id if its caller gave none, `tools` the key of the worker's catalog."
  @spec run(pid(), Connection.call_key(), ToolBridge.Proto.LinkCall.t(), String.t(), term()) :: Connection.answer()
  def run(connection, key, %{method: "ExecuteTool"} = call, made_id, tools) do
    began = System.monotonic_time(:microsecond)

    {response, request_id} =
      case ToolCallRequest.decode(call.payload) do
        {:ok, request} ->
          {execute(connection, key, call, named(request, :request_id, made_id), tools), request.request_id}

        {:error, error} ->
          {{:error, error}, ""}
      end

    response =
      case response do
        {:ok, any} -> %ToolCallResponse{success: true, result: any}
        {:error, error} -> %ToolCallResponse{error: Error.to_info(error)}
      end

    {:reply, ToolCallResponse.encode(%{response | request_id: request_id, metrics: metrics(began)})}
  end

  def run(connection, key, %{method: "StreamTool"} = call, made_id, tools) do
    began = System.monotonic_time(:microsecond)

    case ToolStreamRequest.decode(call.payload) do
      {:ok, request} ->
        request = named(request, :stream_id, made_id)

        last =
          case stream(connection, key, call, request, tools) do
            {:ok, count} -> {:complete, %CompleteSignal{total_chunks: count, metrics: metrics(began)}}
            {:error, error} -> {:error, Error.to_info(error)}
          end

        _ = send_chunk(connection, key, request.stream_id, last)
        {:end, %LinkStatus{}}

      {:error, error} ->
        {:end, Error.to_status(error)}
    end
  end

  defp named(request, field, made_id), do: Map.update!(request, field, &if(&1 == "", do: made_id, else: &1))

  defp execute(connection, key, call, request, tools) do
    with {:ok, tool} <- find(tools, request.tool_id),
         {:ok, context} <- context(connection, key, call, request, tool, false),
         {:ok, args} <- bound(tool, context, request),
         {:ok, result} <- applied(tool, args),
         {:ok, result} <- listed(tool, result) do
      encoded(result)
    end
  end

  defp stream(connection, key, call, request, tools) do
    events = request.config != nil and request.config.include_events

    with {:ok, tool} <- find(tools, request.tool_id),
         {:ok, context} <- context(connection, key, call, request, tool, events),
         {:ok, args} <- bound(tool, context, request),
         {:ok, result} <- applied(tool, args) do
      values = if tool.type == :streaming, do: result, else: [result]
      guarded(fn -> sent(values, connection, key, request.stream_id) end)
    end
  end

  # A streaming tool that is called yields the list of its values.
  defp listed(%Tool{type: :streaming}, result), do: guarded(fn -> {:ok, Enum.to_list(result)} end)
  defp listed(_, result), do: {:ok, result}

  defp find(tools, tool_id) do
    case Catalog.find(tools, tool_id) do
      nil -> {:error, Error.new("ToolNotFound", "this worker has no tool #{inspect(String.slice(tool_id, 0, 100))}")}
      tool -> {:ok, tool}
    end
  end

  defp context(connection, key, call, request, tool, events) do
    with {:ok, {principal, via}} <- Principal.read(call.metadata) do
      {:ok,
       %Context{
         connection: connection,
         call: key,
         session_id: request.session_id,
         tool: tool.name,
         deadline: if(call.timeout_ms > 0, do: System.monotonic_time(:millisecond) + call.timeout_ms),
         request_id: Map.get(request, :stream_id) || Map.get(request, :request_id),
         metadata: request.context,
         principal: principal,
         via: via,
         asks: is_map_key(call.metadata, @asks_key),
         events: events
       }}
    end
  end

  defp bound(tool, context, request) do
    with {:ok, args, kwargs} <- Arguments.decode(request.args, request.kwargs, tool.maps),
         do: Tool.bind(tool, args, kwargs, context)
  catch
    # A default is code of the tool.
    kind, reason -> {:error, Error.of_tool(kind, reason, __STACKTRACE__)}
  end

  defp applied(tool, args) do
    case apply(tool.function, args) do
      {:ok, result} -> {:ok, result}
      :ok -> {:ok, nil}
      {:error, reason} -> {:error, of_reason(reason)}
      result -> {:ok, result}
    end
  catch
    :error, :function_clause ->
      if unmatched?(tool, __STACKTRACE__),
        do: {:error, Error.new("ValidationError", "#{tool.name}: no clause of the function takes these arguments")},
        else: {:error, Error.of_tool(:error, :function_clause, __STACKTRACE__)}

    kind, reason ->
      {:error, Error.of_tool(kind, reason, __STACKTRACE__)}
  end

  # Arguments that match no clause of the tool itself are its caller's fault.
  defp unmatched?(tool, [{module, name, args, _} | _]) when is_list(args) do
    Function.info(tool.function, :module) == {:module, module} and Function.info(tool.function, :name) == {:name, name}
  end

  defp unmatched?(_, _), do: false

  defp of_reason(%Error{} = error), do: error
  defp of_reason(%{__exception__: true} = exception), do: Error.of_tool(:error, exception, [])
  defp of_reason(reason) when is_binary(reason), do: Error.new("Error", reason, origin: :tool)
  defp of_reason(reason) when is_atom(reason), do: Error.new("Error", Atom.to_string(reason), origin: :tool)
  defp of_reason(reason), do: Error.new("Error", inspect(reason, limit: 50), origin: :tool)

  defp guarded(work) do
    work.()
  catch
    kind, reason -> {:error, Error.of_tool(kind, reason, __STACKTRACE__)}
  end

  defp sent(values, connection, key, stream_id) do
    Enum.reduce_while(values, {:ok, 0}, fn value, {:ok, count} ->
      with {:ok, any} <- encoded(value),
           :ok <- send_chunk(connection, key, stream_id, {:data, any}) do
        {:cont, {:ok, count + 1}}
      else
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
  end

  defp send_chunk(connection, key, stream_id, content) do
    chunk = %ToolStreamChunk{stream_id: stream_id, content: content}
    Connection.chunk(connection, key, ToolStreamChunk.encode_iodata(chunk))
  end

  defp encoded(value) do
    case Value.encode(value) do
      {:ok, any} when byte_size(any.value) > @max_message ->
        {:error, Error.too_large("the result", byte_size(any.value), @max_message)}

      other ->
        other
    end
  catch
    # `ToolBridge.Value.Plain` and enumerables are code of the tool.
    kind, reason -> {:error, Error.of_tool(kind, reason, __STACKTRACE__)}
  end

  defp metrics(began) do
    microseconds = System.monotonic_time(:microsecond) - began
    %ExecutionMetrics{duration_us: microseconds, duration_ms: max(1, div(microseconds + 999, 1000))}
  end
end
