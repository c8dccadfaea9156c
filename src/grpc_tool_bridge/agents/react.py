"""``dspy.ReAct``, one step at a time."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError, ContextWindowExceededError

from grpc_tool_bridge.agents.adapters import Adapter, Tally
from grpc_tool_bridge.agents.chunks import whole_text
from grpc_tool_bridge.agents.model_errors import model_error, shown
from grpc_tool_bridge.agents.model_reports import OnModel
from grpc_tool_bridge.agents.signatures import AgentSignature, quiet_names
from grpc_tool_bridge.errors import ToolBridgeError, ValidationError
from grpc_tool_bridge.llm.tool_args import read_arguments, tool_args
from grpc_tool_bridge.llm.tool_marks import described
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

_log = logging.getLogger(__name__)

FINISH = "finish"
_TRUNCATIONS = 3
# Roughly, for English.
_TOKEN_CHARS = 4
_MANY = 2**53


@dataclass(frozen=True, slots=True)
class Step:
    """What the model wants to do next.

    Attributes:
        thought: The model's reason.
        tool: The tool to call; ``FINISH`` for none; empty if the answer could not be read.
        args: The tool's arguments, by name.
        problem: Why the step cannot be taken as the model wrote it.
    """

    thought: str
    tool: str
    args: dict[str, Any]
    problem: ToolBridgeError | None = None


@dataclass(slots=True)
class TokenCount:
    """Counts the tokens of a run, as the model reports them or, if it does not, by characters."""

    asked: int = 0
    answered: int = 0

    @property
    def total(self) -> int:
        """All tokens, of prompts and answers."""
        return self.asked + self.answered

    def add_usage(self, model: str, usage: Mapping[str, Any]) -> None:  # noqa: ARG002 - DSPy's interface
        """Adds the tokens of one answer."""
        self.asked += _count(usage, "prompt_tokens", "input_tokens")
        self.answered += _count(usage, "completion_tokens", "output_tokens")

    def estimate(self, tally: Tally) -> None:
        """Adds an estimate from the number of characters."""
        self.asked += tally.asked // _TOKEN_CHARS
        self.answered += tally.answered // _TOKEN_CHARS


class ReAct(dspy.ReAct):  # type: ignore[misc] # dspy has no types
    """The prompts and the trajectory of ``dspy.ReAct``; the caller takes the steps.

    Args:
        signature: The agent's inputs and outputs.
        tools: The tools that it may call.
        lm: The model.
        on_model: Called with each request to the model, if set.
    """

    def __init__(
        self,
        signature: AgentSignature,
        tools: Sequence[ToolSpec],
        lm: Any,
        on_model: OnModel | None = None,
    ) -> None:
        with quiet_names():
            super().__init__(signature.dspy_class, [_described(spec) for spec in tools])
        self.tokens = TokenCount()
        self._lm = lm
        self._on_model = on_model
        self._outputs = tuple(signature.outputs)
        self._trajectory: dict[str, Any] = {}
        self._steps = 0

    def offer(self, tools: Sequence[ToolSpec]) -> None:
        """Offers the model these tools from the next step on."""
        with quiet_names():
            fresh = dspy.ReAct(self.signature, [_described(spec) for spec in tools])
        self.tools, self.react = fresh.tools, fresh.react

    async def next_step(self, inputs: Mapping[str, Any]) -> Step | None:
        """Asks the model what to do next; returns None if the trajectory no longer fits into its context.

        An answer that cannot be read becomes a step with a ``problem``, which the model can correct in the next step.
        """
        try:
            answer = await self._ask(self.react, inputs)
        except ContextWindowExceededError:
            return None
        except AdapterParseError as error:
            return unread_step(error)
        tool, args, problem = answer.next_tool_name or "", {}, None
        try:
            args = read_arguments(tool, answer.next_tool_args)
        except ValidationError as error:
            # Finishing takes no arguments.
            problem = None if tool == FINISH else error
        thought, tool, args = whole_text([answer.next_thought or "", tool, args])
        return Step(thought, tool, args, problem)

    def observe(self, step: Step, observation: str) -> None:
        """Adds the result of a step to the trajectory."""
        self._trajectory |= {
            f"thought_{self._steps}": step.thought,
            f"tool_name_{self._steps}": step.tool,
            f"tool_args_{self._steps}": step.args,
            f"observation_{self._steps}": observation,
        }
        self._steps += 1

    async def answer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Asks the model for the outputs, given the trajectory."""
        answer = await self._ask(self.extract, inputs)
        return {name: answer[name] for name in self._outputs}

    async def _ask(self, module: Any, inputs: Mapping[str, Any]) -> Any:
        tally, counted = Tally(on_model=self._on_model, tokens=self.tokens), self.tokens.total
        # DSPy stores the context in a context variable, so it does not affect other runs. The history is off because
        # DSPy would keep every prompt for the whole process.
        with dspy.context(
            lm=self._lm, adapter=Adapter(tally), usage_tracker=self.tokens, disable_history=True, trace=None
        ):
            answer = await self._fitting(module, inputs)
        if self.tokens.total == counted:
            self.tokens.estimate(tally)
        return answer

    async def _fitting(self, module: Any, inputs: Mapping[str, Any]) -> Any:
        for last in (*[False] * (_TRUNCATIONS - 1), True):
            try:
                return await module.acall(**inputs, trajectory=self._format_trajectory(self._trajectory))
            except ContextWindowExceededError:
                if last:
                    raise
                _log.info("the trajectory is longer than the model's context; its oldest step is dropped")
                self.truncate_trajectory(self._trajectory)
        raise AssertionError  # the last try returns or raises


def unread_step(error: AdapterParseError) -> Step:
    """Returns a step for an answer that could not be read, so that the model is told."""
    return Step(whole_text(shown(error.lm_response)), "", {}, model_error(error))


def _described(spec: ToolSpec) -> dspy.Tool:
    return dspy.Tool(_not_called, name=spec.name, desc=described(spec), args=tool_args(spec), arg_types={})


def _not_called() -> None:
    raise AssertionError  # a tool is called over the bridge


def _count(usage: Mapping[str, Any], *names: str) -> int:
    for name in names:
        value = usage.get(name)
        # A server may report anything.
        if isinstance(value, int) and 0 <= value < _MANY:
            return value
    return 0
