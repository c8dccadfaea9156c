"""A hub with prepared answers."""

import asyncio
import difflib
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
import grpc.aio
from google.protobuf.message import Message

from grpc_tool_bridge.config import MAX_MESSAGE_BYTES
from grpc_tool_bridge.core.chaos.reading import ChaosSource
from grpc_tool_bridge.errors import ToolBridgeError, ToolCommunicationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ErrorInfo,
    GetSessionToolsRequest,
    GetSessionToolsResponse,
    InitializeSessionResponse,
    ToolSpec,
)
from grpc_tool_bridge.rpc.methods import METHODS, Method
from grpc_tool_bridge.testing.mock_chaos import MockChaos
from grpc_tool_bridge.testing.recording.player import Player
from grpc_tool_bridge.testing.recording.recording import Recording
from grpc_tool_bridge.testing.recording.replay import Replay
from grpc_tool_bridge.testing.recording.settling import RecordingError
from grpc_tool_bridge.testing.running import Running, running_address
from grpc_tool_bridge.transport.channel import message_options
from grpc_tool_bridge.transport.proxies import channel_target
from grpc_tool_bridge.transport.servicer import HubHandler
from grpc_tool_bridge.transport.status import ERROR_KEY, status_of

# An open link occupies a thread; further concurrent calls wait for one.
_THREADS = 32
# Each watch of a recording occupies one, too.
_REPLAY_THREADS = 256

MAX_TOKEN_DIGITS = 10

Trailer = tuple[tuple[str, bytes], ...]


class _Status(Exception):  # noqa: N818 - an answer, which is never raised
    """An answer that is an error status."""

    def __init__(self, code: grpc.StatusCode, text: str, trailer: Trailer = ()) -> None:
        super().__init__(code, text, trailer)
        self.code = code
        self.text = text
        self.trailer = trailer


Answer = Message | _Status


