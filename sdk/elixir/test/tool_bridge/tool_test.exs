defmodule ToolBridge.ToolTest do
  use ExUnit.Case, async: true

  @moduletag :unit

  alias ToolBridge.{Context, Error, Tool, Tools, Value}
  alias ToolBridge.Value.JSON

  defmodule Shop do
    use ToolBridge.Tools

    @typep order :: :asc | :desc

    @doc """
    Finds products.

    The best come first.
    """
    @tool idempotent: true, version: "2", timeout: 5_000, metadata: %{"team" => "shop"}
    @spec find(String.t(), limit, order) :: {:ok, [%{name: String.t(), price: float()}]} | {:error, String.t()}
          when limit: pos_integer()
    def find(query, limit \\ 5 + 5, _order \\ :asc), do: {:ok, [%{name: query, price: limit * 1.0}]}

    @tool name: "pay"
    @spec pay_it(%{required(:to) => String.t(), optional(:cents) => 1..100}, Date.t() | nil) :: :ok
    def pay_it(%{} = payment, due), do: {payment, due}

    @tool true
    def anything(one, {_, _}, context), do: {one, context}

    def no_tool, do: 1
  end

  defp schema(tool), do: tool |> Tool.to_spec() |> Map.fetch!(:input_schema) |> JSON.read(100)

  test "the functions that are marked are tools" do
    assert [%{name: "find"}, %{name: "pay"}, %{name: "anything"}] = Tools.all(Shop)
  end

  test "a tool is described by its function" do
    [find, pay, anything] = Tools.all(Shop)
    spec = Tool.to_spec(find)

    assert %{name: "find", tool_id: "find", type: :STANDARD, idempotent: true, version: "2"} = spec
    assert spec.description == "Finds products.\n\nThe best come first."
    assert spec.limits.timeout_ms == 5_000
    assert spec.metadata == %{"team" => "shop"}
    assert [%{required: true}, %{required: false}, %{required: false}] = spec.arguments
    assert Enum.map(spec.arguments, & &1.name) == ["query", "limit", "order"]
    assert Enum.map(spec.arguments, & &1.python_type) == ["str", "int", ~s(Literal["asc"] | Literal["desc"])]
    assert Enum.map(spec.arguments, & &1.elixir_type) == ["String.t()", "limit", "order"]
    assert spec.arguments |> Enum.at(1) |> Map.fetch!(:default_value) |> Value.decode!() == 10
    assert spec.return_type.python_type == "list[dict[str, Any]]"

    assert schema(find) == %{
             "type" => "object",
             "properties" => %{
               "query" => %{"type" => "string"},
               "limit" => %{"type" => "integer", "minimum" => 1, "default" => 10},
               "order" => %{"enum" => ["asc", "desc"], "default" => "asc"}
             },
             "required" => ["query"],
             "additionalProperties" => false
           }

    assert %{"payment" => %{"required" => ["to"]}, "due" => due} = schema(pay)["properties"]
    assert due == %{"anyOf" => [%{"type" => "string", "format" => "date"}, %{"type" => "null"}]}
    assert schema(anything)["required"] == ["one", "arg2"]
  end

  test "arguments are converted as the types say" do
    [find, pay, anything] = Tools.all(Shop)
    assert Tool.bind(find, ["x"], %{}, nil) == {:ok, ["x", 10, :asc]}
    assert Tool.bind(find, ["x", 5.0], %{"order" => "desc"}, nil) == {:ok, ["x", 5, :desc]}

    assert Tool.bind(pay, [%{"to" => "ada", "cents" => 7}, "2026-03-01"], %{}, nil) ==
             {:ok, [%{to: "ada", cents: 7}, ~D[2026-03-01]]}

    context = %Context{connection: self(), call: {1, 2}, session_id: "s", tool: "anything"}
    assert Tool.bind(anything, [1, 2], %{}, context) == {:ok, [1, 2, context]}
  end

  test "all that is wrong is named" do
    [find, pay, _] = Tools.all(Shop)

    assert {:error, %Error{type: "ValidationError", message: message, details: details}} =
             Tool.bind(find, [1, 0], %{"query" => "x", "colour" => "red"}, nil)

    assert message =~ ~r/\Afind: /
    assert Map.keys(details) == ["colour", "limit", "query"]
    assert {:error, %Error{details: %{"query" => "is missing"}}} = Tool.bind(find, [], %{}, nil)
    assert {:error, %Error{details: %{"*" => _}}} = Tool.bind(find, ["x", 1, 2, 3], %{}, nil)

    assert {:error,
            %Error{details: %{"payment" => ".cents should be less than or equal to 100, got 101", "due" => due}}} =
             Tool.bind(pay, [%{"to" => "ada", "cents" => 101}, "soon"], %{}, nil)

    assert due =~ "ISO 8601 or None"
  end

  test "types of a spec" do
    for {type, good, bad} <- [
          {"boolean()", [{true, true}], [1, "true"]},
          {"float()", [{1, 1.0}, {:nan, :nan}], ["1", nil]},
          {"binary()", [{"a", "a"}, {%Value.Bytes{data: <<255>>}, <<255>>}], [1]},
          {"[integer()]", [{[1, 2.0], [1, 2]}], [[1, "x"], 1]},
          {"{integer(), String.t()}", [{[1, "a"], {1, "a"}}, {{1, "a"}, {1, "a"}}], [[1], {1, 2}]},
          {"%{optional(String.t()) => integer()}", [{%{"a" => 1}, %{"a" => 1}}], [%{"a" => "b"}]},
          {"MapSet.t(integer())", [{[1, 1], MapSet.new([1])}], ["x"]},
          {"DateTime.t()", [{"2026-03-01T12:00:00Z", ~U[2026-03-01 12:00:00Z]}], ["x"]},
          {":a | :b | nil", [{"a", :a}, {nil, nil}], ["c", 1]},
          {"1..3", [{2, 2}], [4, 0]},
          {"-1", [{-1, -1}], [1]},
          {"term()", [{self(), self()}], []}
        ] do
      tool = Tool.new("t", fn value -> value end, spec: "(value :: #{type}) :: term()")
      for {given, bound} <- good, do: assert(Tool.bind(tool, [given], %{}, nil) == {:ok, [bound]})
      for given <- bad, do: assert({:error, %Error{type: "ValidationError"}} = Tool.bind(tool, [given], %{}, nil))
      assert is_map(schema(tool))
    end
  end

  test "a tool that is not valid is refused where it is made" do
    assert_raise ArgumentError, ~r/:colour is not an option/, fn -> Tool.new("a", fn -> 1 end, colour: 1) end
    assert_raise ArgumentError, ~r/type: is :standard/, fn -> Tool.new("a", fn -> 1 end, type: :batch) end

    assert_raise ArgumentError, ~r/not one of a function of 1/, fn ->
      Tool.new("a", fn x -> x end, spec: "() :: any()")
    end

    assert_raise ArgumentError, ~r/has no name/, fn -> Tool.new("a", fn x -> x end, spec: "(integer()) :: any()") end
  end

  test "a list of tools is of modules and tools" do
    assert [_, _, _, %{name: "one"}] = Tools.all([Shop, Tool.new("one", fn -> 1 end)])
    assert_raise ArgumentError, ~r/is no tool/, fn -> Tools.all("x") end
  end
end
