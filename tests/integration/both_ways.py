"""Makes the same calls the short way and the general way, and compares all that can be seen of them."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import pytest
from grpc.aio import AioRpcError

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, SessionConfig, Settings, ToolBridgeError, ToolWorker
from grpc_tool_bridge.client.proxy import AsyncGRPCProxyTool
from grpc_tool_bridge.core import forwarded
from grpc_tool_bridge.core.direct_calls import DirectCalls
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ListCallsRequest, ToolCallResponse
from grpc_tool_bridge.worker.service import ToolService
from support.waiting import soon, until

# Where the tools run.
PLACES = ("hub", "worker")

# What differs from one call to the next, and is left out of every text.
_VARIABLE = re.compile(
    r"""\bcall\ \d+\ of\b | 0x[0-9a-f]+ | \b[0-9a-f]{12}(?:[0-9a-f]{20}(?:-\d+)?)?\b | 127\.0\.0\.1:\d+ | \d+\.\d+\ s\b
    | \bduration_ms=[\d.e-]+ | \bline\ \d+ | Task-\d+ | \d{2}:\d{2}:\d{2}""",
    re.VERBOSE,
)
# Log lines that depend on how busy the machine is, or that come only so often.
_OCCASIONAL = (
    "grpc_tool_bridge.runner.blocking",
    "grpc_tool_bridge.tools.binding",
    "grpc_tool_bridge.worker.wait_log",
)
_VARIABLE_DETAILS = ("error_id", "retry_after", "until")

Scenario = Callable[["Open"], Awaitable[Any]]


class Taken:
    """How often each end took the short way."""

    def __init__(self) -> None:
        self.by: dict[str, int] = {"client": 0, "hub": 0, "worker": 0}

    def counted(self, who: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Counts the calls that ``function`` takes."""

        def count(*args: Any) -> Any:
            begun = function(*args)
            self.by[who] += begun is not None
            return begun

        return count


@contextmanager
def short_way(*ends: str) -> Iterator[Taken]:
    """Lets only these ends take the short way; counts the calls that did."""
    taken = Taken()
    places = {"client": (AsyncGRPCProxyTool, "_try_send"), "hub": (DirectCalls, "begin")}
    places["worker"] = (ToolService, "try_begin_tool")
    with pytest.MonkeyPatch.context() as patch:
        for end, (owner, name) in places.items():
            function = getattr(owner, name)
            patch.setattr(owner, name, taken.counted(end, function) if end in ends else lambda *_: None)
        if "hub" not in ends:
            patch.setattr(forwarded, "is_success", lambda _: False)
        yield taken


