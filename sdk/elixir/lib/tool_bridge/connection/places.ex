defmodule ToolBridge.Connection.Places do
  @moduledoc false
  # Where the hub is, or the hubs of which any will do: the next one is dialled when a hub is gone. `left` says why each
  # hub was left since the last pause, and `rounds` how many rounds were in vain since a hub has served.

  alias ToolBridge.Connection.{HTTP2, Outgoing}
  alias ToolBridge.Error

  # A client that has lost its hub may have to dial each of them.
  @max_places 100
  # Places that a text for people names; the others are counted.
  @max_shown 5
  # How long a hub may take to say hello: the only one, and one of several, doubled after each round in vain.
  @greeting 20_000
  @greeting_of_several 3_000
  # If there is another hub to go to, one that is gone should be noticed soon.
  @ping_interval 10_000
  @ping_interval_of_several 2_000

  @enforce_keys [:places, :name]
  defstruct [:places, :name, left: [], rounds: 0]

  @type t :: %__MODULE__{}

  @doc "Parses `host:port`, or several with commas between them; `opts` as for `HTTP2.endpoint/2`."
  @spec parse(term(), keyword()) :: {:ok, t()} | {:error, Error.t()}
  def parse(address, opts) do
    with {:ok, addresses} <- split(address),
         {:ok, places} <- endpoints(addresses, opts) do
      {:ok, %__MODULE__{places: places, name: name(addresses)}}
    end
  end

  @doc "The address of the hub that is dialled next, and its endpoint."
  @spec current(t()) :: {String.t(), HTTP2.endpoint()}
  def current(%{places: [place | _]}), do: place

  @doc "Milliseconds that the hub may take to say hello."
  @spec greeting(t()) :: pos_integer()
  def greeting(%{places: [_]}), do: @greeting
  def greeting(%{rounds: rounds}), do: min(@greeting_of_several * 2 ** min(rounds, 10), @greeting)

  @doc "Milliseconds between two pings."
  @spec ping_interval(t()) :: pos_integer()
  def ping_interval(%{places: [_]}), do: @ping_interval
  def ping_interval(_), do: @ping_interval_of_several

  @doc """
  Turns to the next hub, after the present one was left for a reason; `served` says whether it had served for a while.

  Returns `:next` if that is to be dialled at once, or after a round in vain, why no hub serves.
  """
  @spec move_on(t(), Error.t(), boolean()) :: {:next | {:pause, Error.t()}, t()}
  def move_on(%{places: [_]} = places, error, _), do: {{:pause, error}, places}

  def move_on(%{places: [{address, _} = place | others]} = places, error, served) do
    places = if served, do: %{places | left: [], rounds: 0}, else: places
    left = places.left ++ [{address, error}]
    places = %{places | places: others ++ [place], left: left}

    if length(left) < length(places.places),
      do: {:next, places},
      else: {{:pause, in_vain(left)}, %{places | left: [], rounds: places.rounds + 1}}
  end

  # One that may come back counts most: then it is worth to dial again.
  defp in_vain([{_, first} | _] = left) do
    if Enum.all?(left, fn {_, error} -> Outgoing.permanent?(error) end) do
      first
    else
      reasons =
        Enum.map_join(Enum.take(left, @max_shown), "; ", fn {address, error} -> "#{address}: #{error.message}" end)

      Error.connection("none of the #{length(left)} hubs serves: #{reasons}#{more(left, "; and ")}")
    end
  end

  defp split(addresses) when is_binary(addresses) do
    found = addresses |> String.split(",") |> Enum.map(&String.trim/1)

    cond do
      length(found) == 1 -> {:ok, [addresses]}
      length(found) > @max_places -> invalid("there are #{length(found)} addresses; give at most #{@max_places}")
      "" in found -> invalid("an address is missing beside a comma; write host:port,host:port")
      found != Enum.uniq(found) -> invalid("#{hd(found -- Enum.uniq(found))} is there twice; give each address once")
      true -> {:ok, found}
    end
  end

  defp split(address), do: {:ok, [address]}

  defp invalid(text), do: {:error, Error.new("ValidationError", text)}

  defp endpoints(addresses, opts) do
    Enum.reduce_while(addresses, {:ok, []}, fn address, {:ok, places} ->
      case HTTP2.endpoint(address, opts) do
        {:ok, endpoint} -> {:cont, {:ok, places ++ [{address, endpoint}]}}
        error -> {:halt, error}
      end
    end)
  end

  defp name(addresses), do: Enum.join(Enum.take(addresses, @max_shown), ", ") <> more(addresses, " and ")

  defp more(all, before) do
    if length(all) > @max_shown, do: "#{before}#{length(all) - @max_shown} more", else: ""
  end
end
