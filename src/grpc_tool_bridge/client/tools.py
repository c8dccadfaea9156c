"""How a client follows the tools of its session as they come and go."""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from grpc_tool_bridge.aio.backoff import back_off
from grpc_tool_bridge.aio.timeouts import was_cancelled
from grpc_tool_bridge.client.proxy import AsyncGRPCProxyTool, CallContext, CallOptions, Tools, bridge_closed, make_proxy
from grpc_tool_bridge.errors import (
    ConflictError,
    ProtocolError,
    ToolBridgeError,
    ToolCommunicationError,
    UnavailableError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    GetSessionToolsRequest,
    GetSessionToolsResponse,
    ToolSpec,
    WatchSessionToolsRequest,
)
from grpc_tool_bridge.transport.status import RpcError, from_rpc_error
from grpc_tool_bridge.transport.stubs import close_stream

if TYPE_CHECKING:
    from grpc_tool_bridge.client.client import ToolBridgeClient

# Lists that are begun, before tools that change all the time are told as an error.
MAX_LISTS = 10

# More than any hub has, each with one tool at least.
MAX_PAGES = 100_000

_METHOD = "GetSessionTools"

_log = logging.getLogger(__name__)


async def read_tools(client: "ToolBridgeClient", stub: Any = None) -> tuple[list[ToolSpec], int]:
    """Reads all tools of a client's session, as they are at one revision.

    Args:
        client: The client; it has a session.
        stub: Where to ask; None: as any other call of the client.

    Returns:
        The tools, and their revision.

    Raises:
        ConflictError: They changed each time before the last page was read.
        ProtocolError: The answers are no pages.
        ToolBridgeError, ToolCommunicationError: As of ``client.call``.
    """
    session_id = client.require_session()
    waits: Iterator[float] | None = None
    for left in reversed(range(MAX_LISTS)):
        try:
            return await _read_pages(client, session_id, stub)
        except ConflictError as error:
            if not left:
                raise
            _log.debug("the tools of session %s are listed again: %s", session_id, error)
        waits = waits or back_off()
        await asyncio.sleep(next(waits))
    raise AssertionError("the last try returns or raises")


async def _read_pages(client: "ToolBridgeClient", session_id: str, stub: Any) -> tuple[list[ToolSpec], int]:
    specs: list[ToolSpec] = []
    request = GetSessionToolsRequest(session_id=session_id)
    revision: int | None = None
    for _ in range(MAX_PAGES):
        response = await client.call(_METHOD, request, stub=stub)
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


# What was done, "added", "changed" or "removed", and the tool's name.
ToolChange = tuple[str, str]


class SessionTools:
    """The tools of one session, as far as its client knows.

    Args:
        context: The session, for the proxies.

    Attributes:
        proxies: The tools by name; one dict, which changes in place.
    """

    def __init__(self, context: CallContext) -> None:
        self.proxies = Tools()
        self._context = context
        self._options = CallOptions()
        # Proxies of tools that are gone, as long as somebody holds them: a tool may come back.
        self._gone: WeakValueDictionary[str, AsyncGRPCProxyTool] = WeakValueDictionary()

    def take(self, specs: Iterable[ToolSpec], options: CallOptions) -> list[ToolChange]:
        """Takes what the tools are now, all of them, and how they are called; returns what has changed."""
        present = {spec.name: spec for spec in specs}
        gone = [name for name in self.proxies if name not in present]
        changes = [change for name in gone for change in self.remove(name)]
        if options != self._options:
            self._options = options
            for proxy in self.proxies.values():
                proxy.change(proxy.spec, options)
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
            proxy = make_proxy(spec, self._context, self._options)
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


# A watch that lasted so long was a good one: the next need not wait longer for those that failed before it.
STABLE_SECONDS = 5.0

# Where there has never been a tool, the revision is 0; but to go on from 0 means from now on, and would miss what has
# come since it was read. A revision that is still to come makes the hub send a reset.
_NO_REVISION = 2**63

_WATCH = "WatchSessionTools"


async def follow_tools(client: "ToolBridgeClient") -> None:
    """Keeps ``client.tools`` as the hub has them, for as long as the client has this session.

    When the connection is lost it goes on over the next one. Where the hub does not offer the watch, or has too many,
    it ends, and the tools stay as they were read last.
    """
    session_id = client.require_session()
    loop = asyncio.get_running_loop()
    waits = back_off()
    while client.session_id == session_id:
        began = loop.time()
        try:
            await _follow(client, session_id)
        except ToolBridgeError as error:
            if not _is_passing(error):
                _log.debug("the tools of session %s are not followed: %s", session_id, error)
                return
            _log.debug("the tools of session %s are followed again in a while: %s", session_id, error)
        except Exception:  # noqa: BLE001 - a stub that a program put in place may lack the method, or give anything
            _log.debug("the tools of session %s are not followed", session_id, exc_info=True)
            return
        else:
            return
        if loop.time() - began > STABLE_SECONDS:
            waits = back_off()
        await asyncio.sleep(next(waits))


async def _follow(client: "ToolBridgeClient", session_id: str) -> None:
    # Revisions of one life of the hub mean nothing to the next, and a change between what was read before and the
    # begin of the watch must not be lost: so the tools are read together with the revision to go on from.
    await client.refresh_tools()
    revision = client.tools_revision or _NO_REVISION
    request = WatchSessionToolsRequest(session_id=session_id, from_revision=revision)
    updates = client.stub.WatchSessionTools(request)
    try:
        async for update in updates:
            if client.session_id != session_id:
                return
            if update.operation == "reset":
                # What follows it has no end that could be told from a pause; until then tools would be missing.
                await client.refresh_tools()
            else:
                client.take_tool_update(update)
    except RpcError as error:
        raise from_rpc_error(error, method=_WATCH, where=client.where) from error
    except asyncio.CancelledError:
        if was_cancelled():
            raise
        raise bridge_closed(_WATCH) from None
    finally:
        await close_stream(updates)


def _is_passing(error: ToolBridgeError) -> bool:
    """Tells whether the hub may be there again, or answer again, in a while."""
    if isinstance(error, ConflictError):
        # The tools change faster than they can be read.
        return True
    return isinstance(error, ToolCommunicationError | UnavailableError) and error.retryable
