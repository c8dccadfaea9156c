defmodule ToolBridge.Question do
  @moduledoc """
  A question of a tool to its caller, such as for a confirmation or a missing value.

  A tool asks with `ToolBridge.Context.ask/3`. A client answers with the function in its option `:on_ask`, which gets a
  question and returns an answer:

      on_ask = fn
        %ToolBridge.Question{schema: nil} -> :accept
        %ToolBridge.Question{schema: %{"properties" => %{"reason" => _}}} -> {:accept, %{reason: "they are old"}}
        %ToolBridge.Question{} -> :decline
      end

      {:ok, client} = ToolBridge.Client.start_link(address: "127.0.0.1:50051", on_ask: on_ask)

  Each question is answered in a process of its own, so the function may wait for a person. The process is stopped when
  its call ends, by its timeout or otherwise. If the function raises, or its content does not fit the schema, that is
  the error of the call.

  Fields:

    * `message` - for a person to read
    * `schema` - JSON Schema of the requested content, an object whose properties are strings, numbers, integers,
      booleans and lists of some of a few strings; nil: only whether it is accepted
    * `tool` - the tool that was called, which may have called the one that asks; "" for a batch and an agent's run
  """

  alias ToolBridge.{Error, Value}
  alias ToolBridge.Proto.{Answer, Ask}
  alias ToolBridge.Question.Schema

  @enforce_keys [:message]
  defstruct [:message, schema: nil, tool: ""]

  @type t :: %__MODULE__{message: String.t(), schema: map() | nil, tool: String.t()}

  @typedoc "What a tool gets; `:cancel` is neither accepted nor declined. Content that was accepted fits the schema."
  @type answer :: {:accept, %{optional(String.t()) => String.t() | number() | boolean()}} | :decline | :cancel

  @typedoc "Answers a question; `:accept` accepts it without content. Keys of the content may be atoms."
  @type on_ask :: (t() -> :accept | {:accept, map()} | :decline | :cancel)

  @max_message 4_096
  @max_id 64
  @max_content 65_536

  @doc false
  # A question for the wire, and its schema as it will be read.
  @spec write(String.t(), map() | nil) :: {:ok, Ask.t(), map() | nil} | {:error, Error.t()}
  def write(message, schema) do
    with :ok <- check_message(message),
         {:ok, text, schema} <- Schema.write(schema) do
      {:ok, %Ask{message: message, schema: text}, schema}
    end
  end

  defp check_message(message) do
    if is_binary(message) and String.valid?(message) and String.length(message) in 1..@max_message,
      do: :ok,
      else: invalid("the message of a question is a text of 1 to #{@max_message} characters")
  end

  @doc false
  # An answer as it was received, from any peer.
  @spec read_answer(Answer.t(), map() | nil) :: {:ok, answer()} | {:error, Error.t()}
  def read_answer(%Answer{action: "accept"} = answer, schema) do
    with :ok <- check_size(answer),
         {:ok, content} <- if(answer.content, do: Value.from_struct(answer.content), else: {:ok, %{}}),
         {:ok, content} <- Schema.fit(content, schema) do
      {:ok, {:accept, content}}
    end
  end

  def read_answer(%Answer{action: "decline"}, _), do: {:ok, :decline}
  def read_answer(%Answer{action: "cancel"}, _), do: {:ok, :cancel}

  def read_answer(%Answer{action: action}, _),
    do: invalid("a question was answered with #{inspect(String.slice(action, 0, 60))}, which is no action")

  # -------------------------------------------------------------------------------------------------- answering

  @doc false
  # Answers a question of the hub, for the wire.
  @spec answer(Ask.t(), String.t(), on_ask()) :: {:ok, Answer.t()} | {:error, Error.t()}
  def answer(%Ask{} = ask, tool, on_ask) do
    with {:ok, question} <- read(ask, tool),
         {:ok, action, content} <- given(on_ask, question),
         {:ok, content} <- Schema.fit(content, if(action == "accept", do: question.schema)),
         {:ok, struct} <- if(content == %{}, do: {:ok, nil}, else: Value.to_struct(content)),
         answer = %Answer{id: ask.id, action: action, content: struct},
         :ok <- check_size(answer) do
      {:ok, answer}
    end
  end

  @doc false
  # The error of a call whose question was not answered.
  @spec failed(:error | :exit | :throw, term(), Exception.stacktrace()) :: Error.t()
  def failed(kind, reason, stacktrace), do: %{Error.of_tool(kind, reason, stacktrace) | origin: :bridge}

  defp read(ask, tool) do
    with true <- String.length(ask.id) <= @max_id and String.length(ask.message) <= @max_message,
         {:ok, schema} <- Schema.read(ask.schema) do
      {:ok, %__MODULE__{message: ask.message, schema: schema, tool: tool}}
    else
      false -> {:error, Error.new("ProtocolError", "the hub asked a question that is too long")}
      {:error, error} -> {:error, Error.new("ProtocolError", "the hub asked an invalid question: #{error.message}")}
    end
  end

  defp given(on_ask, question) do
    case on_ask.(question) do
      :accept ->
        {:ok, "accept", %{}}

      {:accept, content} when is_map(content) and not is_struct(content) ->
        {:ok, "accept", Map.new(content, fn {name, value} -> {to_string(name), value} end)}

      :decline ->
        {:ok, "decline", %{}}

      :cancel ->
        {:ok, "cancel", %{}}

      other ->
        invalid("on_ask returns :accept, {:accept, map}, :decline or :cancel, not #{inspect(other, limit: 5)}")
    end
  catch
    kind, reason -> {:error, failed(kind, reason, __STACKTRACE__)}
  end

  defp check_size(answer) do
    case byte_size(Answer.encode(answer)) do
      size when size > @max_content ->
        invalid("the answer to a question takes #{size} bytes; the limit is #{@max_content}")

      _ ->
        :ok
    end
  end

  defp invalid(why), do: {:error, Error.new("ValidationError", why)}
end
