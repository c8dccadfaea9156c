defmodule ToolBridge.Worker do
  @moduledoc """
  Offers tools to a hub, over a connection that it opens itself.

      children = [
        {ToolBridge.Worker, address: "127.0.0.1:50051", tools: [MyApp.Tools]}
      ]

  Each call runs in a process of its own, which is linked to the connection's. A call that is cancelled or times out is
  stopped: its process gets the exit signal `:shutdown`, and is killed five seconds later if it traps exits. What a tool
  raises is the caller's error.

  If the connection is lost, the calls in flight are stopped; the worker dials again, with growing pauses of up to five
  seconds, and registers its tools again.

  When its supervisor stops it, the worker drains first: it takes no new calls, and those in flight may finish within
  `:grace`.

  ## Options

    * `:address` - the hub, `host:port` or `[ipv6]:port`; several hubs of a cluster as `"a:50051,b:50051"`: the next one is
      used when a hub is gone
    * `:tools` - modules that use `ToolBridge.Tools`, and tools made by `ToolBridge.Tool.new/3`
    * `:session_id` - only this session sees the tools; it is created if it does not exist. Default: every session.
    * `:worker_id` - a later worker with the same id replaces this one. Default: generated.
    * `:capacity` - how many calls may run at once; the hub keeps or sends elsewhere what is beyond it (100). Calls that
      are nested in others of the same worker run even if it is full.
    * `:grace` - milliseconds that calls have to finish when the worker stops (10,000)
    * `:token`, `:tls`, `:allow_insecure`, `:name` - as for `ToolBridge.Client`
  """

  use Supervisor, restart: :transient

  alias ToolBridge.{Caller, Connection, Error, Session, Tool, Tools}
  alias ToolBridge.Proto.{RegisterToolsRequest, RegisterToolsResponse}
  alias ToolBridge.Worker.{Catalog, Drainer, Runner}

  @capacity 100
  @grace 10_000
  # Calls that are stopped may take five seconds.
  @shutdown 10_000
  # Specs of one request.
  @page_bytes 4 * 1024 * 1024

  @doc "Starts it; see the options above. Raises `ArgumentError` for an option that is not valid."
  @spec start_link(keyword()) :: Supervisor.on_start()
  def start_link(opts) do
    tools = opts |> Keyword.get(:tools, []) |> Tools.all()
    Supervisor.start_link(__MODULE__, {tools, opts}, Keyword.take(opts, [:name]))
  end

  @impl true
  def init({tools, opts}) do
    key = {__MODULE__, make_ref()}
    connection = {:via, Registry, {ToolBridge.Processes, {key, :connection}}}
    capacity = Keyword.get(opts, :capacity, @capacity)
    grace = Keyword.get(opts, :grace, @grace)

    link =
      opts
      |> Keyword.take([:address, :token, :tls, :allow_insecure])
      |> Keyword.merge(
        name: connection,
        handler: &handler(&1, &2, key),
        handshake: handshake(tools, capacity, opts)
      )

    children = [
      {Catalog, {key, tools}},
      %{id: Connection, start: {Connection, :start_link, [link]}, restart: :transient, shutdown: @shutdown},
      %{id: Drainer, start: {Drainer, :start_link, [{connection, grace}]}, shutdown: grace + 10_000}
    ]

    Supervisor.init(children, strategy: :one_for_all)
  end

  @doc """
  Waits until the hub has the tools.

  Returns the error with which the hub refuses them, such as `AlreadyExists` if a name is taken.
  """
  @spec await_ready(Supervisor.supervisor(), timeout()) :: :ok | {:error, Error.t()}
  def await_ready(worker, timeout \\ 10_000) do
    with {:ok, _} <- Connection.await_ready(connection(worker), timeout), do: :ok
  end

  @doc """
  Takes no new calls, lets those in flight finish, and stops.

  Returns whether all finished within `grace` milliseconds.
  """
  @spec drain(Supervisor.supervisor(), timeout()) :: boolean()
  def drain(worker, grace \\ @grace) do
    finished = Connection.drain(connection(worker), grace)
    Supervisor.stop(worker)
    finished
  end

  @doc false
  # The session that sees its tools; nil: every session.
  def session_id(worker) do
    with {:ok, info} <- Connection.await_ready(connection(worker), 0), do: info[:session_id]
  end

  defp connection(worker) do
    {_, pid, _, _} = worker |> Supervisor.which_children() |> List.keyfind!(Connection, 0)
    pid
  end

  defp handler(%{method: method} = call, made_id, key) when method in ["ExecuteTool", "StreamTool"],
    do: {:ok, {Runner, :run, [call, made_id, key]}}

  defp handler(%{method: method}, _, _),
    do: {:error, Error.new("Unimplemented", "this worker does not offer #{String.slice(method, 0, 100)}")}

  # Done after each dial, so that a hub that has restarted gets the tools again.
  defp handshake(tools, capacity, opts) do
    session_id = Keyword.get(opts, :session_id)
    worker_id = Keyword.get_lazy(opts, :worker_id, fn -> Base.encode16(:crypto.strong_rand_bytes(16), case: :lower) end)
    pages = tools |> Enum.map(&Tool.to_spec/1) |> pages()

    registrations =
      for specs <- pages do
        request = %RegisterToolsRequest{
          session_id: session_id || "",
          tools: specs,
          worker_id: worker_id,
          capacity: capacity
        }

        {"RegisterTools", RegisterToolsRequest.encode(request), &registered/2}
      end

    fn info, _ -> if(session_id, do: [Session.step(info, session_id: session_id)], else: []) ++ registrations end
  end

  defp registered(payload, _) do
    with {:ok, response} <- RegisterToolsResponse.decode(payload),
         {:ok, _} <- Caller.checked(response, "RegisterTools") do
      {:ok, %{}}
    end
  end

  defp pages(specs) do
    specs
    |> Enum.chunk_while(
      {[], 0},
      fn spec, {page, size} ->
        bytes = spec |> ToolBridge.Proto.ToolSpec.encode_iodata() |> IO.iodata_length()

        if page != [] and size + bytes > @page_bytes,
          do: {:cont, Enum.reverse(page), {[spec], bytes}},
          else: {:cont, {[spec | page], size + bytes}}
      end,
      fn {page, _} -> {:cont, Enum.reverse(page), nil} end
    )
  end
end
