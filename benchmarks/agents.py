"""Figures of agents: whole runs whose model answers immediately, so that everything around it is measured."""

import asyncio
import itertools
import re
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

from benchmarks.processes import link_bridge, running
from benchmarks.timing import NotInstalledError, Plan, Sample, in_rounds, ratios
from benchmarks.work import WrongAnswerError, add_up
from grpc_tool_bridge import ToolBridge

WIDTH = 50
SIGNATURE = "question -> answer"

# Asks an agent for a sum; returns its answer.
Ask = Callable[[str], Awaitable[str]]


async def agents(plan: Plan) -> dict[str, Sample]:
    """An agent that thinks twice and calls one tool, through hub and runtime, against ``dspy.ReAct`` by itself."""
    try:
        local = make_local()
    except ImportError:
        raise NotInstalledError("dspy is not installed") from None
    numbers = itertools.count(1)
    async with remote_agent() as remote:

        async def one(ask: Ask) -> Sequence[float]:
            return [await asked(ask, numbers, 1) for _ in range(plan.amount(3, 1))]

        async def many(ask: Ask) -> Sequence[float]:
            return [await asked(ask, numbers, WIDTH)]

        taken = await in_rounds(
            plan,
            {
                "bridge": lambda: one(remote),
                "dspy": lambda: one(local),
                "bridge at once": lambda: many(remote),
                "dspy at once": lambda: many(local),
            },
            turns=2,
        )
    medians = {name: [statistics.median(seconds) for seconds in rounds] for name, rounds in taken.items()}
    return {
        "agent-one": sample(medians["bridge"], medians["dspy"], "one run, ms"),
        "agent-50": sample(medians["bridge at once"], medians["dspy at once"], f"{WIDTH} runs, ms"),
    }


def sample(bridge: Sequence[float], dspy: Sequence[float], what: str) -> Sample:
    """Compares what was measured in the same rounds."""
    details = {
        f"{name}, {what}": statistics.median(seconds) * 1e3 for name, seconds in (("bridge", bridge), ("dspy", dspy))
    }
    return Sample(ratios(bridge, dspy), details)


async def asked(ask: Ask, numbers: Iterator[int], width: int) -> float:
    """Asks for many different sums concurrently, and returns the seconds that all took."""
    sums = [(next(numbers), next(numbers)) for _ in range(width)]
    start = time.perf_counter()
    answers = await asyncio.gather(*(ask(f"What is {a} + {b}?") for a, b in sums))
    seconds = time.perf_counter() - start
    for (a, b), answer in zip(sums, answers, strict=True):
        if re.sub(r"\D", "", answer) != str(a + b):
            raise WrongAnswerError(f"{a} + {b} is not {answer!r}")
    return seconds


def make_local() -> Ask:
    """Makes a new ``dspy.ReAct`` for each question, as a program that serves many concurrent users does."""
    import dspy  # noqa: PLC0415 - only this figure pays for it

    from grpc_tool_bridge.testing import ScriptedLM  # noqa: PLC0415 - likewise

    tool = dspy.Tool(add_up, name="calculate")
    lm = ScriptedLM()

    async def ask(question: str) -> str:
        with dspy.context(lm=lm, disable_history=True):
            prediction = await dspy.ReAct(SIGNATURE, tools=[tool], max_iters=5).acall(question=question)
        return str(prediction.answer)

    return ask


@asynccontextmanager
async def remote_agent() -> AsyncGenerator[Ask, None]:
    """Runs a hub and an agent runtime with the same tool, a process each, and creates the agent."""
    async with (
        running("hub", tools=0) as hub,
        running("agents", hub=hub.address),
        link_bridge(hub.address) as bridge,
    ):
        agent_id = await bridge.create_react_agent(SIGNATURE, ["calculate"])
        yield lambda question: answer_of(bridge, agent_id, question)


async def answer_of(bridge: ToolBridge, agent_id: str, question: str) -> str:
    """Reads a run, with every step of it, to its answer."""
    answer = ""
    async for chunk in bridge.execute_agent_streaming({"agent_id": agent_id, "input": {"question": question}}):
        if chunk["type"] == "result":
            answer = str(chunk["final_answer"]["answer"])
    return answer
