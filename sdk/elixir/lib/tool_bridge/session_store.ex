defmodule ToolBridge.SessionStore do
  @moduledoc """
  All sessions of a hub by their ids, for a program that looks after many: a client has one.

      iex> {:ok, store} = ToolBridge.SessionStore.start_link(address: ToolBridge.TestHub.address())
      iex> {:ok, session} = ToolBridge.SessionStore.create_session(store, "orders-7", %{"user" => "ada"})
      iex> {session.id, session.metadata}
      {"orders-7", %{"user" => "ada"}}
      iex> {:ok, _} = ToolBridge.SessionStore.set_variable(store, "orders-7", "total", 12.5)
      iex> ToolBridge.SessionStore.get_variable(store, "orders-7", "total")
      {:ok, 12.5}
      iex> ToolBridge.SessionStore.cleanup_session(store, "orders-7")
      :ok

  The sessions are at the hub, and so are shared with its other peers. Options of `start_link/1` are `:address`, `:token`,
  `:tls`, `:allow_insecure` and `:name`, as for `ToolBridge.Client`.
  """

  use Supervisor

  alias ToolBridge.{Caller, Connection, Error, Tool, Value, Worker}

  alias ToolBridge.Proto.{
    CleanupSessionRequest,
    GetSessionInfoRequest,
    GetSessionToolsRequest,
    GetVariableRequest,
    InitializeSessionRequest,
    SetVariableRequest,
    ToolCallRequest,
    ToolStreamRequest,
    VariableMetadata
  }

  @type store :: Supervisor.supervisor()
  @type session :: %{
          id: String.t(),
          metadata: %{optional(String.t()) => String.t()},
          tool_count: non_neg_integer(),
          variable_count: non_neg_integer()
        }

  @doc "Starts a store; see the options above."
  @spec start_link(keyword()) :: Supervisor.on_start()
  def start_link(opts), do: Supervisor.start_link(__MODULE__, opts, Keyword.take(opts, [:name]))

  @impl true
  def init(opts) do
    link = Keyword.take(opts, [:address, :token, :tls, :allow_insecure])

    children = [
      %{id: Connection, start: {Connection, :start_link, [link]}},
      # The workers of the tools that are registered here.
      {DynamicSupervisor, extra_arguments: [link]}
    ]

    Supervisor.init(children, strategy: :one_for_one)
  end

  # -------------------------------------------------------------------------------------------------- sessions

  @doc "Creates a session; `AlreadyExists` if there is one with this id."
  @spec create_session(store(), String.t(), map()) :: {:ok, session()} | {:error, Error.t()}
  def create_session(store, id, metadata \\ %{}) do
    texts = Map.new(metadata, fn {key, text} -> {to_string(key), to_string(text)} end)
    request = %InitializeSessionRequest{session_id: id, metadata: texts}

    with {:ok, response} <- Caller.unary(connection(store), "InitializeSession", request) do
      if response.resumed,
        do: {:error, Error.new("AlreadyExists", "there is a session #{inspect(id)} already")},
        else: get_session(store, id)
    end
  end

  @doc "Describes a session; `SessionNotFound` or `SessionExpired` if there is none."
  @spec get_session(store(), String.t()) :: {:ok, session()} | {:error, Error.t()}
  def get_session(store, id) do
    with {:ok, info} <- Caller.unary(connection(store), "GetSessionInfo", %GetSessionInfoRequest{session_id: id}) do
      {:ok,
       %{
         id: info.session_id,
         metadata: info.metadata,
         tool_count: info.tool_count,
         variable_count: info.variable_count
       }}
    end
  end

  @doc "Ends a session, with its variables and tools."
  @spec cleanup_session(store(), String.t()) :: :ok | {:error, Error.t()}
  def cleanup_session(store, id) do
    for {_, worker, _, _} <- DynamicSupervisor.which_children(workers(store)), Worker.session_id(worker) == id do
      _ = DynamicSupervisor.terminate_child(workers(store), worker)
    end

    request = %CleanupSessionRequest{session_id: id, force: true}
    with {:ok, _} <- Caller.unary(connection(store), "CleanupSession", request), do: :ok
  end

  # ----------------------------------------------------------------------------------------------------- tools

  @doc "Registers tools for one session, which this process serves: `ToolBridge.Tool`s, or modules that have some."
  @spec register_tools(store(), String.t(), module() | Tool.t() | [module() | Tool.t()]) :: :ok | {:error, Error.t()}
  def register_tools(store, id, tools) do
    with {:ok, _} <- get_session(store, id),
         {:ok, worker} <- DynamicSupervisor.start_child(workers(store), worker_spec(id, tools)) do
      with {:error, error} <- Worker.await_ready(worker) do
        _ = DynamicSupervisor.terminate_child(workers(store), worker)
        {:error, error}
      end
    end
  end

  # The supervisor adds the options of the connection.
  defp worker_spec(id, tools) do
    %{
      id: Worker,
      start: {__MODULE__, :start_worker, [[session_id: id, tools: tools, grace: 0]]},
      type: :supervisor,
      restart: :transient
    }
  end

  @doc false
  def start_worker(link, opts), do: Worker.start_link(link ++ opts)

  @doc "The spec of a tool that the session sees: a `ToolBridge.Proto.ToolSpec`; `ToolNotFound` if it does not."
  @spec get_tool(store(), String.t(), String.t()) :: {:ok, struct()} | {:error, Error.t()}
  def get_tool(store, id, tool), do: find_tool(store, id, tool, "")

  defp find_tool(store, id, tool, token) do
    request = %GetSessionToolsRequest{session_id: id, page_token: token}

    with {:ok, page} <- Caller.unary(connection(store), "GetSessionTools", request) do
      case {Enum.find(page.tools, &(tool in [&1.tool_id, &1.name])), page.next_page_token} do
        {nil, ""} -> {:error, Error.new("ToolNotFound", "session #{inspect(id)} sees no tool #{inspect(tool)}")}
        {nil, token} -> find_tool(store, id, tool, token)
        {spec, _} -> {:ok, spec}
      end
    end
  end

  @doc """
  Calls a tool as a request says; returns the response as it is, also one that holds an error.
  """
  @spec execute_tool(store(), %ToolCallRequest{}) :: {:ok, struct()} | {:error, Error.t()}
  def execute_tool(store, %ToolCallRequest{} = request), do: Caller.raw(connection(store), "ExecuteTool", request)

  @doc "Calls a tool as a request says; returns an Enumerable of its chunks as they are. Errors are raised."
  @spec stream_tool(store(), %ToolStreamRequest{}) :: Enumerable.t()
  def stream_tool(store, %ToolStreamRequest{} = request), do: Caller.stream(connection(store), "StreamTool", request)

  # ------------------------------------------------------------------------------------------------- variables

  @doc "Sets a variable; returns its revision. `metadata` may have `type`, `created_by`, `tags` and `secret`."
  @spec set_variable(store(), String.t(), String.t(), term(), map()) :: {:ok, non_neg_integer()} | {:error, Error.t()}
  def set_variable(store, id, name, value, metadata \\ %{}) do
    with {:ok, any} <- Value.encode(value) do
      request = %SetVariableRequest{
        session_id: id,
        variable_name: name,
        value: any,
        metadata: struct!(VariableMetadata, metadata),
        create_if_missing: true
      }

      with {:ok, response} <- Caller.unary(connection(store), "SetSessionVariable", request) do
        {:ok, String.to_integer(response.message)}
      end
    end
  end

  @doc "The value of a variable; `VariableNotFound` if there is none."
  @spec get_variable(store(), String.t(), String.t()) :: {:ok, term()} | {:error, Error.t()}
  def get_variable(store, id, name) do
    with {:ok, value, _} <- get_variable_with_metadata(store, id, name), do: {:ok, value}
  end

  @doc "The value and the metadata of a variable: a `ToolBridge.Proto.VariableMetadata`."
  @spec get_variable_with_metadata(store(), String.t(), String.t()) :: {:ok, term(), struct()} | {:error, Error.t()}
  def get_variable_with_metadata(store, id, name) do
    request = %GetVariableRequest{session_id: id, variable_name: name, include_metadata: true}

    with {:ok, response} <- Caller.unary(connection(store), "GetSessionVariable", request) do
      if response.exists do
        with {:ok, value} <- Value.decode(response.value), do: {:ok, value, response.metadata}
      else
        {:error, Error.new("VariableNotFound", "there is no variable #{inspect(name)} in session #{inspect(id)}")}
      end
    end
  end

  defp connection(store), do: child(store, Connection)
  defp workers(store), do: child(store, DynamicSupervisor)

  defp child(store, id) do
    {_, pid, _, _} = store |> Supervisor.which_children() |> List.keyfind!(id, 0)
    pid
  end
end
