"""A proxy between a client and a hub that fails on demand."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Literal

from anyio.from_thread import BlockingPortal, start_blocking_portal

from grpc_tool_bridge.testing.running import Running, running_address
from grpc_tool_bridge.transport.addresses import join_address, split_address

Direction = Literal["to_hub", "to_client", "both"]

# Bytes and chunks that are buffered in each direction of a connection before its sender must wait.
_CHUNK_BYTES = 64 * 1024
_CHUNKS = 16
# A limited bandwidth is enforced by sending pieces of this many seconds.
_PIECE_SECONDS = 0.02

# SO_LINGER on, with a timeout of 0: closing resets the connection.
_RESET = struct.pack("ii", 1, 0)


class ToxicProxy(Running):
    """A TCP proxy between a client and a hub, whose connections a test can break, stall and slow down.

    ``with`` and ``async with`` both run it, inside and outside an event loop. Its methods can be called from any
    thread while it runs; each has taken effect when it returns. Bytes are counted when they have been forwarded.

    Args:
        target: The hub, as ``host:port``; the attribute can be changed, for later connections.
        address: ``host:port`` to listen at; port 0 picks a free port.

    Attributes:
        connections: Open connections.
        accepted: Connections accepted so far.
        refused: Connections refused so far.
        bytes_to_hub: Bytes forwarded to the hub.
        bytes_to_client: Bytes forwarded to clients.

    Raises:
        ValueError: One of the addresses is not valid.
    """

    def __init__(self, target: str, address: str = "127.0.0.1:0") -> None:
        self.target = target
        self._listen_at = split_address(address)
        self._address: str | None = None
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], _Connection] = {}
        self._to_hub = _Way(self._abort)
        self._to_client = _Way(self._abort)
        self._refusing = False
        self.accepted = 0
        self.refused = 0

    @property
    def target(self) -> str:
        """The hub."""
        return join_address(*self._target)

    @target.setter
    def target(self, address: str) -> None:
        self._target = split_address(address)

    @property
    def address(self) -> str:
        """Where clients connect to.

        Raises:
            RuntimeError: The proxy is not running.
        """
        return running_address(self._address, "proxy")

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._open)

    @property
    def bytes_to_hub(self) -> int:
        """Bytes forwarded to the hub."""
        return self._to_hub.passed

    @property
    def bytes_to_client(self) -> int:
        """Bytes forwarded to clients."""
        return self._to_client.passed

    # ------------------------------------------------------------------------------------------------- troubles

    def cut(self) -> None:
        """Resets all connections; new ones are accepted."""
        self._call(self._cut)

    def cut_after(self, size: int, direction: Direction = "to_hub") -> None:
        """Forwards ``size`` more bytes of all connections together, then resets them all, once.

        Args:
            size: Bytes, counted from now on.
            direction: Which bytes count; "both": each direction separately.

        Raises:
            ValueError: The size is not above 0, or there is no such direction.
        """
        _check(size > 0, f"size must be above 0, not {size}; to cut immediately, use cut()")
        self._change(direction, left=size)

    def refuse(self) -> None:
        """Resets new connections; open ones stay."""
        self._call(self._set_refusing, True)

    def restore(self) -> None:
        """Accepts new connections again, and undoes ``stall``, ``delay``, ``limit`` and ``cut_after``."""
        self._call(self._set_refusing, False)
        self._change("both", stalled=False, delay=0.0, bandwidth=0, left=None)

    def stall(self, direction: Direction = "both") -> None:
        """Forwards nothing, like a network that silently fails; data is kept, and its sender has to wait."""
        self._change(direction, stalled=True)

    def resume(self, direction: Direction = "both") -> None:
        """Ends ``stall``; kept data is forwarded."""
        self._change(direction, stalled=False)

    def delay(self, seconds: float, direction: Direction = "both") -> None:
        """Forwards everything this many seconds after it arrived; 0: immediately.

        Raises:
            ValueError: The seconds are below 0, or there is no such direction.
        """
        _check(seconds >= 0, f"seconds must be 0 or more, not {seconds}")
        self._change(direction, delay=seconds)

    def limit(self, bytes_per_second: int, direction: Direction = "both") -> None:
        """Forwards this many bytes per second, of all connections together; 0: unlimited.

        Raises:
            ValueError: The number is below 0, or there is no such direction.
        """
        _check(bytes_per_second >= 0, f"bytes_per_second must be 0 or more, not {bytes_per_second}")
        self._change(direction, bandwidth=bytes_per_second)

    # ------------------------------------------------------------------------------------------------- lifetime

    def start(self) -> None:
        """Starts listening.

        Raises:
            RuntimeError: The proxy is already running.
            OSError: It cannot listen at its address.
        """
        if self._portal is not None:
            raise RuntimeError(f"the proxy is already running at {self._address}")
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            self._address = portal.call(self._listen)
            self._stack = stack.pop_all()
        self._portal = portal

    def stop(self) -> None:
        """Resets all connections and stops listening; the counts can still be read."""
        portal, self._portal, self._address = self._portal, None, None
        if portal is not None:
            portal.call(self._close)
            self._stack.close()

    # ---------------------------------------------------------------------------------- in the proxy's own thread

    def _call(self, function: Callable[..., Any], *args: Any) -> None:
        if self._portal is None:
            raise RuntimeError("the proxy is not running; enter it with 'with' first")
        self._portal.call(function, *args)

    def _change(self, direction: Direction, **changes: Any) -> None:
        ways = {"to_hub": [self._to_hub], "to_client": [self._to_client], "both": [self._to_hub, self._to_client]}
        _check(direction in ways, f"direction must be 'to_hub', 'to_client' or 'both', not {direction!r}")
        for way in ways[direction]:
            self._call(partial(way.change, **changes))

    def _set_refusing(self, refusing: bool) -> None:
        self._refusing = refusing

    async def _listen(self) -> str:
        host, port = self._listen_at
        self._server = await asyncio.start_server(self._accept, host, port, limit=_CHUNK_BYTES)
        return join_address(host, self._server.sockets[0].getsockname()[1])

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            self.refused += 1
            _reset(writer)
            return
        self.accepted += 1
        connection = _Connection(reader, writer, self._to_hub, self._to_client)
        task = asyncio.get_running_loop().create_task(connection.run(self._target))
        self._open[task] = connection
        task.add_done_callback(self._open.pop)

    def _abort(self) -> None:
        for task, connection in self._open.items():
            connection.reset()
            task.cancel()

    async def _cut(self) -> None:
        tasks = list(self._open)
        self._abort()
        if tasks:
            await asyncio.wait(tasks)

    async def _close(self) -> None:
        assert self._server is not None  # noqa: S101 - it listens
        self._server.close()
        await self._cut()
        await self._server.wait_closed()


class _Way:
    """Controls the bytes that flow in one direction.

    Args:
        cut: Resets all connections.
    """

    def __init__(self, cut: Callable[[], None]) -> None:
        self.passed = 0
        self._cut = cut
        self._stalled = False
        self._delay = 0.0
        self._bandwidth = 0
        # Bytes until the connections are cut; None: never.
        self._left: int | None = None
        # When all bytes so far have been sent, at the set bandwidth.
        self._free_at = 0.0
        self._changed = asyncio.Event()

    def change(self, **changes: Any) -> None:
        """Changes settings, also for waiting bytes."""
        for name, value in changes.items():
            setattr(self, f"_{name}", value)
        self._free_at = 0.0
        self._changed.set()
        self._changed = asyncio.Event()

    async def admit(self, came_at: float) -> None:
        """Waits until the bytes that arrived at ``came_at`` may be forwarded."""
        loop = asyncio.get_running_loop()
        while True:
            wait = max(came_at + self._delay, self._free_at) - loop.time()
            held = self._stalled or self._left == 0
            if not held and wait <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(None if held else wait):
                    await self._changed.wait()

    def piece(self, data: memoryview) -> memoryview:
        """Returns the part of admitted bytes that may be sent now."""
        if self._bandwidth:
            data = data[: max(1, int(self._bandwidth * _PIECE_SECONDS))]
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        return data

    def sent(self, size: int) -> None:
        """Counts sent bytes."""
        self.passed += size
        if self._bandwidth:
            self._free_at = max(self._free_at, asyncio.get_running_loop().time()) + size / self._bandwidth
        if self._left == 0:
            self._left = None
            self._cut()


class _Connection:
    """A client's connection, and its connection to the hub."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to_hub: _Way, to_client: _Way
    ) -> None:
        self._reader = reader
        self._writers = [writer]
        self._to_hub = to_hub
        self._to_client = to_client

    async def run(self, target: tuple[str, int]) -> None:
        """Forwards in both directions, until both ends have finished or one has gone."""
        (client,) = self._writers
        try:
            reader, hub = await asyncio.open_connection(*target, limit=_CHUNK_BYTES)
            self._writers.append(hub)
            async with asyncio.TaskGroup() as group:
                for source, way, sink in (self._reader, self._to_hub, hub), (reader, self._to_client, client):
                    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS)
                    group.create_task(_take(source, queue))
                    group.create_task(_pass_on(queue, way, sink))
        except* OSError:
            # One end has gone, or there is no hub.
            self.reset()
        finally:
            # Does nothing if it was reset.
            for writer in self._writers:
                writer.close()

    def reset(self) -> None:
        """Resets both connections."""
        for writer in self._writers:
            _reset(writer)


async def _take(reader: asyncio.StreamReader, queue: "asyncio.Queue[tuple[float, bytes]]") -> None:
    loop = asyncio.get_running_loop()
    data = b"."
    while data:
        data = await reader.read(_CHUNK_BYTES)
        await queue.put((loop.time(), data))


async def _pass_on(queue: "asyncio.Queue[tuple[float, bytes]]", way: _Way, writer: asyncio.StreamWriter) -> None:
    # Makes drain() wait until the kernel has all bytes.
    writer.transport.set_write_buffer_limits(0)
    while True:
        came_at, data = await queue.get()
        rest = memoryview(data)
        await way.admit(came_at)
        while rest:
            piece = way.piece(rest)
            writer.write(piece)
            await writer.drain()
            way.sent(len(piece))
            rest = rest[len(piece) :]
            if rest:
                await way.admit(came_at)
        if not data:
            writer.write_eof()
            return


def _reset(writer: asyncio.StreamWriter) -> None:
    if not writer.transport.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


def _check(right: bool, text: str) -> None:
    if not right:
        raise ValueError(text)
