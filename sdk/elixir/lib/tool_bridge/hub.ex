defmodule ToolBridge.Hub do
  @moduledoc """
  A hub as a part of this application: runs `grpc-tool-bridge serve` as an operating system process.

      children = [
        {ToolBridge.Hub, address: "127.0.0.1:50051", tools: ["my_python_tools"]},
        {ToolBridge.Worker, address: "127.0.0.1:50051", tools: [MyApp.Tools]},
        {ToolBridge.Client, address: "127.0.0.1:50051", name: MyApp.Bridge}
      ]

  `start_link/1` returns once the hub accepts connections. If the hub ends, this process ends too, and its supervisor
  starts both again. The hub never outlives the VM, even one that was killed.

  ## Options

    * `:address` - where it listens (`"127.0.0.1:50051"`); port 0 is any free port, which `address/1` tells
    * `:tools` - Python tools: `"module:attr"`, `"module"`, `"file.py"` or `"file.py:attr"`
    * `:command` - the program and its first arguments (`["grpc-tool-bridge", "serve"]`), such as
      `[".venv/bin/grpc-tool-bridge", "serve"]`
    * `:args` - more arguments, such as `["--agents", "--model", "openai/gpt-4o-mini"]`
    * `:env` - more environment, a map of texts
    * `:cd` - its working directory
    * `:start_timeout` - milliseconds until it must be ready (30,000)
    * `:grace` - seconds that it has to end its calls when it is stopped (10)
    * `:name` - of this process
  """

  use GenServer
  require Logger

  alias ToolBridge.Value.JSON

  @default_address "127.0.0.1:50051"
  @start_timeout 30_000
  @grace 10

  @doc false
  def child_spec(opts) do
    grace = Keyword.get(opts, :grace, @grace)
    # The hub itself waits as long for its calls.
    %{id: Keyword.get(opts, :name, __MODULE__), start: {__MODULE__, :start_link, [opts]}, shutdown: (grace + 5) * 1000}
  end

  @doc "Starts a hub, and waits until it is ready. An error says why it did not start."
  @spec start_link(keyword()) :: GenServer.on_start()
  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, Keyword.take(opts, [:name]) ++ [timeout: :infinity])

  @doc "Where the hub listens, `host:port`."
  @spec address(GenServer.server()) :: String.t()
  def address(hub), do: GenServer.call(hub, :address)

  @impl true
  def init(opts) do
    Process.flag(:trap_exit, true)
    [program | first] = Keyword.get(opts, :command, ["grpc-tool-bridge", "serve"])
    grace = Keyword.get(opts, :grace, @grace)

    case System.find_executable(program) do
      nil ->
        {:stop, "#{program} was not found; install the Python package grpc-tool-bridge, or set :command"}

      path ->
        args = first ++ arguments(opts)

        port =
          Port.open({:spawn_executable, "/bin/sh"}, port_options([lifeline(), to_string(grace), path | args], opts))

        await_ready(port, Keyword.get(opts, :start_timeout, @start_timeout))
    end
  end

  defp arguments(opts) do
    tools = Enum.flat_map(Keyword.get(opts, :tools, []), &["--tools", &1])
    ["--address", Keyword.get(opts, :address, @default_address), "--json"] ++ tools ++ Keyword.get(opts, :args, [])
  end

  defp lifeline, do: Application.app_dir(:tool_bridge, "priv/lifeline.sh")

  defp port_options(args, opts) do
    env = for {name, text} <- Keyword.get(opts, :env, %{}), do: {to_charlist(name), to_charlist(text)}
    cd = if opts[:cd], do: [cd: opts[:cd]], else: []
    [:binary, :exit_status, :hide, {:line, 65_536}, args: args, env: env] ++ cd
  end

  defp await_ready(port, timeout) do
    receive do
      {^port, {:data, {:eol, line}}} -> started(port, line, timeout)
      {^port, {:data, _}} -> await_ready(port, timeout)
      {^port, {:exit_status, status}} -> {:stop, "the hub did not start: it ended with status #{status}"}
      {:EXIT, ^port, reason} -> {:stop, "the hub did not start: #{inspect(reason)}"}
    after
      timeout ->
        Port.close(port)
        {:stop, "the hub was not ready within #{timeout} ms"}
    end
  end

  # It prints one line when it is ready, or why it cannot start.
  defp started(port, line, timeout) do
    case JSON.read(line, 100) do
      %{"address" => address} -> {:ok, %{port: port, address: address}}
      %{"error" => %{"message" => message}} -> {:stop, "the hub did not start: #{message}"}
      _ -> await_ready(port, timeout)
    end
  catch
    {:invalid, _} -> await_ready(port, timeout)
  end

  @impl true
  def handle_call(:address, _, state), do: {:reply, state.address, state}

  @impl true
  def handle_info({port, {:exit_status, status}}, %{port: port} = state) do
    Logger.error("tool_bridge: the hub at #{state.address} ended with status #{status}")
    {:stop, {:hub_ended, status}, %{state | port: nil}}
  end

  def handle_info({:EXIT, port, reason}, %{port: port} = state), do: {:stop, reason, %{state | port: nil}}
  def handle_info({:EXIT, _, reason}, state), do: {:stop, reason, state}
  def handle_info(_, state), do: {:noreply, state}

  @impl true
  def terminate(_, %{port: nil}), do: :ok

  def terminate(_, %{port: port}) do
    Port.command(port, "stop\n")

    receive do
      {^port, {:exit_status, _}} -> :ok
      {:EXIT, ^port, _} -> :ok
    end
  end
end
