defmodule ToolBridge.HubTest do
  use ExUnit.Case, async: true

  alias ToolBridge.{Client, Hub, TestHub}

  test "serves until its supervisor stops it" do
    hub = start_supervised!({Hub, TestHub.options()})
    os_pid = TestHub.os_pid(hub)
    client = start_supervised!({Client, address: Hub.address(hub)})
    assert Client.call(client, "add", [1, 2]) == {:ok, 3}
    :ok = stop_supervised(Hub)
    refute TestHub.runs?(os_pid)
  end

  test "ends with its hub, so that the supervisor starts both again" do
    Process.flag(:trap_exit, true)
    {:ok, hub} = Hub.start_link(TestHub.options())
    {_, 0} = System.cmd("kill", ["-9", TestHub.os_pid(hub)])
    assert_receive {:EXIT, ^hub, {:hub_ended, 137}}
  end

  test "kills a hub that does not end" do
    {:ok, hub} = Hub.start_link(Keyword.put(TestHub.options(["--stubborn"]), :grace, 1))
    os_pid = TestHub.os_pid(hub)
    :ok = GenServer.stop(hub)
    refute TestHub.runs?(os_pid)
  end

  test "says why a hub did not start" do
    Process.flag(:trap_exit, true)
    assert {:error, "the hub did not start: it ended with status 3"} = Hub.start_link(command: ["sh", "-c", "exit 3"])
    assert {:error, message} = Hub.start_link(command: ["no-such-program"])
    assert message =~ "no-such-program was not found"
    assert {:error, message} = Hub.start_link(command: ["sh", "-c", ~s(echo '{"error": {"message": "no port"}}')])
    assert message =~ "no port"
    assert {:error, message} = Hub.start_link(command: ["sh", "-c", "exec sleep 600"], start_timeout: 50, grace: 1)
    assert message =~ "not ready within 50 ms"
  end

  test "does not outlive a VM that is killed" do
    script = """
    {:ok, _} = Application.ensure_all_started(:tool_bridge)
    {:ok, hub} = ToolBridge.Hub.start_link(#{inspect(TestHub.options())})
    IO.puts("hub " <> ToolBridge.TestHub.os_pid(hub))
    # Until this VM ends, if it ends first.
    IO.gets("")
    """

    paths = for path <- :code.get_path(), path = to_string(path), path =~ ~r/tool_bridge|gun|cowlib/, do: ["-pa", path]
    elixir = System.find_executable("elixir")
    args = List.flatten(paths) ++ ["-e", script]
    vm = Port.open({:spawn_executable, elixir}, [:binary, {:line, 1000}, args: args])
    {:os_pid, vm_pid} = Port.info(vm, :os_pid)
    assert_receive {^vm, {:data, {:eol, "hub " <> os_pid}}}, 60_000
    assert TestHub.runs?(os_pid)

    {_, 0} = System.cmd("kill", ["-9", to_string(vm_pid)])
    TestHub.eventually(fn -> not TestHub.runs?(os_pid) end)
  end
end
