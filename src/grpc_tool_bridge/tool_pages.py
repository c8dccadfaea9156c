"""How a client reads all tools of its session, page by page."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.errors import ConflictError, ProtocolError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import GetSessionToolsRequest, GetSessionToolsResponse, ToolSpec
from grpc_tool_bridge.retries import back_off

if TYPE_CHECKING:
    from grpc_tool_bridge.client import ToolBridgeClient

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
    waits = back_off()
    for left in reversed(range(MAX_LISTS)):
        try:
            return await _read_pages(client, session_id, stub)
        except ConflictError as error:
            if not left:
                raise
            _log.debug("the tools of session %s are listed again: %s", session_id, error)
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
