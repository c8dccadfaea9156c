"""DSPy's own agent calls the tools of a bridge, awaited and not."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
import pytest
from dspy.utils.callback import BaseCallback

from grpc_tool_bridge import ToolExecutionError, tool
from grpc_tool_bridge.adapters import calling
from grpc_tool_bridge.adapters.dspy import ModuleWaitsError
from grpc_tool_bridge.testing.model_script import fields, step
from grpc_tool_bridge.testing.scripted_lm import ScriptedLM
from support.patience import PATIENCE
from support.waiting import soon
from unit.adapters.acting import Hanging
from unit.adapters.bridges import bridge_of


@tool
async def add(a: int, b: int = 1) -> int:
    """Adds two numbers."""
    return a + b


ANSWERS = [step("add them", "add", a=2, b=2), step("done", "finish"), fields(reasoning="so", answer="4")]


def agent(tools: list[Any]) -> tuple[Any, ScriptedLM]:
    return dspy.ReAct("question -> answer", tools=tools), ScriptedLM(ANSWERS)


async def test_an_agent_that_is_awaited_sees_the_tool_and_its_result() -> None:
    async with bridge_of(add) as bridge:
        react, lm = agent(bridge.dspy_tools("add"))
        with dspy.context(lm=lm):
            answer = await asyncio.wait_for(react.acall(question="2 + 2?"), PATIENCE)

    assert answer.answer == "4"
    assert answer.trajectory["observation_0"] == 4
    assert "Adds two numbers." in lm.prompts[0].text


async def test_an_agent_in_a_thread_calls_the_bridge_of_the_loop() -> None:
    async with bridge_of(add) as bridge:
        react, lm = agent(bridge.dspy_tools())

        def run() -> Any:
            with dspy.context(lm=lm):
                return react(question="2 + 2?")

        answer = await asyncio.wait_for(asyncio.to_thread(run), PATIENCE)

    assert answer.trajectory["observation_0"] == 4


async def test_a_synchronous_call_in_the_bridges_own_loop_is_a_clear_error() -> None:
    async with bridge_of(add) as bridge:
        (made,) = bridge.dspy_tools()

        with pytest.raises(RuntimeError, match="await the asynchronous call"):
            made(a=1)


async def test_a_copy_of_a_tool_calls_the_same_bridge() -> None:
    async with bridge_of(add) as bridge:
        react, _ = agent(bridge.dspy_tools())

        assert await react.deepcopy().tools["add"].acall(a=1) == 2


async def test_an_argument_may_be_called_self() -> None:
    @tool
    def greet(self: str) -> str:
        """Greets."""
        return f"hello {self}"

    async with bridge_of(greet) as bridge:
        (made,) = bridge.dspy_tools()
        assert await made.acall(self="you") == "hello you"


async def test_a_program_that_streams_uses_the_tools_and_the_scripted_model() -> None:
    async with bridge_of(add) as bridge:
        react, lm = agent(bridge.dspy_tools("add"))
        with dspy.context(lm=lm):
            async with asyncio.timeout(PATIENCE):
                streamed = [item async for item in dspy.streamify(react)(question="2 + 2?")]
    assert streamed[-1].answer == "4"


class Counted:
    """A tool that counts how often it ran."""

    def __init__(self) -> None:
        self.ran = 0

    def count(self) -> int:
        """Counts."""
        self.ran += 1
        return self.ran


COUNTING = [step("count", "count"), step("done", "finish"), fields(reasoning="so", answer="1")]


def modules(tools: list[Any]) -> dict[str, Any]:
    """Makes modules that make observations of what tools raise, and one that does not."""

    class Own(dspy.Module):  # type: ignore[misc] # dspy has no types
        def forward(self, question: str) -> Any:
            try:
                return tools[0]()
            except Exception as error:
                return str(error)

    return {"ReAct": dspy.ReAct("question -> answer", tools=tools), "its own": Own()}


@pytest.mark.parametrize("module", ["ReAct", "its own"])
async def test_a_synchronous_module_in_the_bridges_own_loop_ends_with_an_error_and_calls_nothing(module: str) -> None:
    counted, lm = Counted(), ScriptedLM(COUNTING)
    async with bridge_of(tool(name="count")(counted.count)) as bridge:
        made = modules(bridge.dspy_tools())[module]
        with dspy.context(lm=lm), pytest.raises(ModuleWaitsError, match=r"both would wait forever.*Await the module"):
            made(question="?")
        for _ in range(5):
            await asyncio.sleep(0)

    assert counted.ran == 0
    assert not any("wait for ever" in prompt.text for prompt in lm.prompts)


async def test_a_module_in_a_thread_that_the_bridges_loop_waits_for_ends_with_an_error_and_calls_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calling, "TURN_SECONDS", 0.01)
    counted = Counted()
    async with bridge_of(tool(name="count")(counted.count)) as bridge:
        react = dspy.ReAct("question -> answer", tools=bridge.dspy_tools())

        def run() -> Any:
            with dspy.context(lm=ScriptedLM(COUNTING)):
                return react(question="?")

        with ThreadPoolExecutor(1) as threads, pytest.raises(ModuleWaitsError, match="The tool did not run"):
            threads.submit(run).result(PATIENCE)
        for _ in range(5):
            await asyncio.sleep(0)
    assert counted.ran == 0


async def test_an_error_outside_of_an_agent_is_raised_as_it_is() -> None:
    @tool
    def fail() -> None:
        """Fails."""
        raise ValueError("too late")

    class Own(dspy.Module):  # type: ignore[misc] # dspy has no types
        def forward(self, made: Any) -> Any:
            return made()

        async def aforward(self, made: Any) -> Any:
            return await made.acall()

    async with bridge_of(fail) as bridge:
        (made,) = bridge.dspy_tools()
        for call in (made.acall(), Own().acall(made), asyncio.to_thread(Own(), made)):
            with pytest.raises(ToolExecutionError, match="fail: ValueError: too late"):
                await call


async def test_the_observation_of_an_error_is_one_line_of_the_tool_and_its_error() -> None:
    @tool
    def fail() -> None:
        """Fails."""
        raise ValueError("too late")

    lm = ScriptedLM([step("try", "fail"), *ANSWERS[1:]])
    async with bridge_of(fail) as bridge:
        react = dspy.ReAct("question -> answer", tools=bridge.dspy_tools())
        with dspy.context(lm=lm):
            answer = await asyncio.wait_for(react.acall(question="?"), PATIENCE)
    assert answer.trajectory["observation_0"] == "Execution error in fail: ValueError: too late"
    assert "Traceback" not in lm.prompts[1].text


async def test_callbacks_of_dspy_still_see_the_error_itself() -> None:
    seen: list[Any] = []

    class Watch(BaseCallback):  # type: ignore[misc] # dspy has no types
        def on_tool_end(self, call_id: str, outputs: Any, exception: Exception | None = None) -> None:
            seen.append(exception or outputs)

    @tool
    def fail() -> None:
        """Fails."""
        raise ValueError("too late")

    lm = ScriptedLM([step("try", "fail"), *ANSWERS[1:]])
    async with bridge_of(fail) as bridge:
        react = dspy.ReAct("question -> answer", tools=bridge.dspy_tools())
        with dspy.context(lm=lm, callbacks=[Watch()]):
            await asyncio.wait_for(react.acall(question="?"), PATIENCE)
    assert [type(item) for item in seen] == [ToolExecutionError, str]


async def test_arguments_are_refused_by_the_hub_which_names_each() -> None:
    async with bridge_of(add) as bridge:
        (made,) = bridge.dspy_tools()
        with pytest.raises(ToolExecutionError) as caught:
            await made.acall(a="one", c=1)
    assert set(caught.value.details) == {"a", "c", "origin"}


def calls(thought: str, *made: tuple[str, dict[str, Any]]) -> str:
    """Returns an answer for ReActV2, which may call several tools in one turn."""
    return fields(
        next_thought=thought, tool_calls={"tool_calls": [{"name": name, "args": given} for name, given in made]}
    )


async def test_the_newer_agent_calls_several_tools_in_one_turn_and_reads_their_errors() -> None:
    @tool
    def fail() -> None:
        """Fails."""
        raise ValueError("too late")

    lm = ScriptedLM(
        [
            calls("all", ("add", {"a": 1, "b": 2}), ("add", {"a": "x"}), ("fail", {})),
            calls("done", ("submit", {"answer": "3"})),
        ]
    )
    async with bridge_of(add, fail) as bridge:
        react = dspy.ReActV2("question -> answer", tools=bridge.dspy_tools())
        with dspy.context(lm=lm):
            said = await asyncio.wait_for(react.acall(question="?"), PATIENCE)
    assert (said.answer, said.termination_reason) == ("3", "submit")
    (turn, _) = said.history.messages
    added, refused, failed = (result.value for result in turn["tool_calls"].tool_call_results.tool_call_results)
    assert added == 3
    assert "Execution error in add: ValidationError" in refused
    assert "'a'" in refused
    assert failed == "Execution error in fail: ValueError: too late"


async def test_the_newer_agent_in_a_thread_calls_the_bridge_of_the_loop() -> None:
    lm = ScriptedLM([calls("add", ("add", {"a": 1, "b": 2})), calls("done", ("submit", {"answer": "3"}))])
    async with bridge_of(add) as bridge:
        react = dspy.ReActV2("question -> answer", tools=bridge.dspy_tools())

        def run() -> Any:
            with dspy.context(lm=lm):
                return react(question="1 + 2?")

        said = await asyncio.wait_for(asyncio.to_thread(run), PATIENCE)
    assert said.answer == "3"


async def test_a_cancelled_agent_cancels_its_tool() -> None:
    hanging = Hanging()
    async with bridge_of(hanging.tool) as bridge:
        react = dspy.ReAct("question -> answer", tools=bridge.dspy_tools())
        with dspy.context(lm=ScriptedLM([step("hang", "hang"), *ANSWERS[1:]])):
            running = asyncio.ensure_future(react.acall(question="?"))
            await soon(hanging.began.wait())
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await soon(running)
            await soon(hanging.ended.wait())
