"""The client's tools of a session, kept up to date as they come and go."""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import Any
from weakref import WeakValueDictionary

from grpc_tool_bridge.aio.backoff import back_off
from grpc_tool_bridge.client.caller import Caller
from grpc_tool_bridge.client.listing import Listing, listing_html
from grpc_tool_bridge.client.proxy import AsyncGRPCProxyTool, change_proxy, make_proxy, mark_removed
from grpc_tool_bridge.client.resume import resumed
from grpc_tool_bridge.config.argument_checks import A_NAME, check_text, refuse_type
from grpc_tool_bridge.errors import (
    ConflictError,
    ProtocolError,
    ToolBridgeError,
    ToolCommunicationError,
    UnavailableError,
)
from grpc_tool_bridge.errors.near_names import did_you_mean
from grpc_tool_bridge.llm.live_index import LiveIndex
from grpc_tool_bridge.llm.tool_filter import ToolFilter, filter_of
from grpc_tool_bridge.llm.tool_marks import checked_tags, has_tags, is_hidden, is_older_version
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    GetSessionToolsRequest,
    GetSessionToolsResponse,
    ToolSpec,
    ToolUpdate,
    WatchSessionToolsRequest,
)
from grpc_tool_bridge.tools.tool_versions import split_version, versioned

# Attempts to list the tools before constant changes become an error.
MAX_LISTS = 10

# More than any hub has: each page has at least one tool.
MAX_PAGES = 100_000

# A watch that lasted this long resets the back-off.
STABLE_SECONDS = 5.0

# Without any tool the revision is 0, but a watch from 0 starts now and would miss what has changed since the list was
# read. A revision in the future makes the hub send a reset.
_NO_REVISION = 2**63

_METHOD = "GetSessionTools"

_log = logging.getLogger(__name__)

# "added", "changed" or "removed", and the tool's name.
ToolChange = tuple[str, str]


class Tools(dict[str, AsyncGRPCProxyTool]):
    """A session's tools by name, without hidden ones. The KeyError for an unknown name suggests similar ones.

    A tool that is not listed is found by its name all the same: a hidden one, and the newest version of a tool under
    its version, such as ``tools["add@2"]``.

    Args:
        tools: The listed ones by name.
        unlisted: Returns the proxy of one that is not; None if there is none.

    Attributes:
        hidden: The hidden tools by name.
    """

    def __init__(
        self,
        tools: Mapping[str, AsyncGRPCProxyTool] = MappingProxyType({}),
        unlisted: Callable[[str], AsyncGRPCProxyTool | None] = lambda _: None,
    ) -> None:
        super().__init__(tools)
        self.hidden: dict[str, AsyncGRPCProxyTool] = {}
        self._unlisted = unlisted

    def tagged(self, *tags: str) -> dict[str, AsyncGRPCProxyTool]:
        """Returns the tools that have all of some tags, by name.

        Raises:
            ValidationError: A tag is not valid.
        """
        wanted = checked_tags(tags)
        return {name: tool for name, tool in self.items() if has_tags(tool.spec, wanted)}

    def mapped(self, function: Callable[[AsyncGRPCProxyTool], Any]) -> "Tools":
        """Returns the same with what a function makes of each tool."""

        def unlisted(name: str) -> Any:
            found = self._unlisted(name)
            return None if found is None else function(found)

        made = Tools({name: function(tool) for name, tool in self.items()}, unlisted)
        made.hidden = {name: function(tool) for name, tool in self.hidden.items()}
        return made

    def __missing__(self, name: object) -> AsyncGRPCProxyTool:
        found = self._unlisted(name) if isinstance(name, str) else None
        if found is not None:
            return found
        hint = did_you_mean(name if isinstance(name, str) else "", self, "list(bridge.tools) shows the names")
        raise KeyError(f"the session has no tool {name!r:.100}{hint}")

    def _repr_html_(self) -> str:
        """Shows them as a table in a notebook."""
        return listing_html([*self.values()])


