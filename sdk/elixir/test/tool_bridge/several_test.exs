defmodule ToolBridge.SeveralTest do
  # Several hubs, of which one is gone.
  use ExUnit.Case, async: true

  alias ToolBridge.{Client, Error, Hub, TestHub, Tool, Worker}

  # Nobody listens there.
  @nobody "127.0.0.1:1"

  defp hub(name) do
    {Hub, TestHub.options()} |> Supervisor.child_spec(id: name, restart: :temporary) |> start_supervised!()
  end

  test "a client uses the first hub that serves, and another when that is gone" do
    {first, second} = {hub(:first), hub(:second)}
    address = Enum.join([@nobody, Hub.address(first), Hub.address(second)], ",")
    client = start_supervised!({Client, address: address, session_id: "mine"})
    assert Client.call(client, "add", a: 1, b: 2) == {:ok, 3}
    stop_supervised!(:first)
    TestHub.eventually(fn -> Client.call(client, "add", a: 3, b: 4) == {:ok, 7} end)
  end

  test "a worker offers its tools at another hub when its own is gone" do
    {first, second} = {hub(:first), hub(:second)}
    one = Tool.new("elixir_one", fn _ -> 1 end, spec: "(context :: ToolBridge.Context.t()) :: integer()")
    worker = start_supervised!({Worker, address: Hub.address(first) <> "," <> Hub.address(second), tools: [one]})
    :ok = Worker.await_ready(worker)
    stop_supervised!(:first)
    client = start_supervised!({Client, address: Hub.address(second)})
    TestHub.eventually(fn -> Client.call(client, "elixir_one") == {:ok, 1} end)
  end

  test "a client that reaches none says why of each" do
    client = start_supervised!({Client, address: "#{@nobody},127.0.0.1:2"})

    TestHub.eventually(fn ->
      {:error, %Error{message: message}} = Client.await_ready(client, 200)
      message =~ "none of the 2 hubs serves: 127.0.0.1:1: " and message =~ "; 127.0.0.1:2: "
    end)
  end
end
