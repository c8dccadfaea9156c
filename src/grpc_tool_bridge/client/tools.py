"""The tools of a session as its client has them, while they come and go."""

import logging
from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import Any, NoReturn
from weakref import WeakValueDictionary

from grpc_tool_bridge.aio.backoff import back_off
from grpc_tool_bridge.client.caller import Caller
from grpc_tool_bridge.client.proxy import AsyncGRPCProxyTool, make_proxy
from grpc_tool_bridge.client.resume import resumed
from grpc_tool_bridge.config.argument_checks import A_NAME, check_text, refuse_type
from grpc_tool_bridge.errors import (
    ConflictError,
    ProtocolError,
    ToolBridgeError,
    ToolCommunicationError,
    UnavailableError,
)
from grpc_tool_bridge.errors.near_names import near_names
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    GetSessionToolsRequest,
    GetSessionToolsResponse,
    ToolSpec,
    ToolUpdate,
    WatchSessionToolsRequest,
)

# Lists that are begun, before tools that change all the time are told as an error.
MAX_LISTS = 10

# More than any hub has, each with one tool at least.
MAX_PAGES = 100_000

# A watch that lasted so long was a good one: the next need not wait longer for those that failed before it.
STABLE_SECONDS = 5.0

# Where there has never been a tool, the revision is 0; but to go on from 0 means from now on, and would miss what has
# come since it was read. A revision that is still to come makes the hub send a reset.
_NO_REVISION = 2**63

_METHOD = "GetSessionTools"

_log = logging.getLogger(__name__)

# What was done, "added", "changed" or "removed", and the tool's name.
ToolChange = tuple[str, str]


class Tools(dict[str, AsyncGRPCProxyTool]):
    """A session's tools by name. The KeyError for a name that is not there says which are like it."""

    def __missing__(self, name: object) -> NoReturn:
        close = near_names(name, self) if isinstance(name, str) else []
        hint = f"did you mean {' or '.join(close)}?" if close else "list(bridge.tools) names those that it has"
        raise KeyError(f"the session has no tool {name!r:.100}; {hint}")


class SessionTools:
    """The tools of one session, as far as its client knows.

    Args:
        caller: Makes the session's calls.

    Attributes:
        proxies: The tools by name; one dict, which changes in place.
        revision: Of the last change that ``refresh`` saw.
        on_changed: Called with each change and the tool's name, once they are made.
    """

    def __init__(self, caller: Caller) -> None:
        self.proxies = Tools()
        self.revision = 0
        self.on_changed: Callable[[str, str], None] | None = None
        self._caller = caller
        self._options = caller.options
        # Proxies of tools that are gone, as long as somebody holds them: a tool may come back.
        self._gone: WeakValueDictionary[str, AsyncGRPCProxyTool] = WeakValueDictionary()

    def find(self, tool_id: str) -> AsyncGRPCProxyTool:
        """Returns the proxy of a tool by name or id; of one that is not known here, one that the hub will judge.

        Raises:
            ValidationError: It is no name and no id.
        """
        try:
            known = self.proxies.get(tool_id)
        except TypeError:
            # What cannot be a key is no name either.
            known = None
        if known is not None:
            return known
        if isinstance(tool_id, AsyncGRPCProxyTool):
            refuse_type("tool_id", tool_id, f"{A_NAME}; a tool itself is called: await tool(…)")
        check_text("tool_id", tool_id, A_NAME)
        by_id = next((proxy for proxy in self.proxies.values() if proxy.spec.tool_id == tool_id), None)
        return by_id or make_proxy(ToolSpec(tool_id=tool_id, name=tool_id), self._caller, self._caller.options)

    def take(self, specs: Iterable[ToolSpec]) -> list[ToolChange]:
        """Takes what the tools are now, all of them, and how they are called; returns what has changed."""
        present = {spec.name: spec for spec in specs}
        gone = [name for name in self.proxies if name not in present]
        changes = [change for name in gone for change in self.remove(name)]
        if self._caller.options != self._options:
            self._options = self._caller.options
            for proxy in self.proxies.values():
                proxy.change(proxy.spec, self._options)
        for spec in present.values():
            changes += self.put(spec)
        return changes

    def put(self, spec: ToolSpec) -> list[ToolChange]:
        """Takes what one tool is now; returns what has changed."""
        name = spec.name
        proxy = self.proxies.get(name)
        if proxy is not None:
            if proxy.spec == spec:
                return []
            proxy.change(spec, self._options)
            return [("changed", name)]
        proxy = self._gone.pop(name, None)
        if proxy is None:
            proxy = make_proxy(spec, self._caller, self._options)
        else:
            proxy.change(spec, self._options)
        self.proxies[name] = proxy
        return [("added", name)]

    def remove(self, name: str) -> list[ToolChange]:
        """Drops a tool; returns what has changed."""
        proxy = self.proxies.pop(name, None)
        if proxy is None:
            return []
        proxy.mark_removed()
        self._gone[name] = proxy
        return [("removed", name)]

    def tell(self, changes: Iterable[ToolChange]) -> None:
        """Calls ``on_changed`` for each change."""
        for operation, name in changes:
            if self.on_changed is not None:
                try:
                    self.on_changed(operation, name)
                except Exception:  # noqa: BLE001 - whoever is told; the tools are right, and are followed further
                    _log.exception("on_tools_changed failed for %s %s", name, operation)

    def update(self, update: ToolUpdate) -> None:
        """Takes a change that a watch of the session's tools told; no "reset"."""
        self.tell(self.remove(update.tool.name) if update.operation == "removed" else self.put(update.tool))

    async def refresh(self) -> None:
        """Reads the tools anew; raises as ``read_tools``."""
        session_id = self._caller.require_session()
        tools, revision = await read_tools(self._caller)
        if session_id == self._caller.session_id:
            self.revision = revision
            self.tell(self.take(tools))

    async def follow(self) -> None:
        """Keeps the tools as the hub has them, for as long as the client has this session.

        When the connection is lost it goes on over the next one. Where the hub does not offer the watch, or has too
        many, it ends, and the tools stay as they were read last.
        """
        watch = _Watch(self._caller, self)
        try:
            async with aclosing(resumed(self._caller, watch)) as updates:
                async for _ in updates:
                    if watch.is_of_another_session:
                        return
        except Exception as error:  # noqa: BLE001 - a stub that a program put in place may lack the method, or give anything
            known = isinstance(error, ToolBridgeError)
            _log.debug("the tools of session %s are not followed: %s", watch.session_id, error, exc_info=not known)


