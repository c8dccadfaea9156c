defmodule ToolBridge.PrincipalTest do
  use ExUnit.Case, async: true

  alias ToolBridge.{Error, Principal}

  defp read(text), do: Principal.read(%{"tool-bridge-principal" => text})

  test "what a hub says of a caller is read" do
    text = ~s({"name":"ada","groups":["staff"],"method":"jwt","claims":{"email":"a@b"},"via":["agent:planner"]})
    caller = %Principal{name: "ada", groups: ["staff"], method: "jwt", claims: %{"email" => "a@b"}}
    assert read(text) == {:ok, {caller, ["agent:planner"]}}
    assert read(~s({"name":"ada"})) == {:ok, {%Principal{name: "ada"}, []}}
    assert Principal.read(%{}) == {:ok, {nil, []}}
  end

  test "anything else is refused as a whole" do
    texts = [
      "",
      "no JSON",
      "[]",
      "null",
      "{}",
      ~s({"name":3}),
      ~s({"name":"a","groups":"staff"}),
      String.duplicate("[", 1_000)
    ]

    for text <- texts ++ [~s({"name":"a","claims":[]}), ~s({"name":"a","via":[1]}), ~s({"name":"a","method":1})] do
      assert {:error, %Error{type: "ProtocolError"}} = read(text)
    end
  end
end
