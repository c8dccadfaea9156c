"""A session's variables: revisions, compare-and-set, tags, listing, watches."""

import itertools
import time
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
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

# Memory of a tag, besides its texts.
TAG_BYTES = 100

# Memory of a variable besides its value and metadata, and of a change besides its value.
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
    """Numbers all changes of one hub in ascending order, and so those of each session.

    Attributes:
        epoch: Identifies this run of the hub; a restarted hub has another.
    """

    def __init__(self) -> None:
        self.epoch = uuid.uuid4().hex
        self.next: Callable[[], int] = itertools.count(1).__next__


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable at one revision. A change creates a new object, so that a list of variables stays consistent.

    Attributes:
        value: The value, which the store does not inspect. It may be secret, so the repr does not show it.
        size: Bytes charged for the value.
        held: Bytes charged for the value and the metadata.
        created_at, updated_at: Seconds since the epoch.
        revision: The revision of the last change.
        secret: Whether listings, logs and dashboards hide its value; once set, it stays set until the variable is
            deleted.
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
        """Returns the metadata as a message."""
        message = VariableMetadata()
        self._fill(message)
        return message

    def info(self) -> VariableInfo:
        """Returns the entry of a listing."""
        message = VariableInfo()
        self.describe(message)
        return message

    def describe(self, info: VariableInfo) -> None:
        """Fills in the entry of a listing."""
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
        """Returns whether it has all of ``tags``."""
        own = self.tags
        return all(key in own and (value is None or own[key] == value) for key, value in tags)


# A key and a value; None: any value.
WantedTag = tuple[str, str | None]


