"""Hostile peers: each keeps sending one kind of what no client sends, at a capped rate.

``python -m benchmarks.hostile_peers KIND ADDRESS RATE`` attacks from a process of its own. It begins and pauses with
each line of its input, and answers the line with how many units it has sent: frames, requests or connections.
"""

import asyncio
import itertools
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ACK = END_STREAM = 0x1
END_HEADERS = 0x4

_METHOD = b"/dspex.bridge.SnakepitBridge/HealthCheck"


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """Writes a frame of HTTP/2."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def literal(name: bytes, value: bytes, *, index: bool = False) -> bytes:
    """Writes a header as literals, which the peer's table keeps if ``index``."""
    return bytes((0x40 if index else 0,)) + _text(name) + _text(value)


def _text(text: bytes) -> bytes:
    return _integer(len(text), 7) + text


def _integer(number: int, bits: int) -> bytes:
    most = (1 << bits) - 1
    if number < most:
        return bytes((number,))
    number -= most
    written = bytearray((most,))
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*written, number))


REQUEST = b"".join(
    literal(*header)
    for header in (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", _METHOD),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
)
# Of a head that refers to one header of 4,000 bytes in the peer's table again and again.
_BOMB = literal(b"x", b"y" * 4_000, index=True) + b"\xbe" * 4_000


def streams() -> Iterator[int]:
    """Numbers the streams of a connection."""
    return itertools.count(1, 2)


def _with_streams(make: Callable[[int], bytes]) -> Callable[[], Iterator[bytes]]:
    return lambda: (make(stream) for stream in streams())


def _again(data: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.repeat(data)


def _headers(stream: int, block: bytes = REQUEST, *, flags: int = END_HEADERS) -> bytes:
    return frame(HEADERS, block, flags=flags, stream=stream)


def _endless_head() -> Iterator[bytes]:
    yield _headers(1, flags=0)
    yield from itertools.repeat(frame(CONTINUATION, literal(b"x", b"y"), stream=1))


def _on_stream(data: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.chain([_headers(1)], itertools.repeat(data))


# By kind: what one connection sends after the preface of HTTP/2, a unit after the other.
HTTP2: dict[str, Callable[[], Iterator[bytes]]] = {
    "streams": _with_streams(_headers),
    "calls": _with_streams(lambda stream: _headers(stream) + frame(DATA, bytes(5), flags=END_STREAM, stream=stream)),
    "resets": _with_streams(lambda stream: _headers(stream) + frame(RST_STREAM, bytes(4), stream=stream)),
    "continuations": _endless_head,
    "settings": _again(frame(SETTINGS, b"\0\4\0\0\xff\xff")),
    "pings": _again(frame(PING, bytes(8))),
    "priorities": _with_streams(lambda stream: frame(PRIORITY, bytes(5), stream=stream)),
    "windows": _on_stream(frame(WINDOW_UPDATE, b"\0\0\0\1", stream=1)),
    "window-of-nothing": _on_stream(frame(WINDOW_UPDATE, bytes(4), stream=1)),
    "empty-data": _on_stream(frame(DATA, stream=1)),
    "much-data": _on_stream(frame(DATA, bytes(16_384), stream=1)),
    "header-bombs": _with_streams(lambda stream: _headers(stream, _BOMB)),
    "unknown-frames": _again(frame(0x99, bytes(64))),
    "rubbish": _again(bytes(range(256))),
    "push": _again(frame(PUSH_PROMISE, bytes(4) + REQUEST, flags=END_HEADERS, stream=1)),
}

_HEAD = b"POST /api/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
_GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

# What one connection sends to the gateway.
HTTP1: dict[str, Callable[[], Iterator[bytes]]] = {
    "slow-head": lambda: itertools.chain([b"GET / HTTP/1.1\r\n"], itertools.repeat(b"X: y\r\n")),
    "slow-body": lambda: itertools.chain([_HEAD + b"Content-Length: 1000000\r\n\r\n"], itertools.repeat(b" ")),
    "tiny-chunks": lambda: itertools.chain([_CHUNKED], itertools.repeat(b"1\r\n \r\n")),
    "huge-chunk": lambda: itertools.chain([_CHUNKED + b"7fffffff\r\n"], itertools.repeat(bytes(16_384))),
    "pipelined": _again(_GET),
    "smuggled": _again(_HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _GET),
    "http-rubbish": _again(bytes(range(256))),
}

# What a connection sends that is closed at once; each is a unit.
CONNECTIONS: dict[str, bytes] = {
    "connections": b"",
    "prefaces": PREFACE + frame(SETTINGS),
    "half-a-frame": PREFACE + frame(SETTINGS) + frame(HEADERS, REQUEST, stream=1)[:20],
    "tls-hellos": bytes.fromhex("16030100c8010000c40303") + bytes(32),
    "tls-rubbish": bytes.fromhex("160301ffff") + bytes(range(256)),
}

# And what is kept open, with nothing to follow, in as many connections as are opened in a turn.
KEPT: dict[str, bytes] = {
    "silent": b"",
    "idle": PREFACE + frame(SETTINGS),
    "stalled-tls": bytes.fromhex("16030100c8010000c40303"),
}

# By kind: how many units a second the figures have.
RATES: dict[str, int] = {
    **dict.fromkeys(HTTP2, 1_000),
    **dict.fromkeys((*HTTP1, *CONNECTIONS, *KEPT), 100),
    # Each is 4,000 headers of 4,000 bytes.
    "header-bombs": 100,
}
# So often a second it sends what is due.
_TURNS = 100
# Of connections that are kept, at once; the oldest is closed for a new one.
_MAX_KEPT = 2_000


class HostilePeer:
    """Attacks one address.

    Args:
        kind: One of ``RATES``.
        address: The hub's or its gateway's, ``host:port``.
        rate: Units a second.

    Attributes:
        sent: Units so far.
        connected: Connections so far.
    """

    def __init__(self, kind: str, address: str, rate: float) -> None:
        self.sent = self.connected = 0
        self._kind = kind
        self._host, _, self._port = address.rpartition(":")
        self._rate = rate
        self._burst = max(1, int(rate) // _TURNS)
        self._stopped = False
        self._open: deque[_Connection] = deque()

    async def attack(self) -> None:
        """Attacks until it is stopped."""
        self._stopped = False
        self._begun, self._before = time.monotonic(), self.sent
        while not self._stopped:
            try:
                await self._attack_once()
            except OSError:
                # The hub is not there, or has no place for this connection.
                await asyncio.sleep(1 / self._rate)
        self.stop()

    def stop(self) -> None:
        """Hangs up, and lets ``attack`` return."""
        self._stopped = True
        while self._open:
            self._open.pop().close()

    async def _attack_once(self) -> None:
        connection = await self._connected()
        self._open.append(connection)
        if self._kind in KEPT:
            if len(self._open) > _MAX_KEPT:
                self._open.popleft().close()
            await self._send(connection, KEPT[self._kind])
            return
        for unit in self._units():
            if connection.is_lost:
                break
            await self._send(connection, unit)
        self._open.clear()
        connection.close()

    def _units(self) -> Iterable[bytes]:
        if self._kind in CONNECTIONS:
            return (CONNECTIONS[self._kind],)
        if self._kind in HTTP1:
            return HTTP1[self._kind]()
        return itertools.chain([PREFACE + frame(SETTINGS)], HTTP2[self._kind]())

    async def _send(self, connection: "_Connection", unit: bytes) -> None:
        connection.transport.write(unit)
        await connection.writable.wait()
        self.sent += 1
        if self.sent % self._burst == 0:
            due = self._begun + (self.sent - self._before) / self._rate
            await asyncio.sleep(max(due - time.monotonic(), 0))

    async def _connected(self) -> "_Connection":
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, self._host, int(self._port))
        self.connected += 1
        return connection


class _Connection(asyncio.Protocol):
    """A connection; what the hub says is dropped."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.is_lost = False
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def pause_writing(self) -> None:
        """Waits, since the hub does not read."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """Goes on."""
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Goes on, to find that there is nobody."""
        del exc
        self.is_lost = True
        self.writable.set()

    def close(self) -> None:
        """Hangs up."""
        self.transport.abort()


async def _main(kind: str, address: str, rate: str) -> None:
    peer = HostilePeer(kind, address, float(rate))
    attack: asyncio.Task[None] | None = None
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        if attack is None:
            attack = asyncio.create_task(peer.attack())
        else:
            peer.stop()
            await attack
            attack = None
        print(peer.sent, flush=True)
    peer.stop()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
