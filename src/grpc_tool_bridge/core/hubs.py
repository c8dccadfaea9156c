"""The hubs of a cluster: their list, lists of what all of them have, and requests to one of them.

Without a cluster there is one hub, which answers for itself.
"""

import asyncio
import platform
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from google.protobuf.message import DecodeError

from grpc_tool_bridge.core.infos import set_time
from grpc_tool_bridge.core.interfaces import HubDirectory
from grpc_tool_bridge.core.pages import MAX_PAGE_BYTES, checked_size
from grpc_tool_bridge.errors import (
    AccessError,
    NotFoundError,
    ProtocolError,
    SessionError,
    SessionExpiredError,
    ToolBridgeError,
    UnavailableError,
    ValidationError,
)
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.bounds import check_request, shown
from grpc_tool_bridge.rpc.callers import told_of
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext
from grpc_tool_bridge.rpc.methods import METHODS

# Seconds that another hub has to answer.
ASK_SECONDS = 2.0
# Hubs that are asked at a time for the list of hubs, and for one page of another list.
_ASKED_AT_ONCE = 32
_PAGES_AT_ONCE = 8

SERVING, NOT_SERVING, CUT_OFF, GONE = "serving", "not serving", "cut off", "gone"

Local = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Listing:
    """A list that every hub has a part of.

    Attributes:
        method: The method that lists it.
        field: The field of its response that has the entries.
        order: Returns by what entries are sorted.
    """

    method: str
    field: str
    order: Callable[[Any], Any]


