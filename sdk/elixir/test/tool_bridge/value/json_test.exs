defmodule ToolBridge.Value.JSONTest do
  use ExUnit.Case, async: true

  @moduletag :unit

  alias ToolBridge.Value.{JSON, OrderedMap}

  defp text(value), do: value |> JSON.write(100) |> IO.iodata_to_binary()

  test "what is written is read again" do
    for value <- [
          nil,
          true,
          0,
          -5,
          1.5e300,
          3.0,
          "",
          "a\"\\\n\t\x01é😀",
          [],
          [[], [1, [2]]],
          %{},
          %{"a" => %{"b" => [nil]}}
        ] do
      assert JSON.read(text(value), 100) === value
    end
  end

  test "integers keep all their digits, and floats stay floats" do
    assert JSON.read("123456789012345678901234567890", 1) == 123_456_789_012_345_678_901_234_567_890
    assert JSON.read("1e2", 1) === 100.0
    assert JSON.read("-0.5E-3", 1) === -0.0005
    assert text(3.0) == "3.0"
  end

  test "keys keep their order, and of equal ones the last value counts" do
    assert JSON.read(~s({"b":1,"a":2,"b":3}), 1, :ordered) == OrderedMap.new([{"b", 3}, {"a", 2}])
    assert JSON.read(~s({"b":1,"b":3}), 1) == %{"b" => 3}
    assert text(OrderedMap.new([{"b", 1}, {:a, 2}])) == ~s({"b":1,"a":2})
  end

  test "escapes are read" do
    assert JSON.read(~S("\u0041\n\/\ud83d\ude00"), 1) == "A\n/😀"
  end

  test "anything else is not JSON" do
    for text <- [
          "",
          " ",
          "nul",
          "NaN",
          "Infinity",
          "01",
          "1.",
          ".5",
          "-",
          "1e",
          "+1",
          "[1,]",
          "[1 2]",
          "{\"a\"}",
          "{\"a\":1,}",
          "{a:1}",
          "\"a",
          "\"\x01\"",
          ~S("\x"),
          ~S("\ud800"),
          ~S("\udc00"),
          ~S("\ud800\u0041"),
          "1 2",
          "1e999",
          "'a'",
          <<?", 255, ?">>
        ] do
      assert {:invalid, _} = catch_throw(JSON.read(text, 100))
    end
  end

  test "levels are limited, also of what never ends" do
    assert catch_throw(JSON.read("[[1]]", 1)) == :too_deep
    assert catch_throw(JSON.read(String.duplicate("[", 1_000_000), 100)) == :too_deep
    assert catch_throw(JSON.write([[1]], 1)) == :too_deep
  end

  test "what JSON does not restore is refused" do
    for value <- [{1}, %{1 => 2}, %{nil => 1}, [:nan], MapSet.new(), <<255>>, [<<255>>], [1 | 2], ~D[2026-01-01]] do
      assert catch_throw(JSON.write(value, 100)) == :not_json
    end
  end
end
