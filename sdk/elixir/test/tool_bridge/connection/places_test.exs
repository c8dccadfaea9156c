defmodule ToolBridge.Connection.PlacesTest do
  use ExUnit.Case, async: true

  alias ToolBridge.Connection.Places
  alias ToolBridge.Error

  @moduletag :unit

  defp places(address) do
    {:ok, places} = Places.parse(address, [])
    places
  end

  test "one address is dialled again after each failure" do
    lost = Error.connection("gone")
    places = places("a:1")
    assert {"a:1", %{host: "a", port: 1}} = Places.current(places)
    assert {{:pause, ^lost}, ^places} = Places.move_on(places, lost, false)
  end

  test "several hubs are dialled in turn, with a pause and more time after a round in vain" do
    {lost, refused} = {Error.connection("gone"), Error.new("Unauthenticated", "wrong token")}
    places = places("a:1, b:2")
    assert places.name == "a:1, b:2"
    {:next, places} = Places.move_on(places, lost, false)
    assert {"b:2", _} = Places.current(places)
    before = Places.greeting(places)
    {{:pause, error}, places} = Places.move_on(places, refused, false)
    assert error.message =~ "a:1: gone; b:2: wrong token"
    assert {"a:1", _} = Places.current(places)
    assert Places.greeting(places) == 2 * before
    {:next, places} = Places.move_on(places, refused, true)
    assert Places.greeting(places) == before
    # Dialling again would not change that.
    assert {{:pause, ^refused}, _} = Places.move_on(places, refused, false)
  end

  test "addresses that cannot be used are refused" do
    for {address, text} <- [
          {"a:1,", "missing beside a comma"},
          {"a:1,a:1", "a:1 is there twice"},
          {"a:1,http://b", "not a valid address"},
          {Enum.map_join(1..101, ",", &"a:#{&1}"), "at most 100"},
          {nil, "not a valid address"}
        ] do
      assert {:error, %Error{type: "ValidationError", message: message}} = Places.parse(address, [])
      assert message =~ text
    end
  end
end
