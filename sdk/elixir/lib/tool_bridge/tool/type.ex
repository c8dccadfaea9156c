defmodule ToolBridge.Tool.Type do
  @moduledoc false
  # The types of a tool's arguments and result: read from typespecs, shown in JSON Schema and as Python writes them, and
  # checked.

  alias ToolBridge.Value.Bytes

  @type t ::
          :any
          | :boolean
          | :integer
          | {:integer, integer() | nil, integer() | nil}
          | :float
          | :number
          | :string
          | :binary
          | :atom
          | {:literal, term()}
          | {:list, t()}
          | {:map, t(), t()}
          | {:record, [{atom(), t(), boolean()}]}
          | {:tuple, [t()]}
          | {:set, t()}
          | {:moment, module()}
          | {:union, [t()]}
          | {:stream, t()}
          | :context

  # ----------------------------------------------------------------------------------------- from a typespec

  @doc "Reads the syntax of a type; what is not known is `:any`."
  @spec read(Macro.t(), Macro.Env.t(), keyword()) :: t()
  def read(syntax, env, variables \\ [])

  def read({:|, _, [left, right]}, env, variables) do
    union([read(left, env, variables), read(right, env, variables)])
  end

  def read({:"::", _, [_, type]}, env, variables), do: read(type, env, variables)
  def read({:.., _, [low, high]}, env, _), do: {:integer, literal(low, env), literal(high, env)}

  def read({{:., _, [module, name]}, _, args}, env, variables),
    do: remote(Macro.expand(module, env), name, args, env, variables)

  def read([{:->, _, _}], _, _), do: :any
  def read([], _, _), do: {:list, :any}
  def read([type | _], env, variables), do: {:list, read(type, env, variables)}
  def read({:{}, _, types}, env, variables), do: {:tuple, Enum.map(types, &read(&1, env, variables))}
  def read({left, right}, env, variables), do: {:tuple, [read(left, env, variables), read(right, env, variables)]}
  def read({:%{}, _, fields}, env, variables), do: map(fields, env, variables)
  def read({:%, _, _}, _, _), do: :any
  def read({:-, _, [number]}, _, _) when is_integer(number), do: {:literal, -number}
  def read(value, _, _) when is_atom(value) or is_integer(value), do: {:literal, value}

  def read({name, _, args}, env, variables) when is_atom(name) do
    args = if is_list(args), do: args, else: []

    case variables[name] do
      nil -> builtin(name, args, env, variables)
      type -> read(type, env, Keyword.delete(variables, name))
    end
  end

  def read(_, _, _), do: :any

  defp builtin(:integer, [], _, _), do: :integer
  defp builtin(:non_neg_integer, [], _, _), do: {:integer, 0, nil}
  defp builtin(:pos_integer, [], _, _), do: {:integer, 1, nil}
  defp builtin(:neg_integer, [], _, _), do: {:integer, nil, -1}
  defp builtin(:timeout, [], _, _), do: {:integer, 0, nil}
  defp builtin(:byte, [], _, _), do: {:integer, 0, 255}
  defp builtin(:float, [], _, _), do: :float
  defp builtin(:number, [], _, _), do: :number
  defp builtin(:boolean, [], _, _), do: :boolean
  defp builtin(name, [], _, _) when name in [:binary, :bitstring, :nonempty_binary], do: :binary
  defp builtin(name, [], _, _) when name in [:atom, :module], do: :atom
  defp builtin(name, [], _, _) when name in [:list, :nonempty_list], do: {:list, :any}

  defp builtin(name, [type], env, variables) when name in [:list, :nonempty_list],
    do: {:list, read(type, env, variables)}

  defp builtin(:map, [], _, _), do: {:map, :string, :any}
  defp builtin(:tuple, [], _, _), do: :any
  defp builtin(nil, [], _, _), do: {:literal, nil}
  defp builtin(_, _, _, _), do: :any

  defp remote(String, :t, [], _, _), do: :string
  defp remote(MapSet, :t, [], _, _), do: {:set, :any}
  defp remote(MapSet, :t, [type], env, variables), do: {:set, read(type, env, variables)}
  defp remote(Enumerable, :t, [], _, _), do: {:stream, :any}
  # From Elixir 1.15 on.
  defp remote(Enumerable, :t, [type], env, variables), do: {:stream, read(type, env, variables)}
  defp remote(module, :t, [], _, _) when module in [DateTime, NaiveDateTime, Date, Time], do: {:moment, module}
  defp remote(ToolBridge.Context, :t, [], _, _), do: :context
  defp remote(_, _, _, _, _), do: :any

  defp map([], _, _), do: {:map, :string, :any}

  defp map(fields, env, variables) do
    case fields do
      [{{kind, _, [key]}, value}] when kind in [:optional, :required] and not is_atom(key) ->
        {:map, read(key, env, variables), read(value, env, variables)}

      _ ->
        read = Enum.map(fields, &field(&1, env, variables))
        if Enum.all?(read), do: {:record, read}, else: {:map, :string, :any}
    end
  end

  defp field({{kind, _, [key]}, value}, env, variables) when kind in [:optional, :required] and is_atom(key) do
    {key, read(value, env, variables), kind == :required}
  end

  defp field({key, value}, env, variables) when is_atom(key), do: {key, read(value, env, variables), true}
  defp field(_, _, _), do: nil

  defp literal({:-, _, [number]}, _), do: -number
  defp literal(number, _) when is_integer(number), do: number
  defp literal(_, _), do: nil

  defp union(types) do
    flat =
      types
      |> Enum.flat_map(fn
        {:union, inner} -> inner
        type -> [type]
      end)
      |> Enum.uniq()

    if :any in flat, do: :any, else: {:union, flat}
  end

  @doc "The type of what a function returns: `{:ok, type} | {:error, reason}` is the type."
  @spec result(t()) :: t()
  def result({:tuple, [{:literal, :ok}, type]}), do: type
  def result({:literal, :ok}), do: {:literal, nil}

  def result({:union, types}) do
    case Enum.reject(types, &match?({:tuple, [{:literal, :error}, _]}, &1)) do
      [] -> :any
      [type] -> result(type)
      types -> union(Enum.map(types, &result/1))
    end
  end

  def result(type), do: type

  # --------------------------------------------------------------------------------------------- descriptions

  @doc "JSON Schema of a type, with the order of its keys."
  @spec schema(t()) :: [{String.t(), term()}]
  def schema(:boolean), do: [{"type", "boolean"}]
  def schema(:integer), do: [{"type", "integer"}]

  def schema({:integer, low, high}) do
    [{"type", "integer"} | for({key, value} <- [{"minimum", low}, {"maximum", high}], value != nil, do: {key, value})]
  end

  def schema(type) when type in [:float, :number], do: [{"type", "number"}]
  def schema(type) when type in [:string, :binary, :atom], do: [{"type", "string"}]
  def schema({:literal, nil}), do: [{"type", "null"}]
  def schema({:literal, value}), do: [{"const", literal_value(value)}]
  def schema({:list, :any}), do: [{"type", "array"}]
  def schema({:list, type}), do: [{"type", "array"}, {"items", ordered(schema(type))}]
  def schema({:stream, type}), do: schema({:list, type})
  def schema({:set, type}), do: schema({:list, type}) ++ [{"uniqueItems", true}]
  def schema({:map, _, :any}), do: [{"type", "object"}]
  def schema({:map, _, type}), do: [{"type", "object"}, {"additionalProperties", ordered(schema(type))}]
  def schema({:moment, DateTime}), do: [{"type", "string"}, {"format", "date-time"}]
  def schema({:moment, NaiveDateTime}), do: [{"type", "string"}, {"format", "date-time"}]
  def schema({:moment, Date}), do: [{"type", "string"}, {"format", "date"}]
  def schema({:moment, Time}), do: [{"type", "string"}, {"format", "time"}]

  def schema({:tuple, types}) do
    [
      {"type", "array"},
      {"prefixItems", Enum.map(types, &ordered(schema(&1)))},
      {"minItems", length(types)},
      {"maxItems", length(types)}
    ]
  end

  def schema({:record, fields}) do
    [
      {"type", "object"},
      {"properties", ordered(for({key, type, _} <- fields, do: {to_string(key), ordered(schema(type))}))},
      {"required", for({key, _, true} <- fields, do: to_string(key))}
    ]
  end

  def schema({:union, types}) do
    if Enum.all?(types, &match?({:literal, value} when value != nil, &1)) do
      [{"enum", for({:literal, value} <- types, do: literal_value(value))}]
    else
      [{"anyOf", Enum.map(types, &ordered(schema(&1)))}]
    end
  end

  def schema(_), do: []

  defp ordered(pairs), do: ToolBridge.Value.OrderedMap.new(pairs)

  defp literal_value(value) when is_boolean(value) or is_integer(value), do: value
  defp literal_value(value), do: to_string(value)

  @doc "A type as Python writes it."
  @spec python(t()) :: String.t()
  def python(:boolean), do: "bool"
  def python(:integer), do: "int"
  def python({:integer, _, _}), do: "int"
  def python(type) when type in [:float, :number], do: "float"
  def python(type) when type in [:string, :atom], do: "str"
  def python(:binary), do: "str | bytes"
  def python({:literal, nil}), do: "None"
  def python({:literal, value}), do: "Literal[#{python_value(value)}]"
  def python({:list, type}), do: "list[#{python(type)}]"
  def python({:stream, type}), do: python(type)
  def python({:set, type}), do: "set[#{python(type)}]"
  def python({:map, key, type}), do: "dict[#{python(key)}, #{python(type)}]"
  def python({:record, _}), do: "dict[str, Any]"
  def python({:tuple, types}), do: "tuple[#{Enum.map_join(types, ", ", &python/1)}]"
  def python({:moment, Date}), do: "date"
  def python({:moment, Time}), do: "time"
  def python({:moment, _}), do: "datetime"
  def python({:union, types}), do: types |> Enum.map(&python/1) |> Enum.uniq() |> Enum.join(" | ")
  def python(_), do: "Any"

  defp python_value(true), do: "True"
  defp python_value(false), do: "False"
  defp python_value(value) when is_integer(value), do: Integer.to_string(value)
  defp python_value(value), do: inspect(to_string(value))

  @doc "The values of a choice, as texts."
  @spec choices(t()) :: [String.t()]
  def choices({:union, types}) do
    if Enum.all?(types, &match?({:literal, _}, &1)),
      do: for({:literal, value} <- types, value != nil, do: to_string(value)),
      else: []
  end

  def choices(_), do: []

  # -------------------------------------------------------------------------------------------------- checks

  @doc "Checks a value and converts it to the type; an error says what is wrong, such as `should be an integer`."
  @spec cast(t(), term()) :: {:ok, term()} | {:error, String.t()}
  def cast(:any, value), do: {:ok, value}
  def cast(:boolean, value) when is_boolean(value), do: {:ok, value}
  def cast(:integer, value) when is_integer(value), do: {:ok, value}
  def cast(:integer, value) when is_float(value) and trunc(value) == value, do: {:ok, trunc(value)}

  def cast({:integer, low, high}, value) do
    with {:ok, number} <- cast(:integer, value) do
      cond do
        low != nil and number < low -> {:error, "should be greater than or equal to #{low}, got #{number}"}
        high != nil and number > high -> {:error, "should be less than or equal to #{high}, got #{number}"}
        true -> {:ok, number}
      end
    end
  end

  def cast(:float, value) when is_float(value), do: {:ok, value}
  def cast(:float, value) when is_integer(value) and abs(value) < 0x20000000000000, do: {:ok, value * 1.0}
  def cast(:float, value) when value in [:nan, :infinity, :neg_infinity], do: {:ok, value}
  def cast(:number, value) when is_number(value), do: {:ok, value}
  def cast(:string, value) when is_binary(value), do: {:ok, value}
  def cast(:binary, value) when is_binary(value), do: {:ok, value}
  def cast(:binary, %Bytes{data: data}), do: {:ok, data}
  def cast(:atom, value) when is_binary(value), do: existing_atom(value)
  def cast({:literal, value}, value), do: {:ok, value}

  def cast({:literal, literal}, value) when is_atom(literal) and is_binary(value) do
    if Atom.to_string(literal) == value, do: {:ok, literal}, else: wrong({:literal, literal}, value)
  end

  def cast({:list, type}, value) when is_list(value), do: each(type, value, 0, [])
  def cast({:stream, type}, value), do: cast({:list, type}, value)

  def cast({:set, type}, value) when is_list(value) do
    with {:ok, items} <- each(type, value, 0, []), do: {:ok, MapSet.new(items)}
  end

  def cast({:set, type}, %MapSet{} = value), do: cast({:set, type}, MapSet.to_list(value))
  def cast({:tuple, types}, value) when is_tuple(value), do: cast({:tuple, types}, Tuple.to_list(value))

  def cast({:tuple, types}, value) when is_list(value) and length(types) == length(value) do
    types
    |> Enum.zip(value)
    |> Enum.with_index()
    |> Enum.reduce_while([], fn {{type, item}, index}, items ->
      case cast(type, item) do
        {:ok, item} -> {:cont, [item | items]}
        {:error, why} -> {:halt, {:error, inside("[#{index}]", why)}}
      end
    end)
    |> case do
      items when is_list(items) -> {:ok, items |> :lists.reverse() |> List.to_tuple()}
      error -> error
    end
  end

  def cast({:moment, module}, %struct{} = value) when struct == module, do: {:ok, value}

  def cast({:moment, module}, value) when is_binary(value) do
    case module.from_iso8601(value) do
      {:ok, moment} -> {:ok, moment}
      {:ok, moment, _} -> {:ok, moment}
      {:error, _} -> wrong({:moment, module}, value)
    end
  end

  def cast({:map, key, type}, value) when is_map(value) and not is_struct(value),
    do: pairs(key, type, Map.to_list(value), %{})

  def cast({:record, fields}, value) when is_map(value) and not is_struct(value), do: record(fields, value, %{})

  def cast({:union, types}, value) do
    case Enum.find_value(types, fn type -> with({:error, _} <- cast(type, value), do: nil) end) do
      nil -> wrong({:union, types}, value)
      found -> found
    end
  end

  def cast(type, value), do: wrong(type, value)

  defp each(_, [], _, items), do: {:ok, :lists.reverse(items)}

  defp each(type, [item | rest], index, items) do
    case cast(type, item) do
      {:ok, item} -> each(type, rest, index + 1, [item | items])
      {:error, why} -> {:error, inside("[#{index}]", why)}
    end
  end

  defp pairs(_, _, [], map), do: {:ok, map}

  defp pairs(key_type, type, [{key, value} | rest], map) do
    with {:ok, cast_key} <- cast(key_type, key),
         {:ok, value} <- cast(type, value) do
      pairs(key_type, type, rest, Map.put(map, cast_key, value))
    else
      {:error, why} -> {:error, inside(".#{key}", why)}
    end
  end

  defp record([], rest, map) when map_size(rest) == 0, do: {:ok, map}
  defp record([], rest, _), do: {:error, ".#{rest |> Map.keys() |> hd()} is not known"}

  defp record([{key, type, required} | fields], given, map) do
    case {Map.pop(given, to_string(key), :none), required} do
      {{:none, _}, true} ->
        {:error, ".#{key} is missing"}

      {{:none, _}, false} ->
        record(fields, given, map)

      {{value, given}, _} ->
        case cast(type, value) do
          {:ok, value} -> record(fields, given, Map.put(map, key, value))
          {:error, why} -> {:error, inside(".#{key}", why)}
        end
    end
  end

  defp existing_atom(text) do
    {:ok, String.to_existing_atom(text)}
  rescue
    ArgumentError -> {:error, "is not a name that is known, got #{shown(text)}"}
  end

  defp inside(place, why), do: if(String.starts_with?(why, [".", "["]), do: place <> why, else: "#{place} #{why}")

  defp wrong(type, value), do: {:error, "should be #{name(type)}, got #{shown(value)}"}

  defp name(:boolean), do: "a valid boolean"
  defp name(:integer), do: "a valid integer"
  defp name(type) when type in [:float, :number], do: "a valid number"
  defp name(type) when type in [:string, :atom], do: "a valid string"
  defp name(:binary), do: "a valid string or bytes"
  defp name({:literal, nil}), do: "None"
  defp name({:literal, value}), do: inspect(literal_value(value))
  defp name({:list, _}), do: "a valid list"
  defp name({:set, _}), do: "a valid set"
  defp name({:tuple, types}), do: "a list of #{length(types)} items"
  defp name({:map, _, _}), do: "a valid dictionary"
  defp name({:record, _}), do: "a valid dictionary"
  defp name({:moment, module}), do: "a valid #{module |> Module.split() |> Enum.join(".")} in ISO 8601"
  defp name({:union, types}), do: Enum.map_join(types, " or ", &name/1)
  defp name(_), do: "another value"

  defp shown(nil), do: "None"
  defp shown(value) when is_boolean(value) or is_number(value), do: inspect(value)
  defp shown(value) when is_binary(value), do: inspect(String.slice(value, 0, 60))
  defp shown(value) when is_list(value), do: "a list of #{length(value)}"
  defp shown(%struct{}), do: "a #{inspect(struct)}"
  defp shown(value) when is_map(value), do: "a map of #{map_size(value)}"
  defp shown(value), do: inspect(value, limit: 3, printable_limit: 60)
end
