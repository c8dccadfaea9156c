defmodule ToolBridge.ClientTest do
  use ExUnit.Case, async: true

  alias ToolBridge.{Agents, Client, Error, TestHub, Variables}
  alias ToolBridge.Value.{Bytes, OrderedMap}

  setup do
    %{client: start_supervised!({Client, address: TestHub.address()})}
  end

  describe "calls" do
    test "take arguments by position, by name, and both", %{client: client} do
      assert Client.call(client, "add", [1, 2]) == {:ok, 3}
      assert Client.call(client, "add", %{"a" => 1, "b" => 2}) == {:ok, 3}
      assert Client.call(client, "add", a: 1, b: 2) == {:ok, 3}
      assert Client.call(client, "add", [1], named: %{b: 2}) == {:ok, 3}
      assert Client.call!(client, "add", [1, 2]) == 3
    end

    test "give back values as they are", %{client: client} do
      value = %{"list" => [1, 2.0, nil], "tuple" => {1, "x"}, "when" => ~U[2026-03-01 12:30:00.000000Z]}
      assert Client.call(client, "echo", [value]) == {:ok, value}
    end

    test "keep the order of keys where it is asked for", %{client: client} do
      map = OrderedMap.new([{"b", 1}, {"a", 2}])
      assert Client.call(client, "echo", [map], maps: :ordered) == {:ok, map}
    end

    test "report what a tool raises, with its class and stack trace", %{client: client} do
      assert {:error, %Error{type: "LookupError", message: "no such thing", origin: :tool, tool: "fails"} = error} =
               Client.call(client, "fails", ["no such thing"])

      assert error.stacktrace =~ "LookupError"
      assert_raise Error, ~r/LookupError: no such thing/, fn -> Client.call!(client, "fails", ["no such thing"]) end
    end

    test "name every wrong argument", %{client: client} do
      assert {:error, %Error{type: "ValidationError", origin: :bridge, details: details}} =
               Client.call(client, "add", ["x"])

      assert Map.keys(details) -- ["origin"] == ["a", "b"]
    end

    test "name the argument that cannot be sent", %{client: client} do
      assert {:error, %Error{type: "SerializationError", message: "argument 2: " <> _}} =
               Client.call(client, "add", [1, self()])
    end

    test "time out at the hub", %{client: client} do
      assert {:error, %Error{type: "TimeoutError", retryable: true}} = Client.call(client, "hang", [], timeout: 50)
    end

    test "pass metadata to the tool", %{client: client} do
      assert {:ok, %{"trace" => "7"}} = Client.call(client, "fetch", [], metadata: %{trace: 7})
    end

    test "with an idempotency key run once", %{client: client} do
      assert {:ok, 3} = Client.call(client, "add", [1, 2], idempotency_key: "k")
      assert {:ok, 3} = Client.call(client, "add", [1, 2], idempotency_key: "k")
      assert {:error, %Error{type: "IdempotencyConflict"}} = Client.call(client, "add", [1, 3], idempotency_key: "k")
    end

    test "that are too large are refused before they are sent", %{client: client} do
      assert {:error, %Error{type: "MessageTooLarge", message: "message too large" <> _}} =
               Client.call(client, "echo", [String.duplicate("x", 11 * 1024 * 1024)])

      text = String.duplicate("x", 9 * 1024 * 1024)
      assert Client.call(client, "echo", [text]) == {:ok, text}
    end

    test "of many processes at once each get their own answer", %{client: client} do
      answers =
        1..200 |> Task.async_stream(&Client.call!(client, "add", [&1, 1]), max_concurrency: 200) |> Enum.to_list()

      assert answers == for(number <- 2..201, do: {:ok, number})
    end

    test "are cancelled when their caller dies", %{client: client} do
      {:ok, before} = Client.call(client, "hung", [])
      {:ok, _} = Variables.watch(client, ["hanging"], initial: true)
      caller = spawn(fn -> Client.call(client, "hang", []) end)
      assert_receive {Variables, _, %{operation: :set, name: "hanging"}}
      Process.exit(caller, :kill)
      TestHub.eventually(fn -> Client.call(client, "hung", []) == {:ok, before + 1} end)
    end

    test "to a process that there is not are an error" do
      assert {:error, %Error{type: "ConnectionError"}} = Client.call(:nobody, "add", [1, 2])
    end

    test "refuse a timeout that is none", %{client: client} do
      assert_raise ArgumentError, ~r/milliseconds/, fn -> Client.call(client, "add", [1, 2], timeout: 0) end
    end
  end

  describe "streams" do
    test "yield what the tool yields", %{client: client} do
      assert client |> Client.stream("count", [5]) |> Enum.to_list() == [0, 1, 2, 3, 4]
    end

    test "of a tool that returns yield its result", %{client: client} do
      assert client |> Client.stream("add", [1, 2]) |> Enum.to_list() == [3]
    end

    test "are enumerable again", %{client: client} do
      stream = Client.stream(client, "count", [2])
      assert Enum.to_list(stream) == Enum.to_list(stream)
    end

    test "that are left leave nothing in the mailbox", %{client: client} do
      assert client |> Client.stream("count", [100_000]) |> Enum.take(3) == [0, 1, 2]
      assert {:messages, []} = Process.info(self(), :messages)
    end

    test "raise the tool's error after what came before", %{client: client} do
      assert_raise Error, ~r/LookupError/, fn -> client |> Client.stream("fails", ["no"]) |> Enum.to_list() end
      assert_raise Error, ~r/ToolNotFound/, fn -> client |> Client.stream("none") |> Enum.to_list() end
      assert_raise Error, ~r/SerializationError/, fn -> client |> Client.stream("count", [self()]) |> Enum.to_list() end
    end

    test "fill no memory while their reader does something else", %{client: client} do
      reduce = &Enumerable.reduce(&1, {:cont, nil}, fn chunk, _ -> {:suspend, chunk} end)
      {:suspended, _, continue} = client |> Client.stream("chunks", [65_536, 1_000]) |> reduce.()
      # Were there more to come, it would have come with these answers.
      for number <- 1..50, do: Client.call!(client, "add", [number, 1])
      assert {:message_queue_len, waiting} = Process.info(self(), :message_queue_len)
      # 1 MiB, and one chunk.
      assert waiting <= 17
      assert {:halted, _} = continue.({:halt, nil})
      assert {:messages, []} = Process.info(self(), :messages)
    end

    test "of many large chunks arrive whole", %{client: client} do
      chunk = %Bytes{data: :binary.copy(<<0>>, 200_000)}
      assert client |> Client.stream("chunks", [200_000, 50]) |> Enum.to_list() == List.duplicate(chunk, 50)
    end
  end

  describe "batches" do
    test "have a result for each call, in order", %{client: client} do
      calls = for(number <- 1..20, do: {"add", [number, 1]}) ++ [{"fails", ["no"]}, {"add", [], %{a: 1, b: 1}}]
      assert {:ok, results} = Client.batch(client, calls)
      assert Enum.take(results, 20) == for(number <- 2..21, do: {:ok, number})
      assert [{:error, %Error{type: "LookupError", tool: "fails"}}, {:ok, 2}] = Enum.drop(results, 20)
    end

    test "stop after the first failure if they should", %{client: client} do
      calls = [{"fails", ["no"]}, {"add", [1, 2]}]

      assert {:ok, [{:error, _}, {:error, %Error{type: "Cancelled"}}]} =
               Client.batch(client, calls, parallel: false, stop_on_error: true)
    end

    test "refuse what is no call", %{client: client} do
      assert {:error, %Error{type: "ValidationError", message: "call 2 " <> _}} =
               Client.batch(client, [{"add", [1, 2]}, :add])
    end
  end

  describe "sessions" do
    test "are shared by clients of one id" do
      id = TestHub.unique("shared")
      one = start_supervised!({Client, address: TestHub.address(), session_id: id, name: :one})
      {:ok, _} = Client.await_ready(one)
      two = start_supervised!({Client, address: TestHub.address(), session_id: id, name: :two})
      {:ok, _} = Variables.put(one, "x", 1)
      assert Variables.get(two, "x") == {:ok, 1}
      assert {:ok, %{created: true}} = Client.await_ready(one)
      assert {:ok, %{created: false, defaults: %{"call-timeout" => 30_000}}} = Client.await_ready(two)
    end

    test "end with the client that created them, unless they are kept" do
      id = TestHub.unique("kept")
      {:ok, client} = Client.start_link(address: TestHub.address(), session_id: id)
      {:ok, _} = Variables.put(client, "x", 1)
      :ok = Client.stop(client, keep_session: true)
      {:ok, client} = Client.start_link(address: TestHub.address(), session_id: id)
      assert Variables.get(client, "x") == {:ok, 1}
      :ok = Client.end_session(client)
      assert {:error, %Error{type: "SessionExpired"}} = Variables.get(client, "x")
      :ok = Client.stop(client)
    end

    test "are described", %{client: client} do
      {:ok, id} = Client.session_id(client)
      assert {:ok, %{session_id: ^id, tool_count: tools}} = Client.session_info(client)
      assert {:ok, specs} = Client.tools(client)
      assert tools >= 7 and is_map_key(specs, "count")
      assert Client.healthy?(client)
    end
  end

  describe "variables" do
    test "are changed only from the revision that is known", %{client: client} do
      {:ok, first} = Variables.put(client, "x", 1, expected_revision: 0)
      assert {:error, %Error{type: "RevisionConflict"}} = Variables.put(client, "x", 2, expected_revision: 0)
      {:ok, second} = Variables.put(client, "x", 2, expected_revision: first)
      assert second > first
      assert {:error, %Error{type: "RevisionConflict"}} = Variables.delete(client, "x", expected_revision: first)
      assert :ok = Variables.delete(client, "x", expected_revision: second)
      assert {:error, %Error{type: "VariableNotFound"}} = Variables.get(client, "x")
      assert {:error, %Error{type: "VariableNotFound"}} = Variables.put(client, "x", 1, create: false)
    end

    test "have metadata and are listed", %{client: client} do
      Variables.put!(client, "a.x", [1], tags: %{kind: "list"}, created_by: "me", secret: true)
      Variables.put!(client, "b", 1)
      assert {:ok, [1], %{created_by: "me", secret: true, type: "list"}} = Variables.get_with_metadata(client, "a.x")
      assert {:ok, [%{name: "a.x"}]} = Variables.list(client, prefix: "a.")
      assert {:ok, [%{name: "a.x"}]} = Variables.list(client, tags: ["kind=list"])
      assert ["a.x", "b"] = client |> Variables.list!() |> Enum.map(& &1.name)
    end

    test "are updated by many processes without losing a change", %{client: client} do
      1..20
      |> Task.async_stream(fn _ -> {:ok, _} = Variables.update(client, "n", &((&1 || 0) + 1)) end, max_concurrency: 20)
      |> Stream.run()

      assert Variables.get(client, "n") == {:ok, 20}
    end

    test "are watched in order", %{client: client} do
      Variables.put!(client, "x", 1)
      {:ok, watch} = Variables.watch(client, ["x"], initial: true)
      assert_receive {Variables, ^watch, %{operation: :set, name: "x", value: 1}}
      Variables.put!(client, "x", 2)
      Variables.put!(client, "y", 2)
      :ok = Variables.delete(client, "x")
      assert_receive {Variables, ^watch, %{operation: :update, value: 2}}
      assert_receive {Variables, ^watch, %{operation: :delete, name: "x", value: nil}}
      :ok = Variables.unwatch(watch)
      refute Process.alive?(watch)
    end

    test "watches end with their owner", %{client: client} do
      test = self()

      owner =
        spawn(fn ->
          {:ok, watch} = Variables.watch(client)
          send(test, {:watch, watch})
          Process.sleep(:infinity)
        end)

      assert_receive {:watch, watch}
      monitor = Process.monitor(watch)
      Process.exit(owner, :kill)
      assert_receive {:DOWN, ^monitor, :process, _, _}
    end
  end

  describe "agents" do
    test "think, act and answer", %{client: client} do
      {:ok, agent} = Agents.create(client, "question -> answer", tools: ["add"])
      events = client |> Agents.run(agent, %{question: "What is 2 + 2?"}) |> Enum.to_list()
      assert %{type: :thought, step: 1} = hd(events)
      assert %{type: :result, answer: %{"answer" => _}, stop_reason: "finished"} = List.last(events)
      assert Enum.map(events, & &1.sequence) == Enum.to_list(0..(length(events) - 1))
    end

    test "are attached to by the id of the run", %{client: client} do
      agent = Agents.create!(client, "question -> answer")
      run = TestHub.unique("run")
      events = client |> Agents.run(agent, %{question: "What is 2 + 2?"}, run_id: run) |> Enum.to_list()
      assert client |> Agents.attach(agent, run, from_sequence: 1) |> Enum.to_list() == tl(events)
    end

    test "that there are not raise", %{client: client} do
      assert_raise Error, ~r/AgentNotFound/, fn -> client |> Agents.run("none", %{}) |> Enum.to_list() end
      assert {:error, %Error{}} = Agents.cancel(client, "none")
    end
  end

  test "a call ends with its client" do
    {:ok, client} = GenServer.start(ToolBridge.Connection, connection_options())
    call = Task.async(fn -> Client.call(client, "hang", [], []) end)
    TestHub.eventually(fn -> map_size(:sys.get_state(client).requests) == 1 end)
    Process.exit(client, :kill)
    assert {:error, %Error{type: "ConnectionError", origin: :connection}} = Task.await(call)
  end

  # A client that is linked to nobody.
  defp connection_options do
    {:ok, places} = ToolBridge.Connection.Places.parse(TestHub.address(), [])
    {places, [handshake: fn info, _ -> [ToolBridge.Session.step(info, [])] end]}
  end

  test "a call times out even if the hub does not answer" do
    hub = start_supervised!({ToolBridge.Hub, TestHub.options()})
    client = start_supervised!({Client, address: ToolBridge.Hub.address(hub), name: :stopped})
    {:ok, _} = Client.await_ready(client)
    os_pid = TestHub.os_pid(hub)
    {_, 0} = System.cmd("kill", ["-STOP", os_pid])

    assert {:error, %Error{type: "TimeoutError", origin: :connection}} =
             Client.call(client, "add", [1, 2], timeout: 100)

    {_, 0} = System.cmd("kill", ["-CONT", os_pid])
    assert Client.call(client, "add", [1, 2]) == {:ok, 3}
  end

  describe "a hub that is not there" do
    test "is named by the error of a call" do
      client = start_supervised!({Client, address: "127.0.0.1:1", name: :lost})

      assert {:error, %Error{type: "ConnectionError", message: message}} =
               Client.call(client, "add", [1, 2], timeout: 100)

      assert message =~ "there was no link to 127.0.0.1:1 in time"
      assert {:error, %Error{type: "ConnectionError"}} = Client.await_ready(client, 10)
    end

    test "must have a valid address, which is not shown with its secrets" do
      for address <- ["nowhere", "http://x:1", "a:b@host:50051", "host:99999", ":1"] do
        assert {:error, %Error{type: "ValidationError", message: message}} = Client.start_link(address: address)
        refute message =~ "a:b"
      end
    end

    test "gets no token without TLS" do
      assert {:error, %Error{type: "ValidationError", message: message}} =
               Client.start_link(address: "192.0.2.1:50051", token: "secret")

      assert message =~ "without TLS"
      refute message =~ "secret"
    end
  end
end
