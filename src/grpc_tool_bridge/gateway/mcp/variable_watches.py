"""Tells of changes of session variables, as changes of resources.

There is one watch of a session's variables while somebody wants to know of them. What the watch missed, since the
connection was lost or the hub could not send all, is found by comparing the list of variables before and after.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from typing import Protocol

from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated, ServerEvent

from grpc_tool_bridge.aio.backoff import back_off
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.client.variables import VariableChange
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.gateway.mcp.resource_uris import name_of, uri_of
from grpc_tool_bridge.gateway.mcp.sessions import OpenSession, SessionKey

# A watch that lasted this long resets the back-off.
STABLE_SECONDS = 5.0

# A revision that no hub has in this epoch: it begins with a reset, and so misses nothing.
_BEFORE_ALL = (1, "none")

_log = logging.getLogger(__name__)

Publish = Callable[[SessionKey, ServerEvent], None]


class Sessions(Protocol):
    """Opens sessions, and keeps them open while they are used."""

    def use_key(self, key: SessionKey) -> AbstractAsyncContextManager[OpenSession]:
        """Uses a session."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a variable: its revision, and whether it is secret."""

    revision: int
    secret: bool


@dataclass(slots=True)
class _Watch:
    """The watch of one session's variables.

    Attributes:
        readers: How many want to know of changes.
        names: The variables that somebody has subscribed to, with how many.
        started: Set when nothing that follows is missed.
        known: The variables.
        revision: Changes up to this one are known.
    """

    readers: int = 0
    names: Counter[str] = field(default_factory=Counter)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    known: dict[str, _Known] | None = None
    revision: int = 0
    task: "asyncio.Task[None] | None" = None


class VariableWatches:
    """The watches of variables, by session.

    Args:
        sessions: Opens the sessions.
        publish: Called with each change. One of a secret variable is not told.
        tasks: Owner of the watches.
    """

    def __init__(self, sessions: Sessions, publish: Publish, tasks: TaskSet) -> None:
        self._sessions = sessions
        self._publish = publish
        self._tasks = tasks
        self._watches: dict[SessionKey, _Watch] = {}

    def __len__(self) -> int:
        return len(self._watches)

    async def hold(self, key: SessionKey, uris: Iterable[str] = ()) -> Callable[[], None]:
        """Publishes changes of a session's variables until the returned function is called.

        Args:
            key: The session.
            uris: Resources whose updates are wanted; that some come and go is told in any case.

        Returns:
            A function that ends it, and may be called again. No change after this returned is missed.
        """
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = _Watch()
            watch.task = self._tasks.spawn(self._run(key, watch), f"variables of session {key.session_id}")
        names = [name for name in map(name_of, uris) if name is not None]
        watch.readers += 1
        watch.names.update(names)
        release = self._releasing(key, watch, names)
        try:
            await watch.started.wait()
        except BaseException:
            release()
            raise
        return release

    def _releasing(self, key: SessionKey, watch: _Watch, names: list[str]) -> Callable[[], None]:
        held = [watch]

        def release() -> None:
            if not held:
                return
            held.clear()
            watch.readers -= 1
            watch.names.subtract(names)
            # Those that nobody wants any more.
            watch.names += Counter()
            if watch.readers:
                return
            if self._watches.get(key) is watch:
                del self._watches[key]
            if watch.task is not None:
                watch.task.cancel()

        return release

    # -------------------------------------------------------------------------------------------------- one watch

    async def _run(self, key: SessionKey, watch: _Watch) -> None:
        try:
            await self._keep_following(key, watch)
        finally:
            # Only a fault of the bridge ends it while somebody reads; the next reader starts another.
            watch.started.set()
            if self._watches.get(key) is watch:
                del self._watches[key]

    async def _keep_following(self, key: SessionKey, watch: _Watch) -> None:
        clock = asyncio.get_running_loop().time
        waits = back_off()
        while True:
            since = clock()
            try:
                async with self._sessions.use_key(key) as session:
                    await self._follow(key, watch, session.client)
            except ToolBridgeError as error:
                _log.debug("the variables of session %s are watched again: %s", key.session_id, error)
            # If the session cannot be opened now, what has changed is found when it can.
            watch.started.set()
            if clock() - since > STABLE_SECONDS:
                waits = back_off()
            await asyncio.sleep(next(waits))

    async def _follow(self, key: SessionKey, watch: _Watch, client: ToolBridgeClient) -> None:
        # Read before the list: an epoch that is too old causes a reset, one that is too new a gap.
        epoch = (await client.get_metrics("hub.epoch"))["hub.epoch"].string_value
        await self._compare(key, watch, client)
        start = (watch.revision, epoch) if watch.revision else _BEFORE_ALL
        watch.started.set()
        changes: AsyncGenerator[VariableChange, None] = client.session_context.watch_variables(
            include_initial=False, from_revision=start[0], epoch=start[1]
        )
        async with aclosing(changes):
            async for change in changes:
                if change.operation == "reset":
                    await self._compare(key, watch, client)
                elif change.revision > watch.revision:
                    watch.revision = change.revision
                    await self._take(key, watch, client, change)

    async def _compare(self, key: SessionKey, watch: _Watch, client: ToolBridgeClient) -> None:
        """Reads what variables there are, and tells how they differ from those that were known."""
        infos = await client.session_context.list_variables()
        before, now = watch.known, {i.name: _Known(i.revision, i.secret) for i in infos}
        watch.known, watch.revision = now, max((known.revision for known in now.values()), default=0)
        for name in before.keys() | now.keys() if before is not None else ():
            self._tell(key, watch, name, (before or {}).get(name), now.get(name))

    async def _take(self, key: SessionKey, watch: _Watch, client: ToolBridgeClient, change: VariableChange) -> None:
        known = watch.known if watch.known is not None else {}
        name, before = change.name, known.get(change.name)
        now: _Known | None = None
        if change.operation == "delete":
            known.pop(name, None)
        elif before is not None and name not in watch.names:
            # Nobody is told; whether it is secret now is seen when somebody subscribes to it.
            known[name] = _Known(change.revision, before.secret)
            return
        else:
            # Sorted by name, the variable comes before those with its name as prefix.
            found = await client.session_context.list_variables(name, limit=1)
            # If it is gone already, nobody can say whether it was secret.
            secret = not found or found[0].name != name or found[0].secret
            now = known[name] = _Known(change.revision, secret)
        self._tell(key, watch, name, before, now)

    def _tell(self, key: SessionKey, watch: _Watch, name: str, before: _Known | None, now: _Known | None) -> None:
        was_listed, is_listed = before is not None and not before.secret, now is not None and not now.secret
        if was_listed != is_listed:
            self._publish(key, ResourcesListChanged())
        if before != now and (was_listed or is_listed) and name in watch.names:
            self._publish(key, ResourceUpdated(uri_of(name)))