class MockBridgeServer(Running):
    """A real gRPC server in this process that gives prepared answers, and records the requests.

    ``with`` and ``async with`` both run it, inside and outside an event loop. Answers can be set before and while it
    runs, from any thread. A method without an answer fails with UNIMPLEMENTED, and the message names the call to make.

    Args:
        address: ``host:port``; port 0 picks a free port.
        chaos: Faults to inject into the answers to ExecuteTool and StreamTool, as for ``BridgeServer``. None: none.

    Raises:
        ValidationError: ``chaos`` is not valid.
        OSError: Its file cannot be read.
    """

    def __init__(self, address: str = "127.0.0.1:0", *, chaos: ChaosSource | None = None) -> None:
        self._chaos = None if chaos is None else MockChaos(chaos)
        self._listen_at = address
        self._player: Player | None = None
        self._replay: Replay | None = None
        self._address: str | None = None
        self._server: grpc.Server | None = None
        self._channels: list[grpc.aio.Channel] = []
        self._lock = threading.Lock()
        self._answers: dict[str, list[Answer]] = {}
        self._streams: dict[str, list[Answer]] = {}
        self._pages: list[GetSessionToolsResponse] = []
        self._requests: defaultdict[str, list[Any]] = defaultdict(list)

    @property
    def address(self) -> str:
        """Where the server listens.

        Raises:
            RuntimeError: The server is not running.
        """
        return running_address(self._address, "mock server")

    @classmethod
    def from_recording(
        cls,
        path: str | os.PathLike[str],
        *,
        address: str = "127.0.0.1:0",
        in_time: bool = False,
        speed: float = 1.0,
    ) -> Self:
        """Creates a server that answers as a recording says, which ``Recorder`` or ``serve --record`` has written.

        Each recorded call is answered once. Any other request fails with the type "RecordingMismatch"; the message says
        which argument differs from the nearest recorded call. A response that is set replaces that of the recording.

        Args:
            path: The recording.
            address: As for the constructor.
            in_time: Whether answers take as long as they did; else they come at once.
            speed: With ``in_time``, how many times faster.

        Raises:
            RecordingError: It is not a recording, or damaged; the text says which line is wrong. Or ``in_time`` is set,
                and its times are not there.
            OSError: It cannot be read.
        """
        server = cls(address)
        server._replay = Replay(Recording(path))
        server._player = Player(server._replay, in_time=in_time, speed=speed)
        return server

    @property
    def mismatches(self) -> list[str]:
        """What was requested differently than recorded; empty without a recording."""
        return [] if self._replay is None else list(self._replay.mismatches)

    @property
    def unplayed(self) -> list[str]:
        """The recorded calls that were not requested; empty without a recording."""
        return [] if self._replay is None else self._replay.unplayed()

    # ------------------------------------------------------------------------------------------------- answers

    def set_response(self, method: str, *answers: Message | Exception) -> None:
        """Sets the answers of a method, and replaces earlier ones.

        Args:
            method: A method with one response, such as "ExecuteTool".
            *answers: Messages of the method's type, or exceptions, which are sent as the status that a hub would send;
                a ToolCommunicationError or an AioRpcError is sent as its own status. Each call gets the next answer,
                and the last one repeats.

        Raises:
            ValueError: There is no such method, it streams its responses, or no answer is given.
            TypeError: An answer is neither a message of the method's type nor an exception.
        """
        rule = _method(method)
        if rule.response_streaming:
            raise ValueError(f"{method} streams its responses; use set_streaming_response({method!r}, [...])")
        if not answers:
            raise ValueError(f"{method} needs a response; give a {rule.response.__name__}")
        checked = [_answer(rule, answer) for answer in answers]
        with self._lock:
            self._answers[method] = checked

    def set_error(
        self, method: str, code: grpc.StatusCode, details: str = "", *, error_type: str | None = None
    ) -> None:
        """Makes a method fail, and replaces earlier answers.

        Args:
            method: Any method, such as "ExecuteTool".
            code: The status; not OK.
            details: The status's text.
            error_type: A name of the error table, which is sent with the status, as by a hub. Without it, the status
                looks like a failed connection.

        Raises:
            ValueError: There is no such method, or the code is OK.
            TypeError: The code is not a status code.
        """
        rule = _method(method)
        if not isinstance(code, grpc.StatusCode):
            raise TypeError(f"the code must be a grpc.StatusCode, such as grpc.StatusCode.UNAVAILABLE, not {code!r}")
        if code is grpc.StatusCode.OK:
            raise ValueError("OK is not an error; use set_response or set_streaming_response")
        trailer: Trailer = ()
        if error_type is not None:
            info = ErrorInfo(type=error_type, message=details, details={"origin": "bridge"})
            trailer = ((ERROR_KEY, info.SerializeToString()),)
        status = _Status(code, details, trailer)
        with self._lock:
            (self._streams if rule.response_streaming else self._answers)[method] = [status]

    def set_streaming_response(self, method: str, messages: Iterable[Message | Exception]) -> None:
        """Sets the messages that a streaming method sends for each call, and replaces earlier ones.

        Args:
            method: A method with a stream of responses, such as "StreamTool".
            messages: Messages of the method's type. An exception among them ends the stream there, with the status that
                a hub would send for it.

        Raises:
            ValueError: There is no such method, or it has one response.
            TypeError: A message is not of the method's type.
        """
        rule = _method(method)
        if not rule.response_streaming:
            raise ValueError(f"{method} has one response; use set_response({method!r}, ...)")
        checked = [_answer(rule, message) for message in messages]
        with self._lock:
            self._streams[method] = checked

    def set_tools(self, *specs: ToolSpec, page_size: int = 0) -> None:
        """Sets the tools of every session: InitializeSession and GetSessionTools answer with them, like a hub.

        Args:
            *specs: The tools.
            page_size: Tools in one answer; a client asks GetSessionTools for the rest. 0: all of them.

        Raises:
            TypeError: One of them is not a ToolSpec.
            ValueError: ``page_size`` is below 0.
        """
        for spec in specs:
            if not isinstance(spec, ToolSpec):
                raise TypeError(f"a tool must be a ToolSpec, not {type(spec).__name__}: {spec!r:.80}")
        if page_size < 0:
            raise ValueError(f"page_size must be 0 (all) or more, not {page_size}")
        size = page_size or len(specs) or 1
        pages = [specs[start : start + size] for start in range(0, len(specs), size)] or [()]
        answers = [
            GetSessionToolsResponse(tools=page, revision=1, next_page_token=str(number) if number < len(pages) else "")
            for number, page in enumerate(pages, 1)
        ]
        opened = InitializeSessionResponse(
            success=True, tool_count=len(specs), tools=pages[0], more_tools=len(pages) > 1
        )
        self.set_response("InitializeSession", opened)
        with self._lock:
            self._answers.pop("GetSessionTools", None)
            self._pages = answers

    def requests_for(self, method: str) -> list[Any]:
        """Returns the recorded requests of a method, in order.

        Raises:
            ValueError: There is no such method.
        """
        _method(method)
        with self._lock:
            return list(self._requests[method])

    # ------------------------------------------------------------------------------------------------ lifetime

    def channel(self) -> grpc.aio.Channel:
        """Opens a channel to the server, which is closed with it. Needs a running event loop.

        Raises:
            RuntimeError: The server is not running, or there is no event loop.
        """
        asyncio.get_running_loop()
        target, direct = channel_target(self.address, None)
        options = [*direct, *message_options(MAX_MESSAGE_BYTES)]
        channel = grpc.aio.insecure_channel(target, options=options)
        self._channels.append(channel)
        return channel

    def start(self) -> None:
        """Starts serving.

        Raises:
            RuntimeError: The server is already running, or cannot listen at its address.
        """
        if self._server is not None:
            raise RuntimeError(f"the mock server is already running at {self._address}")
        options = [*message_options(MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0)]
        threads = _THREADS if self._player is None else _REPLAY_THREADS
        server = grpc.server(ThreadPoolExecutor(threads, "mock-bridge-server"), options=options)
        handlers = {name: self._handler(method) for name, method in METHODS.items()}
        server.add_generic_rpc_handlers((HubHandler(handlers),))
        port = server.add_insecure_port(self._listen_at)
        server.start()
        self._address = f"{self._listen_at.rpartition(':')[0]}:{port}"
        self._server = server

    def stop(self) -> None:
        """Cancels calls in flight, closes the channels and stops; the requests can still be read."""
        server, self._server, self._address = self._server, None, None
        if self._player is not None:
            self._player.stop()
        channels, self._channels = self._channels, []
        if channels:
            # In a new event loop: the one that created them may be running here, or closed.
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, _close(channels)).result()
        if server is not None:
            server.stop(None).wait()

    # ----------------------------------------------------------------------------------------------- behaviour

    def _handler(self, method: Method) -> "grpc.RpcMethodHandler[Any, Any]":
        make, behaviour = self._behaviour(method)
        handler: grpc.RpcMethodHandler[Any, Any] = make(
            behaviour,
            request_deserializer=method.request.FromString,
            response_serializer=method.response.SerializeToString,
        )
        return handler

    def _behaviour(self, method: Method) -> tuple[Callable[..., Any], Callable[..., Any]]:
        def unary(request: Message, context: grpc.ServicerContext) -> Message:
            self._keep(method, request)
            chaos = self._chaos

            def answer() -> Message:
                if self._plays(method):
                    return _send(self._played(method, request), context)
                return _send(self._page(request) or self._next_answer(method), context)

            return answer() if chaos is None else chaos.answer(request, context, answer)

        def stream(request: Message, context: grpc.ServicerContext) -> Iterator[Message]:
            self._keep(method, request)
            played = self._played_stream(method, request, context) if self._plays(method) else self._stream_of(method)
            answers = (_send(answer, context) for answer in played)
            yield from answers if self._chaos is None else self._chaos.stream(request, context, answers)

        def both(requests: Iterator[Message], context: grpc.ServicerContext) -> Iterator[Message]:
            for answer in self._stream_of(method):
                yield _send(answer, context)
            for request in requests:
                self._keep(method, request)

        if method.request_streaming:
            return grpc.stream_stream_rpc_method_handler, both
        if method.response_streaming:
            return grpc.unary_stream_rpc_method_handler, stream
        return grpc.unary_unary_rpc_method_handler, unary

    def _plays(self, method: Method) -> bool:
        """Returns whether a method is answered from a recording."""
        if self._player is None or not self._player.plays(method.name):
            return False
        with self._lock:
            is_set = method.name in self._answers or method.name in self._streams
        return not is_set and not (method.name == "GetSessionTools" and self._pages)

    def _played(self, method: Method, request: Message) -> Answer:
        assert self._player is not None  # noqa: S101 - see _plays
        try:
            return self._player.unary(method.name, request)
        except (ToolBridgeError, RecordingError) as error:
            return _status(error)

    def _played_stream(self, method: Method, request: Message, context: grpc.ServicerContext) -> Iterator[Answer]:
        assert self._player is not None  # noqa: S101 - see _plays
        try:
            yield from self._player.stream(method.name, request, context.is_active)
        except (ToolBridgeError, RecordingError) as error:
            yield _status(error)

    def _keep(self, method: Method, request: Message) -> None:
        with self._lock:
            self._requests[method.name].append(request)

    def _page(self, request: Message) -> Answer | None:
        """Returns the requested page of the tools; None for other methods, or if the test has set the answer."""
        if not isinstance(request, GetSessionToolsRequest):
            return None
        with self._lock:
            if not self._pages or "GetSessionTools" in self._answers:
                return None
            token = request.page_token or "0"
            number = int(token) if token.isdecimal() and len(token) < MAX_TOKEN_DIGITS else len(self._pages)
            if number < len(self._pages):
                return self._pages[number]
        return _Status(grpc.StatusCode.INVALID_ARGUMENT, "the page_token was not issued by the mock server")

    def _next_answer(self, method: Method) -> Answer:
        with self._lock:
            answers = self._answers.get(method.name)
            if not answers:
                return _missing(method, f"set_response({method.name!r}, {method.response.__name__}(...))")
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def _stream_of(self, method: Method) -> list[Answer]:
        with self._lock:
            answers = self._streams.get(method.name)
        if answers is None:
            return [_missing(method, f"set_streaming_response({method.name!r}, [{method.response.__name__}(...)])")]
        return answers


