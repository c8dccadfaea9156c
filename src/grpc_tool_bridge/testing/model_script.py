"""Scripts with the answers of test models, in the form that DSPy expects."""

import ast
import asyncio
import json
import operator
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

_WAIT = 30.0
# Approximate characters of a token.
TOKEN_CHARS = 4

_SUM = re.compile(r"\(*-?\d+(?:\.\d+)?\)*(?:\s*[-+*/]\s*\(*-?\d+(?:\.\d+)?\)*)+")
_TOOL = re.compile(r"^ *\(\d+\) (\w[\w.-]*).*?It takes arguments (\{.*\})\.$", re.MULTILINE)
_OBSERVATION = re.compile(r"\[\[ ## observation_\d+ ## \]\]\n(.*?)(?=\n\[\[ ## |\Z)", re.DOTALL)
_REMINDER = "Respond with the corresponding output fields"
_ASKED_FIELD = re.compile(r"`\[\[ ## (\w+) ## \]\]`(?: \(must be formatted as a valid Python ([^)]*)\))?")
_CALCULATOR = re.compile(r"calc|eval|arith|math", re.IGNORECASE)
_OPERATORS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def fields(**values: Any) -> str:
    """Returns an answer with these output fields, in DSPy's form for chat models."""
    sections = [f"[[ ## {name} ## ]]\n{_text(value)}" for name, value in values.items()]
    return "\n\n".join([*sections, "[[ ## completed ## ]]"])


def step(thought: str, tool: str, **tool_args: Any) -> str:
    """Returns an answer that calls a tool next; the tool "finish" ends the steps."""
    return fields(next_thought=thought, next_tool_name=tool, next_tool_args=tool_args)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request to the model.

    Attributes:
        system: The text of the system message.
        user: The text of the last message.
        headers: The HTTP headers, with names in lower case.
        body: The whole request body.
    """

    system: str
    user: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The whole text of the prompt."""
        return f"{self.system}\n{self.user}"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as an answer.

    Args:
        status: HTTP status; 429 and those from 500 on are retryable.
        message: The error text of the provider.
    """

    status: int = 500
    message: str = "the model is unavailable"


class Held:
    """An answer that waits until it is released.

    Args:
        answer: The answer to send then.
    """

    def __init__(self, answer: "str | Failure" = "") -> None:
        self.answer = answer
        self._asked: Future[None] = Future()
        self._given_up: Future[None] = Future()
        self._released: Future[None] = Future()

    def release(self) -> None:
        """Releases the answer."""
        _settle(self._released)

    @property
    def released(self) -> bool:
        """Whether the answer was released."""
        return self._released.done()

    async def asked(self, seconds: float = _WAIT) -> None:
        """Waits until the model is asked; raises TimeoutError after ``seconds``."""
        await _settled(self._asked, seconds)

    async def given_up(self, seconds: float = _WAIT) -> None:
        """Waits until the caller no longer waits; raises TimeoutError after ``seconds``."""
        await _settled(self._given_up, seconds)

    def note_asked(self) -> None:
        """Records that the model was asked."""
        _settle(self._asked)

    def note_given_up(self) -> None:
        """Records that the caller has gone."""
        _settle(self._given_up)

    async def wait(self) -> None:
        """Waits until the answer is released."""
        self.note_asked()
        try:
            await asyncio.shield(asyncio.wrap_future(self._released))
        except asyncio.CancelledError:
            self.note_given_up()
            raise


Answer = str | Failure | Held
Answers = Iterable[Answer] | Callable[[Prompt], Answer]


class Script:
    """Answers prompts in order or with a function; can be used from several threads.

    Args:
        answers: The answers in order, or a function from the prompt to the answer.
    """

    def __init__(self, answers: Answers) -> None:
        self._function = answers if callable(answers) else None
        self._answers = iter(()) if callable(answers) else iter(answers)
        self._lock = threading.Lock()
        self.prompts: list[Prompt] = []

    def answer(self, prompt: Prompt) -> Answer:
        """Records the prompt and returns its answer."""
        with self._lock:
            self.prompts.append(prompt)
            if self._function is None:
                ended = Failure(400, f"the script has no answer {len(self.prompts)}")
                return next(self._answers, ended)
        return self._function(prompt)


def prompt_of(
    messages: Iterable[Mapping[str, Any]],
    *,
    headers: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
) -> Prompt:
    """Returns the prompt for the messages of a chat."""
    system, user = "", ""
    for message in messages:
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        text = "".join(str(part.get("text") or "") for part in parts)
        if message.get("role") in {"system", "developer"}:
            system += text
        else:
            user = text
    return Prompt(system, user, headers or {}, body or {})


def _settle(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _settled(future: Future[None], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await asyncio.shield(asyncio.wrap_future(future))


# ----------------------------------------------------------------------------------------------------------------- sums


def arithmetic(prompt: Prompt) -> str:
    """Answers arithmetic questions like an agent: calls a tool that calculates, then finishes with its result.

    Without such a tool it finishes immediately, with its own result.
    """
    told = prompt.user.split(_REMINDER)[0]
    results = [text for found in _OBSERVATION.findall(told) if (text := found.strip()) != "Completed."]
    asked = _SUM.search(told.split("[[ ## trajectory ## ]]")[0])
    if "next_tool_name" in prompt.system:
        tool = next((found for found in _TOOL.findall(prompt.system) if _CALCULATOR.search(found[0])), None)
        if results or tool is None or asked is None:
            return step("I know enough to answer.", "finish")
        name = next(iter(ast.literal_eval(tool[1])), "expression")
        return step(f"I have to work out {asked[0]}.", tool[0], **{name: asked[0]})
    answer = results[-1] if results else str(_value_of(asked[0])) if asked else "I can only do sums."
    wanted = dict(_ASKED_FIELD.findall(prompt.user))
    wanted.pop("completed", None)
    return fields(**{name: _as(answer, name, kind) for name, kind in wanted.items()})


def _as(answer: str, name: str, kind: str) -> str:
    if name == "reasoning":
        return f"The tools say {answer}."
    if kind == "bool":
        return "True"
    return f"[{answer}]" if kind.startswith(("list", "tuple", "set", "frozenset")) else answer


def _value_of(text: str) -> float | int | str:
    def value(node: ast.AST) -> Any:
        match node:
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
            case ast.BinOp(left=left, op=op, right=right):
                return _OPERATORS[type(op)](value(left), value(right))
            case _:
                raise ValueError(f"no sum: {text}")

    try:
        result = value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError) as error:
        return f"no answer ({error})"
    return int(result) if isinstance(result, float) and result.is_integer() else result
