"""Sessions, in memory."""

import contextlib
import time
import uuid
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from google.protobuf import any_pb2

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.ended_sessions import EndedSessions
from grpc_tool_bridge.core.interfaces import DurableStore
from grpc_tool_bridge.core.names import check_name
from grpc_tool_bridge.core.registered_tool import RegisteredTool, ToolSource
from grpc_tool_bridge.core.revisions import Revisions
from grpc_tool_bridge.core.session import Session, SessionHold
from grpc_tool_bridge.core.session_access import SessionAccess
from grpc_tool_bridge.core.session_ages import Age, SessionAges
from grpc_tool_bridge.core.session_writes import SessionWrites
from grpc_tool_bridge.core.stored import StoredSession, StoredState
from grpc_tool_bridge.core.tool_scopes import ScopeBounds, ToolScope, register_in
from grpc_tool_bridge.core.variable import Variable
from grpc_tool_bridge.core.variable_values import value_of
from grpc_tool_bridge.core.variables import Variables, session_budget
from grpc_tool_bridge.core.writes import STORED
from grpc_tool_bridge.errors import (
    AlreadyExistsError,
    NotFoundError,
    ResourceExhaustedError,
    ToolBridgeError,
    ValidationError,
)
from grpc_tool_bridge.llm.tool_marks import VERSION_SIGN
from grpc_tool_bridge.proto.dspex_bridge_pb2 import SessionConfig, VariableMetadata
from grpc_tool_bridge.rpc.bounds import shown
from grpc_tool_bridge.rpc.budgets import Budget
from grpc_tool_bridge.tools.tool_versions import split_version
from grpc_tool_bridge.tools.toolset import Toolset
from grpc_tool_bridge.values.serialization import serialize_value

# Smaller metadata is not charged: most sessions have a few words.
SMALL_METADATA_CHARS = 256


