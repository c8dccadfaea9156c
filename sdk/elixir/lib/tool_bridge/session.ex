defmodule ToolBridge.Session do
  @moduledoc false
  # The step of a connection's handshake that opens its session, or attaches to it.

  require Logger

  alias ToolBridge.{Caller, Connection}
  alias ToolBridge.Proto.{InitializeSessionRequest, InitializeSessionResponse, SessionConfig}

  @metadata_logger "tool-bridge.trailing-metadata"

  @doc """
  The step; `info` is what the connection knows. Options: `session_id`, `session_metadata`, `session_config`.
  """
  @spec step(map(), keyword()) :: Connection.step()
  def step(info, opts) do
    id = info[:session_id] || opts[:session_id] || ""

    request = %InitializeSessionRequest{
      session_id: id,
      metadata: Map.new(opts[:session_metadata] || %{}, fn {key, text} -> {to_string(key), to_string(text)} end),
      config: config(opts[:session_config])
    }

    {"InitializeSession", InitializeSessionRequest.encode(request), &opened(&1, &2, info)}
  end

  defp config(nil), do: nil
  defp config(opts), do: struct!(SessionConfig, opts)

  defp opened(payload, events, info) do
    with {:ok, response} <- InitializeSessionResponse.decode(payload),
         {:ok, response} <- Caller.checked(response, "InitializeSession") do
      known = is_map_key(info, :session_id)

      if known and not response.resumed do
        Logger.warning("tool_bridge: the hub did not know session #{response.session_id}; it was created again, empty")
      end

      {:ok,
       %{
         session_id: response.session_id,
         created: if(known, do: info.created, else: not response.resumed),
         capabilities: response.capabilities,
         defaults: defaults(events)
       }}
    end
  end

  # The hub's defaults, in milliseconds, come as a log record before the answer.
  defp defaults(%{@metadata_logger => record}) do
    for {"tool-bridge-" <> name, digits} <- record.fields, {milliseconds, ""} <- [Integer.parse(digits)], into: %{} do
      {String.replace_suffix(name, "-ms", ""), milliseconds}
    end
  end

  defp defaults(_), do: %{}
end
