"""Questions over a link: those that the peer is asked of its calls, and those of a worker's tool that go on from here.

What answers them is not checked here, but for its size: only who asked knows what fits.
"""

import itertools
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
from grpc_tool_bridge.rpc.asks import Answered, Asker, check_answer_size, check_ask, check_open_asks

# Gives the peer the answer to a question of its own.
GiveAnswer = Callable[[Answer], None]


class LinkAsker:
    """Asks the peer that made one call; an ``Asker``.

    Args:
        send: Sends a question of the call; raises ToolBridgeError where it is over, or the peer does not read.
    """

    def __init__(self, send: Callable[[Ask], None]) -> None:
        self._send: Callable[[Ask], None] | None = send
        self._open: dict[str, Answered] = {}
        self._ids = itertools.count(1)

    @property
    def can_ask(self) -> bool:
        """As of ``Asker``."""
        return self._send is not None

    def ask(self, ask: Ask, answered: Answered) -> Callable[[], object]:
        """As of ``Asker``."""
        if self._send is None:
            raise UnimplementedError("the caller has gone, and cannot be asked any more")
        check_open_asks(len(self._open))
        ask_id = str(next(self._ids))
        self._send(Ask(id=ask_id, message=ask.message, schema=ask.schema))
        self._open[ask_id] = answered
        return partial(self._open.pop, ask_id, None)

    def take(self, answer: Answer) -> None:
        """Takes an answer; one to a question that is not open is dropped."""
        answered = self._open.pop(answer.id, None)
        if answered is not None:
            answered(answer)

    def close(self) -> None:
        """Asks nothing more: the call is over, or its caller has gone."""
        self._send = None
        while self._open:
            _, answered = self._open.popitem()
            answered(None)


class AskedFor(Protocol):
    """The call of a hub that a worker has."""

    nested: Any

    @property
    def asker(self) -> Asker | None:
        """Puts questions to whoever made it."""

    def hold(self, nested: Any) -> None:
        """Ends a question when it ends itself."""

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
