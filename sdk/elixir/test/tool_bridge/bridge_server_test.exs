defmodule ToolBridge.BridgeServerTest do
  # The integration tests of Elixir's bridge server in the testing strategy: requests and chunks as they are.
  use ExUnit.Case, async: true

  alias ToolBridge.{SessionStore, TestHub, Tool, Value}
  alias ToolBridge.Proto.{ToolCallRequest, ToolStreamRequest}

  setup do
    store = start_supervised!({SessionStore, address: TestHub.address()})
    id = TestHub.unique("server")
    {:ok, _} = SessionStore.create_session(store, id, %{})

    tools = [
      Tool.new("add_numbers", fn [a, b], _named when is_number(a) and is_number(b) -> {:ok, a + b} end, variadic: true),
      Tool.new("count_to_n", fn [n], _named -> 1..n end, variadic: true, type: :streaming)
    ]

    :ok = SessionStore.register_tools(store, id, tools)
    %{store: store, id: id}
  end

  describe "tool execution" do
    test "executes a tool", %{store: store, id: id} do
      request = %ToolCallRequest{
        session_id: id,
        tool_id: "add_numbers",
        args: [Value.encode!(5), Value.encode!(3)],
        request_id: "req_123"
      }

      assert {:ok, response} = SessionStore.execute_tool(store, request)
      assert response.success
      assert Value.decode!(response.result) == 8
      assert response.request_id == "req_123"
      assert response.metrics.duration_ms > 0
    end

    test "says that there is no such tool", %{store: store, id: id} do
      assert {:ok, response} =
               SessionStore.execute_tool(store, %ToolCallRequest{session_id: id, tool_id: "missing_tool"})

      refute response.success
      assert response.error.type == "ToolNotFound"
    end

    test "refuses arguments that no clause of the function takes", %{store: store, id: id} do
      request = %ToolCallRequest{session_id: id, tool_id: "add_numbers", args: [Value.encode!("not_a_number")]}
      assert {:ok, response} = SessionStore.execute_tool(store, request)
      refute response.success
      assert response.error.type == "ValidationError"
    end
  end

  test "streams results one by one", %{store: store, id: id} do
    request = %ToolStreamRequest{
      session_id: id,
      tool_id: "count_to_n",
      args: [Value.encode!(3)],
      stream_id: "stream_123"
    }

    chunks = store |> SessionStore.stream_tool(request) |> Enum.to_list()
    assert Enum.map(chunks, & &1.sequence) == [0, 1, 2, 3]
    assert Enum.all?(chunks, &(&1.stream_id == "stream_123"))
    assert for(%{content: {:data, any}} <- chunks, do: Value.decode!(any)) == [1, 2, 3]
    assert %{content: {:complete, %{total_chunks: 3}}} = List.last(chunks)
  end
end
