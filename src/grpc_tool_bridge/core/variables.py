"""A session's variables: revisions, compare-and-set, tags, listing, watches."""

import itertools
import time
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from grpc_tool_bridge.aio.notifier import Notifier
from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.interfaces import Journal, Record
from grpc_tool_bridge.core.names import check_name, clip
from grpc_tool_bridge.errors import (
    ConflictError,
    MessageTooLargeError,
    NotFoundError,
    ResourceExhaustedError,
    ToolBridgeError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ListVariablesResponse, VariableInfo, VariableMetadata
from grpc_tool_bridge.rpc.bounds import shown
from grpc_tool_bridge.rpc.budgets import Budget, Lease

# What a tag takes in memory, however short it is.
TAG_BYTES = 100

# What a variable takes besides its value and what its writer says of it; and a change besides its value.
VARIABLE_BYTES = 1024
CHANGE_BYTES = 256

_TYPE_NAMES = {
    "google.protobuf.StringValue": "str",
    "google.protobuf.Int64Value": "int",
    "google.protobuf.DoubleValue": "float",
    "google.protobuf.BoolValue": "bool",
    "google.protobuf.BytesValue": "bytes",
    "google.protobuf.Value": "NoneType",
    "google.protobuf.ListValue": "list",
    "google.protobuf.Struct": "dict",
}


class Revisions:
    """Numbers every change in one life of the hub, rising; so they rise through each session too.

    Attributes:
        epoch: Name of this life of the hub.
    """

    def __init__(self) -> None:
        self.epoch = uuid.uuid4().hex
        self.next: Callable[[], int] = itertools.count(1).__next__


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable at one revision; a change makes another, so that a list of them stays what it was.

    Attributes:
        value: Whatever was set; the store does not look inside. It may be secret, so no text of this shows it.
        size: Bytes that the value counts for.
        held: Bytes that the whole variable counts for: its value and what its writer says of it.
        created_at, updated_at: Seconds since the epoch.
        revision: Of the last change.
        secret: Whether its value is shown in no listing, log or dashboard; that stays until it is deleted.
    """

    name: str
    value: Any = field(repr=False)
    type: str
    size: int
    created_at: float
    updated_at: float
    revision: int
    held: int = 0
    created_by: str = ""
    secret: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)

    def metadata(self) -> VariableMetadata:
        """Makes the message that describes the variable."""
        message = VariableMetadata()
        self._fill(message)
        return message

    def info(self) -> VariableInfo:
        """Makes the message that lists the variable."""
        message = VariableInfo()
        self.describe(message)
        return message

    def describe(self, info: VariableInfo) -> None:
        """Fills in the message that lists the variable."""
        info.name, info.type, info.size_bytes = self.name, self.type, self.size
        self._fill(info.metadata)

    def _fill(self, message: VariableMetadata) -> None:
        message.type, message.revision = self.type, self.revision
        message.created_by, message.secret = self.created_by, self.secret
        if self.tags:
            message.tags.update(self.tags)
        for stamp, seconds in ((message.created_at, self.created_at), (message.updated_at, self.updated_at)):
            micros = int(seconds * 1e6)
            stamp.seconds, stamp.nanos = micros // 1_000_000, micros % 1_000_000 * 1_000

    def has_tags(self, tags: Collection["WantedTag"]) -> bool:
        """Tells whether it carries every one of ``tags``."""
        own = self.tags
        return all(key in own and (value is None or own[key] == value) for key, value in tags)


# A key and, where that matters, its value.
WantedTag = tuple[str, str | None]


def wanted_tag(text: str) -> WantedTag:
    """Reads a tag to look for, "key" or "key=value"."""
    key, equals, value = text.partition("=")
    return key, value if equals else None


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a variable, as a watch tells it.

    Attributes:
        operation: "set" (new), "update", "delete", or "reset": the present values follow as "set".
        timestamp: Seconds since the epoch.
        previous: The variable's revision before; 0 where it is new.
    """

    operation: str
    name: str
    value: Any = field(repr=False)
    revision: int
    timestamp: float
    size: int = 0
    previous: int = 0


class Variables:
    """The variables of one session.

    Args:
        session_id: For the texts of errors.
        revisions: Numbers the changes.
        settings: How many variables, bytes and changes are kept.
        memory: The session's budget; one of its own where not given.
        journal: Told of each change; None: nobody is.
    """

    __slots__ = (
        "_bytes",
        "_closed",
        "_deleted_at",
        "_history",
        "_history_lease",
        "_items",
        "_journal",
        "_lease",
        "_revisions",
        "_session_id",
        "_settings",
        "_waiters",
        "revision",
    )

    def __init__(
        self,
        session_id: str,
        revisions: Revisions,
        settings: Settings,
        memory: Budget | None = None,
        journal: Journal | None = None,
    ) -> None:
        memory = memory or session_budget(session_id, settings, None)
        self._lease = Lease(memory, "a variable")
        self._history_lease = Lease(memory, "a change")
        self._session_id = session_id
        self._revisions = revisions
        self._settings = settings
        self._journal = journal
        self._items: dict[str, Variable] = {}
        self._bytes = 0
        self._history: _History | None = None
        # Revision of the last delete.
        self._deleted_at = 0
        self._waiters = Notifier()
        self._closed: ToolBridgeError | None = None
        self.revision = 0

    def __len__(self) -> int:
        return len(self._items)

    def get(self, name: str) -> Variable:
        """Returns the variable.

        Raises:
            NotFoundError: There is none of this name.
        """
        try:
            return self._items[name]
        except KeyError:
            raise NotFoundError(
                f"session {self._session_id!r} has no variable {shown(name)}", error_type="VariableNotFound"
            ) from None

    def set(
        self,
        name: str,
        value: Any,
        *,
        size: int = 0,
        type_name: str = "",
        metadata: VariableMetadata | None = None,
        create: bool = True,
        expected_revision: int | None = None,
    ) -> Variable:
        """Sets the variable.

        Args:
            name: 1 to 256 printable characters.
            value: Kept as it is.
            size: Bytes that the value counts for.
            type_name: Its type, where ``metadata`` names none.
            metadata: Of type, created_by and tags those that are given are taken from it, tags as a whole; the others
                stay as they were. A variable that is ``secret`` once is so until it is deleted: a writer that says
                nothing of it sends the same as one that denies it.
            create: Whether a variable that does not exist is made.
            expected_revision: Set only where this is the present revision (0: where there is none).

        Raises:
            ValidationError: The name cannot be used.
            NotFoundError: There is none of this name, and ``create`` is false.
            ConflictError: The present revision is another.
            ResourceExhaustedError: The session has too many variables or bytes.
        """
        known = self._items.get(name)
        if known is None:
            check_name(name, "a variable's name")
        self._expect(name, known, expected_revision)
        if known is None and not create:
            self.get(name)
        variable = self._made(known, name, value, size, type_name, metadata or _NOTHING_SAID)
        self._bytes += variable.held - (known.held if known else 0)
        self._items[name] = variable
        previous = known.revision if known else 0
        if self._journal is not None:
            self._journal.append(Record("variable-set", self._session_id, name, variable))
        self._changed(
            Change("update" if known else "set", name, value, variable.revision, variable.updated_at, size, previous)
        )
        return variable

    def _made(
        self, known: Variable | None, name: str, value: Any, size: int, type_name: str, said: VariableMetadata
    ) -> Variable:
        """Makes what a variable is next, where there is room for it."""
        created_by = said.created_by or (known.created_by if known else "")
        tags = dict(said.tags) if said.tags else (known.tags if known else _NO_TAGS)
        held = size + len(created_by) + sum(len(key) + len(text) + TAG_BYTES for key, text in tags.items())
        self._check_room(known, held)
        now = time.time()
        return Variable(
            name,
            value,
            clip(said.type or type_name),
            size,
            known.created_at if known else now,
            now,
            self._revisions.next(),
            held,
            created_by,
            said.secret or (known is not None and known.secret),
            tags,
        )

    def delete(self, name: str, *, expected_revision: int | None = None) -> None:
        """Deletes the variable.

        Raises:
            NotFoundError: There is none of this name.
            ConflictError: The present revision is another.
        """
        variable = self.get(name)
        self._expect(name, variable, expected_revision)
        del self._items[name]
        self._bytes -= variable.held
        self._lease.set(self._bytes + VARIABLE_BYTES * len(self._items))
        self._deleted_at = self._revisions.next()
        if self._journal is not None:
            self._journal.append(Record("variable-deleted", self._session_id, name))
        self._changed(Change("delete", name, None, self._deleted_at, time.time(), previous=variable.revision))

    async def select(self, *, prefix: str = "", tags: Collection[str] = (), limit: int = 0) -> list[Variable]:
        """Lists variables by name, all of one moment; where there are many, others have their turn meanwhile.

        Args:
            prefix: Only names that begin so.
            tags: Only variables that carry every one of these, each "key" or "key=value".
            limit: The first so many; 0: all.
        """
        chosen = self._begin_so(prefix)
        if tags:
            chosen = await _with_tags(chosen, [wanted_tag(tag) for tag in dict.fromkeys(tags)])
        chosen.sort(key=_name_of)
        return chosen[:limit] if limit else chosen

    def _begin_so(self, prefix: str) -> list[Variable]:
        if not prefix:
            return list(self._items.values())
        return [variable for name, variable in self._items.items() if name.startswith(prefix)]

    async def watch(
        self, names: Collection[str] = (), *, initial: bool = False, after: int = 0, epoch: str = ""
    ) -> AsyncGenerator[Change, None]:
        """Yields changes in the order of their revisions, for as long as the session lives.

        A reader that is slower than the changes misses none while the history reaches; past it, it gets one "reset"
        and the present values.

        Args:
            names: Which variables; empty: all.
            initial: First the present values, as "set".
            after: Go on after this revision of ``epoch``; 0: from now on.
            epoch: The life of the hub that ``after`` belongs to; empty: this one.

        Raises:
            SessionError: The session has ended.
        """
        wanted = frozenset(names)
        cursor = self._begin(after, epoch, wanted)
        if initial and not after:
            for change in self._present(wanted):
                yield change
        while True:
            changes, cursor = await self._changes_after(cursor, wanted)
            for change in changes:
                yield change

    def close(self, error: ToolBridgeError) -> None:
        """Ends every watch with ``error``."""
        self._closed = error
        self._waiters.notify_all()

    def _begin(self, after: int, epoch: str, wanted: frozenset[str]) -> int:
        """Returns the revision that a watch goes on from; -1 where what came after it is not known any more."""
        if self._history is None:
            self._history = _History(self._settings, self.revision, self._deleted_at)
        if not after:
            return self.revision
        other_life = bool(epoch) and epoch != self._revisions.epoch
        if other_life or after > self.revision:
            return -1
        if not self._history.reaches(after) and self._is_unchanged(after, wanted):
            return self._history.floor
        return after

    def _is_unchanged(self, after: int, wanted: frozenset[str]) -> bool:
        """Tells whether what the history has lost since a revision was about other variables than those wanted."""
        history = self._history
        assert history is not None  # noqa: S101 - a watch begins with it
        # Where each variable stood when the history began.
        stood = {name: variable.revision for name, variable in self._items.items()}
        stood.update(history.first_previous())
        return history.lost_delete <= after and all(
            revision <= after for name, revision in stood.items() if not wanted or name in wanted
        )

    async def _changes_after(self, cursor: int, wanted: frozenset[str]) -> tuple[list[Change], int]:
        """Waits for changes after a revision and returns those that are wanted, and the revision that they lead to."""
        history = self._history
        assert history is not None  # noqa: S101 - a watch begins with it
        # What is not known any more is told at once; else there is something to wait for.
        if cursor >= 0 and history.reaches(cursor):
            await self._next_change(cursor)
        if cursor < 0 or not history.reaches(cursor):
            return [Change("reset", "", None, self.revision, time.time()), *self._present(wanted)], self.revision
        changes = history.after(cursor)
        chosen = [change for change in changes if not wanted or change.name in wanted]
        return chosen, changes[-1].revision if changes else cursor

    def _present(self, wanted: frozenset[str]) -> list[Change]:
        chosen = [variable for variable in self._items.values() if not wanted or variable.name in wanted]
        chosen.sort(key=lambda variable: variable.revision)
        return [Change("set", v.name, v.value, v.revision, v.updated_at, v.size) for v in chosen]

    async def _next_change(self, cursor: int) -> None:
        while self.revision <= cursor:
            if self._closed is not None:
                raise self._closed
            await self._waiters.wait()

    def _changed(self, change: Change) -> None:
        self.revision = change.revision
        if self._history is not None:
            self._history.add(change)
            self._history_lease.set(self._history.size)
        self._waiters.notify_all()

    def _expect(self, name: str, known: Variable | None, expected: int | None) -> None:
        present = known.revision if known else 0
        if expected is not None and expected != present:
            state = f"is at revision {present}" if known else "does not exist"
            raise ConflictError(
                f"variable {shown(name)} {state}, not at revision {expected}; read it again and decide anew",
                details={"revision": str(present), "expected_revision": str(expected)},
            )

    def _check_room(self, known: Variable | None, held: int) -> None:
        settings = self._settings
        if known is None and len(self._items) >= settings.max_session_variables:
            raise ResourceExhaustedError(
                f"session {self._session_id!r} has {len(self._items):,} variables, which is its limit; delete some"
            )
        total = self._bytes + held - (known.held if known else 0)
        if total > settings.max_session_variable_bytes:
            raise ResourceExhaustedError(
                f"the variables of session {self._session_id!r} would take {total:,} bytes, "
                f"the limit is {settings.max_session_variable_bytes:,}; delete some"
            )
        self._lease.resize(total + VARIABLE_BYTES * (len(self._items) + (known is None)))


class _History:
    """The last changes, bounded by number and by the bytes that their values hold."""

    __slots__ = ("_bytes", "_changes", "_max_bytes", "_max_changes", "floor", "lost_delete")

    def __init__(self, settings: Settings, floor: int, lost_delete: int) -> None:
        self._max_changes = settings.watch_history
        self._max_bytes = settings.watch_history_bytes
        self._changes: deque[Change] = deque()
        self._bytes = 0
        # Every change after this revision is here.
        self.floor = floor
        # Of the last delete that is not.
        self.lost_delete = lost_delete

    @property
    def size(self) -> int:
        """Bytes that the changes hold."""
        return self._bytes + CHANGE_BYTES * len(self._changes)

    def add(self, change: Change) -> None:
        self._changes.append(change)
        self._bytes += change.size
        while len(self._changes) > self._max_changes or (self._bytes > self._max_bytes and len(self._changes) > 1):
            dropped = self._changes.popleft()
            self._bytes -= dropped.size
            self.floor = dropped.revision
            if dropped.operation == "delete":
                self.lost_delete = dropped.revision

    def reaches(self, revision: int) -> bool:
        return revision >= self.floor

    def after(self, revision: int) -> list[Change]:
        """Changes after ``revision``, oldest first; found from the end, where watches usually are."""
        newer = list(itertools.takewhile(lambda change: change.revision > revision, reversed(self._changes)))
        newer.reverse()
        return newer

    def first_previous(self) -> dict[str, int]:
        """Of each variable that changed, its revision before the first change that is here."""
        return {change.name: change.previous for change in reversed(self._changes)}


def session_budget(session_id: str, settings: Settings, memory: Budget | None) -> Budget:
    """Makes the budget of one session, as a part of the hub's ``memory``."""
    return Budget(
        settings.max_session_bytes, owner=f"session {session_id!r}", setting="max_session_bytes", parent=memory
    )


def _name_of(variable: Variable) -> str:
    return variable.name


async def _with_tags(variables: Iterable[Variable], tags: Collection[WantedTag]) -> list[Variable]:
    found: list[Variable] = []
    turns = Turns()
    for variable in variables:
        if variable.has_tags(tags):
            found.append(variable)
        if turns.due:
            await turns.give()
    return found


async def listing(variables: Collection[Variable], max_bytes: int) -> ListVariablesResponse:
    """Makes the message that lists variables; where there are many, others have their turn meanwhile.

    Raises:
        MessageTooLargeError: It would take more than ``max_bytes``.
    """
    response = ListVariablesResponse()
    size = 0
    turns = Turns()
    for variable in variables:
        info = response.variables.add()
        variable.describe(info)
        size += info.ByteSize() + _ENTRY_BYTES
        if size > max_bytes:
            what = f"the list of {len(variables):,} variables (prefix, tags or limit make it shorter)"
            raise MessageTooLargeError.of(what, size, max_bytes)
        if turns.due:
            await turns.give()
    return response


# Of one entry in a list: its tag and its length.
_ENTRY_BYTES = 4
_NOTHING_SAID = VariableMetadata()
_NO_TAGS: Mapping[str, str] = {}


def type_name(type_url: str) -> str:
    """Names the type of a value whose writer did not: as Python calls it, or the last part of its type URL."""
    full_name = type_url.rpartition("/")[2]
    return _TYPE_NAMES.get(full_name, full_name)
