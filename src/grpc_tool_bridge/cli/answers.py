"""How ``call`` and ``stream`` answer a tool's questions: from the command line, or typed at the terminal."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.errors.clipped_repr import clipped_repr
from grpc_tool_bridge.tools.content_schemas import choices_of, read_value
from grpc_tool_bridge.tools.questions import Answer, Question

if TYPE_CHECKING:
    from rich.console import Console

    from grpc_tool_bridge.client.answering import OnAsk

# A terminal delivers a line at a time, of at most this length.
_LINE_BYTES = 4_096
_CONFIRM: Mapping[str, Any] = {"type": "boolean"}


def answers_for(
    given: Sequence[str], paused: Callable[[], AbstractContextManager[object]] = nullcontext
) -> "OnAsk | None":
    """Returns what answers a tool's questions.

    Args:
        given: Answers from the command line, as JSON.
        paused: A context manager that keeps all other output from the terminal.

    Returns:
        A function that answers; None if no answers were given and there is no terminal.

    Raises:
        ArgumentError: An answer is not valid.
    """
    if given:
        return GivenAnswers(given)
    if sys.stdin is None or not sys.stdin.isatty():
        return None
    from grpc_tool_bridge.cli.consoles import console

    err = console(stderr=True)
    return TerminalAnswers(err, paused) if err.is_terminal else None


class GivenAnswers:
    """Answers questions in the given order; further ones are declined.

    Args:
        given: The answers as JSON: an object (accept, with this content), true (accept), false or null (decline).
    """

    def __init__(self, given: Sequence[str]) -> None:
        self._answers = [_read_answer(text) for text in given]

    async def __call__(self, question: Question) -> Any:
        """Answers the next question."""
        del question
        return self._answers.pop(0) if self._answers else None


def _read_answer(text: str) -> Any:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"--answer: {clipped_repr(text, 60)} is not JSON: {error}") from None
    if answer is None or isinstance(answer, bool | dict):
        return answer
    raise ArgumentError(
        f"--answer: {clipped_repr(text, 60)} is not an object (accept, with this content), true (accept), false or "
        "null (decline)"
    )


class TerminalAnswers:
    """Shows questions on a terminal, one at a time, and reads the answers.

    Args:
        err: The terminal.
        paused: As for ``answers_for``.
    """

    def __init__(self, err: "Console", paused: Callable[[], AbstractContextManager[object]]) -> None:
        self._err = err
        self._paused = paused
        self._turn = asyncio.Lock()

    async def __call__(self, question: Question) -> Answer:
        """Asks for each property of the question; end of input (Ctrl-D) cancels it."""
        async with self._turn:
            with self._paused():
                self._err.print(question.message, soft_wrap=True)
                try:
                    return await self._answer(question.schema or {})
                except EOFError:
                    self._err.print("(cancelled)")
                    return Answer("cancel")

    async def _answer(self, schema: Mapping[str, Any]) -> Answer:
        properties: Mapping[str, Any] = schema.get("properties", {})
        if not properties:
            accepted = await self._read("accept", _CONFIRM, required=True)
            return Answer("accept" if accepted else "decline")
        content: dict[str, Any] = {}
        for name, rules in properties.items():
            value = await self._read(name, rules, required=name in schema.get("required", ()))
            if value is not None:
                content[name] = value
        return Answer("accept", content)

    async def _read(self, name: str, rules: Mapping[str, Any], *, required: bool) -> Any:
        """Reads one value, and asks again until it fits; None if it is left out."""
        if "description" in rules:
            self._err.print(f"  {rules['description']}", soft_wrap=True, style="dim")
        while True:
            self._err.print(f"  {name} ({_described(rules, required=required)}): ", end="", soft_wrap=True)
            try:
                text = await _read_line()
            except asyncio.CancelledError:
                self._err.print()
                raise
            if not text and "default" in rules:
                return rules["default"]
            if not text and not required:
                return None
            problem = "it is required"
            if text:
                try:
                    return read_value(text, rules)
                except ValidationError as error:
                    problem = error.message
            self._err.print(f"  {problem}", soft_wrap=True)


def _described(rules: Mapping[str, Any], *, required: bool) -> str:
    """Describes what may be typed."""
    kind = {"string": "text", "boolean": "y/n"}.get(rules["type"], rules["type"])
    choices = " | ".join(
        f"{_typed(value)}: {title}" if title else _typed(value) for value, title in choices_of(rules).items()
    )
    parts = [choices or kind]
    if rules["type"] == "array":
        parts.append("several with commas between them")
    for key, called in _LIMITS:
        if key in rules:
            parts.append(f"{called} {rules[key]}")
    if "default" in rules:
        parts.append(f"default {_typed(rules['default'])}")
    elif not required:
        parts.append("optional")
    return ", ".join(parts)


def _typed(value: Any) -> str:
    """Writes a value as it is typed."""
    if isinstance(value, list):
        return ",".join(value)
    return ("y" if value else "n") if isinstance(value, bool) else str(value)


_LIMITS = (
    ("minimum", "at least"),
    ("exclusiveMinimum", "more than"),
    ("maximum", "at most"),
    ("exclusiveMaximum", "less than"),
    ("minLength", "characters at least"),
    ("maxLength", "characters at most"),
    ("minItems", "items at least"),
    ("maxItems", "items at most"),
)


async def _read_line() -> str:
    """Reads a typed line without a thread that would outlive the command; raises EOFError at end of input."""
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()
    typed: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _settle, typed)
    try:
        await typed
    finally:
        loop.remove_reader(descriptor)
    line = os.read(descriptor, _LINE_BYTES)
    if not line:
        raise EOFError
    return line.decode("utf-8", "replace").strip()


def _settle(typed: "asyncio.Future[None]") -> None:
    if not typed.done():
        typed.set_result(None)
