"""A transport that answers as a test tells it to."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc.aio

from grpc_tool_bridge import ToolBridgeClient, ToolSpec, serialize_value
from grpc_tool_bridge.client.options import CallOptions
from grpc_tool_bridge.proto.dspex_bridge_pb2 import InitializeSessionResponse, StatusResponse, ToolCallResponse
from grpc_tool_bridge.transport.stubs import Unlinked

OPENED = InitializeSessionResponse(success=True, session_id="s", tools=[ToolSpec(tool_id="id-1", name="add")])
ENDED = StatusResponse(success=True)


class Streams:
    """Answers of a streaming method: each call gives the next; an exception among the messages is raised.

    Args:
        streams: The messages of each call.
    """

    def __init__(self, *streams: list[Any]) -> None:
        self._left = iter(streams)

    def __call__(self, request: Any) -> AsyncIterator[Any]:
        return self._messages(next(self._left))

    async def _messages(self, messages: list[Any]) -> AsyncIterator[Any]:
        for message in messages:
            if isinstance(message, BaseException):
                raise message
            yield message


class FakeTransport(Unlinked):
    """A transport whose stub has the methods that are given, and notes what they are called with.

    Args:
        answers: By method: the answer; an exception that is raised; a list of these, one for each call; or the method
            itself, such as ``Streams``.

    Attributes:
        requests: What each method was called with, as it was then.
        closed: How often it was closed.
    """

    where = "the test"

    def __init__(self, **answers: Any) -> None:
        self.stub: Any = SimpleNamespace()
        self.requests: dict[str, list[Any]] = {}
        self.closed = 0
        for method, answer in answers.items():
            self.answer(method, answer)

    def answer(self, method: str, answer: Any) -> None:
        """Sets what a method answers."""
        requests = self.requests.setdefault(method, [])
        left = iter(answer) if isinstance(answer, list) else None

        async def respond() -> Any:
            response = answer if left is None else next(left)
            if isinstance(response, BaseException):
                raise response
            return response

        def call(request: Any, /) -> Any:
            copy = type(request)()
            copy.CopyFrom(request)
            requests.append(copy)
            return answer(request) if callable(answer) else respond()

        setattr(self.stub, method, call)

    def request(self, method: str, index: int = 0) -> Any:
        """Returns what a method was called with."""
        return self.requests[method][index]

    def count(self, method: str) -> int:
        """Returns how often a method was called."""
        return len(self.requests[method])

    async def close(self) -> None:
        """Counts."""
        self.closed += 1


def rpc_error(code: grpc.StatusCode, details: str = "") -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


def answer(value: object) -> ToolCallResponse:
    return ToolCallResponse(success=True, result=serialize_value(value))


def client_of(transport: FakeTransport, *, session_id: str | None = "s", **options: Any) -> ToolBridgeClient:
    client = ToolBridgeClient(transport, options=CallOptions(**options) if options else None)
    client.session_id = session_id
    return client
