defmodule ToolBridge.TestHub do
  @moduledoc false
  # The hub of the tests: one for all of them, and others where a test ends its hub.

  @root Path.expand("../../../..", __DIR__)

  @doc "Address of the hub that all tests share; the first that asks starts it."
  def address do
    # The supervisor starts it once; the others wait for that.
    _ = Supervisor.start_child(ToolBridge.Supervisor, {ToolBridge.Hub, [{:name, __MODULE__} | options(["--agents"])]})
    ToolBridge.Hub.address(__MODULE__)
  end

  @doc "Options of `ToolBridge.Hub` for a hub of a test's own."
  def options(args \\ []) do
    python = System.get_env("TOOL_BRIDGE_PYTHON", Path.join(@root, ".venv/bin/python"))
    [command: [python, Path.join(__DIR__, "hub.py")], address: "127.0.0.1:0", args: args, grace: 5]
  end

  @doc "An id that no other test has."
  def unique(name), do: "#{name}-#{System.unique_integer([:positive])}"

  @doc "Waits until something holds, at most a minute."
  def eventually(holds, tries \\ 3_000) do
    cond do
      holds.() -> :ok
      tries == 0 -> raise "it did not happen"
      true -> Process.sleep(20) && eventually(holds, tries - 1)
    end
  end

  @doc "The operating system's process of a hub."
  def os_pid(hub) do
    {:os_pid, wrapper} = Port.info(:sys.get_state(hub).port, :os_pid)
    {children, 0} = System.cmd("pgrep", ["-P", to_string(wrapper), "python"])
    children |> String.split() |> hd()
  end

  @doc "Whether a process runs."
  def runs?(os_pid), do: File.exists?("/proc/#{os_pid}") and not zombie?(os_pid)

  defp zombie?(os_pid) do
    case File.read("/proc/#{os_pid}/stat") do
      {:ok, stat} -> stat =~ ~r/\) Z /
      _ -> true
    end
  end
end
