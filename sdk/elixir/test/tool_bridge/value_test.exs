defmodule ToolBridge.ValueTest do
  # Every row of the table of values is in the vectors of conformance; here is what is Elixir's own.
  use ExUnit.Case, async: true

  @moduletag :unit

  alias ToolBridge.{Error, Value}
  alias ToolBridge.Proto.Google.Any

  alias ToolBridge.Value.{
    Bytes,
    Complex,
    Decimal,
    Duration,
    Frame,
    FrozenSet,
    Moment,
    OrderedMap,
    Tensor,
    UUID
  }

  defmodule Point do
    defstruct [:x, :y]
  end

  defmodule Money do
    defstruct [:cents]
  end

  defimpl ToolBridge.Value.Plain, for: Money do
    def plain(money), do: "#{money.cents} ct"
  end

  defp round_trip(term, opts \\ []), do: term |> Value.encode!() |> Value.decode!(opts)

  test "values come back as they were" do
    for term <- [
          nil,
          true,
          "",
          "é😀",
          0,
          -1,
          300,
          0x7FFFFFFFFFFFFFFF,
          -0x8000000000000000,
          0x10000000000000000,
          3.0,
          -0.0,
          1.0e300,
          :nan,
          :infinity,
          :neg_infinity,
          [],
          %{},
          [1, "a", nil, 2.5],
          [1.0],
          %{"a" => [%{"b" => nil}]},
          %{1 => 2, {1, 2} => 3},
          {},
          {1, [2], %{"x" => {}}},
          MapSet.new([1, "a", {2}]),
          %FrozenSet{members: MapSet.new([1])},
          %Bytes{data: <<255, 0>>},
          [%Bytes{data: "a"}],
          ~D[2026-03-01],
          ~T[12:30:00.000001],
          ~N[2026-03-01 12:30:00.000000],
          ~U[2026-03-01 12:30:00.123456Z],
          %Moment{kind: :time, iso: "12:30:00+02:00"},
          %Duration{days: -1, seconds: 3, microseconds: 5},
          %UUID{text: "12345678-1234-5678-1234-567812345678"},
          %Decimal{text: "1.50"},
          %Complex{real: 1.0, imag: :nan},
          %Tensor{dtype: "<f8", shape: [2, 1], data: <<1.0::float-little, 2.0::float-little>>},
          %Tensor{dtype: "<i4", shape: [], data: <<1::32-little>>, scalar: true},
          %Tensor{dtype: "<i4", shape: [], data: <<1::32-little>>},
          [%Tensor{dtype: "<i4", shape: [], data: <<1::32-little>>, scalar: true}],
          %Frame{kind: "polars.DataFrame", arrow: "arrow"},
          [%Frame{kind: "pandas.Series", arrow: "arrow"}, {1}]
        ] do
      assert round_trip(term) === term
    end
  end

  test "what Elixir alone has becomes the nearest value" do
    assert round_trip(:ok) == "ok"
    assert round_trip(%{a: 1, b: :c}) == %{"a" => 1, "b" => "c"}
    assert round_trip(<<255>>) == %Bytes{data: <<255>>}
    assert round_trip(1..3) == [1, 2, 3]
    assert round_trip(a: 1) == [{"a", 1}]
    assert round_trip(%Point{x: 1, y: {2, ~D[2026-01-01]}}) == %{"x" => 1, "y" => {2, ~D[2026-01-01]}}
    assert round_trip([%Money{cents: 5}, {%Money{cents: 6}}]) == ["5 ct", {"6 ct"}]
    assert round_trip(Stream.map(1..2, & &1)) == [1, 2]
  end

  test "offsets and zones of datetimes are kept" do
    fixed = %DateTime{
      year: 2026,
      month: 3,
      day: 1,
      hour: 12,
      minute: 0,
      second: 0,
      microsecond: {0, 6},
      time_zone: "+02:00",
      zone_abbr: "+02:00",
      utc_offset: 7200,
      std_offset: 0
    }

    for moment <- [
          fixed,
          %{fixed | zone_abbr: "EET"},
          %{fixed | time_zone: "Europe/Helsinki"},
          %{fixed | time_zone: "-00:30", zone_abbr: "-00:30", utc_offset: -1800}
        ] do
      assert round_trip(moment) == moment
    end
  end

  test "maps keep their order where it is asked for" do
    map = OrderedMap.new([{"b", OrderedMap.new([{"z", 1}, {"a", 2}])}, {"a", {OrderedMap.new([{1, 2}])}}])
    assert round_trip(map, maps: :ordered) == map
    assert round_trip(map) == %{"a" => {%{1 => 2}}, "b" => %{"a" => 2, "z" => 1}}
    assert_raise ArgumentError, fn -> Value.decode(Value.encode!("x"), maps: :sorted) end
  end

  test "a value that cannot be sent is an error that shows it" do
    for term <- [self(), make_ref(), fn -> 1 end, [1 | 2], {self()}, %{"a" => [self()]}] do
      assert {:error, %Error{type: "SerializationError", message: message}} = Value.encode(term)
      assert message =~ ~r/has no form|improper/
    end
  end

  test "levels are limited at both ends" do
    deep = Enum.reduce(1..100, 1, fn _, inner -> [inner] end)
    assert round_trip(deep) == deep
    assert {:error, %Error{message: "the value is nested deeper" <> _}} = Value.encode([deep])

    assert {:error, %Error{message: "the value is nested deeper" <> _}} =
             deep |> Value.encode!() |> Value.decode(max_depth: 99)

    tuples = Enum.reduce(1..100, 1, fn _, inner -> {inner} end)
    assert round_trip(tuples) == tuples
    assert {:error, %Error{message: "the value is nested deeper" <> _}} = Value.encode({tuples})
  end

  test "malformed bytes and unknown types are errors" do
    for {url, data} <- [
          {"", ""},
          {"type.googleapis.com/acme.Money", ""},
          {"type.googleapis.com/google.protobuf.StringValue", <<10, 5, ?a>>},
          {"type.googleapis.com/google.protobuf.StringValue", <<10, 1, 255>>},
          {"type.googleapis.com/dspex.bridge.Json", <<10, 3, "[1,">>},
          {"type.googleapis.com/dspex.bridge.Tensor", <<10, 3, "<f8", 18, 1, 2>>},
          {"type.googleapis.com/dspex.bridge.RichValue", ""}
        ] do
      assert {:error, %Error{type: "SerializationError"}} = Value.decode(%Any{type_url: url, value: data})
    end
  end

  test "type URLs are compared after their last slash" do
    assert Value.decode(%Any{type_url: "example.com/x/google.protobuf.Int64Value", value: <<8, 7>>}) == {:ok, 7}
    assert Value.decode(%Any{type_url: "type.googleapis.com/python.Thing", value: <<10, 1, ?x>>}) == {:ok, "x"}
  end
end
