"""A hub of a few methods, for tests of what stands between it and its callers."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from grpc_tool_bridge.errors import NotFoundError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.context import RequestContext


class Hold:
    """A session that is held by a link."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.is_needed = True
        self.released = 0

    def release(self) -> None:
        self.released += 1


class NoWorkers:
    """The workers of a hub that has none."""

    def __init__(self) -> None:
        self.lost_links: list[str] = []

    def on_pong(self, link: Any) -> None:
        """Nobody is asked."""

    def on_drain(self, link: Any) -> None:
        link.release()

    def on_disconnect(self, link: Any, why: str) -> None:
        self.lost_links.append(why)


class SomeHub:
    """Some of the methods of a hub, which do what the id of the tool says.

    Calls: "fail", "fault", "wait" (until ``go`` is set), "large123" (an answer of so many characters); all else is
    answered. Streams: "fail", "wait", "silent" (for ever), "endless" and "large"; all else has three chunks.

    Attributes:
        started, ended: The tools of the calls and streams that did, in their order.
        deadlines: Of each of them.
        sent: Chunks that were taken.
        go: Ends what waits.
        holds: The sessions that links have held.
    """

    def __init__(self) -> None:
        self.workers = NoWorkers()
        self.holds: list[Hold] = []
        self.started: list[str] = []
        self.ended: list[str] = []
        self.deadlines: list[float | None] = []
        self.sent = 0
        self.go = asyncio.Event()

    def session_defaults(self, session_id: str) -> dict[str, int]:
        return {"idle-timeout-ms": 1500} if session_id == "s" else {}

    def hold_session(self, session_id: str) -> Hold:
        self.holds.append(Hold(session_id))
        return self.holds[-1]

    async def initialize_session(self, request: pb.InitializeSessionRequest) -> pb.InitializeSessionResponse:
        return pb.InitializeSessionResponse(success=request.session_id != "refused", session_id=request.session_id)

    async def get_session_info(self, request: pb.GetSessionInfoRequest) -> pb.SessionInfo:
        return pb.SessionInfo(session_id=request.session_id)

    async def heartbeat(self, request: pb.HeartbeatRequest) -> pb.HeartbeatResponse:
        return pb.HeartbeatResponse(session_valid=True)

    async def execute_tool(self, request: pb.ToolCallRequest, context: RequestContext) -> pb.ToolCallResponse:
        self.deadlines.append(context.deadline)
        name = request.tool_id
        self.started.append(name)
        try:
            if name == "fail":
                raise NotFoundError("no such tool")
            if name == "fault":
                raise LookupError("it")
            if name == "wait":
                await self.go.wait()
            if name.startswith("large"):
                return pb.ToolCallResponse(success=True, request_id="x" * int(name.removeprefix("large")))
        finally:
            self.ended.append(name)
        return pb.ToolCallResponse(success=True, request_id=request.request_id)

    async def stream_tool(
        self, request: pb.ToolStreamRequest, context: RequestContext
    ) -> AsyncGenerator[pb.ToolStreamChunk, None]:
        self.deadlines.append(context.deadline)
        name = request.tool_id
        self.started.append(name)
        try:
            for sequence in range(3 if name != "endless" else 100_000):
                filler = "x" * 50_000 if name == "endless" else ""
                yield pb.ToolStreamChunk(sequence=sequence, stream_id=request.stream_id or filler)
                self.sent += 1
            if name == "fail":
                raise NotFoundError("no such tool")
            if name == "large":
                yield pb.ToolStreamChunk(stream_id="x" * (65 * 1024 * 1024))
            if name == "wait":
                await self.go.wait()
            if name == "silent":
                await asyncio.get_running_loop().create_future()
        finally:
            self.ended.append(name)