def _method(name: str) -> Method:
    method = METHODS.get(name)
    if method is None:
        near = difflib.get_close_matches(name.replace("_", "").lower(), {key.lower(): key for key in METHODS}, n=1)
        right = next((key for key in METHODS if near and key.lower() == near[0]), None)
        hint = f"did you mean {right!r}?" if right else f"the methods are {', '.join(METHODS)}"
        raise ValueError(f"the service has no method {name!r}; {hint}")
    return method


def _answer(method: Method, answer: object) -> Answer:
    if isinstance(answer, Exception):
        return _status(answer)
    if not isinstance(answer, method.response):
        given = type(answer).__name__
        raise TypeError(f"{method.name} answers with {method.response.__name__}, not with {given}: {answer!r:.80}")
    # A copy, so that the test can change its message afterwards.
    copy = method.response()
    copy.CopyFrom(answer)
    return copy


def _status(error: Exception) -> _Status:
    if isinstance(error, ToolCommunicationError) and isinstance(error.code, grpc.StatusCode):
        return _Status(error.code, error.details)
    if isinstance(error, grpc.aio.AioRpcError):
        return _Status(error.code(), error.details() or "")
    return _Status(*status_of(error))


def _missing(method: Method, call: str) -> _Status:
    return _Status(grpc.StatusCode.UNIMPLEMENTED, f"no response is set for {method.name}; call {call} first")


def _send(answer: Answer, context: grpc.ServicerContext) -> Message:
    if isinstance(answer, _Status):
        context.set_trailing_metadata(answer.trailer)
        context.abort(answer.code, answer.text)
    return answer


async def _close(channels: Iterable[grpc.aio.Channel]) -> None:
    for channel in channels:
        await channel.close()
