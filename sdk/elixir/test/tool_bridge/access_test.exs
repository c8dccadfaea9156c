defmodule ToolBridge.AccessTest do
  # The command itself, with a token and TLS.
  use ExUnit.Case, async: true

  alias ToolBridge.{Client, Error, Hub, Worker}

  @moduletag :tmp_dir
  @command Path.expand("../../../../.venv/bin/grpc-tool-bridge", __DIR__)

  defp start_hub(dir, args) do
    tools = Path.join(dir, "some_tools.py")
    File.write!(tools, "from grpc_tool_bridge import tool\n@tool\ndef one() -> int:\n    return 1\n")
    token = Path.join(dir, "token")
    File.write!(token, "s3cret-token-of-the-tests\n")
    File.chmod!(token, 0o600)

    options = [
      command: [System.get_env("TOOL_BRIDGE_COMMAND", @command), "serve"],
      address: "localhost:0",
      tools: [tools],
      args: ["--token-file", token, "--log-level", "error" | args],
      env: %{"HOME" => dir},
      cd: dir
    ]

    {Hub, options} |> start_supervised!() |> Hub.address()
  end

  defp openssl(args), do: {_, 0} = System.cmd("openssl", args, stderr_to_stdout: true)

  test "a hub with a token admits who has it", %{tmp_dir: dir} do
    address = start_hub(dir, [])
    client = start_supervised!({Client, address: address, token: "s3cret-token-of-the-tests"})
    assert Client.call(client, "one") == {:ok, 1}

    for {token, id} <- [{"another-token", :a}, {nil, :b}] do
      stranger = start_supervised!({Client, address: address, token: token}, id: id)
      assert {:error, %Error{type: "Unauthenticated"} = error} = Client.await_ready(stranger)
      refute error.message =~ "another-token"
      assert {:error, %Error{type: "Unauthenticated"}} = Client.call(stranger, "one")
    end

    worker = start_supervised!({Worker, address: address, tools: [], token: "another-token"})
    assert {:error, %Error{type: "Unauthenticated"}} = Worker.await_ready(worker)
  end

  defmodule WhoTools do
    use ToolBridge.Tools

    alias ToolBridge.{Client, Context}

    @tool true
    @spec who(Context.t()) :: map()
    def who(context), do: facts(context)

    @tool true
    @spec who_streams(Context.t()) :: Enumerable.t()
    def who_streams(context), do: [facts(context)]

    @tool true
    @spec who_asks(Context.t()) :: {:ok, list()} | {:error, term()}
    def who_asks(context) do
      with {:ok, nested} <- Client.call(context, "who"), do: {:ok, [facts(context), nested]}
    end

    defp facts(%{principal: nil, via: via}), do: %{name: nil, via: via}
    defp facts(%{principal: caller, via: via}), do: %{name: caller.name, method: caller.method, via: via}
  end

  test "a tool sees who has called it", %{tmp_dir: dir} do
    address = start_hub(dir, [])
    options = [address: address, token: "s3cret-token-of-the-tests"]
    worker = start_supervised!({Worker, [{:tools, [WhoTools]} | options]})
    assert Worker.await_ready(worker) == :ok
    client = start_supervised!({Client, options})
    caller = %{"name" => "token", "method" => "token", "via" => []}
    forged = [metadata: %{"tool-bridge-principal" => ~s({"name":"eve"})}]
    assert Client.call(client, "who", [], forged) == {:ok, caller}
    assert Client.call(client, "who_asks", [], forged) == {:ok, [caller, %{caller | "via" => ["tool:who_asks"]}]}
  end

  test "a hub with TLS is verified", %{tmp_dir: dir} do
    [ca, ca_key, cert, key, request] = for name <- ~w(ca.pem ca.key cert.pem key.pem csr.pem), do: Path.join(dir, name)
    new_key = ~w(-newkey rsa:2048 -nodes -days 2)
    san = ~w(-addext subjectAltName=DNS:localhost)
    openssl(["req", "-x509", "-subj", "/CN=tests", "-keyout", ca_key, "-out", ca | new_key])
    openssl(["req", "-subj", "/CN=localhost", "-keyout", key, "-out", request | Enum.drop(new_key, -2) ++ san])
    copy = ~w(-copy_extensions copy -days 2)
    openssl(["x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-out", cert | copy])

    address = start_hub(dir, ["--tls-cert", cert, "--tls-key", key])
    options = [address: address, token: "s3cret-token-of-the-tests"]
    client = start_supervised!({Client, [{:tls, [cacertfile: ca]} | options]})
    assert Client.call(client, "one") == {:ok, 1}

    stranger = start_supervised!({Client, [{:tls, true} | options]}, id: :stranger)
    assert {:error, %Error{type: "ConnectionError", message: message}} = Client.await_ready(stranger, 2_000)
    assert message =~ "certificate" or message =~ "tls_alert" or message =~ "unknown_ca"
  end
end
