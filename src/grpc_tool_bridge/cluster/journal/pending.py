"""Changes that wait to be appended to a chain."""

from collections.abc import Callable
from typing import NamedTuple

from google.protobuf import any_pb2
from google.protobuf.message import DecodeError

from grpc_tool_bridge.cluster.journal import changes
from grpc_tool_bridge.cluster.journal.changes import KeptCall
from grpc_tool_bridge.cluster.journal.image import SessionImage
from grpc_tool_bridge.cluster.journal.records import body_of
from grpc_tool_bridge.cluster.journal.replay import apply
from grpc_tool_bridge.core.stored import StoredCall
from grpc_tool_bridge.core.variable import Variable
from grpc_tool_bridge.core.writes import Settled, Write
from grpc_tool_bridge.proto.dspex_bridge_journal_pb2 import JournalChange
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallResponse


class CallsAhead:
    """The calls of a session as they will be once what is about to be appended is stored.

    Args:
        image: What is stored.
        now: Seconds since the epoch.
    """

    __slots__ = ("_ahead", "_image", "_now")

    def __init__(self, image: SessionImage, now: float) -> None:
        self._image = image
        self._now = now
        self._ahead: dict[str, KeptCall | None] = {}

    def get(self, key: str) -> KeptCall | None:
        """Returns the call that has a key; None: there is none, or it is no longer kept."""
        call = self._ahead[key] if key in self._ahead else self._image.call(key)
        return None if call is None or call.is_over(self._now) else call

    def set(self, key: str, call: KeptCall | None) -> None:
        """Notes what a call becomes."""
        self._ahead[key] = call


class PendingChange(Write):
    """A change on its way into a chain.

    Args:
        message: The change.
        take: Makes it to an image; None: as it is read from the chain.
        settled: As for ``Write``.
        is_owed: Whether it is tried again until it is stored: it only takes away, so nothing is built on it.
        is_moot: Whether it need not be stored once its session has ended.

    Attributes:
        is_owed, is_moot: As given.
        body: The serialized body of a record that has nothing else; those of several, one after the other, are that of
            a record with all of them.
        kind: What it changes, such as "set".
    """

    __slots__ = ("_message", "_take", "body", "is_moot", "is_owed", "kind")

    def __init__(
        self,
        message: JournalChange,
        take: Callable[[SessionImage], None] | None = None,
        settled: Settled | None = None,
        *,
        is_owed: bool = False,
        is_moot: bool = False,
    ) -> None:
        Write.__init__(self, settled)
        self.kind = message.WhichOneof("change")
        self.body = body_of(message)
        self._message = message if take is None else None
        self._take = take
        self.is_owed = is_owed
        self.is_moot = is_moot or is_owed

    def plan(self, calls: CallsAhead) -> bool:
        """Returns whether it is to be appended."""
        del calls
        return True

    def apply(self, image: SessionImage) -> None:
        """Makes the change to an image, once it is stored."""
        if self._take is not None:
            self._take(image)
        elif self._message is not None:
            apply(image, self._message)


class PendingSet(PendingChange):
    """The next state of a variable.

    Args:
        variable, previous, hides: As for ``SessionImage.set_variable``.
        value: The value as it is to be stored.
        settled: As for ``Write``.
    """

    __slots__ = ("_hides", "_previous", "_variable")

    def __init__(self, variable: Variable, previous: int, value: any_pb2.Any, settled: Settled, *, hides: bool) -> None:
        # Without ``PendingChange.__init__``, which would look at the message, and keep it.
        Write.__init__(self, settled)
        self.kind = "set"
        self.body = body_of(changes.set_variable(variable, previous, value, hides=hides))
        self._message = self._take = None
        self.is_owed = self.is_moot = False
        self._variable = variable
        self._previous = previous
        self._hides = hides

    def apply(self, image: SessionImage) -> None:
        """See ``PendingChange``."""
        image.set_variable(self._variable, self._previous, hides=self._hides)


class Beginning(NamedTuple):
    """A call that is to begin.

    Attributes:
        key, used_for: Its key, and the digest of its request.
        again: Whether to begin it also if an earlier one with the same request has no answer.
    """

    key: str
    used_for: bytes
    again: bool


class PendingBeginning(PendingChange):
    """The beginning of a call with a key, unless one with that key has begun.

    Attributes:
        found: The earlier one; None: it begins.
    """

    __slots__ = ("_beginning", "found")

    def __init__(self, beginning: Beginning) -> None:
        super().__init__(changes.begin_call(beginning.key, beginning.used_for))
        self._beginning = beginning
        self.found: StoredCall | None = None

    def plan(self, calls: CallsAhead) -> bool:
        """See ``PendingChange``."""
        key, used_for, again = self._beginning
        known = calls.get(key)
        if known is not None and (known.answer is not None or not (again and known.used_for == used_for)):
            self.found = StoredCall(known.used_for, _read_answer(known.answer))
            return False
        calls.set(key, KeptCall(used_for))
        return True

    def apply(self, image: SessionImage) -> None:
        """See ``PendingChange``."""
        if self.found is None:
            super().apply(image)


class PendingEnding(PendingChange):
    """What becomes of a call that has begun; nothing if there is none."""

    __slots__ = ("_becomes", "_is_answer", "_is_planned", "_key")

    def __init__(
        self,
        key: str,
        message: JournalChange,
        becomes: Callable[[KeptCall], KeptCall | None],
        settled: Settled | None = None,
    ) -> None:
        is_answer = message.HasField("keep_answer")
        super().__init__(message, settled=settled, is_owed=not is_answer, is_moot=True)
        self._key = key
        self._becomes = becomes
        self._is_answer = is_answer
        self._is_planned = False

    def plan(self, calls: CallsAhead) -> bool:
        """See ``PendingChange``."""
        known = calls.get(self._key)
        # A call that was answered stays so.
        self._is_planned = known is not None and (self._is_answer or known.answer is None)
        if known is None or not self._is_planned:
            return False
        calls.set(self._key, self._becomes(known))
        return True

    def apply(self, image: SessionImage) -> None:
        """See ``PendingChange``."""
        if self._is_planned:
            super().apply(image)


def kept_answer(key: str, answer: bytes, ends_at: float, settled: Settled | None) -> PendingEnding:
    """Returns that a call has an answer."""
    return PendingEnding(
        key,
        changes.keep_answer(key, answer, ends_at),
        lambda known: KeptCall(known.used_for, ends_at, answer),
        settled,
    )


def given_up_call(key: str, ends_at: float) -> PendingEnding:
    """Returns that it will not be known what became of a call."""
    return PendingEnding(key, changes.give_up_call(key, ends_at), lambda known: KeptCall(known.used_for, ends_at))


def freed_call(key: str) -> PendingEnding:
    """Returns that a key is free again."""
    return PendingEnding(key, changes.free_call(key), lambda _: None)


def _read_answer(answer: bytes | None) -> ToolCallResponse | None:
    """Returns an answer that was kept; None if it is damaged: then nobody knows what it was."""
    try:
        return ToolCallResponse.FromString(answer) if answer is not None else None
    except DecodeError:
        return None
