defmodule ToolBridge.Connection.Answering do
  @moduledoc false
  # Answers the questions that tools ask about calls of this end, each in a process of its own, which ends with its call.

  alias ToolBridge.Connection.{Children, Outgoing, State}
  alias ToolBridge.Connection.State.Request
  alias ToolBridge.{Error, Question}
  alias ToolBridge.Link.Protocol
  alias ToolBridge.Proto.{Answer, Ask, LinkEvent}

  @max_open 100

  @doc "A tool asks."
  @spec asked(State.t(), reference(), Ask.t()) :: State.t()
  def asked(state, ref, ask) do
    case state.requests do
      %{^ref => %Request{questions: open}} when open >= @max_open ->
        text = "the hub asks more than #{@max_open} concurrent questions for one call"
        Outgoing.abort(state, ref, Error.new("ProtocolError", text))

      %{^ref => request} ->
        {_, state} = Children.start(state, {:question, ref}, {Question, :answer, [ask, request.tool, state.on_ask]})
        put_open(state, request, 1)

      _ ->
        state
    end
  end

  @doc "A question has its answer, or cannot be answered, which ends the call."
  @spec answered(State.t(), reference(), {:ok, Answer.t()} | {:error, Error.t()}) :: State.t()
  def answered(state, ref, {:ok, answer}) do
    state = put_open(state, Map.fetch!(state.requests, ref), -1)
    %{state | link: Protocol.answer(state.link, ref, %LinkEvent{kind: {:answer, answer}})}
  end

  def answered(state, ref, {:error, error}), do: Outgoing.abort(state, ref, error)

  @doc "The process of a question has ended without an answer."
  @spec exited(State.t(), reference(), term()) :: State.t()
  def exited(state, ref, reason), do: Outgoing.abort(state, ref, Question.failed(:exit, reason, []))

  @doc "Stops the answering of a call's questions: it is over."
  @spec close(State.t(), Request.t()) :: State.t()
  def close(state, %Request{questions: 0}), do: state
  def close(state, %Request{ref: ref}), do: Children.drop(state, &(&1 == {:question, ref}))

  defp put_open(state, request, change) do
    request = %{request | questions: request.questions + change}
    %{state | requests: Map.put(state.requests, request.ref, request)}
  end
end
