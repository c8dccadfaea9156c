"""Hostile peers: each keeps sending one kind of what no client sends, at a capped rate.

``python -m benchmarks.hostile_peers KIND ADDRESS RATE`` attacks from a process of its own: it begins and pauses with
each line of its input, which it answers with how many units it has sent so far, and ends with it.
"""

import itertools
from collections.abc import Callable, Iterator

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
