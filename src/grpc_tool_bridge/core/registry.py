"""Which tools a session sees: the hub's and its own, its own first."""

from collections.abc import AsyncGenerator, Collection, Iterable
from dataclasses import dataclass

from grpc_tool_bridge.core.metrics import Metrics
from grpc_tool_bridge.core.registered import RegisteredTool, ToolSource, register_in, tool_not_found
from grpc_tool_bridge.core.sessions import Session, SessionStore
from grpc_tool_bridge.core.waiters import Waiters
from grpc_tool_bridge.errors import SessionExpiredError, ToolBridgeError

_NONE: dict[str, RegisteredTool] = {}


@dataclass(frozen=True, slots=True)
class ToolChange:
    """One change of what a session sees.

    Attributes:
        operation: "added", "changed", "removed", or "reset": the present tools follow as "added".
        tool: The tool; None for a reset.
        revision: What a reader knows who has read so far, and can go on from.
    """

    operation: str
    tool: RegisteredTool | None
    revision: int


class ToolRegistry:
    """The tools of a hub and of its sessions.

    Args:
        store: The sessions; a store of its own where not given.
        metrics: Counts by tool.
    """

    def __init__(self, store: SessionStore | None = None, metrics: Metrics | None = None) -> None:
        self.store = store if store is not None else SessionStore()
        self._metrics = metrics or Metrics()
        self._global: dict[str, RegisteredTool] = {}
        self._global_revision = 0
        self._global_removed_at = 0
        self._waiters = Waiters()
        self._closed: ToolBridgeError | None = None

    def register_batch(self, session_id: str, tools: Iterable[ToolSource]) -> list[RegisteredTool]:
        """Registers tools, all or none.

        Args:
            session_id: The session that sees them; empty: every session.
            tools: Functions, tools, or specs of tools that somebody else runs.

        Returns:
            The tools as registered, in their order.

        Raises:
            SessionError: There is no such session.
            AlreadyExistsError: A name or an id is taken in this scope.
            ValidationError: A name cannot be used.
        """
        if session_id:
            added = self.store.add_tools(session_id, tools)
        else:
            added = register_in(
                self._global,
                tools,
                settings=self.store.settings,
                revisions=self.store.revisions,
                scope="the hub",
            )
            if added:
                self._global_revision = added[-1].revision
        for tool in added:
            tool.metrics = self._metrics.of_tool(tool.name)
        self._waiters.wake()
        return added

    def unregister(self, session_id: str, tool_ids: Collection[str]) -> list[str]:
        """Removes tools of one scope, those of ``tool_ids`` that are there; returns their ids."""
        session = self.store.find(session_id) if session_id else None
        tools = self._global if session is None else session.tools or _NONE
        removed = [tool_id for tool_id in tool_ids if tools.pop(tool_id, None) is not None]
        if removed:
            revision = self.store.revisions.next()
            if session is None:
                self._global_revision = self._global_removed_at = revision
            else:
                session.tools_revision = session.tools_removed_at = revision
            self._waiters.wake()
        return removed

    def find(self, session: Session, tool_id: str) -> RegisteredTool:
        """Returns the tool that a call of the session means.

        Raises:
            NotFoundError: It sees none of this id.
        """
        tool = session.tools.get(tool_id) if session.tools is not None else None
        if tool is None:
            tool = self._global.get(tool_id)
            if tool is None:
                ids = {tool.id for tool in self.visible(session)}
                raise tool_not_found(tool_id, f"session {session.id!r}", ids)
        return tool

    def visible(self, session: Session | None) -> list[RegisteredTool]:
        """Lists the tools that a session sees, by name; of None: the hub's."""
        tools = {tool.name: tool for tool in self._global.values()}
        if session is not None and session.tools:
            tools |= {tool.name: tool for tool in session.tools.values()}
        return [tools[name] for name in sorted(tools)]

    def count(self, session: Session) -> int:
        """Counts the tools that a session sees."""
        return len(self.visible(session)) if session.tools else len(self._global)

    def revision(self, session: Session) -> int:
        """Returns the revision of the last change that the session sees."""
        return max(self._global_revision, session.tools_revision)

    async def watch(self, session: Session, after: int = 0) -> AsyncGenerator[ToolChange, None]:
        """Yields the changes of what ``session`` sees, for as long as it lives.

        A watch compares what there is with what it told last, so that it needs no history and a slow reader costs
        nothing; of several changes to one tool it tells the last.

        Args:
            session: The session.
            after: Go on after this revision; 0: from now on.
        """
        revision = self.revision(session)
        told = {tool.name: tool.revision for tool in self.visible(session)}
        if after > revision or 0 < after < max(self._global_removed_at, session.tools_removed_at):
            yield ToolChange("reset", None, after)
            told = {}
        elif after:
            told = {name: seen for name, seen in told.items() if seen <= after}
        known = after or revision
        gone: dict[str, RegisteredTool] = {}
        while True:
            present = {tool.name: tool for tool in self.visible(session)}
            revision = self.revision(session)
            news = [("removed", gone[name]) for name in told.keys() - present.keys()]
            for name, tool in present.items():
                if told.get(name) != tool.revision:
                    news.append(("changed" if name in told else "added", tool))
            told = {name: tool.revision for name, tool in present.items()}
            for left, (operation, tool) in zip(reversed(range(len(news))), news, strict=True):
                # Whoever goes on from one that is not the last is told all of them again, rather than miss the rest.
                yield ToolChange(operation, tool, known if left else revision)
            known = revision
            gone = present
            await self._next_change(session, revision)

    async def _next_change(self, session: Session, revision: int) -> None:
        while self.revision(session) <= revision:
            if self._closed is not None:
                raise self._closed
            if self.store.peek(session.id) is not session:
                raise SessionExpiredError(f"session {session.id!r} has ended, and another of its id began; watch anew")
            await self._waiters.wait()

    def session_ended(self) -> None:
        """Lets the watches see that a session of theirs has ended."""
        self._waiters.wake()

    def close(self, error: ToolBridgeError) -> None:
        """Ends every watch with ``error``."""
        self._closed = error
        self._waiters.wake()
