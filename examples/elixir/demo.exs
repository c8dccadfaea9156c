# A hub, a tool in Elixir, and its call, in one program: cd sdk/elixir && mix run ../../examples/elixir/demo.exs

defmodule Demo.Tools do
  use ToolBridge.Tools

  @doc "Turns a text round."
  @tool true
  @spec turn_round(String.t()) :: String.t()
  def turn_round(text), do: String.reverse(text)

  @doc "Yields the words of a text, one by one."
  @tool true
  @spec words(String.t()) :: Enumerable.t()
  def words(text), do: String.splitter(text, " ", trim: true)
end

alias ToolBridge.{Client, Hub, Variables, Worker}

program = Path.expand("../../.venv/bin/grpc-tool-bridge", __DIR__)
command = if File.exists?(program), do: [program, "serve"], else: ["grpc-tool-bridge", "serve"]

{:ok, hub} = Hub.start_link(command: command, address: "127.0.0.1:0", args: ["--log-level", "warning"])
{:ok, worker} = Worker.start_link(address: Hub.address(hub), tools: [Demo.Tools])
:ok = Worker.await_ready(worker)

{:ok, client} = Client.start_link(address: Hub.address(hub), session_id: "demo")
IO.puts(Client.call!(client, "turn_round", ["egdirb loot"]))
client |> Client.stream("words", ["one after another"]) |> Enum.each(&IO.puts/1)

Variables.put!(client, "greeting", %{"text" => "hello", "to" => ["you"]})
IO.inspect(Variables.get!(client, "greeting"))

{:error, error} = Client.call(client, "turn_round", [5])
IO.puts(Exception.message(error))

Client.stop(client)
Worker.drain(worker)
GenServer.stop(hub)
