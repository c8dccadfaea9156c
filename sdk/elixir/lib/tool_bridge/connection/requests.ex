defmodule ToolBridge.Connection.Requests do
  @moduledoc false
  # How processes make calls over a connection: the messages between them, from the side of the caller.
  #
  # A call is ended by the connection alone, by its answer, its timeout or the loss of the link, so that a caller has
  # no clock of its own. It is also ended when its caller dies.

  alias ToolBridge.Error

  @type options :: [
          # Milliseconds; nil: as the hub decides.
          timeout: pos_integer() | nil,
          # Number of the field that gets the session's id; nil: the payload has it.
          session: pos_integer() | nil,
          # The call of the hub that this one is nested in.
          origin: ToolBridge.Connection.call_key() | nil,
          # The tool that is called, which questions name.
          tool: String.t() | nil,
          # Whether the answer is a stream.
          stream: boolean()
        ]

  defmodule Stream do
    @moduledoc false
    defstruct [:connection, :ref]
  end

  @doc "Makes a call with one answer."
  @spec unary(GenServer.server(), String.t(), iodata(), options()) :: {:ok, binary()} | {:error, Error.t()}
  def unary(connection, method, payload, opts) do
    with {:ok, pid} <- find(connection) do
      ref = :erlang.monitor(:process, pid, alias: :reply_demonitor)
      send(pid, {__MODULE__, :call, self(), ref, {method, payload, opts}})

      receive do
        {^ref, result} -> result
        {:DOWN, ^ref, :process, _, _} -> stopped()
      end
    end
  end

  @doc "Opens a stream; the calling process reads it with `next/1`."
  @spec open(GenServer.server(), String.t(), iodata(), options()) :: {:ok, %Stream{}} | {:error, Error.t()}
  def open(connection, method, payload, opts) do
    with {:ok, pid} <- find(connection) do
      ref = :erlang.monitor(:process, pid, alias: :explicit_unalias)
      send(pid, {__MODULE__, :call, self(), ref, {method, payload, [{:stream, true} | opts]}})
      {:ok, %Stream{connection: pid, ref: ref}}
    end
  end

  @doc "Waits for the next message of a stream."
  @spec next(%Stream{}) :: {:ok, binary()} | :done | {:error, Error.t()}
  def next(%Stream{connection: pid, ref: ref}) do
    receive do
      {^ref, {:chunk, payload}} ->
        send(pid, {__MODULE__, :consumed, ref, byte_size(payload)})
        {:ok, payload}

      {^ref, :done} ->
        :done

      {^ref, {:error, error}} ->
        {:error, error}

      {:DOWN, ^ref, :process, _, _} ->
        stopped()
    end
  end

  @doc "Closes a stream; one that has not ended is cancelled."
  @spec close(%Stream{}) :: :ok
  def close(%Stream{connection: pid, ref: ref}) do
    :erlang.unalias(ref)
    Process.demonitor(ref, [:flush])
    send(pid, {__MODULE__, :cancel, ref})
    flush(ref)
  end

  defp flush(ref) do
    receive do
      {^ref, _} -> flush(ref)
    after
      0 -> :ok
    end
  end

  defp find(connection) do
    case GenServer.whereis(connection) do
      pid when is_pid(pid) -> {:ok, pid}
      {name, node} -> {:error, Error.connection("#{inspect({name, node})} is on another node")}
      nil -> {:error, Error.connection("there is no process #{inspect(connection)}; start it first")}
    end
  end

  defp stopped, do: {:error, Error.connection("the connection was closed before the answer came")}
end
