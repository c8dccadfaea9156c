"""The tools that a session sees: its own and the hub's, its own first."""

from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from grpc_tool_bridge.aio.notifier import Notifier, notify_each
from grpc_tool_bridge.aio.turns import SharedTurns
from grpc_tool_bridge.core.breakers import rename_breaker
from grpc_tool_bridge.core.interfaces import Backend
from grpc_tool_bridge.core.metrics import Metrics
from grpc_tool_bridge.core.registered_tool import RegisteredTool, ToolSource, tool_not_found
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.core.tool_pages import Page, tool_page
from grpc_tool_bridge.core.tool_scopes import ToolScope
from grpc_tool_bridge.core.tool_views import NOTHING, Change, ToolFilter, ToolView, changes_between, changes_of
from grpc_tool_bridge.errors import NotFoundError, SessionError, SessionExpiredError, ToolBridgeError, UnavailableError
from grpc_tool_bridge.errors.near_names import MAX_NAMES
from grpc_tool_bridge.tools.toolset import Toolset

# What all watches together tell in one turn of the loop takes about so long; each tells at least one change.
WATCH_SECONDS = 0.01

_NONE = ToolScope()

# Takes what is about to be registered for every session.
MakeRoom = Callable[[Iterable[ToolSource]], None]

# The hub's tools by name at two moments, and the changes from the first to the second.
_News = tuple[Mapping[str, RegisteredTool], Mapping[str, RegisteredTool], Sequence[Change]]


@dataclass(frozen=True, slots=True)
class ToolChange:
    """One change of the tools that a session sees.

    Attributes:
        operation: "added", "changed", "removed", or "reset": the current tools follow as "added".
        tool: The tool; None for a reset.
        revision: The revision from which a watch can resume after this change.
    """

    operation: str
    tool: RegisteredTool | None
    revision: int


