defmodule ToolBridge.Connection.ChildrenTest do
  use ExUnit.Case, async: true

  @moduletag :unit

  alias ToolBridge.Connection.{Children, State}

  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  def stubborn(test) do
    Process.flag(:trap_exit, true)
    send(test, :ready)
    Process.sleep(:infinity)
  end

  test "a process sends its result, and is over" do
    {pid, state} = Children.start(%State{}, {:call, 2}, {Integer, :to_string, [7]})
    assert_receive {Children, :result, ^pid, "7"}
    assert {{:call, 2}, state} = Children.finished(state, pid)
    assert {nil, state} = Children.finished(state, pid)
    assert_receive {:EXIT, ^pid, :normal}
    assert {nil, %{children: children}} = Children.exited(state, pid)
    assert children == %{}
  end

  test "only processes whose role is over are stopped" do
    {call, state} = Children.start(%State{}, {:call, 2}, {Process, :sleep, [:infinity]})
    {question, state} = Children.start(state, {:question, make_ref()}, {Process, :sleep, [:infinity]})
    state = Children.drop(state, &match?({:call, _}, &1))
    assert_receive {:EXIT, ^call, :shutdown}
    assert {nil, _} = Children.exited(state, call)
    assert Process.alive?(question)
    Children.shutdown(state)
  end

  test "the end waits for all, and kills those that trap exits" do
    {stubborn, state} = Children.start(%State{}, {:call, 2}, {__MODULE__, :stubborn, [self()]})
    {other, state} = Children.start(state, {:call, 4}, {Process, :sleep, [:infinity]})
    assert_receive :ready
    assert Children.shutdown(state) == :ok
    assert_received {:EXIT, ^other, :shutdown}
    assert_received {:EXIT, ^stubborn, :killed}
  end
end