class _Watch:
    """A watch of a session's tools, for ``resumed``."""

    method = "WatchSessionTools"
    keeps_trying = True

    def __init__(self, caller: Caller, tools: SessionTools) -> None:
        self.session_id = caller.require_session()
        self._caller = caller
        self._tools = tools

    @property
    def is_of_another_session(self) -> bool:
        return self._caller.session_id != self.session_id

    async def request(self, *, again: bool) -> WatchSessionToolsRequest | None:  # noqa: ARG002 - it is the same each time
        if self.is_of_another_session:
            return None
        # Revisions of one life of the hub mean nothing to the next, and a change between what was read before and the
        # begin of the watch must not be lost: so the tools are read together with the revision to go on from.
        await self._tools.refresh()
        revision = self._tools.revision or _NO_REVISION
        return WatchSessionToolsRequest(session_id=self.session_id, from_revision=revision)

    async def take(self, message: ToolUpdate) -> ToolUpdate:
        if not self.is_of_another_session:
            if message.operation == "reset":
                # What follows it has no end that could be told from a pause; until then tools would be missing.
                await self._tools.refresh()
            else:
                self._tools.update(message)
        return message

    def resumes_after(self, error: ToolBridgeError) -> bool:
        if isinstance(error, ConflictError):
            # The tools change faster than they can be read.
            return True
        return isinstance(error, ToolCommunicationError | UnavailableError) and error.retryable

    def has_progressed(self, seconds: float) -> bool:
        return seconds > STABLE_SECONDS


async def read_tools(caller: Caller) -> tuple[list[ToolSpec], int]:
    """Reads all tools of a session, as they are at one revision.

    Returns:
        The tools, and their revision.

    Raises:
        ConflictError: They changed each time before the last page was read.
        ProtocolError: The answers are no pages.
        ToolBridgeError, ToolCommunicationError: As of ``Caller.call``.
    """
    session_id = caller.require_session()
    waits = back_off()
    for left in reversed(range(MAX_LISTS)):
        try:
            return await _read_pages(caller, session_id)
        except ConflictError as error:
            if not left:
                raise
            _log.debug("the tools of session %s are listed again: %s", session_id, error)
        await caller.pause(next(waits), _METHOD)
    raise AssertionError("the last try returns or raises")


async def _read_pages(caller: Caller, session_id: str) -> tuple[list[ToolSpec], int]:
    specs: list[ToolSpec] = []
    request = GetSessionToolsRequest(session_id=session_id)
    revision: int | None = None
    for _ in range(MAX_PAGES):
        response: Any = await caller.call(_METHOD, request)
        if not isinstance(response, GetSessionToolsResponse):
            raise ProtocolError(f"the answer to {_METHOD} is {response!r:.60}")
        if revision is not None and response.revision != revision:
            raise ConflictError(f"the tools changed while they were listed, from revision {revision}")
        revision = response.revision
        specs += response.tools
        if not response.next_page_token:
            return specs, revision
        if not response.tools or response.next_page_token == request.page_token:
            raise ProtocolError(f"the answer to {_METHOD} names a next page, but has nothing that comes before it")
        request.page_token = response.next_page_token
    raise ProtocolError(f"the answers to {_METHOD} have no end: {MAX_PAGES:,} pages came")
