"""Questions over a link: those that this end asks the caller of a tool, and those that it forwards for a worker.

Only the size of an answer is checked here. Only the tool that asked knows what is valid.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from grpc_tool_bridge.errors import (
    CallCancelledError,
    ResourceExhaustedError,
    ToolBridgeError,
    UnimplementedError,
    ValidationError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer, Ask
from grpc_tool_bridge.rpc.asks import Answered, Asker, OpenAsks, check_answer_size, check_ask

# Sends the peer the answer to its question.
GiveAnswer = Callable[[Answer], None]


class LinkAsker:
    """Asks the peer that made one call; an ``Asker``.

    Args:
        send: Sends a question; raises ToolBridgeError if the call is over, or the peer does not read.
    """

    def __init__(self, send: Callable[[Ask], None]) -> None:
        self._send = send
        self._asks = OpenAsks()
        self.take, self.close = self._asks.take, self._asks.close

    @property
    def can_ask(self) -> bool:
        """See ``Asker``."""
        return self._asks.can_ask

    def ask(self, ask: Ask, answered: Answered) -> Callable[[], object]:
        """See ``Asker``."""
        asked = self._asks.add(ask, answered)
        withdraw = partial(self._asks.withdraw, asked.id)
        try:
            self._send(asked)
        except ToolBridgeError:
            withdraw()
            raise
        return withdraw


class AskedFor(Protocol):
    """A hub's call that a worker executes.

    Attributes:
        asker: Asks the caller the tool's questions; None: the caller cannot answer.
        nested: What is cancelled with it.
    """

    asker: Asker | None
    nested: Any

    def hold(self, nested: Any) -> None:
        """Cancels a question when the call ends."""

    def cancel(self, cause: ToolBridgeError) -> None:
        """Ends it with ``cause``."""


class PassedOn:
    """A question of a worker's tool that was forwarded to its caller and waits for the answer.

    A question or an answer that is too large ends the call with an error: an answer cannot tell the worker.

    Args:
        call: The hub's call.
        ask: The worker's question.
        give: Takes the answer.
    """

    def __init__(self, call: AskedFor, ask: Ask, give: GiveAnswer) -> None:
        self._call = call
        self._id = ask.id
        self._give = give
        self._withdraw: Callable[[], object] | None = None
        try:
            check_ask(ask)
        except ValidationError as error:
            call.cancel(error)
            return
        try:
            if call.asker is not None:
                self._withdraw = call.asker.ask(ask, self._answered)
        except (UnimplementedError, ResourceExhaustedError, CallCancelledError):
            pass
        if self._withdraw is None:
            give(cancelled(ask))
        else:
            call.hold(self)

    def cancel(self, cause: ToolBridgeError) -> None:
        """Withdraws the question: the call is over."""
        del cause
        if self._withdraw is not None:
            self._withdraw()

    def _answered(self, answer: Answer | None) -> None:
        self._call.nested.discard(self)
        if answer is None:
            self._give(Answer(id=self._id, action="cancel"))
            return
        try:
            check_answer_size(answer)
        except ValidationError as error:
            self._call.cancel(error)
            return
        self._give(Answer(id=self._id, action=answer.action, content=answer.content))


def cancelled(ask: Ask) -> Answer:
    """Returns the answer to a question that nobody answers."""
    return Answer(id=ask.id, action="cancel")
