"""The parts of the SDK that are not documented are there, and do what they are used for."""

import asyncio
import inspect

import anyio
from mcp.server import runner
from mcp.server.connection import Connection
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp_types.version import LATEST_MODERN_VERSION
from sse_starlette import sse

from grpc_tool_bridge.gateway.mcp.plain_calls import NOBODY, context_of, read_call
from grpc_tool_bridge.gateway.mcp.sdk_internals import connection_of, end_stream_watcher

CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"}}'


def test_a_session_of_the_sdk_has_its_connection() -> None:
    connection = Connection(NOBODY, protocol_version=LATEST_MODERN_VERSION, client_params=None)
    call = read_call(CALL)
    assert call is not None
    context = context_of(call, connection, NOBODY, "jsonrpc")
    assert hasattr(context.session, "_connection"), "ServerSession has no _connection"
    assert connection_of(context) is connection


def test_a_request_of_a_server_can_be_related_to_one_of_the_client() -> None:
    parameters = inspect.signature(JSONRPCDispatcher.send_raw_request).parameters
    assert "_related_request_id" in parameters, "send_raw_request has no _related_request_id"


def test_each_client_over_http_has_the_store_of_events_that_the_manager_names_then() -> None:
    source = inspect.getsource(StreamableHTTPSessionManager)
    assert "event_store=self.event_store" in source, "the manager no longer reads event_store for each client"


def test_a_server_is_asked_what_it_declares_and_what_its_results_say() -> None:
    source = inspect.getsource(runner)
    assert "self.server.create_initialization_options()" in source, "the runner asks the server for no options"
    assert "self.server.server_info_stamp" in source, "results are not stamped with server_info_stamp"


async def test_the_watcher_of_event_streams_ends_once_no_stream_is_left() -> None:
    state = sse._get_shutdown_state()
    assert not state.events, "a stream is left of another test"
    watcher = asyncio.create_task(sse._shutdown_watcher())
    event = anyio.Event()
    state.events.add(event)
    end_stream_watcher()
    assert not watcher.cancelling()
    state.events.discard(event)
    end_stream_watcher()
    assert watcher.cancelling()
    await asyncio.wait({watcher})
    assert watcher.cancelled()