class Hubs:
    """The hubs of a cluster, as one of them sees them.

    Args:
        describe: Fills in what this hub knows of itself.

    Attributes:
        directory: Tells of the other hubs, and asks them; None: there is no cluster.
    """

    def __init__(self, describe: Callable[[pb.HubInfo], None]) -> None:
        self._describe = describe
        self.directory: HubDirectory | None = None

    @property
    def name(self) -> str:
        """The name of this hub in its cluster; empty if there is none."""
        return "" if self.directory is None else self.directory.name

    def known(self) -> list[pb.HubInfo]:
        """Returns all hubs by name, this one with what it knows of itself."""
        if self.directory is None:
            rows = [pb.HubInfo(name=platform.node(), is_self=True, state=SERVING)]
        else:
            rows = list(self.directory.hubs())
        for row in rows:
            if row.is_self:
                self._fill(row)
        return sorted(rows, key=lambda row: (row.name, row.incarnation))

    def own(self) -> pb.HubInfo:
        """Returns what this hub knows of itself."""
        return next(row for row in self.known() if row.is_self)

    def _fill(self, row: pb.HubInfo) -> None:
        """Adds to the row of this hub what it knows of itself."""
        row.version = _version()
        self._describe(row)
        set_time(row.time, time.time())

    def named(self, hub: str) -> pb.HubInfo:
        """Returns the hub with a name or an incarnation.

        Raises:
            NotFoundError: There is none.
            ValidationError: Several have this name.
        """
        rows = self.known()
        found = [row for row in rows if hub in (row.incarnation, row.name)]
        # A hub that began anew has the same name.
        found = [row for row in found if row.state != GONE or hub == row.incarnation] or found[:1]
        if not found:
            raise NotFoundError(f"there is no hub {shown(hub)}; grpc-tool-bridge hubs lists them")
        if len(found) > 1:
            each = ", ".join(row.incarnation for row in found)
            raise ValidationError(
                f"{len(found)} hubs are named {shown(hub)}; choose one by its incarnation: {each}",
                details={"field": "hub"},
            )
        return found[0]

    # -------------------------------------------------------------------------------------------- the list of hubs

    async def list_hubs(self, request: pb.ListHubsRequest) -> pb.ListHubsResponse:
        """Lists the hubs by name, each with what it says of itself."""
        check_request(request)
        rows = [self.named(request.hub)] if request.hub else self.known()
        permits = asyncio.Semaphore(_ASKED_AT_ONCE)
        answered = await asyncio.gather(*(self._complete(row, permits) for row in rows))
        missing = [row.name for row, here in zip(rows, answered, strict=True) if not here]
        return pb.ListHubsResponse(hubs=rows, missing_hubs=missing)

    async def _complete(self, row: pb.HubInfo, permits: asyncio.Semaphore) -> bool:
        """Adds to the row of another hub what it says of itself; returns False if it should answer and does not."""
        if row.is_self or row.state in (CUT_OFF, GONE):
            return True
        sent = time.time()
        try:
            async with permits:
                sent, began = time.time(), time.monotonic()
                answer = await self._ask(row, "ListHubs", pb.ListHubsRequest(hub=row.incarnation))
                took = time.monotonic() - began
        except ToolBridgeError:
            return False
        own = next((hub for hub in answer.hubs if hub.incarnation == row.incarnation and hub.is_self), None)
        if own is None:
            return False
        link, link_error, room = row.link, row.link_error, row.room
        row.MergeFrom(own)
        row.is_self, row.link, row.link_error = False, link, link_error
        row.room = own.room or room
        # It read its clock between the question and the answer; the middle is the best estimate.
        row.clock_ahead_us = round(own.time.ToMicroseconds() - (sent + took / 2) * 1e6)
        return True

    # ---------------------------------------------------------------------------------------- lists of all of them

    async def page(self, listing: Listing, request: Any, local: Local, context: RequestContext = LOCAL) -> Any:
        """Returns one page of a list of all hubs, or of the one that the request names.

        The hubs come one after another by their incarnations, whoever is asked, so that a page continues where the one
        before ended, though the client may have moved to another hub. Hubs whose pages fit into one are asked at the
        same time, and their entries are sorted together.

        Args:
            listing: Which list.
            request: Its request, which is checked.
            local: Returns the page of this hub.
            context: Says on whose behalf other hubs are asked, which show what that caller may see.

        Raises:
            AccessError: The caller may not see what is asked for.
            NotFoundError: There is no such hub.
            SessionError: No hub has the session of the request.
            UnavailableError: The hub that the request names did not answer.
            ValidationError: The token or the size is not valid.
        """
        if self.directory is None or request.hub:
            row = self.named(request.hub) if request.hub else None
            if row is None or row.is_self:
                return self._stamped(await local(request), listing)
            return await self._ask(row, listing.method, request, context)
        return await _Gathering(self, listing, request, local, context).run()

    def _stamped(self, response: Any, listing: Listing) -> Any:
        """Writes the name of this hub into its entries."""
        if name := self.name:
            for entry in getattr(response, listing.field):
                entry.hub = name
        return response

    async def part(self, row: pb.HubInfo, listing: Listing, request: Any, local: Local, context: RequestContext) -> Any:
        """Returns the page of one hub; the error, if it does not answer or knows no such session."""
        try:
            if row.is_self:
                return self._stamped(await local(request), listing)
            if row.state == CUT_OFF:
                return UnavailableError(f"hub {row.name} is cut off")
            return await self._ask(row, listing.method, request, context)
        except ValidationError:
            raise
        except ToolBridgeError as error:
            return error

    # ------------------------------------------------------------------------------------------ requests to one

    async def _ask(self, row: pb.HubInfo, method: str, request: Any, context: RequestContext = LOCAL) -> Any:
        """Makes a request to another hub on behalf of the caller of one, and returns its response.

        Raises:
            ToolBridgeError: What it answered, or that it did not.
        """
        assert self.directory is not None  # noqa: S101 - without one there is no other hub
        asked = type(request)()
        asked.CopyFrom(request)
        # It answers for itself alone.
        asked.hub = row.incarnation
        try:
            # The directory may not know how long to wait; one who asks does.
            async with asyncio.timeout(2 * ASK_SECONDS):
                data = await self.directory.ask(
                    row.incarnation, method, asked.SerializeToString(), ASK_SECONDS, told_of(context)
                )
        except TimeoutError:
            raise UnavailableError(f"hub {row.name} did not answer within {2 * ASK_SECONDS:g} s; try again") from None
        try:
            return METHODS[method].response.FromString(data)
        except DecodeError:
            raise ProtocolError(f"hub {row.name} has sent an invalid answer to {method}") from None

    async def at(self, hub: str, method: str, request: Any, context: RequestContext) -> Any | None:
        """Makes a request to the hub with a name or an incarnation.

        Returns:
            Its response; None if it is this hub.

        Raises:
            NotFoundError: There is no such hub.
            ToolBridgeError: What it answered, or that it did not.
        """
        row = self.named(hub)
        return None if row.is_self else await self._ask(row, method, request, context)

    async def anywhere(
        self, method: str, request: Any, is_done: Callable[[Any], bool], context: RequestContext
    ) -> tuple[Any, list[str]]:
        """Makes a request to one other hub after another, until a response will do.

        Returns:
            The response, None if none will do; and the names of the hubs that did not answer.
        """
        missing = []
        for row in [] if self.directory is None else self.known():
            if row.is_self or row.state == GONE:
                continue
            try:
                response = None if row.state == CUT_OFF else await self._ask(row, method, request, context)
            except ToolBridgeError:
                response = None
            if response is None:
                missing.append(row.name)
            elif is_done(response):
                return response, missing
        return None, missing


