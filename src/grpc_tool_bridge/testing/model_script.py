"""What a model of the tests answers: a script, and how its answers are written for DSPy."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

_WAIT = 30.0
# Characters of a token, roughly.
TOKEN_CHARS = 4


def fields(**values: Any) -> str:
    """Writes an answer with these output fields, in the form that DSPy asks a chat model for."""
    sections = [f"[[ ## {name} ## ]]\n{_text(value)}" for name, value in values.items()]
    return "\n\n".join([*sections, "[[ ## completed ## ]]"])


def step(thought: str, tool: str, **tool_args: Any) -> str:
    """Writes the answer of an agent that calls a tool next; the tool "finish" ends its steps."""
    return fields(next_thought=thought, next_tool_name=tool, next_tool_args=tool_args)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request to the model.

    Attributes:
        system: The text of its system message.
        user: The text of its last message.
        headers: What it came with over HTTP, names in lower case.
        body: All of it, as it came.
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
    """An answer that is an error.

    Args:
        status: Of HTTP: 429 and those from 500 on are worth another try.
        message: What the model's provider says.
    """

    status: int = 500
    message: str = "the model is unavailable"


class Held:
    """An answer that is not given before it is released.

    Args:
        answer: What is answered then.
    """

    def __init__(self, answer: "str | Failure" = "") -> None:
        self.answer = answer
        self._asked: Future[None] = Future()
        self._given_up: Future[None] = Future()
        self._released: Future[None] = Future()

    def release(self) -> None:
        """Lets the answer go."""
        _settle(self._released)

    @property
    def released(self) -> bool:
        """Whether the answer may go."""
        return self._released.done()

    async def asked(self, seconds: float = _WAIT) -> None:
        """Waits until the model is asked; raises TimeoutError."""
        await _settled(self._asked, seconds)

    async def given_up(self, seconds: float = _WAIT) -> None:
        """Waits until whoever asked waits no more; raises TimeoutError."""
        await _settled(self._given_up, seconds)

    def note_asked(self) -> None:
        """Says that the model was asked."""
        _settle(self._asked)

    def note_given_up(self) -> None:
        """Says that whoever asked has gone."""
        _settle(self._given_up)

    async def wait(self) -> None:
        """Waits, as the model, until the answer may go."""
        self.note_asked()
        try:
            await asyncio.shield(asyncio.wrap_future(self._released))
        except asyncio.CancelledError:
            self.note_given_up()
            raise


Answer = str | Failure | Held
Answers = Iterable[Answer] | Callable[[Prompt], Answer]


class Script:
    """Answers in turn, or by what was asked; it can be asked from several threads.

    Args:
        answers: The answers in order, or a function from the prompt to the answer.
    """

    def __init__(self, answers: Answers) -> None:
        self._function = answers if callable(answers) else None
        self._answers = iter(()) if callable(answers) else iter(answers)
        self._lock = threading.Lock()
        self.prompts: list[Prompt] = []

    def answer(self, prompt: Prompt) -> Answer:
        """Keeps the prompt and gives the answer to it."""
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
    """Reads the messages of a chat."""
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
