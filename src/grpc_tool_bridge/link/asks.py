"""Questions over a link: those that the peer is asked of its calls, and those of a worker's tool that go on from here.

What answers them is not checked here, but for its size: only who asked knows what fits.
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

# Gives the peer the answer to a question of its own.
GiveAnswer = Callable[[Answer], None]


class LinkAsker:
    """Asks the peer that made one call; an ``Asker``.

    Args:
        send: Sends a question of the call; raises ToolBridgeError where it is over, or the peer does not read.
    """

    def __init__(self, send: Callable[[Ask], None]) -> None:
        self._send = send
        self._asks = OpenAsks()
        self.take, self.close = self._asks.take, self._asks.close

    @property
    def can_ask(self) -> bool:
        """As of ``Asker``."""
        return self._asks.can_ask

    def ask(self, ask: Ask, answered: Answered) -> Callable[[], object]:
        """As of ``Asker``."""
        asked = self._asks.add(ask, answered)
        withdraw = partial(self._asks.withdraw, asked.id)
        try:
            self._send(asked)
        except ToolBridgeError:
            withdraw()
            raise
        return withdraw


class AskedFor(Protocol):
    """The call of a hub that a worker has.

    Attributes:
        asker: Puts its tool's questions to whoever made it; None: they cannot answer.
        nested: What ends with it.
    """

    asker: Asker | None
    nested: Any

    def hold(self, nested: Any) -> None:
        """Ends a question with itself."""

    def cancel(self, cause: ToolBridgeError) -> None:
        """Ends it with ``cause``."""


class PassedOn:
    """A question of a worker's tool that was passed on to whoever made its call, until the answer goes back.

    What is over its bound ends the call, with an error that says so: the worker cannot be told in an answer.

    Args:
        call: The call as the hub has it.
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
        """Withdraws it: the call is over."""
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
    """Makes the answer to a question that nobody answers."""
    return Answer(id=ask.id, action="cancel")