class World:
    """A hub, a worker if the tools run in one, and a bridge over a link."""

    def __init__(self, server: BridgeServer, bridge: GRPCToolBridge, worker: ToolWorker | None) -> None:
        self.server = server
        self.hub = server.hub
        self.bridge = bridge
        self.worker = worker
        self.tools = bridge.tools

    async def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Returns what can be seen of the outcome of a call."""
        return await outcome(self.bridge.client.tool(name)(*args, **kwargs))

    async def send(self, payload: bytes) -> Any:
        """Sends a request as it is, and returns what can be seen of its answer."""
        call = self.bridge.client.stub.ExecuteTool.try_send(payload, "", 60.0)
        assert call is not None
        try:
            return shown_response(await call)
        except AioRpcError as error:
            return error.code().name, plain(error.details() or "")

    async def running(self) -> list[Any]:
        """Returns what the hub lists of the calls that wait or run."""
        listed = await self.hub.list_calls(ListCallsRequest(include_arguments=True))
        for call in listed.calls:
            assert call.time_left_ms > 0
            assert call.HasField("started_at")
            for field in ("time_left_ms", "started_at", "worker_id", "call_id"):
                call.ClearField(field)
        return [plain(str(call)) for call in listed.calls]

    def counts(self, name: str) -> Any:
        """Returns what the hub counts of a tool."""
        metrics = self.hub.metrics.of_tool(name)
        assert sum(metrics.buckets) == metrics.calls
        return metrics.calls, metrics.errors, metrics.active

    async def quiet(self) -> None:
        """Waits until nothing runs, and checks that nothing is held."""
        await until(lambda: not self.hub.admission.active, "for the end of all calls")
        for session in self.hub.store.sessions():
            await until(partial(_is_quiet, session), "for the end of its calls")
            assert session.limiter is None or (session.limiter.used, session.limiter.waiting) == (0, 0)
        for tool in self.hub.store.tools.values():
            assert tool.metrics.active == 0
            assert tool.limiter is None or (tool.limiter.used, tool.limiter.waiting) == (0, 0)
        if self.worker is not None:
            await until(lambda: not self.worker or not self.worker._service._calls, "for the end of the worker's calls")


def _is_quiet(session: Session) -> bool:
    return not session.active and not session.calls


class Open:
    """Starts a hub with tools.

    Args:
        place: Where the tools run.
        stack: Ends what was started.
    """

    def __init__(self, place: str, stack: AsyncExitStack) -> None:
        self.place = place
        self._stack = stack

    async def __call__(
        self,
        *tools: Any,
        config: SessionConfig | None = None,
        client: dict[str, Any] | None = None,
        chaos: Any = None,
        recorder: Any = None,
        **settings: Any,
    ) -> World:
        """Returns the hub and a bridge to it.

        Args:
            tools: Run in the place.
            config: That of the session.
            client: Options of the bridge.
            chaos, recorder: As for ``BridgeServer``.
            settings: Those of the hub and the worker.
        """
        made = Settings(**{"shutdown_grace": 0.0, "show_tracebacks": True, **settings})
        in_hub = self.place == "hub"
        server = await self._stack.enter_async_context(
            BridgeServer(tools=tools if in_hub else [], settings=made, chaos=chaos, recorder=recorder)
        )
        worker = None
        if not in_hub:
            worker = await self._stack.enter_async_context(ToolWorker(server.address, tools=tools, settings=made))
        bridge = GRPCToolBridge(server.address, transport="link", **client or {})
        self._stack.push_async_callback(bridge.close)
        await bridge.initialize("s", config=config)
        return World(server, bridge, worker)

    async def worker(self, world: World, *tools: Any, session_id: str | None = None) -> ToolWorker:
        """Starts one more worker."""
        worker = ToolWorker(world.server.address, tools=tools, session_id=session_id, settings=world.server.settings)
        return await self._stack.enter_async_context(worker)

    async def bridge(self, world: World, **options: Any) -> GRPCToolBridge:
        """Opens one more bridge to the same session."""
        bridge = GRPCToolBridge(world.server.address, transport="link", **options)
        self._stack.push_async_callback(bridge.close)
        await bridge.initialize("s")
        return bridge


@asynccontextmanager
async def opening(place: str) -> AsyncIterator[Open]:
    """Ends what is started in it."""
    async with AsyncExitStack() as stack:
        yield Open(place, stack)


async def same(
    scenario: Scenario,
    place: str,
    *,
    usual: bool | None = True,
    ways: Sequence[Sequence[str]] = (("client", "hub", "worker"),),
) -> Any:
    """Plays a scenario the general way and the short way, and checks that the same was seen.

    Args:
        scenario: Starts a hub, makes calls, and returns what it has seen.
        place: Where the tools run.
        usual: Whether its calls are usual ones, some of which take the short way at each end; None: not checked.
        ways: Which ends take the short way; each is compared with the general way.

    Returns:
        What was seen.
    """
    expected, _ = await _played(scenario, place, ())
    for way in ways:
        seen, taken = await _played(scenario, place, way)
        assert seen == expected, f"the short way at {way} gives {differences(seen, expected)}"
        if usual is not None:
            ends = [end for end in way if end != "worker" or place == "worker"]
            assert usual == all(taken.by[end] for end in ends), taken.by
    return expected


async def _played(scenario: Scenario, place: str, way: Sequence[str]) -> tuple[Any, Taken]:
    with short_way(*way) as taken, logged() as records:
        async with opening(place) as start:
            seen = await soon(scenario(start))
        return (seen, records), taken


@contextmanager
def logged(*names: str) -> Iterator[list[str]]:
    """Collects the warnings and errors of these loggers; by default of all but those that depend on the machine."""
    records: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name in names or not (names or record.name in _OCCASIONAL):
                records.append(f"{record.name} {record.levelname}: {plain(record.getMessage())}")

    collector = Collector(logging.WARNING)
    logger = logging.getLogger("grpc_tool_bridge")
    logger.addHandler(collector)
    try:
        yield records
    finally:
        logger.removeHandler(collector)


async def outcome(awaitable: Awaitable[Any]) -> Any:
    """Returns what can be seen of a value or an error."""
    try:
        value = await awaitable
    except (ToolBridgeError, asyncio.CancelledError) as error:
        return shown_error(error)
    return shown(value)


def shown(value: Any) -> Any:
    """Returns a value in a form in which 1 is not True, 0.0 not -0.0, and nan is nan."""
    # A number may have more digits than Python writes in decimal.
    return type(value).__name__, hex(value) if type(value) is int else repr(value)


def shown_error(error: BaseException) -> Any:
    """Returns what can be seen of an error."""
    if not isinstance(error, ToolBridgeError):
        return type(error).__name__, plain(str(error))
    facts = error.details if isinstance(error.details, dict) else {"details": str(error.details)}
    details = {name: plain(text) for name, text in facts.items() if name not in _VARIABLE_DETAILS}
    names = sorted(facts)
    return (
        type(error).__name__,
        error.error_type,
        plain(error.message),
        plain(str(error)),
        details,
        names,
        error.retryable,
        plain(error.remote_traceback),
        [plain(note) for note in getattr(error, "__notes__", [])],
        type(error.__cause__).__name__,
        error.__suppress_context__,
    )


def shown_response(payload: bytes) -> Any:
    """Returns what can be seen of an answer."""
    response = ToolCallResponse.FromString(payload)
    metrics = response.metrics
    if response.HasField("metrics"):
        assert metrics.duration_ms == metrics.duration_us // 1_000 + 1
        metrics.Clear()
        metrics.SetInParent()
    response.error.ClearField("timestamp")
    return plain(str(response))


def plain(text: str) -> str:
    """Leaves out of a text what differs from one call to the next."""
    return _VARIABLE.sub("…", text)


def differences(seen: Any, expected: Any) -> list[Any]:
    """Returns the parts in which two nested tuples and lists differ, for a text that can be read."""
    if type(seen) is type(expected) and isinstance(seen, tuple | list) and len(seen) == len(expected):
        return [each for pair in zip(seen, expected, strict=True) if pair[0] != pair[1] for each in differences(*pair)]
    return [(seen, "and not", expected)]
