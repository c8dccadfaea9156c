defmodule ToolBridge.Question.Schema do
  @moduledoc false
  # The schemas of questions: flat objects of texts, numbers, integers, booleans and lists of some of a few texts, as the
  # Model Context Protocol allows, so that each can be shown as a form.

  alias ToolBridge.Error
  alias ToolBridge.Value.{JSON, OrderedMap}

  @max_schema 16_384
  @max_depth 10
  @max_told 8
  # Beyond this, an integer that travels as a double may change.
  @max_exact 0x20000000000000

  @not_object "the schema is a map with \"type\" => \"object\", or nil"
  @object_keys ~w($schema additionalProperties description properties required title type)
  @text_keys ~w(default description enum enumNames title type)
  @sizes ~w(minLength maxLength)
  @counts ~w(minItems maxItems)
  @ranges ~w(minimum maximum exclusiveMinimum exclusiveMaximum)
  @keys %{
    "string" => @text_keys ++ ["format", "oneOf" | @sizes],
    "number" => @text_keys ++ @ranges,
    "integer" => @text_keys ++ @ranges,
    "boolean" => @text_keys,
    "array" => ~w(default description items title type) ++ @counts
  }
  @called %{
    "string" => "a string",
    "number" => "a finite number",
    "integer" => "an integer",
    "boolean" => "true or false",
    "array" => "a list of strings"
  }

  # ------------------------------------------------------------------------------------------------- schemas

  @doc "A schema as text, and as it will be read; nil: no content is asked for."
  @spec write(map() | nil) :: {:ok, String.t(), map() | nil} | {:error, Error.t()}
  def write(nil), do: {:ok, "", nil}

  def write(schema) when is_map(schema) and (not is_struct(schema) or is_struct(schema, OrderedMap)) do
    text = schema |> JSON.write(@max_depth) |> IO.iodata_to_binary()
    with {:ok, read} <- read(text), do: {:ok, text, read}
  catch
    _ -> invalid("the schema is no JSON Schema: it has a value that JSON does not have")
  end

  def write(_), do: invalid(@not_object)

  @doc "Reads the text of a schema; nil for none."
  @spec read(String.t()) :: {:ok, map() | nil} | {:error, Error.t()}
  def read(""), do: {:ok, nil}

  def read(text) do
    if String.length(text) > @max_schema, do: throw({:wrong, "the schema has more than #{@max_schema} characters"})
    schema = JSON.read(text, @max_depth)
    check(schema)
    {:ok, schema}
  catch
    {:wrong, why} -> invalid(why)
    _ -> invalid("the schema of the question is not valid JSON")
  end

  defp check(%{"type" => "object"} = schema) do
    known(schema, @object_keys, "the schema")
    properties = Map.get(schema, "properties", %{})
    required = Map.get(schema, "required", [])
    unless is_map(properties), do: wrong("the schema: \"properties\" must be an object")

    if Map.get(schema, "additionalProperties", false) != false,
      do: wrong("the schema: \"additionalProperties\" must be false or left out")

    Enum.each(properties, fn {name, rules} -> check_property("the schema: property #{shown(name)}", rules) end)

    unless is_list(required) and Enum.all?(required, &is_map_key(properties, &1)),
      do: wrong("the schema: \"required\" must be a list of names in \"properties\"")

    texts(schema, ~w($schema title description), "the schema")
  end

  defp check(_), do: wrong(@not_object)

  defp check_property(where, %{"type" => kind} = rules) when is_map_key(@keys, kind) do
    known(rules, @keys[kind], where)
    texts(rules, ~w(title description format), where)

    Enum.each(@sizes ++ @counts ++ @ranges, &check_limit(where, &1, Map.get(rules, &1, 0)))
    if kind == "array", do: check_items(where, rules["items"]), else: check_choices(where, rules)

    with {:ok, default} <- Map.fetch(rules, "default"),
         why when why != nil <- problem(default, rules),
         do: wrong("#{where}: \"default\" #{why}")
  end

  defp check_property(where, %{"type" => kind}) do
    wrong(
      "#{where} has the type #{shown(kind)}; a question may ask for a string, a number, an integer, a boolean or an array"
    )
  end

  defp check_property(where, _), do: wrong("#{where} has no \"type\"")

  defp check_choices(where, %{"type" => kind} = rules) do
    titled = is_map_key(rules, "oneOf")
    if titled and is_map_key(rules, "enum"), do: wrong("#{where} has \"enum\" and \"oneOf\"; it may have one of them")
    if titled, do: check_titled("#{where}: \"oneOf\"", rules["oneOf"])
    enum = Map.get(rules, "enum", [nil])
    unless is_list(enum) and enum != [], do: wrong("#{where}: \"enum\" must be a list of at least one value")
    bare = Map.drop(rules, ["enum", "oneOf"])

    if Enum.any?(choices(rules), &problem(&1, bare)),
      do:
        wrong(
          "#{where}: #{inspect(if titled, do: "oneOf", else: "enum")} has a value that is not #{@called[kind]}, or is out of range"
        )

    names = Map.get(rules, "enumNames", [])

    unless is_list(names) and Enum.all?(names, &is_binary/1),
      do: wrong("#{where}: \"enumNames\" must be a list of strings")
  end

  # What a list may hold: some of a few texts, which are listed.
  defp check_items(where, %{"anyOf" => titled} = items) when not is_map_key(items, "enum") do
    known(items, ~w(anyOf type), "#{where}: \"items\"")

    if Map.get(items, "type", "string") != "string",
      do: wrong("#{where}: \"items\" must have the type \"string\" or none")

    check_titled("#{where}: \"anyOf\"", titled)
  end

  defp check_items(where, %{"enum" => enum} = items) when not is_map_key(items, "anyOf") do
    known(items, ~w(enum type), "#{where}: \"items\"")
    if items["type"] != "string", do: wrong("#{where}: \"items\" must have the type \"string\"")

    unless is_list(enum) and enum != [] and Enum.all?(enum, &is_kind("string", &1)),
      do: wrong("#{where}: \"enum\" must be a list of at least one string")
  end

  defp check_items(where, _), do: wrong("#{where}: \"items\" must be an object with either \"enum\" or \"anyOf\"")

  defp check_titled(where, [_ | _] = choices) do
    unless Enum.all?(choices, &titled?/1),
      do: wrong("#{where} must list objects with two strings, \"const\" and \"title\"")
  end

  defp check_titled(where, _), do: wrong("#{where} must be a list of at least one choice")

  defp titled?(%{"const" => value, "title" => title} = choice),
    do: map_size(choice) == 2 and is_kind("string", value) and is_kind("string", title)

  defp titled?(_), do: false

  # The values that a property, or each item of a list, may have; [] where any may be given.
  defp choices(%{"type" => "array", "items" => items}), do: choices(Map.put(items, "type", "string"))
  defp choices(%{"oneOf" => titled}), do: Enum.map(titled, & &1["const"])
  defp choices(%{"anyOf" => titled}), do: Enum.map(titled, & &1["const"])
  defp choices(rules), do: Map.get(rules, "enum", [])

  defp check_limit(_, key, rule) when key in @sizes and is_integer(rule), do: :ok
  defp check_limit(_, key, rule) when key in @counts and is_integer(rule), do: :ok
  defp check_limit(_, key, rule) when key in @ranges and is_number(rule), do: :ok
  defp check_limit(where, key, _), do: wrong("#{where}: #{inspect(key)} must be a number")

  defp known(rules, known, where) do
    case Map.keys(rules) -- known do
      [] -> :ok
      [key | _] -> wrong("#{where} has #{shown(key)}, which no question has; it may have #{Enum.join(known, ", ")}")
    end
  end

  defp texts(rules, keys, where) do
    case Enum.reject(keys, &is_binary(Map.get(rules, &1, ""))) do
      [] -> :ok
      [key | _] -> wrong("#{where}: #{inspect(key)} must be a string")
    end
  end

  @spec wrong(String.t()) :: no_return()
  defp wrong(why), do: throw({:wrong, why})

  # ------------------------------------------------------------------------------------------------ contents

  @doc "Checks a content by a valid schema; nil: there must be none."
  @spec fit(map(), map() | nil) :: {:ok, map()} | {:error, Error.t()}
  def fit(content, schema) do
    properties = Map.get(schema || %{}, "properties", %{})

    problems = for {name, value} <- content, why = unfit(value, properties[name]), do: {name, why}

    missing =
      for name <- Map.get(schema || %{}, "required", []), not is_map_key(content, name), do: {name, "is missing"}

    case problems ++ missing do
      [] -> {:ok, Map.new(content, fn {name, value} -> {name, whole(value, properties[name])} end)}
      wrong -> unfit(wrong)
    end
  end

  defp unfit(value, rules), do: if(rules == nil, do: "is not asked for", else: problem(whole(value, rules), rules))

  defp unfit(wrong) do
    told = wrong |> Enum.take(@max_told) |> Enum.map_join("; ", fn {name, why} -> "#{shown(name)} #{why}" end)
    more = if length(wrong) > @max_told, do: "; …", else: ""
    text = "the answer does not fit what was asked for: #{told}#{more}"
    {:error, Error.new("ValidationError", text, details: Map.new(wrong))}
  end

  # Integers may come as doubles.
  defp whole(value, %{"type" => "integer"}) when is_float(value) and trunc(value) == value, do: trunc(value)
  defp whole(value, _), do: value

  # What is wrong with the value of a property; nil if nothing is.
  defp problem(value, %{"type" => kind} = rules) do
    cond do
      not is_kind(kind, value) ->
        "is #{shown(value)}, not #{@called[kind]}"

      kind == "array" ->
        items_problem(value, choices(rules), rules)

      why = choice_problem(value, choices(rules)) ->
        why

      kind == "string" ->
        length_problem(String.length(value), rules)

      kind == "boolean" ->
        nil

      true ->
        range_problem(value, rules)
    end
  end

  defp is_kind("string", value), do: is_binary(value) and String.valid?(value)
  defp is_kind("number", value), do: is_number(value)
  defp is_kind("integer", value), do: is_integer(value) and abs(value) <= @max_exact
  defp is_kind("boolean", value), do: is_boolean(value)
  defp is_kind("array", value), do: is_list(value) and Enum.all?(value, &is_kind("string", &1))

  defp choice_problem(_, []), do: nil

  defp choice_problem(value, choices) do
    unless Enum.any?(choices, &(&1 == value)),
      do: "is #{shown(value)}, not one of #{Enum.map_join(choices, ", ", &shown/1)}"
  end

  defp items_problem(values, choices, rules) do
    count = length(values)

    cond do
      why = Enum.find_value(values, &choice_problem(&1, choices)) -> "has an item that #{why}"
      count < Map.get(rules, "minItems", 0) -> "has #{count} items, not at least #{rules["minItems"]}"
      count > Map.get(rules, "maxItems", count) -> "has #{count} items, not at most #{rules["maxItems"]}"
      true -> nil
    end
  end

  defp length_problem(size, rules) do
    cond do
      size < Map.get(rules, "minLength", 0) -> "has #{size} characters, not at least #{rules["minLength"]}"
      size > Map.get(rules, "maxLength", size) -> "has #{size} characters, not at most #{rules["maxLength"]}"
      true -> nil
    end
  end

  defp range_problem(value, rules) do
    Enum.find_value(@ranges, fn key ->
      case rules do
        %{^key => limit} -> unless in_range?(key, value, limit), do: "is #{value}, not #{called(key)} #{limit}"
        _ -> nil
      end
    end)
  end

  defp in_range?("minimum", value, limit), do: value >= limit
  defp in_range?("maximum", value, limit), do: value <= limit
  defp in_range?("exclusiveMinimum", value, limit), do: value > limit
  defp in_range?("exclusiveMaximum", value, limit), do: value < limit

  defp called("minimum"), do: "at least"
  defp called("maximum"), do: "at most"
  defp called("exclusiveMinimum"), do: "more than"
  defp called("exclusiveMaximum"), do: "less than"

  defp shown(value), do: value |> inspect(limit: 5, printable_limit: 60) |> String.slice(0, 80)

  defp invalid(why), do: {:error, Error.new("ValidationError", why)}
end
