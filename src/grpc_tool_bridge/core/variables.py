"""A session's variables: revisions, compare-and-set, tags, listing, watches."""

import time
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from google.protobuf import any_pb2

from grpc_tool_bridge.aio.notifier import Notifier
from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.interfaces import DurableStore
from grpc_tool_bridge.core.names import check_name, clip
from grpc_tool_bridge.core.revisions import Revisions
from grpc_tool_bridge.core.variable import Change, Variable, WantedTag, type_name, wanted_tag
from grpc_tool_bridge.core.variable_history import VariableHistory
from grpc_tool_bridge.core.writes import STORED, Write
from grpc_tool_bridge.errors import (
    ConflictError,
    MessageTooLargeError,
    NotFoundError,
    ResourceExhaustedError,
    ToolBridgeError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ListVariablesResponse, VariableMetadata
from grpc_tool_bridge.rpc.bounds import shown
from grpc_tool_bridge.rpc.budgets import Budget, Lease

# Memory of a tag, besides its texts.
TAG_BYTES = 100

# Memory of a variable besides its value and metadata.
VARIABLE_BYTES = 1024


class _Pending(NamedTuple):
    """The last change of a variable that is on its way into the store; ``becomes`` is None if it deletes it."""

    revision: int
    becomes: Variable | None
    write: Write


class Variables:
    """The variables of one session.

    With a durable store, a change is checked at once and takes effect when it is stored: readers and watches see what
    is stored, and further changes are checked against what is about to be.

    Args:
        session_id: For error texts.
        revisions: Numbers the changes.
        settings: Limits on variables, their bytes and the history.
        memory: The session's budget; None: a new one.
        durable: Keeps each change, if set.

    Attributes:
        revision: Revision of the last change.
        last_write: The last change that the durable store was given; it says whether it has arrived.
    """

    __slots__ = (
        "_bytes",
        "_closed",
        "_count",
        "_deleted_at",
        "_durable",
        "_history",
        "_history_lease",
        "_items",
        "_lease",
        "_pending",
        "_revisions",
        "_session_id",
        "_settings",
        "_waiters",
        "last_write",
        "revision",
    )

    def __init__(
        self,
        session_id: str,
        revisions: Revisions,
        settings: Settings,
        memory: Budget | None = None,
        durable: DurableStore | None = None,
    ) -> None:
        memory = memory or session_budget(session_id, settings, None)
        self._lease = Lease(memory, "a variable")
        self._history_lease = Lease(memory, "a change")
        self._session_id = session_id
        self._revisions = revisions
        self._settings = settings
        self._durable = durable
        self._items: dict[str, Variable] = {}
        # What the last changes on their way into the store will make of variables, by name.
        self._pending: dict[str, _Pending] = {}
        # Of the variables as they will be.
        self._count = 0
        self._bytes = 0
        self._history: VariableHistory | None = None
        # Revision of the last deletion.
        self._deleted_at = 0
        self._waiters = Notifier()
        self._closed: ToolBridgeError | None = None
        self.revision = 0
        self.last_write: Write = STORED

    def restore(self, variables: Iterable[Variable], revision: int, deleted_at: int) -> None:
        """Takes over what a durable store has kept, with the revisions of the last change and the last deletion."""
        self._items = {variable.name: variable for variable in variables}
        self._count = len(self._items)
        self._bytes = sum(variable.held for variable in self._items.values())
        self._lease.set(self._bytes + VARIABLE_BYTES * self._count)
        self.revision, self._deleted_at = revision, deleted_at

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
            raise self._missing(name) from None

    def _missing(self, name: str) -> NotFoundError:
        text = f"session {self._session_id!r} has no variable {shown(name)}"
        return NotFoundError(text, error_type="VariableNotFound")

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
        known = self._state_to_change(name, create, expected_revision)
        variable = self._made(known, name, value, size, type_name, metadata or _NO_METADATA)
        self._bytes += variable.held - (known.held if known else 0)
        self._count += known is None
        if self._durable is None:
            self._take(known, variable)
        else:
            write = self._durable.set_variable(
                self._session_id,
                variable,
                previous=known.revision if known else 0,
                hides=variable.secret and known is not None and not known.secret,
                settled=partial(self._settled, known, variable),
            )
            self._follow(name, variable.revision, variable, write)
        return variable

    def set_encoded(
        self,
        name: str,
        value: any_pb2.Any,
        *,
        kind: str = "",
        metadata: VariableMetadata | None = None,
        create: bool = True,
        expected_revision: int | None = None,
    ) -> Variable:
        """Sets the variable to a copy of an encoded value: a part of a message would keep the whole message alive.

        ``kind`` is its type if ``metadata`` has none; empty: as the encoding says. Other arguments and errors as for
        ``set``.
        """
        url = value.type_url
        copy = any_pb2.Any()
        copy.type_url, copy.value = url, value.value
        return self.set(
            name,
            copy,
            size=copy.ByteSize(),
            type_name=kind or type_name(url),
            metadata=metadata,
            create=create,
            expected_revision=expected_revision,
        )

    def _follow(self, name: str, revision: int, becomes: Variable | None, write: Write) -> None:
        """Has further changes of a variable build on one that is on its way; one that was refused at once is not."""
        self.last_write = write
        if not write.is_settled:
            self._pending[name] = _Pending(revision, becomes, write)

    def _settled(self, known: Variable | None, variable: Variable, error: ToolBridgeError | None) -> None:
        """Takes a change that was stored, or undoes one that was not; those that were built on it fail, too."""
        self._no_longer_pending(variable.name, variable.revision)
        if error is None:
            self._take(known, variable)
        else:
            self._bytes -= variable.held - (known.held if known else 0)
            self._count -= known is None
            self._lease.set(self._bytes + VARIABLE_BYTES * self._count)

    def _take(self, known: Variable | None, variable: Variable) -> None:
        name = variable.name
        self._items[name] = variable
        if variable.secret and known is not None and not known.secret and self._history is not None:
            # An earlier value may be the one that is secret now.
            self._history.hide(name)
        change = None
        if self._history is not None:
            operation, previous = ("update", known.revision) if known else ("set", 0)
            value, at, size = variable.value, variable.updated_at, variable.size
            change = Change(operation, name, value, variable.revision, at, size, previous, variable.secret)
        self._changed(variable.revision, change)

    def _next(self, name: str) -> Variable | None:
        """Returns what a variable will be after the changes on their way; None: there will be none."""
        pending = self._pending.get(name)
        return self._items.get(name) if pending is None else pending.becomes

    def _no_longer_pending(self, name: str, revision: int) -> None:
        pending = self._pending.get(name)
        if pending is not None and pending.revision == revision:
            del self._pending[name]

    def _made(
        self, known: Variable | None, name: str, value: Any, size: int, type_name: str, given: VariableMetadata
    ) -> Variable:
        """Returns the next state of a variable, after checking that there is room for it."""
        created_by = given.created_by or (known.created_by if known else "")
        tags = dict(given.tags) if given.tags else (known.tags if known else _NO_TAGS)
        held = size + len(created_by)
        if tags:
            held += sum(len(key) + len(text) + TAG_BYTES for key, text in tags.items())
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
        variable = self._state_to_change(name, None, expected_revision)
        assert variable is not None  # noqa: S101 - what is not there cannot be deleted
        revision, at = self._revisions.next(), time.time()
        change = Change("delete", name, None, revision, at, 0, variable.revision, variable.secret)
        self._count -= 1
        self._bytes -= variable.held
        if self._durable is None:
            self._take_away(change)
        else:
            write = self._durable.delete_variable(
                self._session_id, change, settled=partial(self._deletion_settled, variable, change)
            )
            self._follow(name, revision, None, write)

    def _deletion_settled(self, variable: Variable, change: Change, error: ToolBridgeError | None) -> None:
        self._no_longer_pending(change.name, change.revision)
        if error is None:
            self._take_away(change)
        else:
            self._count += 1
            self._bytes += variable.held
            self._lease.set(self._bytes + VARIABLE_BYTES * self._count)

    def _take_away(self, change: Change) -> None:
        del self._items[change.name]
        self._lease.set(self._bytes + VARIABLE_BYTES * self._count)
        self._deleted_at = change.revision
        self._changed(change.revision, change)

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
        if self._durable is not None and not self._reaches(cursor):
            # The history in memory begins with the first watch of this life; that in the store, long before.
            missed = await self._missed(self._durable, cursor)
            for change in missed:
                if not wanted or change.name in wanted:
                    yield replace(change, secret=True) if self._is_secret(change.name) else change
            if missed:
                cursor = missed[-1].revision
        if initial and not after:
            for change in self._present(wanted):
                yield replace(change, secret=True) if self._is_secret(change.name) else change
        while True:
            changes, cursor = await self._changes_after(cursor, wanted)
            for change in changes:
                # The reader may have taken so long that it has become secret meanwhile.
                yield replace(change, secret=True) if self._is_secret(change.name) else change

    async def _missed(self, durable: DurableStore, cursor: int) -> list[Change]:
        """Returns the stored changes after a revision; none if a history in memory would not have had all of them."""
        found = await durable.changes_after(self._session_id, cursor) or []
        # A store need not drop at once what the settings no longer keep.
        settings = self._settings
        held = sum(change.size for change in found)
        if len(found) > settings.watch_history or (held > settings.watch_history_bytes and len(found) > 1):
            return []
        return found

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
            self._history = VariableHistory(self._settings, self.revision, self._deleted_at)
        if not after:
            return self.revision
        other_life = bool(epoch) and epoch != self._revisions.epoch
        if other_life or after > self.revision:
            return -1
        if not self._history.reaches(after) and self._is_unchanged(after, wanted):
            return self._history.floor
        return after

    def _reaches(self, cursor: int) -> bool:
        return cursor < 0 or self._history is None or self._history.reaches(cursor)

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

    def _changed(self, revision: int, change: Change | None) -> None:
        """Notes a change; None if no history needs it."""
        self.revision = revision
        if self._history is not None and change is not None:
            self._history.add(change)
            self._history_lease.set(self._history.size)
        self._waiters.notify_all()

    def in_the_way(self, name: str, create: bool | None, expected: int | None) -> Write | None:
        """Returns the write that decides whether a change may be made, if one that is not stored yet refuses it.

        Args:
            name: The variable.
            create: Whether the change creates it if it does not exist; None: the change deletes it.
            expected: The revision that it must have; None: any.

        Returns:
            None if the change may be made, or will be refused whatever becomes of what is on its way.
        """
        pending = self._pending.get(name)
        if pending is None or self._refusal(name, pending.becomes, create, expected) is None:
            return None
        return None if self._refusal(name, self._items.get(name), create, expected) else pending.write

    def _state_to_change(self, name: str, create: bool | None, expected: int | None) -> Variable | None:
        """Returns the state that a change is made to, or raises why it may not be made; as for ``in_the_way``."""
        known = self._next(name)
        refusal = self._refusal(name, known, create, expected)
        if refusal is None:
            return known
        if name in self._pending:
            # Nobody is told of what is not stored, unless it alone refuses the change.
            refusal = self._refusal(name, self._items.get(name), create, expected) or refusal
        raise refusal

    def _refusal(
        self, name: str, known: Variable | None, create: bool | None, expected: int | None
    ) -> ToolBridgeError | None:
        if known is None:
            if create is None:
                return self._missing(name)
            check_name(name, "a variable's name")
        present = known.revision if known else 0
        if expected is not None and expected != present:
            state = f"is at revision {present}" if known else "does not exist"
            return ConflictError(
                f"variable {shown(name)} {state}, not at revision {expected}; read it again before you retry",
                details={"revision": str(present), "expected_revision": str(expected)},
            )
        return self._missing(name) if known is None and not create else None

    def _check_room(self, known: Variable | None, held: int) -> None:
        settings = self._settings
        if known is None and self._count >= settings.max_session_variables:
            raise ResourceExhaustedError(
                f"session {self._session_id!r} has {self._count:,} variables, which is its limit; delete some"
            )
        total = self._bytes + held - (known.held if known else 0)
        if total > settings.max_session_variable_bytes:
            raise ResourceExhaustedError(
                f"the variables of session {self._session_id!r} would take {total:,} bytes, "
                f"the limit is {settings.max_session_variable_bytes:,}; delete some"
            )
        self._lease.resize(total + VARIABLE_BYTES * (self._count + (known is None)))


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