class ToolRegistry:
    """The tools of a hub and of its sessions.

    Args:
        store: The sessions; None: a new store.
        metrics: Metrics by tool; None: new metrics.
    """

    def __init__(self, store: SessionStore | None = None, metrics: Metrics | None = None) -> None:
        self.store = store if store is not None else SessionStore()
        self._metrics = metrics or Metrics()
        self._global_revision = 0
        self._global_removed_at = 0
        # The hub's tools by name, built when first needed; shared by sessions without tools of their own and by their
        # watches.
        self._shared: Mapping[str, RegisteredTool] | None = None
        # By session, since most changes concern one session and thousands may be watched.
        self._waiters: WeakKeyDictionary[Session, Notifier] = WeakKeyDictionary()
        self._closed: ToolBridgeError | None = None
        self._last_news: _News | None = None
        # Wraps the backend of a tool that is registered, where a hub needs that.
        self.wrap: Callable[[RegisteredTool, Backend[Any] | None], Backend[Any] | None] | None = None
        # Called before workers and sources of this hub register tools, where other hubs may have registered tools with
        # the same names.
        self.make_room: MakeRoom | None = None
        # Called after tools or those who offer them have changed, where other hubs are told.
        self.on_offers: list[Callable[[], None]] = []
        # Thousands of watches may each have thousands of changes to tell.
        self._turns = SharedTurns(WATCH_SECONDS)

    def register_batch(
        self, session_id: str, tools: Iterable[ToolSource | Toolset], *, replaced: Collection[RegisteredTool] = ()
    ) -> list[RegisteredTool]:
        """Registers tools, all or none.

        Args:
            session_id: The session that sees them; empty: every session.
            tools: Functions, tools, or specs of tools that workers run.
            replaced: Tools of the same scope that they replace.

        Returns:
            The registered tools, in order.

        Raises:
            SessionError: There is no such session.
            AlreadyExistsError: A name or an id is taken in this scope.
            ValidationError: A tool is not valid.
            ResourceExhaustedError: The scope would have too many tools.
        """
        among_versions = any(tool.versions is not None for tool in replaced)
        if session_id:
            added = self.store.add_tools(session_id, tools, replaced=replaced)
        else:
            added = self.store.add_global_tools(tools, replaced=replaced)
            if added:
                self._global_revision = added[-1].revision
                self._shared = None
        for tool in added:
            tool.label = self._metrics.of_tool
            tool.metrics = tool.label(tool.name)
            tool.session_id = session_id
            if tool.tool is not None:
                self.set_backend(tool, tool.backend)
        if added:
            self._relist([tool for tool in added if tool.versions is not None], added[-1].revision)
            if among_versions or (session_id and replaced):
                # Another version may be the newest now, or what hid tools of the hub has gone: a watch that resumes
                # would miss that.
                self._note_removal(session_id, added[-1].revision)
        self._wake(self.store.peek_holder(session_id) if session_id else None)
        return added

    def note_offers(self) -> None:
        """Notes that who offers some tools has changed."""
        for callback in self.on_offers:
            callback()

    def begin_anew(self) -> None:
        """Makes every watch that resumes after an earlier revision begin with all tools."""
        self._global_revision = self._global_removed_at = self.store.revisions.next()

    def show_anew(self) -> None:
        """As ``begin_anew``, and wakes all watches: others of the tools may be shown to those who watch."""
        self.begin_anew()
        self._wake(None)

    def set_backend(self, tool: RegisteredTool, backend: Backend[Any] | None) -> None:
        """Sets what runs the calls of a tool; None: this process does."""
        tool.use(backend if self.wrap is None else self.wrap(tool, backend))
        if tool.versions is not None:
            self._relist([tool], tool.revision)

    def unregister(self, session_id: str, tool_ids: Collection[str]) -> list[str]:
        """Removes the tools of one scope with these ids, and returns the ids of those that existed.

        An id without a version is that of the newest version, whose place the next one takes.
        """
        known = self.own(session_id)
        found = {tool_id: tool for tool_id in tool_ids if (tool := known.find(tool_id)) is not None}
        self._remove(session_id, list(dict.fromkeys(found.values())))
        return list(found)

    def _remove(self, session_id: str, tools: Sequence[RegisteredTool]) -> None:
        """Removes tools that one scope has."""
        if not tools:
            return
        known = self.own(session_id)
        beside = [versions for tool in tools if (versions := tool.versions) is not None]
        for tool in tools:
            known.remove(tool)
        self.store.tools_removed(tools)
        revision = self.store.revisions.next()
        self._note_removal(session_id, revision)
        self._relist([tool for versions in beside for tool in versions.values()], revision)
        self._wake(self.store.peek_holder(session_id) if session_id else None)

    def _note_removal(self, session_id: str, revision: int) -> None:
        """Makes watches that resume after an earlier revision begin with all tools."""
        if session_id:
            session = self.store.peek_holder(session_id)
            session.tools_revision = session.tools_removed_at = revision
        else:
            self._global_revision = self._global_removed_at = revision
            self._shared = None

    def _relist(self, changed: Iterable[RegisteredTool], revision: int) -> None:
        """Notes under which names versions of tools are listed now.

        Args:
            changed: Tools of which versions have come or gone.
            revision: Of this change.
        """
        tools = {one: None for tool in changed for one in (tool.versions or {tool.version: tool}).values()}
        for tool in tools:
            is_newest = self.own(tool.session_id).get(tool.id) is tool
            if tool.version and not is_newest and not tool.is_older:
                # A watch that resumes from an earlier revision has not been told of this name.
                tool.pinned.revision = revision
            tool.is_older = not is_newest
            rename_breaker(tool.backend, tool.listed_name)

    def replace(self, gone: Collection[RegisteredTool], tools: Sequence[ToolSource]) -> list[RegisteredTool]:
        """Replaces tools of the hub by others, as one change; nothing has changed if it raises.

        Args:
            gone: Tools that every session sees.
            tools: What comes in their place, as for ``register_batch``.

        Returns:
            The registered tools, in order.

        Raises:
            AlreadyExistsError, ValidationError, ResourceExhaustedError: As for ``register_batch``.
        """
        if not tools:
            self._remove("", list(gone))
            return []
        before = self._shared_tools().keys() if any(tool.versions for tool in gone) else {tool.name for tool in gone}
        added = self.register_batch("", tools, replaced=gone)
        if not before <= (self._shared_tools().keys() if before else set()):
            # A watch that resumes from an earlier revision would miss that some are gone.
            self._global_removed_at = self._global_revision
        return added

    def own(self, session_id: str) -> ToolScope:
        """Returns the tools of a session by id, or the hub's if the id is empty. The result must not be changed.

        Raises:
            SessionError: There is no such session.
        """
        return self.store.find_holder(session_id).tools or _NONE if session_id else self.store.tools

    def is_gone(self, tool: RegisteredTool) -> bool:
        """Returns whether a tool is no longer registered."""
        try:
            session = self.store.peek_holder(tool.session_id) if tool.session_id else None
        except (SessionError, UnavailableError):
            return True
        tools = self.store.tools if session is None else session.tools or _NONE
        return not tools.holds(tool.base or tool)

    def drop(self, tools: Iterable[RegisteredTool]) -> None:
        """Removes those of the tools that are still registered, as one change of each scope."""
        by_scope: defaultdict[str, list[RegisteredTool]] = defaultdict(list)
        for tool in tools:
            if not self.is_gone(tool):
                by_scope[tool.session_id].append(tool)
        for session_id, some in by_scope.items():
            self._remove(session_id, some)

    # ------------------------------------------------------------------------------------------- what is seen

    def find(self, session: Session, tool_id: str) -> RegisteredTool:
        """Returns the tool that a session sees under an id.

        Raises:
            NotFoundError: The session does not see a tool with this id.
        """
        tool = self.store.tool_of(session, tool_id)
        if tool is None:
            raise self.not_found(session, tool_id)
        return tool

    def not_found(self, session: Session, tool_id: str, sees: Callable[[str], bool] | None = None) -> NotFoundError:
        """Returns the error for a tool that a session does not see; it suggests tools with similar ids.

        Args:
            session: The session.
            tool_id: What was asked for.
            sees: Whether the caller sees the tools with a name; None: it sees all.
        """
        count = self.store.tools.count + (session.tools.count if session.tools else 0)
        tools = self.visible(session) if count <= MAX_NAMES else ()
        ids = {tool.id for tool in tools if sees is None or sees(tool.name)}
        return tool_not_found(tool_id, f"session {session.id!r}", ids)

    def visible(self, session: Session | None) -> list[RegisteredTool]:
        """Returns the tools that a session sees, sorted by name; for None, those of the hub."""
        return list(self.by_name(session).values())

    def by_name(self, session: Session | None) -> Mapping[str, RegisteredTool]:
        """Returns the tools that a session sees by name, in order; for None, the hub's. They must not be changed."""
        return self._shared_tools() if session is None else self._view(session).by_name()

    def listed(self, session: Session | None, tags: Collection[str] = ()) -> dict[str, RegisteredTool]:
        """Returns the tools that a session sees by name, in order, without hidden ones; for None, the hub's.

        Args:
            session: The session.
            tags: Only tools that have all of these.
        """
        return {
            name: tool
            for name, tool in self.by_name(session).items()
            if not tool.is_hidden and (not tags or tool.tags.issuperset(tags))
        }

    def count(self, session: Session, only: ToolFilter | None = None) -> int:
        """Returns the number of tools that a session sees; ``only`` as for ``page``."""
        if only is not None:
            return len(only.of(self.by_name(session)))
        if not session.tools:
            return self.store.tools.count
        shared, own = self._shared_tools(), _listed(session.tools)
        hidden = (tool for tool in self.store.tools.older() if tool.name in own and tool.pinned.name not in own)
        return len(shared) + sum(name not in shared for name in own) - sum(1 for _ in hidden)

    def page(self, session: Session, token: str = "", size: int = 0, only: ToolFilter | None = None) -> Page:
        """Returns one page of the tools that a session sees; arguments and errors as for ``tool_page``.

        Args:
            session: The session.
            token: As for ``tool_page``.
            size: Likewise.
            only: Shows some of them; None: all.
        """
        tools = self.by_name(session)
        return tool_page(
            tools if only is None else only.of(tools),
            self.revision(session),
            owner=f"{self.store.revisions.epoch} {session.id}{'' if only is None else only.key}",
            token=token,
            size=size,
            max_bytes=self.store.settings.max_message_bytes,
        )

    def revision(self, session: Session | None) -> int:
        """Returns the revision of the last change that the session sees; of None: of the hub's tools."""
        if session is None:
            return self._global_revision
        return max(self._global_revision, session.tools_revision)

    async def watch(
        self, session: Session, after: int = 0, only: ToolFilter | None = None
    ) -> AsyncGenerator[ToolChange, None]:
        """Yields the changes of the tools that ``session`` sees, until it ends.

        A watch compares the current tools with those that it reported last. So it needs no history, a slow reader costs
        nothing, and of several changes to one tool it reports only the last.

        Args:
            session: The session.
            after: Resume after this revision; 0: from now on.
            only: As for ``page``.

        Raises:
            SessionError: The session has ended.
            UnavailableError: Others of them are shown by now.
        """
        revision = self.revision(session)
        told = self._view(session)
        if after > revision or 0 < after < max(self._global_removed_at, session.tools_removed_at):
            yield ToolChange("reset", None, after)
            told = NOTHING
        elif 0 < after < revision:
            told = told.until(after)
        known = after or revision
        while True:
            if only is not None and only.is_stale():
                raise UnavailableError("what may be called has changed; watch again")
            present = self._view(session, told)
            revision = self.revision(session)
            news = self._news(told, present)
            if only is not None:
                news = [change for change in news if only.sees(change[1].name)]
            told = present
            for left, (operation, tool) in zip(reversed(range(len(news))), news, strict=True):
                # Only the last one has the new revision: a reader that resumes before it gets all of them again.
                yield ToolChange(operation, tool, known if left else revision)
                if self._turns.due:
                    await self._turns.give()
            known = revision
            await self._next_change(session, revision)

    def _news(self, told: ToolView, present: ToolView) -> Sequence[Change]:
        """Returns the changes between two views."""
        shared = self._shared_news(told.shared, present.shared)
        if not told.own and not present.own:
            return shared
        return list(changes_between(told, present, shared))

    def _shared_news(
        self, told: Mapping[str, RegisteredTool], present: Mapping[str, RegisteredTool]
    ) -> Sequence[Change]:
        """Returns the changes of the hub's tools, cached: thousands of watches may compare the same two in a row."""
        if present is told:
            return ()
        known = self._last_news
        if known is None or known[0] is not told or known[1] is not present:
            known = self._last_news = told, present, list(changes_of(told, present))
        return known[2]

    async def _next_change(self, session: Session, revision: int) -> None:
        while self.revision(session) <= revision:
            if self._closed is not None:
                raise self._closed
            if isinstance(session.ended, UnavailableError):
                # It has moved to another hub.
                raise session.ended
            if self.store.peek(session.id) is not session:
                raise SessionExpiredError(f"session {session.id!r} has ended, and another one has its id; watch again")
            await self._waiters.setdefault(session, Notifier()).wait()

    def session_ended(self, session: Session) -> None:
        """Wakes the watches of a session, so that they see that it has ended."""
        self._wake(session)

    def close(self, error: ToolBridgeError) -> None:
        """Ends every watch with ``error``."""
        self._closed = error
        self._wake(None)

    def _shared_tools(self) -> Mapping[str, RegisteredTool]:
        if self._shared is None:
            listed = _listed(self.store.tools)
            self._shared = {name: listed[name] for name in sorted(listed)}
        return self._shared

    def _view(self, session: Session, before: ToolView = NOTHING) -> ToolView:
        """Returns what a session sees; its own tools are those of an earlier view if they have not changed since."""
        revision = session.tools_revision
        if before.own_revision == revision:
            return ToolView(self._shared_tools(), before.own, revision)
        return ToolView(self._shared_tools(), _listed(session.tools or _NONE), revision)

    def _wake(self, session: Session | None) -> None:
        """Wakes the watches of a session; for None, all."""
        self.note_offers()
        if session is None:
            notify_each(list(self._waiters.values()))
        elif session in self._waiters:
            self._waiters[session].notify_all()


def _listed(tools: ToolScope) -> dict[str, RegisteredTool]:
    """Returns the tools of a scope by the names under which they are listed: older versions as ``add@1``."""
    listed = dict(tools.names)
    for tool in tools.older():
        listed[tool.pinned.name] = tool.pinned
    return listed
