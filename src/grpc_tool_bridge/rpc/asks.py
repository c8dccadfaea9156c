"""Questions that a tool has for whoever called it: what every transport shares."""

import itertools
from collections.abc import Callable
from typing import Protocol

from grpc_tool_bridge.errors import ResourceExhaustedError, UnimplementedError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer, Ask

# Of a client's hello: it can answer. And of the metadata of a hub's call: whoever called the tool can.
ASK_FEATURE = "ask"
ASKS_KEY = "tool-bridge-asks"

MAX_ID_CHARS = 64
MAX_QUESTION_CHARS = 4_096
MAX_SCHEMA_CHARS = 16_384
# Of an answer's content, as it travels.
MAX_CONTENT_BYTES = 65_536
# Questions of one call from outside that wait for their answers, with those of the tools that its tool calls.
MAX_OPEN_ASKS = 100

# Called once with the answer; with None if whoever was asked has gone.
Answered = Callable[[Answer | None], None]


class Asker(Protocol):
    """Puts questions to whoever made a call."""

    @property
    def can_ask(self) -> bool:
        """Whether they are still there."""

    def ask(self, ask: Ask, answered: Answered) -> Callable[[], object]:
        """Asks.

        Args:
            ask: The question; the asker gives it an id of its own.
            answered: Called, later, with the answer as it came: nobody has checked it.

        Returns:
            What withdraws the question: ``answered`` is not called any more.

        Raises:
            UnimplementedError: Whoever made the call has gone.
            ResourceExhaustedError: Too many questions wait.
        """


class OpenAsks:
    """The questions of one call that wait for their answers."""

    def __init__(self) -> None:
        self._waiting: dict[str, Answered] = {}
        self._ids = itertools.count(1)
        self._closed = False

    @property
    def can_ask(self) -> bool:
        """Whether there is still somebody who answers."""
        return not self._closed

    def add(self, ask: Ask, answered: Answered) -> Ask:
        """Adds a question, and returns it with an id of its own.

        Raises:
            UnimplementedError: Whoever made the call has gone.
            ResourceExhaustedError: Too many wait.
        """
        if self._closed:
            raise UnimplementedError("the caller has gone, and can be asked nothing more")
        if len(self._waiting) >= MAX_OPEN_ASKS:
            raise ResourceExhaustedError(
                f"{MAX_OPEN_ASKS} questions of this call wait for their answers, which is the limit; ask fewer at once"
            )
        ask_id = str(next(self._ids))
        self._waiting[ask_id] = answered
        return Ask(id=ask_id, message=ask.message, schema=ask.schema)

    def take(self, answer: Answer) -> None:
        """Takes an answer; one to a question that is not open is dropped."""
        answered = self._waiting.pop(answer.id, None)
        if answered is not None:
            answered(answer)

    def withdraw(self, ask_id: str) -> None:
        """Waits no more for the answer to a question."""
        self._waiting.pop(ask_id, None)

    def close(self) -> None:
        """Takes no further questions, and tells those who wait that nobody answers."""
        self._closed = True
        while self._waiting:
            _, answered = self._waiting.popitem()
            answered(None)


def check_ask(ask: Ask) -> None:
    """Checks the lengths of a question.

    Raises:
        ValidationError: One is over its bound; the text names it and the bound.
    """
    for name, text, most in (
        ("id", ask.id, MAX_ID_CHARS),
        ("message", ask.message, MAX_QUESTION_CHARS),
        ("schema", ask.schema, MAX_SCHEMA_CHARS),
    ):
        if len(text) > most:
            raise ValidationError(f"the {name} of a question has {len(text):,} characters; the limit is {most:,}")


def check_answer_size(answer: Answer) -> None:
    """Checks how large an answer is, before anything is read of it.

    Raises:
        ValidationError: It is over the bound.
    """
    size = answer.ByteSize()
    if size > MAX_CONTENT_BYTES:
        raise ValidationError(f"the answer to a question takes {size:,} bytes; the limit is {MAX_CONTENT_BYTES:,}")


def cannot_answer(tool_name: str) -> UnimplementedError:
    """Returns the error for a tool whose caller has no way to answer."""
    return UnimplementedError(
        f"{tool_name} asked its caller, who cannot answer: the call came over a plain RPC, or from a client without "
        "on_ask, or its caller has gone; pass on_ask= to GRPCToolBridge and connect over a link, which is the default"
    )
