"""How a client follows the tools of its session as they come and go."""

import asyncio
import logging
from typing import TYPE_CHECKING

from grpc_tool_bridge.errors import ConflictError, ToolBridgeError, ToolCommunicationError, UnavailableError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import WatchSessionToolsRequest
from grpc_tool_bridge.proxy import bridge_closed
from grpc_tool_bridge.retries import back_off
from grpc_tool_bridge.timeouts import was_cancelled
from grpc_tool_bridge.transport.client_stub import close_stream
from grpc_tool_bridge.transport.status import RpcError, from_rpc_error

if TYPE_CHECKING:
    from grpc_tool_bridge.client import ToolBridgeClient

# A watch that lasted so long was a good one: the next need not wait longer for those that failed before it.
STABLE_SECONDS = 5.0

# Where there has never been a tool, the revision is 0; but to go on from 0 means from now on, and would miss what has
# come since it was read. A revision that is still to come makes the hub send a reset.
_NO_REVISION = 2**63

_WATCH = "WatchSessionTools"

_log = logging.getLogger(__name__)


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
