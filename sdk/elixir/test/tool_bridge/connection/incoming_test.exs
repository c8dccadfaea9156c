defmodule ToolBridge.Connection.IncomingTest do
  use ExUnit.Case, async: true

  @moduletag :unit

  alias ToolBridge.Connection.{Incoming, State}
  alias ToolBridge.Connection.State.Served
  alias ToolBridge.{Error, Link}
  alias ToolBridge.Proto.{Ask, LinkHello}

  # The hub numbers the calls of each link from 2.
  defp second_link do
    call = %Served{pid: self(), timeout: 0, deadline: nil}
    %State{link: Link.Protocol.new(:dialer, %LinkHello{}), link_number: 2, served: %{2 => call}}
  end

  test "a process whose link was lost is not taken for the call with its number on the next one" do
    state = second_link()
    assert Incoming.find(state, {2, 2}) == 2
    assert Incoming.find(state, {1, 2}) == nil
    assert {:error, %Error{type: "Cancelled"}, ^state} = Incoming.chunk(state, {1, 2}, "late", {self(), make_ref()})
    assert {:error, %Error{type: "Cancelled"}, ^state} = Incoming.ask(state, {1, 2}, %Ask{}, {self(), make_ref()})
  end

  test "a call that was answered has no chunks and questions any more" do
    state = second_link()
    assert {:error, %Error{type: "Cancelled"}, ^state} = Incoming.chunk(state, {2, 4}, "late", {self(), make_ref()})
  end
end
