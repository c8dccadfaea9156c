"""Requests over HTTP that no client should send: each is refused or served right, and the hub goes on."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator

import pytest

from grpc_tool_bridge import BridgeServer, Settings
from support.waiting import soon, until

HOST = b"Host: localhost\r\n"
JSON = HOST + b"Content-Type: application/json\r\n"
OPEN = b"POST /api/sessions HTTP/1.1\r\n"
ALIVE = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.fixture
async def server(caplog: pytest.LogCaptureFixture) -> AsyncIterator[BridgeServer]:
    """A hub that is still well afterwards, holds nothing of its peers and has logged no traceback."""
    settings = Settings(hello_timeout=0.5, request_timeout=0.5)
    with caplog.at_level(logging.INFO):
        async with BridgeServer(http_address="127.0.0.1:0", settings=settings) as server:
            yield server
            assert (await answers(server, ALIVE, count=1))[0] == 200
            await until(lambda: not server.hub.memory.used, "for the memory of the requests")
    assert not [record for record in caplog.records if record.exc_info or "Traceback" in record.getMessage()]


async def connected(server: BridgeServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = (server.http_address or "").rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def answers(server: BridgeServer, data: bytes, *, count: int = 0) -> list[int]:
    """Sends bytes; returns the status codes of the answers until the connection ends, or until there are ``count``."""
    reader, writer = await connected(server)
    codes: list[int] = []
    try:
        writer.write(data)
        while not count or len(codes) < count:
            line = await soon(reader.readline())
            if not line:
                break
            # A body before it has no end of its own.
            codes += map(int, re.findall(rb"HTTP/1.1 (\d+)", line))
    except ConnectionError:
        # It was closed while more was on its way.
        pass
    finally:
        writer.transport.abort()
    return codes


def post(body: bytes, *headers: bytes) -> bytes:
    return OPEN + JSON + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked"
CLOSE = b"Connection: close"

SURROGATE = b'{"session_id": {"$type": "str", "value": {"$type": "bytes", "value": "7aCA"}}}'

REFUSED = {
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c4030300"),
    "a head of no end": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 1_000_000,
    "a header of 1 MB": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n",
    "100,000 headers": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: 1\r\n" * 100_000 + b"\r\n",
    "a path of 1 MB": b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "NUL in the path": b"GET /health\0z HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in a header": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n",
    "CR in the path": b"GET /health\rz HTTP/1.1\r\n" + HOST + b"\r\n",
    "LF in the path": b"GET /health\nz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space before the colon": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X : 1\r\n\r\n",
    "two lengths that differ": post(b"{}", b"Content-Length: 2", b"Content-Length: 3"),
    "a length that is no number": post(b"{}", b"Content-Length: two"),
    "a length below zero": post(b"{}", b"Content-Length: -2"),
    "a length of 1,000 digits": post(b"{}", b"Content-Length: " + b"9" * 1_000),
    "chunks that are none": post(b"zz\r\n{}\r\n0\r\n\r\n", CHUNKED),
    "a chunk that is longer than it says": post(b"1\r\n{}\r\n0\r\n\r\n", CHUNKED),
    "a chunk of no end": post(b"f" * 100 + b"\r\n", CHUNKED),
    "an unknown encoding": post(b"{}", b"Transfer-Encoding: gzip, chunked"),
}  # fmt: skip

ANSWERED = {
    # It has no host that could be this hub's.
    "HTTP/2 by its preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [403, 400]),
    "HTTP/1.0": (b"GET /healthz HTTP/1.0\r\n" + HOST + b"\r\n", [200]),
    "requests at once": (ALIVE * 20 + ALIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), [200] * 21),
    "a target with its host": (b"GET http://localhost/healthz HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n\r\n", [404]),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n\r\n", [404]),
    "CONNECT": (b"CONNECT evil:443 HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n\r\n", [404]),
    "TRACE": (b"TRACE /healthz HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n\r\n", [405]),
    "a method that is none": (b"BREW /healthz HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n\r\n", [405]),
    "an escape that is none": (b"GET /api/sessions/%zz%4 HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n\r\n", [404]),
    "an escape of NUL": (b"GET /api/sessions/%00 HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n\r\n", [404]),
    "escapes of CR and LF": (b"GET /api/sessions/a%0d%0aX:%201 HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n\r\n", [404]),
    "a name that is no UTF-8": (b"GET /api/sessions/%ff%fe HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n\r\n", [404]),
    "a surrogate in a name": (b"GET /api/sessions/%ed%a0%80 HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n\r\n", [404]),
    "a surrogate in a body": (post(rb'{"session_id": "\ud800"}', b"Content-Length: 24", CLOSE), [422]),
    "a surrogate in a tagged text": (
        post(SURROGATE, b"Content-Length: 78", CLOSE),
        [422],
    ),
    "names that are no strings": (
        post(rb'{"metadata": {"$type": "dict", "value": [[1, "one"]]}}', b"Content-Length: 54", CLOSE), [422],
    ),
    "a config of other types": (post(rb'{"config": {"enable_caching": [1]}}', b"Content-Length: 35", CLOSE), [422]),
    "the same length twice": (post(b"{}", b"Content-Length: 2", b"Content-Length: 2", CLOSE), [201]),
    # Whoever goes by the length sees no second request in it.
    "chunks and a length": (post(b"2\r\n{}\r\n0\r\n\r\n" + ALIVE, b"Content-Length: 99", CHUNKED), [400]),
    "chunks": (post(b"1;x=y\r\n{\r\n1\r\n}\r\n0\r\nX: 1\r\n\r\n", CHUNKED, CLOSE), [201]),
    "100-continue": (post(b"{}", b"Content-Length: 2", b"Expect: 100-continue", CLOSE), [100, 201]),
    "another expectation": (post(b"{}", b"Content-Length: 2", b"Expect: the-unexpected", CLOSE), [201]),
    "a body that stops": (post(b"{", b"Content-Length: 9", CLOSE), [408]),
    "a chunk that stops": (post(b"9\r\n{", CHUNKED, CLOSE), [408]),
    "a body of 30 MB": (post(b" " * 30_000_000, b"Content-Length: 30000000", CLOSE), [413]),
    "a query that is no UTF-8": (b"GET /api/sessions?page_token=%ff HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n\r\n", [422]),
    "a header that is no UTF-8": (
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-Request-Id: \xff\r\n" + CLOSE + b"\r\n\r\n", [422],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_no_request_is_refused_and_its_connection_closed(server: BridgeServer, name: str) -> None:
    codes = await answers(server, REFUSED[name])
    # Where the head cannot be read to its end, there may be nothing to answer.
    assert codes in ([400], [431], [])


@pytest.mark.parametrize("name", ANSWERED)
async def test_a_request_that_is_odd_is_answered(server: BridgeServer, name: str) -> None:
    sent, codes = ANSWERED[name]
    assert await answers(server, sent) == codes


async def test_who_waits_to_be_told_to_go_on_is_told(server: BridgeServer) -> None:
    reader, writer = await connected(server)
    writer.write(post(b"", b"Content-Length: 2", b"Expect: 100-continue"))
    assert await soon(reader.readline()) == b"HTTP/1.1 100 Continue\r\n"
    writer.write(b"{}")
    assert await soon(reader.readuntil(b"201"))
    writer.transport.abort()


async def test_a_body_that_comes_a_byte_at_a_time_is_given_up(server: BridgeServer) -> None:
    reader, writer = await connected(server)
    writer.write(post(b"", b"Content-Length: 1000"))
    status = asyncio.ensure_future(reader.readline())
    while not status.done():
        writer.write(b" ")
        await asyncio.wait([status], timeout=0.05)
    assert b" 408 " in status.result()
    writer.transport.abort()


async def test_what_follows_a_body_that_was_refused_is_not_taken_for_a_request(server: BridgeServer) -> None:
    hidden = b"DELETE /api/sessions/kept HTTP/1.1\r\n" + HOST + b"\r\n"
    assert await answers(server, post(b'{"session_id": "kept"}', b"Content-Length: 22", CLOSE)) == [201]
    sent = post(b"{}", b"Content-Length: 2", b"Content-Length: 3") + hidden
    assert await answers(server, sent) == [400]
    assert [session.id for session in server.hub.store.sessions()] == ["kept"]


async def test_a_hundred_peers_that_send_half_of_something_keep_nobody_out(server: BridgeServer) -> None:
    halves = [b"", ALIVE[:9], ALIVE[:-2], post(b"{", b"Content-Length: 9"), post(b"9\r\n{", CHUNKED)]
    peers = [await connected(server) for _ in range(100)]
    for number, (_, writer) in enumerate(peers):
        writer.write(halves[number % len(halves)])
    assert await answers(server, ALIVE, count=1) == [200]
    await soon(asyncio.gather(*(reader.read() for reader, _ in peers)))
    for _, writer in peers:
        writer.transport.abort()
