defmodule ToolBridge.Agents do
  @moduledoc """
  Agents that call a session's tools until they have an answer.

      {:ok, agent} = ToolBridge.Agents.create(client, "question -> answer", tools: ["search_web"])

      for event <- ToolBridge.Agents.run(client, agent, %{question: "What is 2 + 2?"}) do
        case event do
          %{type: :thought, text: text} -> IO.puts(text)
          %{type: :action, tool: tool, input: input} -> IO.inspect({tool, input})
          %{type: :observation} -> :ok
          %{type: :result, answer: answer} -> answer
        end
      end

  A run goes on at the hub if its reader is lost, and can be attached to again by its id. It needs a hub that runs
  agents, such as `grpc-tool-bridge serve --agents`.
  """

  alias ToolBridge.{Caller, Client, Error, Value}

  alias ToolBridge.Proto.{
    AgentConfig,
    CancelAgentRunRequest,
    CreateReActAgentRequest,
    ExecuteAgentRequest
  }

  @typedoc """
  What a run yields, in order: each has `:type`, `:run_id`, `:agent_id` and `:sequence`, and

    * `:thought` - `:text`, `:step`
    * `:action` - `:tool`, `:input`, `:step`
    * `:observation` - `:output`, `:step`, and `:error` (nil, unless the tool failed)
    * `:result` - `:answer` (the signature's outputs by name), `:steps`, `:stop_reason`; it comes last
  """
  @type event :: %{required(:type) => :thought | :action | :observation | :result, optional(atom()) => term()}

  @doc """
  Creates an agent for a signature such as `"question -> answer"`; returns its id.

  Options: `:tools` (names; default: all that the session sees), `:max_iters` (5), `:verbose`,
  `:return_intermediate_steps`, `:llm` (settings of the model, such as `%{model: "openai/gpt-4o-mini"}`; never a key).
  """
  @spec create(Client.client(), String.t(), keyword()) :: {:ok, String.t()} | {:error, Error.t()}
  def create(client, signature, opts \\ []) do
    with {:ok, llm} <- values(Keyword.get(opts, :llm, %{})) do
      request = %CreateReActAgentRequest{
        signature: signature,
        tool_names: Keyword.get(opts, :tools, []),
        max_iters: Keyword.get(opts, :max_iters, 0),
        config: %AgentConfig{
          verbose: Keyword.get(opts, :verbose, false),
          return_intermediate_steps: Keyword.get(opts, :return_intermediate_steps, false),
          llm_config: llm
        }
      }

      with {:ok, response} <- Caller.unary(client, "CreateReActAgent", request), do: {:ok, response.agent_id}
    end
  end

  @doc "As `create/3`, but returns the id itself, and raises the error."
  @spec create!(Client.client(), String.t(), keyword()) :: String.t()
  def create!(client, signature, opts \\ []), do: client |> create(signature, opts) |> Caller.bang()

  @doc """
  Runs an agent; returns an Enumerable of its events. The run begins with the enumeration, and is cancelled if that ends
  early. Errors are raised.

  Options: `:run_id` (to attach to the run later; default: generated), `:timeout` of the whole run, `:context` (values
  for the context of its tools), `:stream` (false: only the result).
  """
  @spec run(Client.client(), String.t(), map() | keyword(), keyword()) :: Enumerable.t()
  def run(client, agent, input, opts \\ []) do
    with {:ok, input} <- struct_of(input),
         {:ok, context} <- values(Keyword.get(opts, :context, %{})) do
      request = %ExecuteAgentRequest{
        agent_id: agent,
        input: input,
        context: context,
        stream: Keyword.get(opts, :stream, true),
        run_id: Keyword.get(opts, :run_id, "")
      }

      events(client, request, opts)
    else
      {:error, error} -> Stream.map([error], &raise/1)
    end
  end

  @doc """
  Attaches to a run: an Enumerable of its events, from the one with the number `from_sequence` on. Ending it early does
  not cancel the run.
  """
  @spec attach(Client.client(), String.t(), String.t(), keyword()) :: Enumerable.t()
  def attach(client, agent, run_id, opts \\ []) do
    from = Keyword.get(opts, :from_sequence, 0)
    request = %ExecuteAgentRequest{agent_id: agent, run_id: run_id, stream: true, from_sequence: from}
    events(client, request, opts)
  end

  @doc "Cancels a run."
  @spec cancel(Client.client(), String.t()) :: :ok | {:error, Error.t()}
  def cancel(client, run_id) do
    with {:ok, _} <- Caller.unary(client, "CancelAgentRun", %CancelAgentRunRequest{run_id: run_id}), do: :ok
  end

  @doc "As `cancel/2`, but raises the error."
  @spec cancel!(Client.client(), String.t()) :: :ok
  def cancel!(client, run_id) do
    with {:error, error} <- cancel(client, run_id), do: raise(error)
  end

  defp events(client, request, opts) do
    client |> Caller.stream("ExecuteAgent", request, timeout: opts[:timeout]) |> Stream.map(&event/1)
  end

  defp event(%{content: {:error, info}}), do: raise(Error.from_info(info))

  defp event(chunk) do
    chunk.content |> content() |> Map.merge(%{agent_id: chunk.agent_id, run_id: chunk.run_id, sequence: chunk.sequence})
  end

  defp content({:thought, thought}), do: %{type: :thought, text: thought.text, step: thought.step}

  defp content({:action, action}) do
    %{type: :action, tool: action.tool_name, input: plain(action.tool_input), step: action.step}
  end

  defp content({:observation, observation}) do
    output = if observation.tool_output, do: Value.decode!(observation.tool_output)
    error = if observation.error, do: Error.from_info(observation.error)
    %{type: :observation, output: output, error: error, step: observation.step}
  end

  defp content({:result, result}) do
    steps = for step <- result.steps, do: %{thought: step.thought, action: step.action, observation: step.observation}
    %{type: :result, answer: plain(result.final_answer), steps: steps, stop_reason: result.stop_reason}
  end

  defp content(nil), do: raise(Error.new("ProtocolError", "an event of an agent has no content"))

  defp plain(nil), do: %{}
  defp plain(struct), do: struct |> Value.from_struct() |> Caller.bang()

  defp struct_of(input) do
    Value.to_struct(Map.new(input, fn {key, value} -> {to_string(key), value} end))
  end

  defp values(map) do
    Enum.reduce_while(map, {:ok, %{}}, fn {key, value}, {:ok, encoded} ->
      case Value.encode(value) do
        {:ok, any} -> {:cont, {:ok, Map.put(encoded, to_string(key), any)}}
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
  end
end