def wanted_tag(text: str) -> WantedTag:
    """Parses a tag to search for, "key" or "key=value"."""
    key, equals, value = text.partition("=")
    return key, value if equals else None


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a variable, as a watch reports it.

    Attributes:
        operation: "set" (new), "update", "delete", or "reset": the current values follow as "set".
        timestamp: Seconds since the epoch.
        previous: The variable's previous revision; 0 if it is new.
        secret: Whether the variable is secret. Where it became secret later, this is true as well.
    """

    operation: str
    name: str
    value: Any = field(repr=False)
    revision: int
    timestamp: float
    size: int = 0
    previous: int = 0
    secret: bool = False


class Variables:
    """The variables of one session.

    Args:
        session_id: For error texts.
        revisions: Numbers the changes.
        settings: Limits on variables, their bytes and the history.
        memory: The session's budget; None: a new one.
        journal: Records each change, if set.
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
        # Revision of the last deletion.
        self._deleted_at = 0
        self._waiters = Notifier()
        self._closed: ToolBridgeError | None = None
        self.revision = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def size(self) -> int:
        """Bytes of all of them, as ``max_session_variable_bytes`` limits them."""
        return self._bytes

    def get(self, name: str) -> Variable:
        """Returns the variable.

        Raises:
            NotFoundError: There is no variable with this name.
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
            value: The value, stored as it is.
            size: Bytes to charge for the value.
            type_name: Its type if ``metadata`` has none.
            metadata: Those of type, created_by and tags that are set replace the old ones, tags as a whole; the others
                stay unchanged. A secret variable stays secret until it is deleted, since a message cannot tell a false
                ``secret`` from one that is not set.
            create: Whether to create a variable that does not exist.
            expected_revision: Set the variable only if this is its current revision (0: only if it does not exist).

        Raises:
            ValidationError: The name is not valid.
            NotFoundError: There is no variable with this name, and ``create`` is false.
            ConflictError: The current revision is not the expected one.
            ResourceExhaustedError: The session has too many variables or bytes.
        """
        known = self._items.get(name)
        if known is None:
            check_name(name, "a variable's name")
        self._expect(name, known, expected_revision)
        if known is None and not create:
            self.get(name)
        variable = self._made(known, name, value, size, type_name, metadata or _NO_METADATA)
        self._bytes += variable.held - (known.held if known else 0)
        self._items[name] = variable
        previous = known.revision if known else 0
        if self._journal is not None:
            self._journal.append(Record("variable-set", self._session_id, name, variable))
        if variable.secret and known is not None and not known.secret and self._history is not None:
            # An earlier value may be the one that is secret now.
            self._history.hide(name)
        operation, at = "update" if known else "set", variable.updated_at
        self._changed(Change(operation, name, value, variable.revision, at, size, previous, variable.secret))
        return variable

    def _made(
        self, known: Variable | None, name: str, value: Any, size: int, type_name: str, given: VariableMetadata
    ) -> Variable:
        """Returns the next state of a variable, after checking that there is room for it."""
        created_by = given.created_by or (known.created_by if known else "")
        tags = dict(given.tags) if given.tags else (known.tags if known else _NO_TAGS)
        held = size + len(created_by) + sum(len(key) + len(text) + TAG_BYTES for key, text in tags.items())
        self._check_room(known, held)
        now = time.time()
        return Variable(
            name,
            value,
            clip(given.type or type_name),
            size,
            known.created_at if known else now,
            now,
            self._revisions.next(),
            held,
            created_by,
            given.secret or (known is not None and known.secret),
            tags,
        )

    def delete(self, name: str, *, expected_revision: int | None = None) -> None:
        """Deletes the variable.

        Raises:
            NotFoundError: There is no variable with this name.
            ConflictError: The current revision is not the expected one.
        """
        variable = self.get(name)
        self._expect(name, variable, expected_revision)
        del self._items[name]
        self._bytes -= variable.held
        self._lease.set(self._bytes + VARIABLE_BYTES * len(self._items))
        self._deleted_at = self._revisions.next()
        if self._journal is not None:
            self._journal.append(Record("variable-deleted", self._session_id, name))
        before = variable.revision
        self._changed(Change("delete", name, None, self._deleted_at, time.time(), 0, before, variable.secret))

    async def select(self, *, prefix: str = "", tags: Collection[str] = (), limit: int = 0) -> list[Variable]:
        """Returns a consistent list of variables, sorted by name; yields to other tasks if there are many.

        Args:
            prefix: Only names with this prefix.
            tags: Only variables with all of these tags, each "key" or "key=value".
            limit: Maximum number of variables; 0: all.
        """
        chosen = self._with_prefix(prefix)
        if tags:
            chosen = await _with_tags(chosen, [wanted_tag(tag) for tag in dict.fromkeys(tags)])
        chosen.sort(key=_name_of)
        return chosen[:limit] if limit else chosen

    def _with_prefix(self, prefix: str) -> list[Variable]:
        if not prefix:
            return list(self._items.values())
        return [variable for name, variable in self._items.items() if name.startswith(prefix)]

    async def watch(
        self, names: Collection[str] = (), *, initial: bool = False, after: int = 0, epoch: str = ""
    ) -> AsyncGenerator[Change, None]:
        """Yields changes in the order of their revisions, until the session ends.

        A slow reader misses no change that is still in the history; after that, it gets one "reset" and the current
        values.

        Args:
            names: Names of the variables; empty: all.
            initial: Whether to begin with the current values, as "set".
            after: Resume after this revision of ``epoch``; 0: from now on.
            epoch: The epoch of ``after``; empty: the current one.

        Raises:
            SessionError: The session has ended.
        """
        wanted = frozenset(names)
        cursor = self._begin(after, epoch, wanted)
        if initial and not after:
            for change in self._present(wanted):
                yield replace(change, secret=True) if self._is_secret(change.name) else change
        while True:
            changes, cursor = await self._changes_after(cursor, wanted)
            for change in changes:
                # The reader may have taken so long that it has become secret meanwhile.
                yield replace(change, secret=True) if self._is_secret(change.name) else change

    def close(self, error: ToolBridgeError) -> None:
        """Ends every watch with ``error``."""
        self._closed = error
        self._waiters.notify_all()

    def _is_secret(self, name: str) -> bool:
        variable = self._items.get(name)
        return variable is not None and variable.secret

    def _begin(self, after: int, epoch: str, wanted: frozenset[str]) -> int:
        """Returns the revision from which a watch resumes; -1 if the changes after it are no longer known."""
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
        """Returns whether the changes that the history has lost since a revision concern other variables only."""
        history = self._history
        assert history is not None  # noqa: S101 - a watch begins with it
        # The revision of each variable when the history began.
        revisions = {name: variable.revision for name, variable in self._items.items()}
        revisions.update(history.first_previous())
        return history.lost_delete <= after and all(
            revision <= after for name, revision in revisions.items() if not wanted or name in wanted
        )

    async def _changes_after(self, cursor: int, wanted: frozenset[str]) -> tuple[list[Change], int]:
        """Waits for changes after a revision; returns the wanted ones and the revision to continue from."""
        history = self._history
        assert history is not None  # noqa: S101 - a watch begins with it
        # If the changes are no longer known, the reader gets a reset immediately, without a wait.
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
        return [Change("set", v.name, v.value, v.revision, v.updated_at, v.size, secret=v.secret) for v in chosen]

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
                f"variable {shown(name)} {state}, not at revision {expected}; read it again before you retry",
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
        # Every change after this revision is in the history.
        self.floor = floor
        # Revision of the last deletion before it.
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

    def hide(self, name: str) -> None:
        """Marks the changes of a variable as those of a secret one."""
        for index, change in enumerate(self._changes):
            if change.name == name:
                self._changes[index] = replace(change, secret=True)

    def reaches(self, revision: int) -> bool:
        return revision >= self.floor

    def after(self, revision: int) -> list[Change]:
        """Returns the changes after ``revision``, oldest first; searches from the end, where most watches are."""
        newer = list(itertools.takewhile(lambda change: change.revision > revision, reversed(self._changes)))
        newer.reverse()
        return newer

    def first_previous(self) -> dict[str, int]:
        """Returns, for each changed variable, its revision before the first change in the history."""
        return {change.name: change.previous for change in reversed(self._changes)}


def session_budget(session_id: str, settings: Settings, memory: Budget | None) -> Budget:
    """Returns a budget for one session, as a part of the hub's ``memory``."""
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
    """Returns the listing of variables as a message; yields to other tasks if there are many.

    Raises:
        MessageTooLargeError: It would have more than ``max_bytes`` bytes.
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


# Overhead of one entry in a list: its tag and its length.
_ENTRY_BYTES = 4
_NO_METADATA = VariableMetadata()
_NO_TAGS: Mapping[str, str] = {}


def type_name(type_url: str) -> str:
    """Returns the type name of an encoded value: its Python name, or the last part of its type URL."""
    full_name = type_url.rpartition("/")[2]
    return _TYPE_NAMES.get(full_name, full_name)
