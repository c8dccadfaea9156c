defmodule ToolBridge.Principal do
  @moduledoc """
  On whose behalf a tool is called: who has made the outermost call, as the hub has authenticated it.

    * `name` - for logs and rules
    * `groups` - those that it belongs to
    * `claims` - what else its proof says of it, of what the hub's setting `forwarded_claims` names
    * `method` - how it has proved who it is: "token", "jwt", "certificate" or "user"
  """

  alias ToolBridge.Error
  alias ToolBridge.Value.JSON

  @enforce_keys [:name]
  defstruct [:name, groups: [], claims: %{}, method: ""]

  @type t :: %__MODULE__{
          name: String.t(),
          groups: [String.t()],
          claims: %{optional(String.t()) => term()},
          method: String.t()
        }

  # In the metadata of the hub's call: a JSON object with "name", and "groups", "method", "claims" and "via" if there are.
  @key "tool-bridge-principal"
  @max_depth 100

  # In a worker's hello: the hub tells it who calls.
  @doc false
  def feature, do: "principal"

  # Reads who has made a call, and how it came from there.
  @doc false
  @spec read(%{optional(String.t()) => String.t()}) :: {:ok, {t() | nil, [String.t()]}} | {:error, Error.t()}
  def read(%{@key => text}) do
    with %{"name" => name} = found <- JSON.read(text, @max_depth),
         caller = %__MODULE__{
           name: name,
           groups: Map.get(found, "groups", []),
           claims: Map.get(found, "claims", %{}),
           method: Map.get(found, "method", "")
         },
         via = Map.get(found, "via", []),
         true <- is_binary(name) and is_binary(caller.method) and is_map(caller.claims),
         true <- texts?(caller.groups) and texts?(via) do
      {:ok, {caller, via}}
    else
      _ -> unreadable()
    end
  catch
    _ -> unreadable()
  end

  def read(_), do: {:ok, {nil, []}}

  defp texts?(values), do: is_list(values) and Enum.all?(values, &is_binary/1)

  defp unreadable do
    {:error,
     Error.new("ProtocolError", "the metadata #{@key} of a call is not a JSON object with the name of its caller")}
  end
end
