defmodule ToolBridge.Tools do
  @moduledoc """
  Makes tools of the functions of a module.

      defmodule MyApp.Tools do
        use ToolBridge.Tools

        @doc "Adds two numbers."
        @tool true
        @spec add(integer(), integer()) :: integer()
        def add(a, b \\\\ 1), do: a + b

        @doc "Counts."
        @tool idempotent: true
        @spec count(non_neg_integer(), ToolBridge.Context.t()) :: Enumerable.t()
        def count(n, context) do
          Stream.each(1..n//1, &ToolBridge.Context.progress(context, &1, n))
        end
      end

  `@tool` marks the function that follows; its options are those of `ToolBridge.Tool.new/3`, and `:name`. The tool's
  description is its `@doc`. Its schema is made of its `@spec`, and arguments are checked and converted by it:

    * `integer()` also takes a float such as 5.0, `float()` an integer
    * `:asc | :desc` takes the texts `"asc"` and `"desc"`
    * `%{name: String.t(), optional(:age) => integer()}` is a map with atoms as keys
    * `Date.t()` and its like take ISO 8601
    * `binary()` takes a text or bytes
    * types of the module itself are known, those of others are any term

  A tool without `@spec` takes anything. A parameter of the type `ToolBridge.Context.t()`, or named `context` where there
  is no `@spec`, is filled in and is not part of the schema.

  A tool returns its result, or `{:ok, result}` or `{:error, reason}`. One whose result is an `Enumerable.t()`, or that has
  `type: :streaming`, yields the values of what it returns.

      iex> [add, count] = ToolBridge.Tools.all(ToolBridge.ExampleTools)
      iex> {add.name, add.description, count.type}
      {"add", "Adds two numbers.", :streaming}
  """

  alias ToolBridge.Tool
  alias ToolBridge.Tool.{Argument, Type}

  defmacro __using__(_) do
    quote do
      Module.register_attribute(__MODULE__, :tool_bridge_tools, accumulate: true)
      @on_definition ToolBridge.Tools
      @before_compile ToolBridge.Tools
    end
  end

  @doc """
  The tools of modules, functions' tools, and lists of them.

  Raises `ArgumentError` if something is no tool, or two have the same name.
  """
  @spec all(module() | Tool.t() | [module() | Tool.t()]) :: [Tool.t()]
  def all(sources) do
    tools = sources |> List.wrap() |> Enum.flat_map(&tools_of/1)
    names = Enum.map(tools, & &1.name)

    case names -- Enum.uniq(names) do
      [] -> tools
      [name | _] -> raise ArgumentError, "two tools are named #{inspect(name)}; give one of them another name"
    end
  end

  defp tools_of(%Tool{} = tool), do: [tool]

  defp tools_of(module) when is_atom(module) do
    if Code.ensure_loaded?(module) and function_exported?(module, :__tools__, 0) do
      module.__tools__()
    else
      raise ArgumentError, "#{inspect(module)} has no tools; add use ToolBridge.Tools, and @tool before its functions"
    end
  end

  defp tools_of(other), do: raise(ArgumentError, "#{inspect(other)} is no tool: expected a ToolBridge.Tool or a module")

  # ------------------------------------------------------------------------------------------- while compiling

  @doc false
  def __on_definition__(env, :def, name, args, _, _) do
    case Module.delete_attribute(env.module, :tool) do
      nil ->
        :ok

      marked ->
        opts = if marked == true, do: [], else: marked

        if not Keyword.keyword?(opts) do
          raise CompileError, file: env.file, line: env.line, description: "@tool is true or a list of options"
        end

        doc = with {_, text} when is_binary(text) <- Module.get_attribute(env.module, :doc), do: text, else: (_ -> "")
        Module.put_attribute(env.module, :tool_bridge_tools, {name, args, opts, doc})
    end
  end

  def __on_definition__(_, _, _, _, _, _), do: :ok

  defmacro __before_compile__(env) do
    specs = {Module.get_attribute(env.module, :spec), local_types(env.module)}
    tools = env.module |> Module.get_attribute(:tool_bridge_tools) |> Enum.reverse()

    quote do
      @doc false
      def __tools__, do: unquote(Enum.map(tools, &tool_syntax(&1, specs, env)))
    end
  end

  defp tool_syntax({name, args, opts, doc}, specs, env) do
    {types, result} = types_of(name, length(args), specs, env)
    parameters = args |> Enum.zip(types) |> Enum.with_index(1) |> Enum.map(&parameter(&1, env))
    context = Enum.find_index(parameters, &(&1.type == :context))
    arguments = Enum.reject(parameters, &(&1.type == :context))
    {tool_name, opts} = Keyword.pop(opts, :name, Atom.to_string(name))
    {result_type, result_typespec} = result

    fields = [
      name: to_string(tool_name),
      description: String.trim(doc),
      context: context,
      result: result_type,
      result_typespec: result_typespec
    ]

    quote do
      ToolBridge.Tool.build(
        unquote(Macro.escape(fields)) ++
          [
            function: &(__MODULE__.unquote(name) / unquote(length(args))),
            arguments: unquote(Enum.map(arguments, &argument_syntax/1))
          ],
        unquote(Macro.escape(opts))
      )
    end
  end

  defp parameter({{syntax, type}, number}, _) do
    {name, default} =
      case syntax do
        {:\\, _, [variable, default]} -> {variable_name(variable, number), {:ok, default}}
        variable -> {variable_name(variable, number), nil}
      end

    {type, typespec} = type || if(name == "context", do: {:context, ""}, else: {:any, "term()"})
    %{name: name, default: default, type: type, typespec: typespec}
  end

  defp variable_name({:=, _, [left, right]}, number) do
    case variable_name(left, number) do
      "arg" <> _ -> variable_name(right, number)
      name -> name
    end
  end

  defp variable_name({name, _, context}, _) when is_atom(name) and is_atom(context) do
    name |> Atom.to_string() |> String.trim_leading("_")
  end

  defp variable_name(_, number), do: "arg#{number}"

  defp argument_syntax(argument) do
    default =
      case argument.default do
        {:ok, syntax} -> quote(do: fn -> unquote(syntax) end)
        nil -> nil
      end

    quote do
      %Argument{
        name: unquote(argument.name),
        type: unquote(Macro.escape(argument.type)),
        typespec: unquote(argument.typespec),
        default: unquote(default)
      }
    end
  end

  # The types of the module itself that have no parameters, by name.
  defp local_types(module) do
    for attribute <- [:type, :typep],
        {_, {:"::", _, [{name, _, args}, type]}, _} <- Module.get_attribute(module, attribute),
        args in [nil, []],
        do: {name, type}
  end

  # The types of the arguments, each {type, text} or nil, and that of the result.
  defp types_of(name, arity, {specs, local_types}, env) do
    found =
      Enum.find_value(specs, fn {:spec, syntax, _} ->
        {syntax, variables} =
          case syntax do
            {:when, _, [syntax, variables]} -> {syntax, variables}
            syntax -> {syntax, []}
          end

        case syntax do
          {:"::", _, [{^name, _, args}, result]} when length(args) == arity -> {args, result, variables}
          _ -> nil
        end
      end)

    case found do
      nil ->
        {List.duplicate(nil, arity), {:any, "term()"}}

      {args, result, variables} ->
        variables = variables ++ local_types
        types = Enum.map(args, &{Type.read(&1, env, variables), Macro.to_string(&1)})
        {types, {Type.result(Type.read(result, env, variables)), Macro.to_string(result)}}
    end
  end
end
