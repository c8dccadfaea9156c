"""Plays a recording to the clients of a server: at once, or in the time that it took."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.message import Message

from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.testing.recording.recording import RecordedCall
from grpc_tool_bridge.testing.recording.replay import Replay, failure
from grpc_tool_bridge.testing.recording.settling import RecordingError

# Seconds between looks whether the client of a stream that goes on has left.
_LOOK_SECONDS = 0.1


class Player:
    """Answers the methods of a server from a recording; each may block its thread.

    Args:
        replay: Finds the answers.
        in_time: Whether answers and chunks take as long as they did; else they come at once.
        speed: How many times faster than they did.

    Raises:
        RecordingError: ``in_time`` is set, and the times of the recording are not there.
        ValueError: The speed is not above 0.
    """

    def __init__(self, replay: Replay, *, in_time: bool = False, speed: float = 1.0) -> None:
        if not speed > 0:
            raise ValueError(f"the speed must be above 0, not {speed}")
        recording = replay.recording
        if in_time and any(call.at is None for call in recording.calls()):
            raise RecordingError(
                f"{recording.path} cannot be played in time: its times ({recording.path}.times) are not there"
            )
        self._replay = replay
        self._speed = speed if in_time else None
        self._stopped = threading.Event()
        self._fixed: dict[str, Callable[[Any], Message]] = {
            "InitializeSession": replay.open,
            "GetSessionTools": lambda request: pb.GetSessionToolsResponse(
                tools=replay.tools(request.session_id), revision=1
            ),
            "Heartbeat": lambda request: pb.HeartbeatResponse(session_valid=replay.knows(request.session_id)),
            "CleanupSession": self._cleaned_up,
            "HealthCheck": lambda _: pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVING),
        }

    def stop(self) -> None:
        """Ends all that waits."""
        self._stopped.set()

    def plays(self, method: str) -> bool:
        """Returns whether a method is answered from the recording."""
        return method in self._fixed or method in _RECORDED

    def unary(self, method: str, request: Any) -> Message:
        """Returns the answer to a request.

        Raises:
            ToolBridgeError: It failed with a status.
        """
        try:
            if method in self._fixed:
                return self._fixed[method](request)
            call = self._replay.find(method, request)
            self._pause(call, call.end.at if call.end is not None else None, time.monotonic())
            answer: Message = self._replay.answer(call, request)
        except ToolBridgeError as error:
            told = failure(method, error)
            if told is None:
                raise
            return told
        return answer

    def stream(self, method: str, request: Any, is_active: Callable[[], bool]) -> Iterator[Message]:
        """Yields the messages of a stream.

        Args:
            method: The method.
            request: The request.
            is_active: Returns whether the client still reads.

        Raises:
            ToolBridgeError: It failed with a status.
        """
        if method == "WatchSessionTools":
            # The tools of a recording do not change.
            yield from self._hold(is_active)
            return
        began = time.monotonic()
        try:
            call = self._replay.find(method, request)
            for event, message in self._replay.chunks(call, request):
                self._pause(call, event.at, began)
                yield message
        except ToolBridgeError as error:
            told = failure(method, error) if method in _ENDS_WITH_ERROR else None
            if told is None:
                raise
            yield told
            return
        if call.end is None or call.end.content == "cancelled":
            # It went on until its client left.
            yield from self._hold(is_active)

    def _cleaned_up(self, request: pb.CleanupSessionRequest) -> pb.StatusResponse:
        self._replay.close(request.session_id)
        return pb.StatusResponse(success=True, message=f"session {request.session_id!r} has ended")

    def _pause(self, call: RecordedCall, at: int | None, began: float) -> None:
        """Waits until an event is due, as long after its call as it was."""
        if self._speed is None or at is None or call.at is None:
            return
        due = began + (at - call.at) / 1_000_000 / self._speed
        self._stopped.wait(max(0.0, due - time.monotonic()))

    def _hold(self, is_active: Callable[[], bool]) -> Iterator[Message]:
        while is_active() and not self._stopped.wait(_LOOK_SECONDS):
            pass
        yield from ()


# Streams whose messages can hold an error.
_ENDS_WITH_ERROR = frozenset({"StreamTool", "ExecuteAgent"})
_RECORDED = frozenset(
    {
        "ExecuteTool", "StreamTool", "BatchExecuteTools", "GetSessionVariable", "SetSessionVariable",
        "DeleteSessionVariable", "ListSessionVariables", "WatchSessionVariables", "CreateReActAgent", "ExecuteAgent",
        "CancelAgentRun", "WatchSessionTools",
    }
)  # fmt: skip