class SessionStore:
    """Sessions with their tools and variables, in memory and bounded.

    Args:
        settings: Limits; None: the defaults.
        revisions: Numbers the changes of one hub.
        on_end: Called with each session that ends and the error for its callers.
        memory: The hub's budget; None: a new one.

    Attributes:
        tools: The tools that every session sees, by id.
        tool_bytes: Bytes of the tools of the hub and all sessions.
        durable: Keeps each change beyond the life of the process, if set.
        on_change: Called with "started" or "ended", and the session, while the hub is watched; otherwise None.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        revisions: Revisions | None = None,
        on_end: Callable[[Session, ToolBridgeError], None] | None = None,
        memory: Budget | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.memory = memory or Budget(self.settings.max_hub_bytes, owner="the store", setting="max_hub_bytes")
        self.revisions = revisions or Revisions()
        self._on_end = on_end
        # Refused charges of sessions that have ended.
        self._refused = 0
        # The least recently active first.
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._ages = SessionAges(self._exists)
        self._ended = EndedSessions(self.settings.ended_sessions)
        self.tools = ToolScope()
        # By id, the sessions of other hubs for which workers of this one offer tools. They are not listed, and nothing
        # but these tools is kept of them.
        self.guests: dict[str, Session] = {}
        self.tool_bytes = 0
        self.durable: DurableStore | None = None
        # What of the sessions is not stored yet.
        self._writes = SessionWrites()
        self.on_change: Callable[[str, Session], None] | None = None
        # How many sessions each principal has, with those that are being begun.
        self._owned: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._sessions) + len(self._writes.ending)

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._sessions

    def owned_by(self, principal: str) -> int:
        """Returns how many sessions a principal has, with those that are being begun."""
        return self._owned[principal]

    def sessions(self) -> list[Session]:
        """Returns the sessions, the least recently active first."""
        return [*self._writes.ending.values(), *self._sessions.values()]

    def from_oldest(self, after: Age | None = None) -> Iterator[Session]:
        """Yields the sessions that were created after one, the oldest first; for None, all."""
        for _, session_id in self._ages.after(after):
            yield self.peek(session_id)

    def _exists(self, age: Age) -> bool:
        session = self._sessions.get(age[1]) or self._writes.ending.get(age[1])
        return session is not None and session.created_at == age[0]

    # ----------------------------------------------------------------------------------------------- sessions

    async def create_session(
        self,
        session_id: str = "",
        metadata: Mapping[str, str] | None = None,
        config: SessionConfig | None = None,
        access: SessionAccess | None = None,
    ) -> Session:
        """Creates a session.

        Args:
            session_id: 1 to 256 printable characters; empty: an id is generated.
            metadata: Returned by GetSessionInfo.
            config: Limits of the session; 0 in a field: the hub's default.
            access: To whom it belongs; None: nobody in particular.

        Raises:
            AlreadyExistsError: There is a session with this id.
            ValidationError: The id or a limit is not valid.
            ResourceExhaustedError: There are too many sessions.
        """
        session_id = session_id or uuid.uuid4().hex
        check_name(session_id, "a session id")
        await self.settle(session_id)
        if session_id in self._sessions:
            raise AlreadyExistsError(f"session {session_id!r} exists already; attach to it, or choose another id")
        if config is not None and (config.max_concurrent_tools < 0 or config.default_timeout_ms < 0):
            raise ValidationError("max_concurrent_tools and default_timeout_ms of a session must be 0 or more")
        if len(self._sessions) + len(self._writes) >= self.settings.max_sessions:
            raise ResourceExhaustedError(
                f"the hub has {len(self._sessions) + len(self._writes):,} sessions, which is its limit (max_sessions); "
                "end some, or wait until idle ones expire",
                details={"retry_after": "1"},
            )
        session = Session(session_id, metadata or {}, config)
        session.access = access
        size = session.metadata_chars
        if size > SMALL_METADATA_CHARS:
            self.memory_of(session).take(2 * size, "the metadata of a session")
        if access is not None:
            self._owned[access.owner] += 1
        if self.durable is None:
            self._begun(session, None)
        else:
            stored = StoredSession(session_id, session.created_at, dict(session.metadata), config, access=access)
            await self._writes.begin(self.durable, session, stored, self._begun)
        return session

    def _begun(self, session: Session, error: ToolBridgeError | None) -> None:
        """Adds a session, unless it could not be stored."""
        if error is not None:
            self._free(session)
            return
        session.last_activity = time.monotonic()
        self._sessions[session.id] = session
        self._ages.add((session.created_at, session.id))
        self._ended.forget(session.id)
        if self.on_change is not None:
            self.on_change("started", session)

    async def settle(self, session_id: str) -> None:
        """Waits until the beginning or the end of a session that a durable store does not have yet is stored or not."""
        await self._writes.settle(session_id)

    def restore(self, state: StoredState) -> None:
        """Takes over the sessions that a durable store has kept; their idle time starts now."""
        for stored in state.sessions:
            self._restore(stored)
        for session_id, why in state.ended.items():
            if session_id not in self._sessions:
                self._ended.remember(session_id, why)

    def _restore(self, stored: StoredSession) -> Session:
        session = Session(stored.session_id, stored.metadata, stored.config)
        session.created_at = stored.created_at
        session.access = stored.access
        if stored.access is not None:
            self._owned[stored.access.owner] += 1
        size = session.metadata_chars
        if size > SMALL_METADATA_CHARS:
            self.memory_of(session).charge(2 * size)
        self._sessions[session.id] = session
        self._ages.add((session.created_at, session.id))
        if stored.variables or stored.revision:
            self.variables(session.id).restore(stored.variables, stored.revision, stored.deleted_at)
        return session

    def adopt(self, stored: StoredSession) -> Session:
        """Takes over one session that another hub had; its idle time starts now, and its tools are offered again.

        Changes get revisions above all that the other hub may have given. Who follows the tools is told all of them
        again, since the revisions of tools are those of one hub.

        Args:
            stored: What the other hub has left.
        """
        self.revisions.advance(max(stored.revision, stored.above))
        session = self._restore(stored)
        self._ended.forget(session.id)
        session.tools_revision = session.tools_removed_at = self.revisions.next()
        if self.on_change is not None:
            self.on_change("started", session)
        return session

    def forget(self, session_id: str, error: ToolBridgeError) -> None:
        """Lets go of a session that another hub has, or may have: nothing of it is stored, and it has not ended.

        Args:
            session_id: The session; does nothing if there is none.
            error: For its calls and watches.
        """
        session = self._sessions.pop(session_id, None) or self._writes.ending.get(session_id)
        if session is None or session.ended is not None:
            return
        self._ended.remember_moved(session_id, error)
        self._leave(session, error)

    def remember_ended(self, session_id: str, why: str) -> None:
        """Notes why a session ended that another hub had; empty: no hub has it, and none knows of it."""
        if session_id not in self._sessions:
            self._ended.remember(session_id, why)

    async def get_session(self, session_id: str) -> Session:
        """Returns the session.

        Raises:
            SessionNotFoundError: There is no session with this id.
            SessionExpiredError: The session with this id has ended.
        """
        return self.find(session_id)

    def find(self, session_id: str) -> Session:
        """As ``get_session``; raises UnavailableError if another hub has the session, which was here a moment ago."""
        session = self._sessions.get(session_id)
        if session is None:
            raise self._missing(session_id)
        session.last_activity = time.monotonic()
        self._sessions.move_to_end(session_id)
        return session

    def find_or_none(self, session_id: str) -> Session | None:
        """Returns the session and counts as its activity; None if there is none."""
        return self.find(session_id) if session_id in self._sessions else None

    def find_open(self, session_id: str) -> Session | None:
        """Returns a session that takes calls, and counts as its activity; None if there is none."""
        session = self._sessions.get(session_id)
        if session is None or session.closing:
            return None
        session.last_activity = time.monotonic()
        self._sessions.move_to_end(session_id)
        return session

    def memory_of(self, session: Session) -> Budget:
        """Returns the budget of a session; creates it on first use."""
        if session.memory is None:
            session.memory = session_budget(session.id, self.settings, self.memory)
        return session.memory

    def touch(self, session: Session) -> None:
        """Counts as activity of a session, if it has not ended."""
        if self._sessions.get(session.id) is session:
            self.find(session.id)

    def hold(self, session_id: str) -> SessionHold:
        """Keeps a session from becoming idle until the hold is released; raises as ``get_session`` does."""
        return SessionHold(self.find(session_id), self.touch)

    def peek(self, session_id: str) -> Session:
        """Returns the session without counting as its activity; raises as ``find`` does."""
        session = self._sessions.get(session_id) or self._writes.ending.get(session_id)
        if session is None:
            raise self._missing(session_id)
        return session

    def find_holder(self, session_id: str) -> Session:
        """Returns whose tools the tools of a session are here: a guest, or the session as ``find`` returns it."""
        guest = self.guests.get(session_id)
        return guest if guest is not None else self.find(session_id)

    def peek_holder(self, session_id: str) -> Session:
        """As ``find_holder``, without counting as the session's activity."""
        guest = self.guests.get(session_id)
        return guest if guest is not None else self.peek(session_id)

    @property
    def most_memory(self) -> int:
        """Bytes that the largest session holds."""
        held = (session.memory.used for session in self._sessions.values() if session.memory)
        return max(held, default=0)

    @property
    def memory_refused(self) -> int:
        """Number of charges that were refused because a session had no memory left."""
        here = (session.memory.refused for session in self._sessions.values() if session.memory)
        return self._refused + sum(here)

    def close(self, error: ToolBridgeError) -> None:
        """Ends the watches of every session with ``error``."""
        for session in self.sessions():
            if session.variables is not None:
                session.variables.close(error)

    async def cleanup_session(self, session_id: str) -> None:
        """Ends a session and removes everything that belongs to it.

        Raises:
            SessionNotFoundError: There is no session with this id.
            SessionExpiredError: The session has ended already.
        """
        await self.settle(session_id)
        await self._end(self.find(session_id), "it was removed")

    def expire_idle(self) -> int:
        """Ends the sessions that were idle for too long, and returns their number."""
        return sum(self.expiring())

    def expiring(self) -> Iterator[bool]:
        """Checks the sessions without recent calls, one at a time, and ends those that are idle.

        Yields:
            For each, whether it was ended. Other tasks may run in between.
        """
        oldest = time.monotonic() - self.settings.session_idle_timeout
        while self._sessions:
            session = next(iter(self._sessions.values()))
            if session.last_activity > oldest:
                return
            if session.active or session.watches or session.links:
                session.last_activity = time.monotonic()
                self._sessions.move_to_end(session.id)
                yield False
                continue
            self._end(session, f"it was idle for {self.settings.session_idle_timeout:,.10g} s")
            yield True

    def _end(self, session: Session, why: str) -> Awaitable[None]:
        """Ends a session, with a durable store once that is stored, which can be awaited."""
        del self._sessions[session.id]
        if self.durable is None:
            self._finish(why, session, None)
            return STORED
        # What its calls write from now on would come after its end.
        if session.keyed is not None:
            session.keyed.durable = None
        return self._writes.end(self.durable, session, why, partial(self._finish, why))

    def _finish(self, why: str, session: Session, error: ToolBridgeError | None) -> None:
        """Removes a session that has ended; if that could not be stored, it goes on."""
        if session.ended is not None:
            # Another hub has it.
            return
        if error is not None:
            if session.keyed is not None:
                session.keyed.durable = self.durable
            session.last_activity = time.monotonic()
            self._sessions[session.id] = session
            return
        self._ended.remember(session.id, why)
        self._leave(session, self._ended.error_of(session.id))

    def _leave(self, session: Session, error: ToolBridgeError) -> None:
        """Removes all that belongs to a session; its calls and watches end with ``error``."""
        self._ages.end()
        if session.keyed is not None:
            session.keyed.leave(error)
        if session.tools:
            self.tools_removed(session.tools.all())
        session.ended = error
        if self.on_change is not None:
            self.on_change("ended", session)
        if session.variables is not None:
            session.variables.close(error)
        self._free(session)
        if self._on_end is not None:
            self._on_end(session, error)

    def _free(self, session: Session) -> None:
        if session.access is not None:
            owner = session.access.owner
            self._owned[owner] -= 1
            if self._owned[owner] <= 0:
                del self._owned[owner]
        if session.memory is not None:
            self._refused += session.memory.refused
            session.memory.close()

    def _missing(self, session_id: str) -> ToolBridgeError:
        moved = self._ended.moved_error(session_id)
        return moved or self._ended.error_of(session_id, is_ending=session_id in self._writes.ending)

    # -------------------------------------------------------------------------------------------------- tools

    async def register_tools(self, session_id: str, tools: Iterable[ToolSource | Toolset]) -> list[RegisteredTool]:
        """Adds tools to a session, all or none.

        Args:
            session_id: The session.
            tools: Functions, tools, or specs of tools that workers run.

        Raises:
            AlreadyExistsError: Two of them, or one and a tool of the session, share a name or an id.
            ValidationError: A tool is not valid.
            ResourceExhaustedError: The session would have too many tools.
        """
        return self.add_tools(session_id, tools)

    def add_tools(
        self, session_id: str, tools: Iterable[ToolSource | Toolset], *, replaced: Collection[RegisteredTool] = ()
    ) -> list[RegisteredTool]:
        """Adds tools to a session in place of ``replaced``; a synchronous ``register_tools``."""
        session = self.find_holder(session_id)
        known = session.tools if session.tools is not None else ToolScope()
        added = register_in(
            known,
            tools,
            settings=self.settings,
            revisions=self.revisions,
            scope=f"session {session_id!r}",
            bounds=self._bounds(known, "max_session_tools", "max_session_tool_bytes"),
            replaced=replaced,
        )
        self.tool_bytes += _bytes_of(added) - _bytes_of(replaced)
        if added:
            session.tools, session.tools_revision = known, added[-1].revision
        return added

    def add_global_tools(
        self, tools: Iterable[ToolSource | Toolset], *, replaced: Collection[RegisteredTool] = ()
    ) -> list[RegisteredTool]:
        """Adds tools that every session sees; arguments and errors as for ``add_tools``."""
        added = register_in(
            self.tools,
            tools,
            settings=self.settings,
            revisions=self.revisions,
            scope="the hub",
            bounds=self._bounds(self.tools, "max_tools", "max_tool_bytes"),
            replaced=replaced,
        )
        self.tool_bytes += _bytes_of(added) - _bytes_of(replaced)
        return added

    def _bounds(self, known: ToolScope, count_setting: str, size_setting: str) -> ScopeBounds:
        settings = self.settings
        return ScopeBounds(
            count=getattr(settings, count_setting),
            count_setting=count_setting,
            size=getattr(settings, size_setting),
            size_setting=size_setting,
            others=self.tool_bytes - known.size,
            all_size=settings.max_tool_bytes,
        )

    def tools_removed(self, tools: Iterable[RegisteredTool]) -> None:
        """Counts tools that are no longer registered."""
        self.tool_bytes -= _bytes_of(tools)

    def tool_of(self, session: Session, tool_id: str) -> RegisteredTool | None:
        """Returns the tool that a session sees under an id, its own before the hub's; None if there is none."""
        own = session.tools
        found = (own.get(tool_id) if own is not None else None) or self.tools.get(tool_id)
        if found is None and VERSION_SIGN in tool_id:
            return self._version_of(session, tool_id)
        return found

    def _version_of(self, session: Session, tool_id: str) -> RegisteredTool | None:
        """Returns one version of a tool, by an id such as ``add@1``; a session's own tool hides all of the hub's."""
        plain, version = split_version(tool_id)
        own = session.tools
        scope = own if own is not None and plain in own else self.tools
        found = scope.version(plain, version)
        return None if found is None else found.pinned

    async def get_tool(self, session_id: str, tool_id: str) -> RegisteredTool:
        """Returns one of the session's own tools.

        Raises:
            NotFoundError: The session has no own tool with this id.
        """
        session = self.find(session_id)
        tool = session.tools.find(tool_id) if session.tools else None
        if tool is None:
            text = f"session {session_id!r} has no tool {shown(tool_id)} of its own"
            raise NotFoundError(text, error_type="ToolNotFound")
        return tool

    # ---------------------------------------------------------------------------------------------- variables

    def variables(self, session_id: str) -> Variables:
        """Returns the session's variables; raises as ``get_session`` does."""
        session = self.find(session_id)
        if session.variables is None:
            session.variables = Variables(
                session_id, self.revisions, self.settings, self.memory_of(session), self.durable
            )
        return session.variables

    async def set_encoded(
        self,
        session_id: str,
        name: str,
        value: any_pb2.Any,
        *,
        kind: str = "",
        metadata: VariableMetadata | None = None,
        create: bool = True,
        expected_revision: int | None = None,
    ) -> Variable:
        """Sets a variable; arguments and errors as for ``Variables.set_encoded``. It returns when that is stored."""
        variables = await self._changeable(session_id, name, create, expected_revision)
        variable = variables.set_encoded(
            name, value, kind=kind, metadata=metadata, create=create, expected_revision=expected_revision
        )
        if self.durable is not None:
            await variables.last_write
        return variable

    async def delete_variable(self, session_id: str, name: str, *, expected_revision: int | None = None) -> None:
        """Deletes a variable; raises as ``Variables.delete`` does, and returns when that is stored."""
        if self.durable is None:
            self.variables(session_id).delete(name, expected_revision=expected_revision)
            return
        variables = await self._changeable(session_id, name, None, expected_revision)
        variables.delete(name, expected_revision=expected_revision)
        await variables.last_write

    async def _changeable(self, session_id: str, name: str, create: bool | None, expected: int | None) -> Variables:
        """Returns the session's variables once it is known whether a change may be made; as for ``in_the_way``.

        A change that another one refuses which is not stored yet waits for it: it may fail, and if it does not, who is
        refused can read it.
        """
        variables = self.variables(session_id)
        while (write := variables.in_the_way(name, create, expected)) is not None:
            with contextlib.suppress(ToolBridgeError):
                await write
            variables = self.variables(session_id)
        return variables

    async def set_variable(
        self,
        session_id: str,
        name: str,
        value: Any,
        metadata: VariableMetadata | Mapping[str, Any] | None = None,
    ) -> Variable:
        """Sets a variable; raises as ``Variables.set`` does.

        Args:
            session_id: The session.
            name: 1 to 256 printable characters.
            value: Any value; a durable store keeps it as ``serialize_value`` encodes it.
            metadata: The message, or a mapping of its fields.

        Raises:
            SerializationError: A durable store cannot keep such a value.
        """
        message = metadata if isinstance(metadata, VariableMetadata | None) else VariableMetadata(**metadata)
        kind = type(value).__name__
        if self.durable is not None:
            return await self.set_encoded(session_id, name, serialize_value(value), kind=kind, metadata=message)
        return self.variables(session_id).set(name, value, metadata=message, type_name=kind)

    async def get_variable(self, session_id: str, name: str) -> Any:
        """Returns the value of a variable as Python has it, whoever set it; raises NotFoundError (VariableNotFound)."""
        return await value_of(self.variables(session_id).get(name), self.settings.max_message_nodes)

    async def get_variable_with_metadata(self, session_id: str, name: str) -> tuple[Any, VariableMetadata]:
        """Returns a variable's value and its metadata, as ``get_variable`` does."""
        variable = self.variables(session_id).get(name)
        return await value_of(variable, self.settings.max_message_nodes), variable.metadata()


def _bytes_of(tools: Iterable[RegisteredTool]) -> int:
    return sum(tool.size for tool in tools)
