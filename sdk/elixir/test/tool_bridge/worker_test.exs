defmodule ToolBridge.WorkerTest do
  use ExUnit.Case, async: true

  alias ToolBridge.{Client, Context, Error, Hub, TestHub, Tool, Variables, Worker}
  alias ToolBridge.Proto.{LogRecord, Progress}

  setup context do
    client = start_supervised!({Client, address: TestHub.address()})
    {:ok, id} = Client.session_id(client)
    tools = context[:tools] || tools(self())
    options = [address: TestHub.address(), session_id: id, tools: tools, grace: 5_000]
    worker = start_supervised!({Worker, Keyword.merge(options, context[:options] || [])})
    :ok = Worker.await_ready(worker)
    %{client: client, worker: worker, session_id: id}
  end

  defp tools(test) do
    [
      Tool.new("double", fn number -> number * 2 end, spec: "(number :: integer()) :: integer()"),
      Tool.new("raise", fn -> raise ArgumentError, "no such thing" end),
      Tool.new("throw", fn -> throw(:ball) end),
      Tool.new("exit", fn -> exit(:gone) end),
      Tool.new("kill", fn -> Process.exit(self(), :kill) end),
      Tool.new("refuse", fn reason -> {:error, reason} end),
      Tool.new("unsendable", fn -> self() end),
      Tool.new("lazy", fn -> Stream.map([1], fn _ -> raise ArgumentError, "late" end) end),
      Tool.new("wait", fn -> wait(test) end),
      Tool.new("stubborn", fn -> with(_ <- Process.flag(:trap_exit, true), do: wait(test)) end),
      Tool.new("naturals", fn -> Stream.resource(fn -> 0 end, &{[&1], &1 + 1}, fn _ -> send(test, :left) end) end,
        type: :streaming
      ),
      Tool.new("breaks", fn -> Stream.map(1..3, &if(&1 == 3, do: raise("broken"), else: &1)) end, type: :streaming),
      Tool.new("events", &events/2, spec: "(context :: ToolBridge.Context.t(), n :: integer()) :: Enumerable.t()"),
      Tool.new("nested", &nested/2, spec: "(text :: String.t(), context :: ToolBridge.Context.t()) :: term()"),
      Tool.new("nested_double", fn context -> Client.call(context, "double", [4]) end,
        spec: "(context :: ToolBridge.Context.t()) :: term()"
      ),
      Tool.new("nested_wait", fn context -> Client.call(context, "wait") end,
        spec: "(context :: ToolBridge.Context.t()) :: term()"
      ),
      Tool.new("time_left", &Context.time_left/1, spec: "(context :: ToolBridge.Context.t()) :: integer()"),
      Tool.new("about", &Map.take(&1, [:session_id, :tool, :metadata]),
        spec: "(context :: ToolBridge.Context.t()) :: map()"
      )
    ]
  end

  defp wait(test) do
    send(test, {:waiting, self()})
    Process.sleep(:infinity)
  end

  defp events(context, n) do
    Stream.map(1..n//1, fn number ->
      Context.progress(context, number, n, "at #{number}")
      Context.log(context, :info, "number", number: number)
      number
    end)
  end

  defp nested(text, context) do
    {:ok, _} = Variables.put(context, "seen", text)
    {:ok, "seen"} = Client.call(context, "echo", ["seen"])
    [0, 1] = context |> Client.stream("count", [2]) |> Enum.to_list()
    Variables.get(context, "seen")
  end

  describe "a tool" do
    test "answers", %{client: client} do
      assert Client.call(client, "double", [21]) == {:ok, 42}
      assert Client.call(client, "double", number: 21) == {:ok, 42}
    end

    test "that raises is an error with its class, message and stack trace", %{client: client} do
      assert {:error, %Error{type: "ArgumentError", message: "no such thing", origin: :tool} = error} =
               Client.call(client, "raise")

      assert error.stacktrace =~ "worker_test.exs"
      assert {:error, %Error{type: "Throw", message: ":ball"}} = Client.call(client, "throw")
      assert {:error, %Error{type: "Exit", message: ":gone"}} = Client.call(client, "exit")
    end

    test "that is killed is an error, and the others go on", %{client: client} do
      assert {:error, %Error{type: "Exit", origin: :tool, message: "killed"}} = Client.call(client, "kill")
      assert Client.call(client, "double", [1]) == {:ok, 2}
    end

    test "returns errors", %{client: client} do
      assert {:error, %Error{type: "Error", message: "why", origin: :tool}} = Client.call(client, "refuse", ["why"])
    end

    test "whose result cannot be sent is an error", %{client: client} do
      assert {:error, %Error{type: "SerializationError"}} = Client.call(client, "unsendable")

      assert {:error, %Error{type: "ArgumentError", message: "late", origin: :tool, stacktrace: stacktrace}} =
               Client.call(client, "lazy")

      assert stacktrace =~ "worker_test.exs"
      assert Client.call(client, "double", [1]) == {:ok, 2}
    end

    test "is stopped when its call is cancelled", %{client: client} do
      caller = spawn(fn -> Client.call(client, "wait") end)
      assert_receive {:waiting, tool}
      monitor = Process.monitor(tool)
      Process.exit(caller, :kill)
      assert_receive {:DOWN, ^monitor, :process, _, :shutdown}
    end

    test "is stopped when its call times out", %{client: client} do
      assert {:error, %Error{type: "TimeoutError"}} = Client.call(client, "wait", [], timeout: 100)
      assert_receive {:waiting, tool}
      monitor = Process.monitor(tool)
      assert_receive {:DOWN, ^monitor, :process, _, _}
    end

    test "has a deadline of its own, whatever others are running", %{client: client} do
      long = Task.async(fn -> Client.call(client, "wait", [], timeout: 60_000) end)
      assert_receive {:waiting, tool}

      for timeout <- [200, 100, 100] do
        assert {:error, %Error{type: "TimeoutError"}} = Client.call(client, "wait", [], timeout: timeout)

        assert_receive {:waiting, _}
      end

      assert Process.alive?(tool)
      Task.shutdown(long, :brutal_kill)
    end

    @tag options: [capacity: 1]
    test "calls others of its worker, even if that has no room for more", %{client: client} do
      assert Client.call(client, "nested_double") == {:ok, 8}
    end

    test "says what it is to those that look at processes", %{client: client} do
      caller = spawn(fn -> Client.call(client, "wait") end)
      assert_receive {:waiting, tool}
      {:dictionary, dictionary} = Process.info(tool, :dictionary)
      assert dictionary[:"$initial_call"] == {ToolBridge.Worker.Runner, :run, 5}
      assert [connection, worker | _] = dictionary[:"$ancestors"]
      assert is_pid(connection) and is_pid(worker)
      Process.exit(caller, :kill)
    end

    test "that traps exits is killed", %{client: client} do
      caller = spawn(fn -> Client.call(client, "stubborn") end)
      assert_receive {:waiting, tool}
      monitor = Process.monitor(tool)
      Process.exit(caller, :kill)
      assert_receive {:DOWN, ^monitor, :process, _, :killed}
    end

    test "calls others, with the variables of its session", %{client: client} do
      assert Client.call(client, "nested", ["hello"]) == {:ok, "hello"}
      assert Variables.get(client, "seen") == {:ok, "hello"}
    end

    test "ends with its nested calls", %{client: client} do
      caller = spawn(fn -> Client.call(client, "nested_wait") end)
      assert_receive {:waiting, inner}
      monitor = Process.monitor(inner)
      Process.exit(caller, :kill)
      assert_receive {:DOWN, ^monitor, :process, _, _}
    end

    test "knows its call", %{client: client, session_id: id} do
      assert {:ok, left} = Client.call(client, "time_left", [], timeout: 20_000)
      assert left in 1..20_000
      assert {:ok, about} = Client.call(client, "about", [], metadata: %{trace: "7"})
      assert about == %{"session_id" => id, "tool" => "about", "metadata" => %{"trace" => "7"}}
    end

    test "runs many calls at once", %{client: client} do
      answers =
        1..300 |> Task.async_stream(&Client.call!(client, "double", [&1]), max_concurrency: 300) |> Enum.to_list()

      assert answers == for(number <- 1..300, do: {:ok, number * 2})
    end
  end

  describe "a streaming tool" do
    test "yields, and is stopped when its reader leaves", %{client: client, worker: worker} do
      assert client |> Client.stream("naturals") |> Enum.take(3) == [0, 1, 2]
      {_, connection, _, _} = worker |> Supervisor.which_children() |> List.keyfind!(ToolBridge.Connection, 0)
      TestHub.eventually(fn -> :sys.get_state(connection).children == %{} end)
    end

    test "that raises ends its stream after its values", %{client: client} do
      test = self()
      stream = client |> Client.stream("breaks") |> Stream.each(&send(test, {:value, &1}))
      assert_raise Error, ~r/RuntimeError: broken/, fn -> Stream.run(stream) end
      assert_received {:value, 1}
      assert_received {:value, 2}
    end

    test "that is called gives the list", %{client: client} do
      assert Client.call(client, "events", [3]) == {:ok, [1, 2, 3]}
    end

    test "sends progress and log lines among its values", %{client: client} do
      assert [
               {:progress, %Progress{current: 1.0, total: 1.0, message: "at 1"}},
               {:log, %LogRecord{level: "info", logger: "events", message: "number", fields: %{"number" => "1"}}},
               {:data, 1}
             ] = client |> Client.stream("events", [1], events: true) |> Enum.to_list()

      assert client |> Client.stream("events", [2]) |> Enum.to_list() == [1, 2]
    end

    test "waits for a reader that is slow", %{client: client} do
      stream = Client.stream(client, "naturals")

      assert stream |> Stream.map(&{&1, Process.info(self(), :message_queue_len)}) |> Enum.take(2_000) |> length() ==
               2_000
    end
  end

  describe "a worker" do
    test "that drains finishes its calls, and takes no more", %{client: client, worker: worker} do
      call = Task.async(fn -> Client.call(client, "time_left", []) end)
      assert {:ok, _} = Task.await(call)
      assert Worker.drain(worker, 5_000)
      assert {:error, %Error{type: type}} = Client.call(client, "double", [1], timeout: 8_000)
      assert type in ["ToolNotFound", "WorkerUnavailable"]
    end

    test "that drains cancels the calls that take too long", %{client: client, worker: worker} do
      call = Task.async(fn -> Client.call(client, "wait") end)
      assert_receive {:waiting, _}
      refute Worker.drain(worker, 100)
      assert {:error, %Error{type: "Cancelled", message: message}} = Task.await(call)
      assert message =~ "leaves"
    end

    test "that is stopped by its supervisor drains", %{client: client} do
      test = self()
      call = Task.async(fn -> Client.call(client, "wait") end)
      assert_receive {:waiting, tool}
      monitor = Process.monitor(tool)
      spawn(fn -> send(test, {:stopped, stop_supervised(Worker)}) end)
      Process.exit(tool, :shutdown)
      assert_receive {:DOWN, ^monitor, :process, _, _}
      assert {:error, %Error{type: "Exit"}} = Task.await(call)
    end

    test "whose connection crashes starts again", %{client: client, worker: worker} do
      call = Task.async(fn -> Client.call(client, "wait") end)
      assert_receive {:waiting, tool}
      monitor = Process.monitor(tool)
      {_, connection, _, _} = worker |> Supervisor.which_children() |> List.keyfind!(ToolBridge.Connection, 0)
      Process.exit(connection, :kill)
      assert_receive {:DOWN, ^monitor, :process, _, _}
      assert {:error, %Error{type: "WorkerUnavailable"}} = Task.await(call)
      TestHub.eventually(fn -> Client.call(client, "double", [2]) == {:ok, 4} end)
    end

    test "says why the hub refuses its tools", %{session_id: id} do
      other = Tool.new("double", fn -> 2 end)
      worker = start_supervised!({Worker, address: TestHub.address(), session_id: id, tools: other}, id: :other)
      assert {:error, %Error{type: "AlreadyExists"}} = Worker.await_ready(worker)
    end

    test "shares its tools with others like it", %{client: client, session_id: id} do
      options = [address: TestHub.address(), session_id: id, tools: tools(self())]
      :ok = {Worker, options} |> start_supervised!(id: :replica) |> Worker.await_ready()
      assert Client.call(client, "double", [2]) == {:ok, 4}
    end

    test "refuses two tools of one name, and what is no tool" do
      tool = Tool.new("a", fn -> 1 end)

      assert_raise ArgumentError, ~r/two tools are named "a"/, fn ->
        Worker.start_link(address: "x:1", tools: [tool, tool])
      end

      assert_raise ArgumentError, ~r/has no tools/, fn -> Worker.start_link(address: "x:1", tools: [String]) end
    end
  end

  test "everything comes back after the hub was killed" do
    hub = start_supervised!({Hub, [{:name, :killed} | TestHub.options()]}, restart: :temporary)
    address = Hub.address(hub)
    client = start_supervised!({Client, address: address, session_id: "s", name: :killed_client})
    worker = start_supervised!({Worker, address: address, tools: tools(self())}, id: :killed_worker)
    :ok = Worker.await_ready(worker)
    {:ok, _} = Client.await_ready(client)
    {:ok, watch} = Variables.watch(client, ["x"], initial: true)
    Variables.put!(client, "x", 1)
    assert_receive {Variables, ^watch, %{value: 1}}

    call = Task.async(fn -> Client.call(client, "wait") end)
    assert_receive {:waiting, tool}
    monitor = Process.monitor(tool)
    os_pid = TestHub.os_pid(hub)
    {_, 0} = System.cmd("kill", ["-9", os_pid])

    # The call that was sent fails, and its tool is stopped; nobody knows whether it took effect.
    assert {:error, %Error{type: "ConnectionError", origin: :connection, retryable: true}} = Task.await(call)
    assert_receive {:DOWN, ^monitor, :process, _, _}

    # Calls wait for the next hub, which gets the session and the tools again.
    waiting = Task.async(fn -> Client.call(client, "add", [4, 4], timeout: 60_000) end)
    start_supervised!({Hub, TestHub.options() |> Keyword.put(:address, address)}, id: :next)
    assert Task.await(waiting, 60_000) == {:ok, 8}
    TestHub.eventually(fn -> Client.call(client, "double", [4]) == {:ok, 8} end)
    Variables.put!(client, "x", 2)
    assert_receive {Variables, ^watch, %{value: 2}}
  end
end