class SessionTools:
    """The tools of one session, as its client last read them.

    Args:
        caller: Makes the session's calls.

    Attributes:
        proxies: The tools by name, in one dict that changes in place.
        revision: The revision that ``refresh`` read last.
        on_changed: Called with each change and the tool's name, after it was made.
    """

    def __init__(self, caller: Caller) -> None:
        self.proxies = Tools(unlisted=self._unlisted)
        self.revision = 0
        self.on_changed: Callable[[str, str], None] | None = None
        self._caller = caller
        self._options = caller.options
        # Proxies of removed tools that are still in use: a tool may come back.
        self._gone: WeakValueDictionary[str, AsyncGRPCProxyTool] = WeakValueDictionary()
        # Proxies of newest versions under their versions, which go on when a newer one comes.
        self._pinned: WeakValueDictionary[str, AsyncGRPCProxyTool] = WeakValueDictionary()
        # Made by the first search.
        self._index: LiveIndex | None = None

    def find(self, tool_id: str) -> AsyncGRPCProxyTool:
        """Returns the proxy of a tool by name or id. An unknown tool gets a new proxy; the hub decides.

        Raises:
            ValidationError: ``tool_id`` is not a name or an id.
        """
        try:
            known = self.proxies.get(tool_id)
        except TypeError:
            # An unhashable value is not a name.
            known = None
        if known is None and isinstance(tool_id, str):
            known = self._unlisted(tool_id)
        if known is not None:
            return known
        if isinstance(tool_id, AsyncGRPCProxyTool):
            refuse_type("tool_id", tool_id, f"{A_NAME}; a tool itself is called: await tool(…)")
        check_text("tool_id", tool_id, A_NAME)
        by_id = next((proxy for proxy in self.all() if proxy.spec.tool_id == tool_id), None)
        return by_id or make_proxy(ToolSpec(tool_id=tool_id, name=tool_id), self._caller, self._caller.options)

    def all(self) -> list[AsyncGRPCProxyTool]:
        """Returns all tools, hidden ones too."""
        return [*self.proxies.values(), *self.proxies.hidden.values()]

    def _unlisted(self, name: str) -> AsyncGRPCProxyTool | None:
        """Returns the proxy of a tool that is not listed under a name: a hidden one, or the newest by its version."""
        found = self.proxies.hidden.get(name)
        plain, version = split_version(name)
        if found is not None or not version:
            return found
        newest = self._get(plain)
        if newest is None or newest.spec.version != version:
            return None
        spec = ToolSpec()
        spec.CopyFrom(newest.spec)
        spec.name, spec.tool_id = name, versioned(spec.tool_id or plain, version)
        pinned = self._pinned.get(name)
        if pinned is None:
            pinned = self._pinned[name] = make_proxy(spec, self._caller, self._options)
        elif pinned.spec != spec:
            change_proxy(pinned, spec, self._options)
        return pinned

    def _get(self, name: str) -> AsyncGRPCProxyTool | None:
        return self.proxies.get(name) or self.proxies.hidden.get(name)

    async def search(
        self, query: str, *, limit: int, prefix: str, tool_filter: ToolFilter | None
    ) -> Listing[AsyncGRPCProxyTool]:
        """Finds tools; arguments, result and errors as for ``ToolBridgeClient.search_tools``."""
        self._caller.require_session()
        allows = None if tool_filter is None else filter_of(tool_filter)
        if self._index is None:
            self._index = LiveIndex()
            for proxy in self.all():
                self._note(proxy.spec)
        found = await self._index.search(query, limit=limit, prefix=prefix, allows=allows)
        return Listing(self.proxies[tool.name] for tool in found)

    def take(self, specs: Iterable[ToolSpec]) -> list[ToolChange]:
        """Takes the current specs of all tools, and the current options; returns the changes."""
        present = {spec.name: spec for spec in specs}
        gone = [proxy.name for proxy in self.all() if proxy.name not in present]
        changes = [change for name in gone for change in self.remove(name)]
        if self._caller.options != self._options:
            self._options = self._caller.options
            for proxy in self.all():
                change_proxy(proxy, proxy.spec, self._options)
        for spec in present.values():
            changes += self.put(spec)
        return changes

    def put(self, spec: ToolSpec) -> list[ToolChange]:
        """Takes the current spec of one tool; returns the changes."""
        name = spec.name
        proxy = self._get(name)
        if proxy is not None and proxy.spec == spec:
            return []
        self._note(spec)
        was_listed = name in self.proxies
        if proxy is None:
            proxy = self._gone.pop(name, None) or self._pinned.pop(name, None)
        if proxy is None:
            proxy = make_proxy(spec, self._caller, self._options)
        else:
            change_proxy(proxy, spec, self._options)
        if is_hidden(spec):
            self.proxies.pop(name, None)
            self.proxies.hidden[name] = proxy
            return [("removed", name)] if was_listed else []
        self.proxies.hidden.pop(name, None)
        self.proxies[name] = proxy
        return [("changed" if was_listed else "added", name)]

    def remove(self, name: str) -> list[ToolChange]:
        """Removes a tool; returns the changes."""
        was_listed = name in self.proxies
        proxy = self.proxies.pop(name, None) or self.proxies.hidden.pop(name, None)
        if proxy is None:
            return []
        mark_removed(proxy)
        if self._index is not None:
            self._index.note(name, None)
        self._gone[name] = proxy
        return [("removed", name)] if was_listed else []

    def _note(self, spec: ToolSpec) -> None:
        """Notes a tool for later searches, which find neither hidden tools nor older versions."""
        if self._index is not None:
            self._index.note(spec.name, None if is_hidden(spec) or is_older_version(spec) else spec)

    def notify(self, changes: Iterable[ToolChange]) -> None:
        """Calls ``on_changed`` for each change."""
        for operation, name in changes:
            if self.on_changed is not None:
                try:
                    self.on_changed(operation, name)
                except Exception:  # noqa: BLE001 - a failing callback must not stop the updates
                    _log.exception("on_tools_changed failed for %s %s", name, operation)

    def update(self, update: ToolUpdate) -> None:
        """Takes a change from a watch of the session's tools, other than "reset"."""
        self.notify(self.remove(update.tool.name) if update.operation == "removed" else self.put(update.tool))

    async def refresh(self) -> None:
        """Reads the tools again; raises like ``read_tools``."""
        session_id = self._caller.require_session()
        tools, revision = await read_tools(self._caller)
        if session_id == self._caller.session_id:
            self.revision = revision
            self.notify(self.take(tools))

    async def follow(self) -> None:
        """Keeps the tools up to date until the client leaves this session.

        It resumes over the next connection when one is lost. If the hub does not support the watch, or has too many, it
        ends, and the tools stay as they are.
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
        # A restarted hub starts its revisions again, and no change between reading the tools and starting the watch may
        # be lost, so the tools are read together with the revision to watch from.
        await self._tools.refresh()
        revision = self._tools.revision or _NO_REVISION
        return WatchSessionToolsRequest(session_id=self.session_id, from_revision=revision)

    async def take(self, message: ToolUpdate) -> ToolUpdate:
        if not self.is_of_another_session:
            if message.operation == "reset":
                # The end of the tools that follow a reset cannot be recognized, and until then tools would be missing.
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
        ConflictError: The tools kept changing before the last page was read.
        ProtocolError: The answers are not valid pages.
        ToolBridgeError, ToolCommunicationError: As for ``Caller.call``.
    """
    session_id = caller.require_session()
    waits, pause = back_off(), caller.pauses(_METHOD)
    for left in reversed(range(MAX_LISTS)):
        try:
            return await _read_pages(caller, session_id)
        except ConflictError as error:
            if not left:
                raise
            _log.debug("the tools of session %s are listed again: %s", session_id, error)
        await pause(next(waits))
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
            raise ProtocolError(f"the answer to {_METHOD} names a next page, but has no tools or repeats its own token")
        request.page_token = response.next_page_token
    raise ProtocolError(f"the answers to {_METHOD} do not end: {MAX_PAGES:,} pages arrived")
