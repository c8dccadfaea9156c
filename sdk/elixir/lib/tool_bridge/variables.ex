defmodule ToolBridge.Variables do
  @moduledoc """
  The variables of a session, which all its peers share.

      iex> {:ok, client} = ToolBridge.Client.start_link(address: ToolBridge.TestHub.address())
      iex> {:ok, revision} = ToolBridge.Variables.put(client, "rate", 0.95)
      iex> ToolBridge.Variables.get(client, "rate")
      {:ok, 0.95}
      iex> {:error, error} = ToolBridge.Variables.put(client, "rate", 1.0, expected_revision: revision + 1)
      iex> error.type
      "RevisionConflict"

  `client` is a `ToolBridge.Client`, or the `ToolBridge.Context` of a tool. Every change has a revision, which rises
  across the whole session.
  """

  alias ToolBridge.{Caller, Client, Error, Value}

  alias ToolBridge.Proto.{
    DeleteVariableRequest,
    GetVariableRequest,
    ListVariablesRequest,
    SetVariableRequest,
    VariableMetadata,
    WatchVariablesRequest
  }

  defmodule Change do
    @moduledoc """
    A change of a variable.

      * `:operation` - `:set` (a new variable), `:update`, `:delete`, or `:reset`: the values known until now are void,
        and the current ones follow as `:set`
      * `:name`, `:value` (nil for `:delete` and `:reset`), `:revision`
    """
    @enforce_keys [:operation]
    defstruct [:operation, :name, :value, :revision]

    @type t :: %__MODULE__{
            operation: :set | :update | :delete | :reset,
            name: String.t() | nil,
            value: term(),
            revision: non_neg_integer() | nil
          }
  end

  @operations %{"set" => :set, "update" => :update, "delete" => :delete, "reset" => :reset}
  @first_wait 100
  @last_wait 5_000
  @give_up 30_000

  @doc "The value of a variable; `VariableNotFound` if there is none. Option: `:maps`, as of `ToolBridge.Value.decode/2`."
  @spec get(Client.client(), String.t(), keyword()) :: Client.result()
  def get(client, name, opts \\ []) do
    with {:ok, value, _} <- get_with_metadata(client, name, opts), do: {:ok, value}
  end

  @doc "As `get/3`, but returns the value itself, and raises the error."
  @spec get!(Client.client(), String.t(), keyword()) :: term()
  def get!(client, name, opts \\ []), do: client |> get(name, opts) |> Caller.bang()

  @doc """
  The value and the metadata of a variable: a `ToolBridge.Proto.VariableMetadata`, with `type`, `created_by`, `tags`,
  `secret` and `revision`.
  """
  @spec get_with_metadata(Client.client(), String.t(), keyword()) :: {:ok, term(), struct()} | {:error, Error.t()}
  def get_with_metadata(client, name, opts \\ []) do
    request = %GetVariableRequest{variable_name: name, include_metadata: true}

    with {:ok, response} <- Caller.unary(client, "GetSessionVariable", request) do
      if response.exists do
        with {:ok, value} <- Value.decode(response.value, Keyword.take(opts, [:maps])),
             do: {:ok, value, response.metadata}
      else
        {:error, Error.new("VariableNotFound", "there is no variable #{inspect(name)} in the session")}
      end
    end
  end

  @doc """
  Sets a variable; returns its new revision.

  Options:

    * `:expected_revision` - set it only if this is its revision, 0 if it must not exist; else `RevisionConflict`
    * `:create` - whether it may be created (true)
    * `:type`, `:created_by`, `:tags`, `:secret` - metadata; what is left out stays
  """
  @spec put(Client.client(), String.t(), term(), keyword()) :: {:ok, non_neg_integer()} | {:error, Error.t()}
  def put(client, name, value, opts \\ []) do
    with {:ok, any} <- Value.encode(value) do
      request = %SetVariableRequest{
        variable_name: name,
        value: any,
        metadata: metadata(opts),
        create_if_missing: Keyword.get(opts, :create, true),
        expected_revision: opts[:expected_revision]
      }

      with {:ok, response} <- Caller.unary(client, "SetSessionVariable", request) do
        {:ok, String.to_integer(response.message)}
      end
    end
  end

  @doc "As `put/4`, but returns the revision itself, and raises the error."
  @spec put!(Client.client(), String.t(), term(), keyword()) :: non_neg_integer()
  def put!(client, name, value, opts \\ []), do: client |> put(name, value, opts) |> Caller.bang()

  defp metadata(opts) do
    case Keyword.take(opts, [:type, :created_by, :tags, :secret]) do
      [] ->
        nil

      given ->
        tags = Map.new(given[:tags] || %{}, fn {key, text} -> {to_string(key), to_string(text)} end)
        struct!(VariableMetadata, given |> Keyword.delete(:tags) |> Keyword.put(:tags, tags))
    end
  end

  @doc """
  Replaces the value of a variable by what `function` makes of it, as often as others change it in between.

  The function gets nil for a variable that does not exist.

      iex> {:ok, client} = ToolBridge.Client.start_link(address: ToolBridge.TestHub.address())
      iex> {:ok, 1} = ToolBridge.Variables.update(client, "visits", &((&1 || 0) + 1))
      iex> ToolBridge.Variables.update(client, "visits", &(&1 + 1))
      {:ok, 2}
  """
  @spec update(Client.client(), String.t(), (term() -> term())) :: Client.result()
  def update(client, name, function) do
    found =
      case get_with_metadata(client, name) do
        {:ok, value, metadata} -> {:ok, function.(value), metadata.revision}
        {:error, %Error{type: "VariableNotFound"}} -> {:ok, function.(nil), 0}
        {:error, error} -> {:error, error}
      end

    with {:ok, value, revision} <- found do
      case put(client, name, value, expected_revision: revision) do
        {:ok, _} -> {:ok, value}
        {:error, %Error{type: "RevisionConflict"}} -> update(client, name, function)
        {:error, error} -> {:error, error}
      end
    end
  end

  @doc "Deletes a variable. Option: `:expected_revision`."
  @spec delete(Client.client(), String.t(), keyword()) :: :ok | {:error, Error.t()}
  def delete(client, name, opts \\ []) do
    request = %DeleteVariableRequest{variable_name: name, expected_revision: opts[:expected_revision]}
    with {:ok, _} <- Caller.unary(client, "DeleteSessionVariable", request), do: :ok
  end

  @doc "As `delete/3`, but raises the error."
  @spec delete!(Client.client(), String.t(), keyword()) :: :ok
  def delete!(client, name, opts \\ []) do
    with {:error, error} <- delete(client, name, opts), do: raise(error)
  end

  @doc """
  Lists variables by name, as `ToolBridge.Proto.VariableInfo`s, without their values.

  Options: `:prefix`, `:tags` (a list of `"key"` or `"key=value"`, all of which a variable must have), `:limit`.
  """
  @spec list(Client.client(), keyword()) :: {:ok, [struct()]} | {:error, Error.t()}
  def list(client, opts \\ []) do
    request = struct!(ListVariablesRequest, Keyword.take(opts, [:prefix, :tags, :limit]))
    with {:ok, response} <- Caller.unary(client, "ListSessionVariables", request), do: {:ok, response.variables}
  end

  @doc "As `list/2`, but returns the list itself, and raises the error."
  @spec list!(Client.client(), keyword()) :: [struct()]
  def list!(client, opts \\ []), do: client |> list(opts) |> Caller.bang()

  # ------------------------------------------------------------------------------------------------------ watches

  @doc """
  An endless Enumerable of `ToolBridge.Variables.Change`s, of all variables or those named.

  It goes on over the next connection, without missing a change: what cannot be caught up with comes as a `:reset`.

      iex> {:ok, client} = ToolBridge.Client.start_link(address: ToolBridge.TestHub.address())
      iex> {:ok, _} = ToolBridge.Variables.put(client, "a", 1)
      iex> [change] = client |> ToolBridge.Variables.stream(["a"], initial: true) |> Enum.take(1)
      iex> {change.operation, change.name, change.value}
      {:set, "a", 1}

  Option: `:initial`, whether the current values come first (false). Errors that the next connection would not fix are
  raised.
  """
  @spec stream(Client.client(), [String.t()], keyword()) :: Enumerable.t()
  def stream(client, names \\ [], opts \\ []) do
    start = %{
      revision: 0,
      epoch: "",
      initial: Keyword.get(opts, :initial, false),
      wait: @first_wait,
      lost: nil,
      reader: nil
    }

    Stream.resource(fn -> start end, &next_change(&1, client, names), &close_reader/1)
  end

  # The stream of one connection is read step by step, so that the next one continues where it was lost.
  defp next_change(%{reader: nil} = state, client, names) do
    request = %WatchVariablesRequest{
      variable_names: names,
      include_initial: state.initial and state.epoch == "",
      from_revision: state.revision,
      epoch: state.epoch
    }

    reader = client |> Caller.stream("WatchSessionVariables", request) |> steps()
    {[], %{state | reader: reader}}
  end

  defp next_change(state, _, _) do
    case state.reader.({:cont, nil}) do
      {:suspended, update, reader} ->
        {[change(update)],
         %{state | reader: reader, revision: update.revision, epoch: update.epoch, wait: @first_wait, lost: nil}}

      {_, _} ->
        {:halt, %{state | reader: nil}}
    end
  rescue
    error in Error ->
      lost = state.lost || System.monotonic_time(:millisecond)
      late = System.monotonic_time(:millisecond) - lost > @give_up
      if error.origin != :connection or late, do: reraise(error, __STACKTRACE__)
      Process.sleep(round(state.wait * (0.5 + :rand.uniform() / 2)))
      {[], %{state | reader: nil, wait: min(state.wait * 2, @last_wait), lost: lost}}
  end

  defp steps(enumerable), do: &Enumerable.reduce(enumerable, &1, fn item, _ -> {:suspend, item} end)

  defp close_reader(%{reader: nil}), do: :ok

  defp close_reader(%{reader: reader}) do
    _ = reader.({:halt, nil})
    :ok
  end

  defp change(update) do
    value = if update.value == nil, do: nil, else: Value.decode!(update.value)

    %Change{
      operation: Map.fetch!(@operations, update.operation),
      name: if(update.name == "", do: nil, else: update.name),
      value: value,
      revision: update.revision
    }
  end

  @doc """
  Sends the calling process `{ToolBridge.Variables, watch, change}` for each change, as `stream/3` yields them, until
  `unwatch/1`. If the watch fails, it sends `{ToolBridge.Variables, watch, {:error, error}}` once, and ends.

      iex> {:ok, client} = ToolBridge.Client.start_link(address: ToolBridge.TestHub.address())
      iex> {:ok, watch} = ToolBridge.Variables.watch(client, ["a"], initial: true)
      iex> {:ok, _} = ToolBridge.Variables.put(client, "a", 1)
      iex> receive do {ToolBridge.Variables, ^watch, change} -> change.value end
      1
      iex> ToolBridge.Variables.unwatch(watch)
      :ok
  """
  @spec watch(Client.client(), [String.t()], keyword()) :: {:ok, pid()}
  def watch(client, names \\ [], opts \\ []) do
    owner = self()

    Task.start(fn ->
      watched_by(owner)
      watch = self()

      try do
        client |> stream(names, opts) |> Enum.each(&send(owner, {__MODULE__, watch, &1}))
      rescue
        error in Error -> send(owner, {__MODULE__, watch, {:error, error}})
      end
    end)
  end

  # Ends this process with the one that watches.
  defp watched_by(owner) do
    watch = self()

    spawn(fn ->
      owner = Process.monitor(owner)
      monitor = Process.monitor(watch)

      receive do
        {:DOWN, ^owner, :process, _, _} -> Process.exit(watch, :kill)
        {:DOWN, ^monitor, :process, _, _} -> :ok
      end
    end)
  end

  @doc "Ends a watch; none of its messages is left in the mailbox of the calling process."
  @spec unwatch(pid()) :: :ok
  def unwatch(watch) do
    monitor = Process.monitor(watch)
    Process.exit(watch, :kill)

    receive do
      {:DOWN, ^monitor, :process, _, _} -> flush(watch)
    end
  end

  defp flush(watch) do
    receive do
      {__MODULE__, ^watch, _} -> flush(watch)
    after
      0 -> :ok
    end
  end
end
