defmodule ToolBridge.Tool do
  @moduledoc """
  A function that peers can call.

  `ToolBridge.Tools` makes tools of the functions of a module; `new/3` makes one of any function:

      iex> tool = ToolBridge.Tool.new("add", fn a, b -> a + b end, spec: "(a :: integer(), b :: integer()) :: integer()")
      iex> {tool.name, Enum.map(tool.arguments, & &1.name)}
      {"add", ["a", "b"]}
  """

  alias ToolBridge.Error
  alias ToolBridge.Proto.{ArgumentSpec, ResourceLimits, ToolSpec}
  alias ToolBridge.Tool.{Argument, Type}
  alias ToolBridge.Value
  alias ToolBridge.Value.OrderedMap

  defmodule Argument do
    @moduledoc false
    # `default` is a function without arguments, nil if the argument is required; `typespec` is as it is written.
    @enforce_keys [:name]
    defstruct [:name, type: :any, typespec: "term()", default: nil, description: ""]
  end

  @enforce_keys [:name, :function]
  defstruct [
    :name,
    :function,
    # Where the function takes a `ToolBridge.Context`: its position, or nil.
    :context,
    id: nil,
    description: "",
    type: :standard,
    arguments: [],
    # The function takes all positional arguments as a list and all others as a map.
    variadic: false,
    maps: :map,
    result: :any,
    result_typespec: "term()",
    idempotent: false,
    version: "",
    timeout: 0,
    max_concurrent_calls: 0,
    rate_limit_per_minute: 0,
    metadata: %{},
    input_schema: nil,
    output_schema: nil
  ]

  @type t :: %__MODULE__{
          name: String.t(),
          function: function(),
          description: String.t(),
          type: :standard | :streaming,
          idempotent: boolean(),
          version: String.t(),
          timeout: non_neg_integer(),
          metadata: %{optional(String.t()) => String.t()}
        }

  @options [
    :id,
    :description,
    :type,
    :idempotent,
    :version,
    :timeout,
    :max_concurrent_calls,
    :rate_limit_per_minute,
    :metadata,
    :maps,
    :input_schema,
    :output_schema
  ]

  @doc """
  Makes a tool of a function.

  Options:

    * `:spec` - a typespec, such as `"(text :: String.t(), limit :: integer()) :: [String.t()]"`; its names are those of
      the arguments. An argument of the type `ToolBridge.Context.t()` is filled in. Without it, the arguments are
      `arg1`, `arg2` and so on, of any type.
    * `:variadic` - the function takes a list of positional and a map of named arguments, of any type
    * `:description`, `:id`, `:version`
    * `:type` - `:standard`, or `:streaming` for a function that returns an Enumerable of values
    * `:idempotent` - calling twice has the effect of calling once, so that a failed call may be repeated
    * `:timeout` - milliseconds that a call may take
    * `:max_concurrent_calls`, `:rate_limit_per_minute`
    * `:input_schema`, `:output_schema` - JSON Schema as a map, instead of that of the types
    * `:metadata` - a map of texts
    * `:maps` - `:ordered` for arguments with `ToolBridge.Value.OrderedMap`, which keep the order of their keys

  Raises `ArgumentError` if an option is not valid.
  """
  @spec new(String.t(), function(), keyword()) :: t()
  def new(name, function, opts \\ []) when is_binary(name) and is_function(function) do
    {spec, opts} = Keyword.pop(opts, :spec)
    {variadic, opts} = Keyword.pop(opts, :variadic, false)
    {:arity, arity} = Function.info(function, :arity)

    {arguments, context, result, result_typespec} =
      cond do
        spec != nil -> parse(spec, arity, name)
        variadic -> {[], nil, :any, "term()"}
        true -> {for(n <- 1..arity//1, do: %Argument{name: "arg#{n}"}), nil, :any, "term()"}
      end

    build(
      [
        name: name,
        function: function,
        arguments: arguments,
        context: context,
        result: result,
        result_typespec: result_typespec,
        variadic: variadic
      ],
      opts
    )
  end

  @doc false
  @spec build(keyword(), keyword()) :: t()
  def build(fields, opts) do
    case Keyword.keys(opts) -- @options do
      [] ->
        :ok

      [unknown | _] ->
        raise ArgumentError, "#{inspect(unknown)} is not an option of a tool; known are #{inspect(@options)}"
    end

    tool = struct!(__MODULE__, Keyword.merge(fields, opts))
    type = if match?({:stream, _}, tool.result) and not Keyword.has_key?(opts, :type), do: :streaming, else: tool.type

    if type not in [:standard, :streaming] do
      raise ArgumentError, "type: is :standard or :streaming, not #{inspect(type)}"
    end

    %{tool | type: type, id: tool.id || tool.name}
  end

  defp parse(spec, arity, name) do
    case Code.string_to_quoted("f" <> spec) do
      {:ok, {:"::", _, [{:f, _, args}, result]}} when length(args) == arity ->
        read = Enum.map(args, &parsed_argument/1)
        {arguments, context} = split_context(read)
        {arguments, context, Type.result(Type.read(result, __ENV__)), Macro.to_string(result)}

      _ ->
        raise ArgumentError, "the spec of #{name} is not one of a function of #{arity} arguments: #{spec}"
    end
  end

  defp parsed_argument({:"::", _, [{name, _, nil}, type]}) do
    %Argument{name: Atom.to_string(name), type: Type.read(type, __ENV__), typespec: Macro.to_string(type)}
  end

  defp parsed_argument(type),
    do: raise(ArgumentError, "an argument has no name: write name :: #{Macro.to_string(type)}")

  @doc false
  @spec split_context([%Argument{}]) :: {[%Argument{}], non_neg_integer() | nil}
  def split_context(arguments) do
    case Enum.find_index(arguments, &(&1.type == :context)) do
      nil -> {arguments, nil}
      index -> {List.delete_at(arguments, index), index}
    end
  end

  # ---------------------------------------------------------------------------------------------------- spec

  @doc false
  @spec to_spec(t()) :: %ToolSpec{}
  def to_spec(%__MODULE__{} = tool) do
    %ToolSpec{
      tool_id: tool.id,
      name: tool.name,
      description: tool.description,
      type: if(tool.type == :streaming, do: :STREAMING, else: :STANDARD),
      arguments: if(tool.variadic, do: variadic(), else: Enum.map(tool.arguments, &argument_spec/1)),
      return_type: %ArgumentSpec{
        name: "return",
        python_type: Type.python(tool.result),
        elixir_type: tool.result_typespec
      },
      metadata: tool.metadata,
      limits: limits(tool),
      input_schema: json(tool.input_schema || input_schema(tool)),
      output_schema: json(tool.output_schema || output_schema(tool)),
      version: tool.version,
      idempotent: tool.idempotent
    }
  end

  defp variadic do
    [
      %ArgumentSpec{name: "args", python_type: "Any", elixir_type: "term()", validation: rules(["var-positional"])},
      %ArgumentSpec{name: "kwargs", python_type: "Any", elixir_type: "term()", validation: rules(["var-keyword"])}
    ]
  end

  defp rules(custom), do: %ToolBridge.Proto.ValidationRules{custom_rules: custom}

  defp argument_spec(argument) do
    %ArgumentSpec{
      name: argument.name,
      python_type: Type.python(argument.type),
      elixir_type: argument.typespec,
      required: argument.default == nil,
      description: argument.description,
      default_value: default_value(argument),
      allowed_values: Type.choices(argument.type),
      validation: bounds(argument.type)
    }
  end

  defp bounds({:integer, low, high}) do
    %ToolBridge.Proto.ValidationRules{min_value: low && low * 1.0, max_value: high && high * 1.0}
  end

  defp bounds(_), do: nil

  defp default_value(%Argument{default: nil}), do: nil

  defp default_value(%Argument{default: default}) do
    case Value.encode(default.()) do
      {:ok, any} -> any
      {:error, _} -> nil
    end
  end

  defp limits(%{timeout: 0, max_concurrent_calls: 0, rate_limit_per_minute: 0}), do: nil

  defp limits(tool) do
    %ResourceLimits{
      timeout_ms: tool.timeout,
      max_concurrent_calls: tool.max_concurrent_calls,
      rate_limit_per_minute: tool.rate_limit_per_minute
    }
  end

  defp input_schema(%{variadic: true}), do: OrderedMap.new([{"type", "object"}])

  defp input_schema(tool) do
    properties = for argument <- tool.arguments, do: {argument.name, OrderedMap.new(property(argument))}

    OrderedMap.new([
      {"type", "object"},
      {"properties", OrderedMap.new(properties)},
      {"required", for(%{default: nil, name: name} <- tool.arguments, do: name)},
      {"additionalProperties", false}
    ])
  end

  defp property(argument) do
    described = if argument.description == "", do: [], else: [{"description", argument.description}]
    Type.schema(argument.type) ++ described ++ default_property(argument)
  end

  defp default_property(%Argument{default: nil}), do: []

  defp default_property(%Argument{default: default}) do
    value = default.()
    _ = Value.JSON.write(value, 100)
    [{"default", value}]
  catch
    _ -> []
  end

  defp output_schema(%{result: :any}), do: nil
  defp output_schema(%{result: {:stream, type}, type: :streaming}), do: OrderedMap.new(Type.schema(type))
  defp output_schema(tool), do: OrderedMap.new(Type.schema(tool.result))

  defp json(nil), do: ""
  defp json(text) when is_binary(text), do: text
  defp json(schema), do: schema |> Value.JSON.write(100) |> IO.iodata_to_binary()

  # -------------------------------------------------------------------------------------------------- binding

  @doc false
  # Returns what the function is called with, or an error that names every wrong argument.
  @spec bind(t(), [term()], map(), ToolBridge.Context.t() | nil) :: {:ok, [term()]} | {:error, Error.t()}
  def bind(%__MODULE__{variadic: true}, args, kwargs, _), do: {:ok, [args, kwargs]}

  def bind(%__MODULE__{} = tool, args, kwargs, context) do
    {bound, rest, kwargs, problems} = Enum.reduce(tool.arguments, {[], args, kwargs, []}, &bind_one/2)

    surplus =
      for _ <- rest, do: {"*", "there are #{length(args)} positional arguments; it takes #{length(tool.arguments)}"}

    unknown = for name <- Map.keys(kwargs), do: {name, "is not known"}

    case :lists.reverse(problems) ++ Enum.take(surplus, 1) ++ unknown do
      [] -> {:ok, bound |> :lists.reverse() |> with_context(tool.context, context)}
      problems -> {:error, invalid(tool, problems)}
    end
  end

  defp bind_one(%Argument{name: name} = argument, {bound, args, kwargs, problems}) do
    case {args, Map.pop(kwargs, name, :none)} do
      {[value | args], {:none, kwargs}} -> checked(argument, value, {bound, args, kwargs, problems})
      {[_ | args], {_, kwargs}} -> {bound, args, kwargs, [{name, "is given twice, by position and by name"} | problems]}
      {[], {:none, kwargs}} when argument.default == nil -> {bound, [], kwargs, [{name, "is missing"} | problems]}
      {[], {:none, kwargs}} -> {[argument.default.() | bound], [], kwargs, problems}
      {[], {value, kwargs}} -> checked(argument, value, {bound, [], kwargs, problems})
    end
  end

  defp checked(argument, value, {bound, args, kwargs, problems}) do
    case Type.cast(argument.type, value) do
      {:ok, value} -> {[value | bound], args, kwargs, problems}
      {:error, why} -> {bound, args, kwargs, [{argument.name, why} | problems]}
    end
  end

  defp with_context(args, nil, _), do: args
  defp with_context(args, index, context), do: List.insert_at(args, index, context)

  defp invalid(tool, problems) do
    text = Enum.map_join(problems, "; ", fn {name, why} -> "#{name} #{why}" end)
    Error.new("ValidationError", "#{tool.name}: #{text}", details: Map.new(problems))
  end
end