class _Gathering:
    """One page of a list that is gathered from all hubs.

    Args:
        hubs: The hubs.
        listing: Which list.
        request: The request.
        local: Returns the page of this hub.
        context: Of the request.
    """

    def __init__(self, hubs: Hubs, listing: Listing, request: Any, local: Local, context: RequestContext) -> None:
        self._hubs = hubs
        self._listing = listing
        self._request = request
        self._local = local
        self._context = context
        self._size = checked_size(request.page_size)
        self._entries: list[Any] = []
        self._bytes = 0
        self._next = ""
        self._missing: list[str] = []
        self._no_session: SessionError | None = None
        self._refused: AccessError | None = None
        self._has_answer = False

    async def run(self) -> Any:
        """Returns the response."""
        first, token = _read(self._request.page_token)
        rows = sorted(
            (row for row in self._hubs.known() if row.state != GONE and row.incarnation >= first),
            key=lambda row: row.incarnation,
        )
        if not rows or rows[0].incarnation != first:
            token = ""
        while rows and not self._next:
            if len(self._entries) >= self._size:
                self._next = _write(rows[0].incarnation, "")
                break
            # A hub that had more than a page probably has enough for this one.
            count = 1 if token else _PAGES_AT_ONCE
            asked, rows = rows[:count], rows[count:]
            self._take(asked, await asyncio.gather(*(self._part(row, token) for row in asked)))
            token = ""
        return self._response()

    async def _part(self, row: pb.HubInfo, token: str) -> Any:
        asked = type(self._request)()
        asked.CopyFrom(self._request)
        asked.page_token, asked.page_size = token, self._size - len(self._entries)
        return await self._hubs.part(row, self._listing, asked, self._local, self._context)

    def _take(self, rows: Sequence[pb.HubInfo], parts: Sequence[Any]) -> None:
        """Takes the parts of the page, in order, as far as they fit."""
        for row, part in zip(rows, parts, strict=True):
            if isinstance(part, SessionError):
                if self._no_session is None or isinstance(part, SessionExpiredError):
                    self._no_session = part
                continue
            if isinstance(part, AccessError):
                self._refused = part
                continue
            if isinstance(part, BaseException):
                self._missing.append(row.name)
                continue
            entries, size = getattr(part, self._listing.field), part.ByteSize()
            is_full = len(self._entries) + len(entries) > self._size or self._bytes + size > MAX_PAGE_BYTES
            if self._entries and is_full:
                self._next = _write(row.incarnation, "")
                return
            self._has_answer = True
            self._entries += entries
            self._bytes += size
            if part.next_page_token:
                self._next = _write(row.incarnation, part.next_page_token)
                return

    def _response(self) -> Any:
        # Who is refused by one hub does not learn from another whether there is such a session.
        error = self._refused or self._no_session
        if error is not None and not self._has_answer and not self._missing:
            raise error
        response: Any = METHODS[self._listing.method].response(
            next_page_token=self._next, missing_hubs=sorted(self._missing)
        )
        getattr(response, self._listing.field).extend(sorted(self._entries, key=self._listing.order))
        return response


def _write(incarnation: str, token: str) -> str:
    return f"{incarnation}.{token}"


def _read(token: str) -> tuple[str, str]:
    """Returns the incarnation of the hub that the page begins with, and the token there; empty for the first page."""
    if not token:
        return "", ""
    incarnation, dot, inner = token.partition(".")
    if not dot or not incarnation:
        raise ValidationError(
            f"page_token {shown(token)} is not from a list of all hubs; begin at the first page, "
            "with an empty page_token",
            details={"field": "page_token"},
        )
    return incarnation, inner


@cache
def _version() -> str:
    return version("grpc-tool-bridge")
