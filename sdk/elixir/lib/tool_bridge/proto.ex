defmodule ToolBridge.Proto do
  @moduledoc """
  The messages of the wire, as structs: `ToolBridge.Proto.ToolCallRequest` and the others of `proto/dspex_bridge.proto`,
  and those of `google.protobuf` that it uses, such as `ToolBridge.Proto.Google.Any`.

  Each module has `encode/1` and `decode/1`. A field that is a message is nil if it is not set; a oneof is nil or
  `{name, value}`; an enum is an atom such as `:STREAMING`, or a number that is not known.

      iex> alias ToolBridge.Proto.{Progress, LinkEvent}
      iex> bytes = LinkEvent.encode(%LinkEvent{kind: {:progress, %Progress{current: 1.0, total: 4.0}}})
      iex> {:ok, %LinkEvent{kind: {:progress, progress}}} = LinkEvent.decode(bytes)
      iex> progress.total
      4.0
  """

  alias ToolBridge.Proto.Table

  for {module, values} <- Table.enums() do
    defmodule module do
      @moduledoc false
      for {number, name} <- values do
        def name(unquote(number)), do: unquote(name)
        def number(unquote(name)), do: unquote(number)
      end

      def name(number) when is_integer(number), do: number
      def number(number) when is_integer(number), do: number
    end
  end

  for {module, full_name, fields} <- Table.messages() do
    Module.create(module, ToolBridge.Proto.Message.body(full_name, fields), Macro.Env.location(__ENV__))
  end

  @doc """
  The module of a message, by its full name.

      iex> ToolBridge.Proto.message("dspex.bridge.ToolCallRequest")
      {:ok, ToolBridge.Proto.ToolCallRequest}
      iex> ToolBridge.Proto.message("dspex.bridge.Nothing")
      :error
  """
  @spec message(String.t()) :: {:ok, module()} | :error
  for {module, full_name, _} <- Table.messages() do
    def message(unquote(full_name)), do: {:ok, unquote(module)}
  end

  def message(name) when is_binary(name), do: :error

  @doc false
  @spec method(String.t()) :: {module(), module(), boolean()} | nil
  for {name, request, response, streams?} <- Table.methods() do
    def method(unquote(name)), do: {unquote(request), unquote(response), unquote(streams?)}
  end

  def method(name) when is_binary(name), do: nil
end
