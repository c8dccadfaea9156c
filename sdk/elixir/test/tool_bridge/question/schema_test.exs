defmodule ToolBridge.Question.SchemaTest do
  use ExUnit.Case, async: true

  @moduletag :unit

  alias ToolBridge.Error
  alias ToolBridge.Question.Schema

  defp object(properties, more \\ %{}), do: Map.merge(%{type: "object", properties: properties}, more)

  defp why(schema) do
    assert {:error, %Error{type: "ValidationError", message: message}} = Schema.write(schema)
    message
  end

  defp unfit(content, properties, more \\ %{}) do
    {:ok, _, schema} = Schema.write(object(properties, more))

    case Schema.fit(content, schema) do
      {:ok, _} -> nil
      {:error, %Error{details: details}} -> details
    end
  end

  test "a schema is written and read again" do
    schema = object(%{kind: %{type: "string", enum: ["a", "b"], default: "a"}}, %{required: ["kind"]})
    assert {:ok, text, read} = Schema.write(schema)
    assert Schema.read(text) == {:ok, read}
    assert read["properties"]["kind"]["enum"] == ["a", "b"]
    assert Schema.write(nil) == {:ok, "", nil}
  end

  test "a schema that no form could show is refused with the reason" do
    assert why(%{type: "array"}) =~ ~s("type" => "object")
    assert why("object") =~ "a map"
    assert why(object([])) =~ ~s("properties" must be an object)
    assert why(object(%{a: %{type: "object"}})) =~ ~s(property "a" has the type "object")
    assert why(object(%{a: 1})) =~ ~s(property "a" has no "type")
    assert why(object(%{a: %{type: "string", pattern: "x"}})) =~ ~s("pattern", which no question has)
    assert why(object(%{a: %{type: "integer", minimum: "0"}})) =~ ~s("minimum" must be a number)
    assert why(object(%{a: %{type: "integer", enum: [1, "2"]}})) =~ ~s("enum" has a value that is not an integer)
    assert why(object(%{a: %{type: "boolean", default: 1}})) =~ ~s("default" is 1, not true or false)
    assert why(object(%{}, %{required: ["b"]})) =~ ~s("required")
    assert why(object(%{}, %{additionalProperties: true})) =~ ~s("additionalProperties")
    assert why(object(%{a: %{type: "string", title: 1}})) =~ ~s("title" must be a string)
    assert why(object(%{a: %{type: "string", default: self()}})) =~ "a value that JSON does not have"
    assert why(object(%{a: %{type: "string", title: String.duplicate("x", 20_000)}})) =~ "characters"
    assert {:error, %Error{}} = Schema.read("{")
  end

  test "a content is checked property by property" do
    assert unfit(%{"a" => 1.0e300}, %{a: %{type: "number", minimum: 0, exclusiveMaximum: 1.0e301}}) == nil
    assert unfit(%{"a" => 1}, %{a: %{type: "number", exclusiveMinimum: 1}}) == %{"a" => "is 1, not more than 1"}
    assert unfit(%{"a" => 3}, %{a: %{type: "number", maximum: 2.5}}) == %{"a" => "is 3, not at most 2.5"}
    assert unfit(%{"a" => "é"}, %{a: %{type: "string", minLength: 2}}) == %{"a" => "has 1 characters, not at least 2"}
    assert unfit(%{"a" => 1}, %{a: %{type: "number", enum: [1.0, 2]}}) == nil
    assert unfit(%{"a" => "c"}, %{a: %{type: "string", enum: ["b"]}}) == %{"a" => ~s(is "c", not one of "b")}
    assert unfit(%{"a" => 1.5}, %{a: %{type: "integer"}}) == %{"a" => "is 1.5, not an integer"}
    assert unfit(%{"a" => :nan}, %{a: %{type: "number"}}) == %{"a" => "is :nan, not a finite number"}
    assert unfit(%{"a" => nil}, %{a: %{type: "boolean"}}) == %{"a" => "is nil, not true or false"}

    assert unfit(%{"b" => 1}, %{a: %{type: "string"}}, %{required: ["a"]}) == %{
             "a" => "is missing",
             "b" => "is not asked for"
           }
  end

  @titled [%{const: "a", title: "A"}, %{const: "b", title: "B"}]

  test "choices have titles, and a list holds some of them" do
    assert {:ok, _, _} = Schema.write(object(%{a: %{type: "string", oneOf: @titled, default: "b"}}))
    assert unfit(%{"a" => "A"}, %{a: %{type: "string", oneOf: @titled}}) == %{"a" => ~s(is "A", not one of "a", "b")}
    list = %{type: "array", items: %{anyOf: @titled}, minItems: 1, maxItems: 2, default: ["a"]}
    assert unfit(%{"a" => ["b", "a"]}, %{a: list}) == nil
    assert unfit(%{"a" => ["a", "c"]}, %{a: list}) == %{"a" => ~s(has an item that is "c", not one of "a", "b")}
    assert unfit(%{"a" => []}, %{a: list}) == %{"a" => "has 0 items, not at least 1"}
    assert unfit(%{"a" => ["a", "b", "a"]}, %{a: list}) == %{"a" => "has 3 items, not at most 2"}
    assert unfit(%{"a" => "a"}, %{a: list}) == %{"a" => ~s(is "a", not a list of strings)}
    assert unfit(%{"a" => [1]}, %{a: %{type: "array", items: %{type: "string", enum: ["1"]}}}) |> is_map()
  end

  test "choices that no form could show are refused with the reason" do
    assert why(object(%{a: %{type: "string", oneOf: @titled, enum: ["a"]}})) =~ ~s("enum" and "oneOf")
    assert why(object(%{a: %{type: "string", oneOf: []}})) =~ ~s("oneOf" must be a list of at least one choice)
    assert why(object(%{a: %{type: "string", oneOf: [%{const: "a"}]}})) =~ "objects with two strings"
    assert why(object(%{a: %{type: "string", oneOf: @titled, default: "c"}})) =~ ~s("default" is "c", not one of)
    assert why(object(%{a: %{type: "string", oneOf: @titled, maxLength: 0}})) =~ ~s("oneOf" has a value)
    assert why(object(%{a: %{type: "array"}})) =~ ~s("items" must be an object with either)
    assert why(object(%{a: %{type: "array", items: %{enum: ["a"]}}})) =~ ~s("items" must have the type "string")
    assert why(object(%{a: %{type: "array", items: %{type: "string", enum: [1]}}})) =~ "at least one string"

    assert why(object(%{a: %{type: "array", items: %{type: "integer", anyOf: @titled}}})) =~
             ~s(the type "string" or none)

    assert why(object(%{a: %{type: "array", items: %{anyOf: @titled, minimum: 1}}})) =~ ~s("items" has "minimum")

    assert why(object(%{a: %{type: "array", items: %{anyOf: @titled}, minItems: "1"}})) =~
             ~s("minItems" must be a number)
  end

  test "integers that came as doubles are integers" do
    {:ok, _, schema} = Schema.write(object(%{n: %{type: "integer"}}))
    assert {:ok, %{"n" => number}} = Schema.fit(%{"n" => 3.0}, schema)
    assert number === 3
  end

  test "no content is taken where none was asked for" do
    assert Schema.fit(%{}, nil) == {:ok, %{}}
    assert {:error, %Error{details: %{"a" => "is not asked for"}}} = Schema.fit(%{"a" => 1}, nil)
  end
end
