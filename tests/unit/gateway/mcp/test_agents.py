"""Agents as tools: what is told of them, their steps, and their answers."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from grpc_tool_bridge.errors import NotFoundError, ProtocolError, ResourceExhaustedError
from grpc_tool_bridge.gateway.mcp.agents import MAX_STEP_CHARS, RUN_META, AgentTool, AgentTools, run_agent, step_text
from grpc_tool_bridge.proto.dspex_bridge_pb2 import CreateReActAgentRequest, LogRecord, Progress
from unit.gateway.mcp.fakes import NEW, OLD


class Source:
    """The agents of one session."""

    def __init__(self, **agents: CreateReActAgentRequest) -> None:
        self.agents = agents
        self.watchers: list[Callable[[str], None]] = []

    def definitions(self, session_id: str) -> Mapping[str, CreateReActAgentRequest]:
        return self.agents if session_id == "mine" else {}

    def watch(self, changed: Callable[[str], None]) -> None:
        self.watchers.append(changed)


def made(signature: str, **fields: Any) -> CreateReActAgentRequest:
    return CreateReActAgentRequest(session_id="mine", signature=signature, max_iters=5, **fields)


def test_a_session_sees_its_own_agents_and_those_that_are_declared() -> None:
    source = Source(
        a1=made("q -> a"),
        a2=made("text -> label", tool_names=["add"]),
        # The one that is declared, as a session has created it for a call.
        a3=made("question -> answer"),
        a4=made("question -> answer", tool_names=["add"]),
        # A runtime in another language took it.
        a5=made("no signature of ours"),
    )
    agents = AgentTools({"ask": "question -> answer"}, source)
    assert {name: (agent.signature, agent.agent_id) for name, agent in agents.of("mine").items()} == {
        "ask": ("question -> answer", ""),
        "a1": ("q -> a", "a1"),
        "a2": ("text -> label", "a2"),
        "a4": ("question -> answer", "a4"),
    }
    assert list(agents.of("theirs")) == list(AgentTools({"ask": "question -> answer"}, None).of("mine")) == ["ask"]
    assert agents.find("mine", "a1") == AgentTool("a1", "q -> a", "a1")
    assert agents.find("theirs", "ask") == AgentTool("ask", "question -> answer")
    assert agents.find("theirs", "a1") is None
    assert AgentTools({}, None).find("mine", "a1") is None


def test_changes_of_agents_are_passed_on() -> None:
    source = Source()
    changed: list[str] = []
    AgentTools({}, source).watch(changed.append)
    source.watchers[0]("mine")
    assert changed == ["mine"]
    AgentTools({}, None).watch(changed.append)


def test_the_spec_says_what_goes_in_and_what_comes_out() -> None:
    spec = AgentTool("judge", "text, limit: int | None -> label: Literal['good', 'bad'], why\nBe fair.").spec
    assert (spec.name, spec.description) == (
        "judge",
        "Be fair.\n\ntext, limit: int | None -> label: Literal['good', 'bad'], why",
    )
    given, answered = json.loads(spec.input_schema), json.loads(spec.output_schema)
    assert given == {
        "type": "object",
        "properties": {"text": {}, "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
        "required": ["text"],
        "additionalProperties": False,
    }
    assert answered["properties"] == {"label": {"enum": ["good", "bad"], "type": "string"}, "why": {"type": "string"}}
    assert answered["required"] == ["label", "why"]
    for schema in (given, answered):
        Draft202012Validator.check_schema(schema)
    assert AgentTool("ask", "q -> a").spec.description.endswith("until it has an answer.\n\nq -> a")


class Client:
    """Runs an agent that takes prepared steps."""

    def __init__(self, *chunks: Mapping[str, Any]) -> None:
        self.chunks = chunks
        self.created: list[str] = []
        self.requests: list[Mapping[str, Any]] = []
        self.closed = False

    async def create_react_agent(self, signature: str) -> str:
        self.created.append(signature)
        return "agent-1"

    async def execute_agent_streaming(self, request: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        self.requests.append(request)
        try:
            for number, chunk in enumerate(self.chunks):
                yield {"sequence": number, "run_id": "run", "step": 1, **chunk}
        finally:
            self.closed = True


class Events:
    """Keeps events."""

    def __init__(self) -> None:
        self.progressed: list[tuple[float, str]] = []
        self.logged: list[tuple[str, str, dict[str, str]]] = []

    def progress(self, event: Progress) -> None:
        self.progressed.append((event.current, event.message))

    def log(self, event: LogRecord) -> None:
        self.logged.append((event.logger, event.message, dict(event.fields)))


def result(answer: Any, stop_reason: str = "finished") -> Mapping[str, Any]:
    return {"type": "result", "final_answer": answer, "stop_reason": stop_reason, "total_steps": 1}


async def run(client: Client, agent: AgentTool, events: Events | None = None, version: str = NEW) -> Any:
    return await run_agent(client, agent, {"q": "?"}, events, version)  # type: ignore[arg-type]


async def test_steps_are_events_and_the_answer_is_the_result() -> None:
    client = Client(
        {"type": "thought", "text": "I add."},
        {"type": "action", "tool_name": "add", "tool_input": {"a": 1}},
        {"type": "observation", "output": "x" * 10_000, "error": None},
        result({"a": "3"}),
    )
    events = Events()
    answer = await run(client, AgentTool("ask", "q -> a"), events)
    assert client.created == ["q -> a"]
    assert client.requests == [{"agent_id": "agent-1", "input": {"q": "?"}, "stream": True}]
    assert client.closed
    assert [number for number, _ in events.progressed] == [1, 2, 3]
    assert [text for _, text in events.progressed][:2] == ["Thought: I add.", 'Action: add({"a":1})']
    assert events.progressed[2][1].startswith("Observation: xxx")
    assert len(events.progressed[2][1]) < MAX_STEP_CHARS + 100
    assert events.logged[0] == ("ask", "Thought: I add.", {"kind": "thought", "step": "1", "run_id": "run"})
    assert answer["content"] == [{"type": "text", "text": "3"}]
    assert answer["structuredContent"] == {"a": "3"}
    assert answer["_meta"] == {RUN_META: {"run_id": "run", "stop_reason": "finished", "total_steps": 1}}
    assert not answer["isError"]


@pytest.mark.parametrize("version", [OLD, NEW])
async def test_several_outputs_are_an_object_in_text_and_structure(version: str) -> None:
    client = Client(result({"a": "yes", "n": 2}))
    answer = await run(client, AgentTool("a1", "q -> a, n: int", "a1"), None, version)
    assert client.requests == [{"agent_id": "a1", "input": {"q": "?"}, "stream": False}]
    assert not client.created
    assert json.loads(answer["content"][0]["text"]) == answer["structuredContent"] == {"a": "yes", "n": 2}


@pytest.mark.parametrize("reason", ["time", "tokens"])
async def test_an_agent_that_has_no_answer_fails_and_says_which_limit_it_met(reason: str) -> None:
    with pytest.raises(ResourceExhaustedError, match=f"the agent ask reached its limit of {reason} after 1 steps"):
        await run(Client(result({}, reason)), AgentTool("ask", "q -> a"))


async def test_what_a_runtime_adds_is_left_out_and_an_output_without_a_type_is_a_text() -> None:
    answer = await run(Client(result({"a": 3, "n": 2, "tools": 5})), AgentTool("ask", "q -> a, n: int"))
    assert answer["structuredContent"] == {"a": "3", "n": 2}


async def test_an_answer_that_does_not_fit_the_signature_is_an_error() -> None:
    with pytest.raises(ProtocolError, match=r"the agent ask answered with .*'two'.* which does not fit"):
        await run(Client(result({"n": "two"})), AgentTool("ask", "q -> n: int"))


async def test_a_run_without_a_result_is_an_error() -> None:
    with pytest.raises(NotFoundError, match="ended without a result"):
        await run(Client({"type": "thought", "text": "?"}), AgentTool("ask", "q -> a"))


def test_a_failed_step_tells_its_error() -> None:
    error = {"type": "ValueError", "message": "no such city", "details": {}, "retryable": False}
    assert step_text({"type": "observation", "output": "", "error": error}) == "Observation: ValueError: no such city"
    assert step_text({"type": "observation", "output": {"a": 1}, "error": None}) == 'Observation: {"a":1}'
