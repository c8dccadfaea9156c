defmodule ToolBridge.QuestionTest do
  use ExUnit.Case, async: true

  alias ToolBridge.{Client, Context, Error, Question, TestHub, Tool, Worker}

  @reason %{
    type: "object",
    properties: %{reason: %{type: "string", maxLength: 20}, keep: %{type: "integer", minimum: 0}},
    required: ["reason"]
  }

  defp start(on_ask, extra \\ []) do
    client = start_supervised!({Client, address: TestHub.address(), on_ask: on_ask})
    {:ok, id} = Client.session_id(client)
    tools = [tool("confirm", nil), tool("delete", @reason), tool("wrong", %{type: "array"}), outer() | extra]
    worker = start_supervised!({Worker, address: TestHub.address(), session_id: id, tools: tools})
    :ok = Worker.await_ready(worker)
    client
  end

  defp tool(name, schema) do
    Tool.new(name, fn context -> asked(context, schema) end, spec: "(context :: ToolBridge.Context.t()) :: term()")
  end

  defp outer do
    Tool.new("outer", fn context -> Client.call(context, "confirm") end,
      spec: "(context :: ToolBridge.Context.t()) :: term()"
    )
  end

  defp asked(context, schema) do
    with {:ok, answer} <- Context.ask(context, "Delete 3 files?", schema) do
      if is_atom(answer), do: answer, else: Tuple.to_list(answer)
    end
  end

  describe "a tool that asks" do
    test "gets what the caller answers" do
      test = self()

      client =
        start(fn question ->
          send(test, question)
          if question.schema, do: {:accept, %{reason: "old", keep: 2}}, else: :accept
        end)

      assert Client.call(client, "confirm") == {:ok, ["accept", %{}]}
      assert_received %Question{message: "Delete 3 files?", schema: nil, tool: "confirm"}
      assert Client.call(client, "delete") == {:ok, ["accept", %{"reason" => "old", "keep" => 2}]}
      assert_received %Question{schema: %{"properties" => %{"keep" => %{"minimum" => 0}}}, tool: "delete"}
    end

    test "may be refused" do
      client = start(fn question -> if question.schema, do: :cancel, else: :decline end)
      assert Client.call(client, "confirm") == {:ok, "decline"}
      assert Client.call(client, "delete") == {:ok, "cancel"}
    end

    test "gets answers to the questions of a tool in Python, a stream, and a batch" do
      client = start(fn %Question{message: message} -> {:accept, %{name: "#{message}!"}} end)
      assert Client.call(client, "ask_name", ["who"]) == {:ok, "who!"}
      assert client |> Client.stream("ask_name", ["who"]) |> Enum.to_list() == ["who!"]
      assert Client.batch(client, [{"ask_name", ["a"]}, {"ask_name", ["b"]}]) == {:ok, [ok: "a!", ok: "b!"]}
    end

    test "asks the first caller, if a tool called it" do
      test = self()
      client = start(fn question -> with(_ <- send(test, {:tool, question.tool}), do: :accept) end)
      assert Client.call(client, "outer") == {:ok, ["accept", %{}]}
      assert_received {:tool, "outer"}
    end

    test "gets an error if the caller cannot answer" do
      assert {:error, %Error{type: "Unimplemented", message: message}} = nil |> start() |> Client.call("confirm")
      assert message =~ "on_ask"
    end

    test "gets an error for a schema that no question may have" do
      client = start(fn _ -> :accept end)
      assert {:error, %Error{type: "ValidationError", message: message}} = Client.call(client, "wrong")
      assert message =~ ~s("type" => "object")
    end

    test "may have 100 questions open" do
      test = self()

      many = fn context ->
        1..101
        |> Task.async_stream(fn _ -> Context.ask(context, "?") end, max_concurrency: 101, ordered: false)
        |> Enum.find_value(fn {:ok, result} -> with({:error, error} <- result, do: send(test, error.type)) end)
      end

      many = Tool.new("many", many, spec: "(context :: ToolBridge.Context.t()) :: term()")
      client = start(fn _ -> Process.sleep(:infinity) end, [many])
      caller = spawn(fn -> Client.call(client, "many") end)
      assert_receive "ResourceExhausted"
      Process.exit(caller, :kill)
      TestHub.eventually(fn -> :sys.get_state(client).children == %{} end)
    end
  end

  describe "a caller" do
    test "that raises gets its exception, and its call ends" do
      client = start(fn _ -> raise ArgumentError, "I cannot" end)
      assert {:error, %Error{type: "ArgumentError", message: "I cannot"}} = Client.call(client, "confirm")
      assert {:error, %Error{type: "ArgumentError"}} = Client.call(client, "delete")
    end

    test "whose answer does not fit gets an error that names what is wrong" do
      client = start(fn _ -> {:accept, %{keep: -1, other: true}} end)
      assert {:error, %Error{type: "ValidationError", details: details}} = Client.call(client, "delete")
      assert details == %{"keep" => "is -1, not at least 0", "other" => "is not asked for", "reason" => "is missing"}
    end

    test "that answers with anything else gets an error" do
      assert {:error, %Error{type: "ValidationError"}} = fn _ -> :maybe end |> start() |> Client.call("confirm")
    end

    test "that is killed while it answers ends its call" do
      client = start(fn _ -> Process.exit(self(), :kill) end)
      assert {:error, %Error{type: "Exit"}} = Client.call(client, "confirm")
    end

    test "answers no longer once its call is over" do
      test = self()
      client = start(fn _ -> with(_ <- send(test, {:asked, self()}), do: Process.sleep(:infinity)) end)
      caller = spawn(fn -> Client.call(client, "confirm") end)
      assert_receive {:asked, answering}
      monitor = Process.monitor(answering)
      Process.exit(caller, :kill)
      assert_receive {:DOWN, ^monitor, :process, _, :shutdown}

      assert {:error, %Error{type: "TimeoutError"}} = Client.call(client, "confirm", [], timeout: 100)
      TestHub.eventually(fn -> :sys.get_state(client).children == %{} end)
    end

    test "has a function of one question" do
      assert_raise ArgumentError, ~r/on_ask:/, fn -> Client.start_link(address: "x:1", on_ask: :yes) end
    end
  end
end
