defmodule ToolBridge.SessionStoreTest do
  # The tests of the session store in the testing strategy, against a hub.
  use ExUnit.Case, async: true

  alias ToolBridge.{Error, SessionStore, TestHub, Tool}

  setup do
    %{store: start_supervised!({SessionStore, address: TestHub.address()}), id: TestHub.unique("store")}
  end

  defp tools do
    [
      Tool.new("search", fn query -> [query] end, id: "tool_1"),
      Tool.new("calculate", fn number -> number * 2 end, id: "tool_2")
    ]
  end

  describe "session management" do
    test "creates and retrieves a session", %{store: store, id: id} do
      assert {:ok, %{id: ^id}} = SessionStore.create_session(store, id, %{"user" => "ada"})
      assert {:ok, %{id: ^id, metadata: %{"user" => "ada"}}} = SessionStore.get_session(store, id)
    end

    test "says that there is no such session", %{store: store} do
      assert {:error, %Error{type: "SessionNotFound"}} = SessionStore.get_session(store, "missing")
    end

    test "refuses a request without a session", %{store: store} do
      assert {:error, %Error{type: "ValidationError"}} = SessionStore.get_session(store, "")
    end

    test "refuses a duplicate session", %{store: store, id: id} do
      assert {:ok, _} = SessionStore.create_session(store, id, %{})
      assert {:error, %Error{type: "AlreadyExists"}} = SessionStore.create_session(store, id, %{})
    end
  end

  describe "tool management" do
    setup %{store: store, id: id} do
      {:ok, _} = SessionStore.create_session(store, id, %{})
      :ok
    end

    test "registers tools for a session", %{store: store, id: id} do
      assert :ok = SessionStore.register_tools(store, id, tools())
      assert {:ok, %{name: "search"}} = SessionStore.get_tool(store, id, "tool_1")
    end

    test "keeps sessions apart", %{store: store, id: id} do
      :ok = SessionStore.register_tools(store, id, tools())
      other = TestHub.unique("store")
      {:ok, _} = SessionStore.create_session(store, other, %{})
      assert {:error, %Error{type: "ToolNotFound"}} = SessionStore.get_tool(store, other, "tool_1")
    end

    test "refuses tools for a session that there is not", %{store: store} do
      assert {:error, %Error{type: "SessionNotFound"}} = SessionStore.register_tools(store, "missing", tools())
    end

    test "refuses a name that another worker has taken, with other arguments", %{store: store, id: id} do
      :ok = SessionStore.register_tools(store, id, tools())
      other = Tool.new("search", fn one, two -> {one, two} end, id: "tool_1")
      assert {:error, %Error{type: "AlreadyExists"}} = SessionStore.register_tools(store, id, other)
    end
  end

  describe "variable management" do
    setup %{store: store, id: id} do
      {:ok, _} = SessionStore.create_session(store, id, %{})
      :ok
    end

    test "sets and gets variables", %{store: store, id: id} do
      assert {:ok, _} = SessionStore.set_variable(store, id, "threshold", 0.95)
      assert {:ok, 0.95} = SessionStore.get_variable(store, id, "threshold")
    end

    test "keeps their metadata", %{store: store, id: id} do
      assert {:ok, _} = SessionStore.set_variable(store, id, "score", 85.5, %{type: "float", created_by: "elixir"})
      assert {:ok, 85.5, metadata} = SessionStore.get_variable_with_metadata(store, id, "score")
      assert %{type: "float", created_by: "elixir"} = metadata
    end

    test "says that there is no such variable", %{store: store, id: id} do
      assert {:error, %Error{type: "VariableNotFound"}} = SessionStore.get_variable(store, id, "none")
    end
  end

  test "cleanup removes a session with its tools and variables", %{store: store, id: id} do
    {:ok, _} = SessionStore.create_session(store, id, %{})
    :ok = SessionStore.register_tools(store, id, tools())
    {:ok, _} = SessionStore.set_variable(store, id, "var", "value")

    assert :ok = SessionStore.cleanup_session(store, id)

    for result <- [
          SessionStore.get_session(store, id),
          SessionStore.get_tool(store, id, "tool_1"),
          SessionStore.get_variable(store, id, "var")
        ] do
      assert {:error, %Error{type: "SessionExpired"}} = result
    end
  end
end
