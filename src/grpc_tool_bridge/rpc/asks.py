"""Questions of a tool to its caller: what all transports share."""

import itertools
from collections.abc import Callable
from typing import Protocol

from grpc_tool_bridge.errors import ResourceExhaustedError, UnimplementedError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer, Ask

# A feature in a client's hello: it can answer. And a key in the metadata of a hub's call: the tool's caller can.
ASK_FEATURE = "ask"
ASKS_KEY = "tool-bridge-asks"
# A feature in the hello of a hub that dials another: it says so in each call whose caller can answer.
ASK_PER_CALL_FEATURE = "ask-per-call"

# A detail of the error of a question that nobody can answer: the tool that asked it.
ASKED_DETAIL = "asked"

MAX_ID_CHARS = 64
MAX_QUESTION_CHARS = 4_096
MAX_SCHEMA_CHARS = 16_384
# Of an answer's content, serialized.
MAX_CONTENT_BYTES = 65_536
# Open questions of one call from outside, including those of its nested calls.
MAX_OPEN_ASKS = 100

# Called once with the answer; with None if the caller has gone.
Answered = Callable[[Answer | None], None]


class Asker(Protocol):
    """Asks the caller of a tool."""

    @property
    def can_ask(self) -> bool:
        """Whether the caller can still answer."""

    def ask(self, ask: Ask, answered: Answered) -> Callable[[], object]:
        """Asks.

        Args:
            ask: The question; the asker sets its id.
            answered: Called later with the answer, unchecked.

        Returns:
            A function that withdraws the question: ``answered`` is no longer called.

        Raises:
            UnimplementedError: The caller has gone.
            ResourceExhaustedError: Too many questions wait.
        """


class OpenAsks:
    """The open questions of one call."""

    def __init__(self) -> None:
        self._waiting: dict[str, Answered] = {}
        self._ids = itertools.count(1)
        self._closed = False

    @property
    def can_ask(self) -> bool:
        """Whether the caller can still answer."""
        return not self._closed

    def add(self, ask: Ask, answered: Answered) -> Ask:
        """Adds a question, and returns it with a new id.

        Raises:
            UnimplementedError: The caller has gone.
            ResourceExhaustedError: Too many questions wait.
        """
        if self._closed:
            raise UnimplementedError("the caller has gone, and can be asked nothing more")
        if len(self._waiting) >= MAX_OPEN_ASKS:
            raise ResourceExhaustedError(
                f"{MAX_OPEN_ASKS} questions of this call wait for their answers, which is the limit; ask fewer"
            )
        ask_id = str(next(self._ids))
        self._waiting[ask_id] = answered
        return Ask(id=ask_id, message=ask.message, schema=ask.schema)

    def take(self, answer: Answer) -> None:
        """Takes an answer; drops it if its question is not open."""
        answered = self._waiting.pop(answer.id, None)
        if answered is not None:
            answered(answer)

    def withdraw(self, ask_id: str) -> None:
        """Stops waiting for the answer to a question."""
        self._waiting.pop(ask_id, None)

    def close(self) -> None:
        """Refuses further questions, and answers the open ones with None."""
        self._closed = True
        while self._waiting:
            _, answered = self._waiting.popitem()
            answered(None)


def check_ask(ask: Ask) -> None:
    """Checks the lengths of a question.

    Raises:
        ValidationError: A text exceeds its bound; the error names both.
    """
    for name, text, most in (
        ("id", ask.id, MAX_ID_CHARS),
        ("message", ask.message, MAX_QUESTION_CHARS),
        ("schema", ask.schema, MAX_SCHEMA_CHARS),
    ):
        if len(text) > most:
            raise ValidationError(f"the {name} of a question has {len(text):,} characters; the limit is {most:,}")


def check_answer_size(answer: Answer) -> None:
    """Checks the size of an answer, before it is read.

    Raises:
        ValidationError: It exceeds the bound.
    """
    size = answer.ByteSize()
    if size > MAX_CONTENT_BYTES:
        raise ValidationError(f"the answer to a question takes {size:,} bytes; the limit is {MAX_CONTENT_BYTES:,}")


def cannot_answer(tool_name: str) -> UnimplementedError:
    """Returns the error for a tool whose caller cannot answer."""
    return UnimplementedError(
        f"{tool_name} asked its caller, who cannot answer: the call came over a plain RPC, or from a client without "
        "on_ask, or its caller has gone; pass on_ask= to GRPCToolBridge and connect over a link, which is the default",
        details={ASKED_DETAIL: tool_name},
    )
