"""What each toxic does to connections: the package's Toxiproxy and Shopify's do the same."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from grpc_tool_bridge.transport.addresses import join_address, split_address
from support.patience import PATIENCE
from support.toxiproxy import IMPLEMENTATIONS, running_toxiproxy
from support.waiting import soon, until

BOTH = pytest.mark.parametrize("stream", ["upstream", "downstream"])
# Milliseconds that no test waits for.
FOREVER = 3_600_000


class End:
    """One end of a connection: what has come, and how it ended."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.received = b""
        self.reads = 0
        self.ended: str | None = None
        self._reader = reader
        self.writer = writer
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(1_000_000):
                self.received += data
                self.reads += 1
            self.ended = "closed"
        except ConnectionError:
            self.ended = "reset"

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def close(self) -> None:
        self.writer.close()

    async def has(self, data: bytes) -> None:
        """Waits for these bytes, and checks that they are all."""
        await until(lambda: len(self.received) >= len(data), f"for {len(data)} bytes")
        assert self.received == data

    async def end(self) -> str:
        """Waits for the end; returns how it came."""
        await until(lambda: self.ended, "for the end of a connection")
        return str(self.ended)

    async def aclose(self) -> None:
        self.writer.close()
        await soon(self._reading)


class Network:
    """A server, a proxy before it, and connections through the proxy."""

    def __init__(self, api: httpx.AsyncClient) -> None:
        self.api = api
        self.upstream = ""
        self.listen = ""
        self._ends: list[End] = []
        self._accepted: asyncio.Queue[End] = asyncio.Queue()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.append(End(reader, writer))
        self._accepted.put_nowait(self._ends[-1])

    async def connect(self) -> tuple[End, End]:
        """Opens a connection; returns the client's end and the server's."""
        client = await self.dial()
        return client, await soon(self._accepted.get())

    async def dial(self) -> End:
        self._ends.append(End(*await asyncio.open_connection(*split_address(self.listen))))
        return self._ends[-1]

    async def ends(self, stream: str) -> tuple[End, End]:
        """Opens a connection; returns the end that sends in this direction, and the one that receives."""
        client, server = await self.connect()
        return (client, server) if stream == "upstream" else (server, client)

    async def request(self, method: str, path: str, **body: Any) -> Any:
        response = await self.api.request(method, path, json=body or None)
        assert response.is_success, response.text
        return response.json() if response.content else None

    async def add(self, kind: str, stream: str, toxicity: float = 1.0, name: str = "toxic", **attributes: int) -> None:
        body = {"type": kind, "name": name, "stream": stream, "toxicity": toxicity, "attributes": attributes}
        await self.request("POST", "/proxies/it/toxics", **body)

    async def update(self, name: str = "toxic", toxicity: float = 1.0, **attributes: int) -> None:
        await self.request("PATCH", f"/proxies/it/toxics/{name}", attributes=attributes, toxicity=toxicity)

    async def remove(self, name: str = "toxic") -> None:
        await self.request("DELETE", f"/proxies/it/toxics/{name}")

    async def enable(self, enabled: bool) -> None:
        await self.request("PATCH", "/proxies/it", enabled=enabled)

    async def aclose(self) -> None:
        for end in self._ends:
            await end.aclose()


@pytest.fixture(scope="module", params=IMPLEMENTATIONS)
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    with running_toxiproxy(request.param) as address:
        yield address


@pytest.fixture
async def network(address: str) -> AsyncIterator[Network]:
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=PATIENCE) as api:
        network = Network(api)
        server = await asyncio.start_server(network.accept, "127.0.0.1", 0)
        network.upstream = join_address(*server.sockets[0].getsockname())
        made = await network.request("POST", "/proxies", name="it", listen="127.0.0.1:0", upstream=network.upstream)
        network.listen = made["listen"]
        yield network
        server.close()
        await network.request("DELETE", "/proxies/it")
        await network.aclose()
        await soon(server.wait_closed())


LARGE = b"".join(number.to_bytes(4, "big") for number in range(250_000))


# ---------------------------------------------------------------------------------------------------- without a toxic


@BOTH
async def test_bytes_pass_whole(network: Network, stream: str) -> None:
    sender, receiver = await network.ends(stream)
    sender.send(LARGE)
    await receiver.has(LARGE)


@BOTH
async def test_an_end_that_closes_closes_the_other_one(network: Network, stream: str) -> None:
    sender, receiver = await network.ends(stream)
    sender.send(b"last")
    sender.close()
    assert await receiver.end() == "closed"
    assert receiver.received == b"last"


async def test_an_end_that_has_sent_everything_gets_nothing_more(network: Network) -> None:
    client, server = await network.connect()
    client.send(b"last")
    client.writer.write_eof()
    assert await server.end() == "closed"
    assert await client.end() == "closed"
    assert (server.received, client.received) == (b"last", b"")


async def test_a_server_that_is_not_there_is_a_connection_that_closes(network: Network) -> None:
    taken = await asyncio.start_server(network.accept, "127.0.0.1", 0)
    nobody = join_address(*taken.sockets[0].getsockname())
    taken.close()
    await taken.wait_closed()
    await network.request("PATCH", "/proxies/it", upstream=nobody)
    assert await (await network.dial()).end() == "closed"


# --------------------------------------------------------------------------------------------------------------- down


async def test_a_proxy_that_is_disabled_closes_its_connections_and_listens_no_more(network: Network) -> None:
    ends = await network.connect()
    await network.enable(False)
    assert [await end.end() for end in ends] == ["closed", "closed"]
    with pytest.raises(ConnectionRefusedError):
        await network.dial()
    await network.enable(True)
    client, server = await network.connect()
    client.send(b"again")
    await server.has(b"again")


async def test_another_upstream_closes_connections_and_gets_those_that_follow(network: Network) -> None:
    old = await network.connect()
    accepted: list[End] = []
    other = await asyncio.start_server(lambda *pair: accepted.append(End(*pair)), "127.0.0.1", 0)
    await network.request("PATCH", "/proxies/it", upstream=join_address(*other.sockets[0].getsockname()))
    assert [await end.end() for end in old] == ["closed", "closed"]
    client = await network.dial()
    client.send(b"hello")
    await until(lambda: accepted)
    await accepted[0].has(b"hello")
    await network.request("PATCH", "/proxies/it", enabled=False)
    other.close()
    await accepted[0].aclose()


async def test_reset_lets_a_disabled_proxy_with_toxics_pass_everything(network: Network) -> None:
    await network.add("timeout", "upstream")
    await network.enable(False)
    await network.request("POST", "/reset")
    client, server = await network.connect()
    client.send(b"hello")
    await server.has(b"hello")


# -------------------------------------------------------------------------------------------------------------- toxics


@BOTH
async def test_latency_keeps_bytes_and_their_order(network: Network, stream: str) -> None:
    await network.add("latency", stream, latency=20, jitter=20)
    sender, receiver = await network.ends(stream)
    for start in range(0, len(LARGE), 100_000):
        sender.send(LARGE[start : start + 100_000])
        await asyncio.sleep(0)
    await receiver.has(LARGE)


@BOTH
async def test_bytes_that_latency_holds_back_go_on_when_it_is_removed(network: Network, stream: str) -> None:
    await network.add("latency", stream, latency=FOREVER)
    sender, receiver = await network.ends(stream)
    sender.send(b"late")
    await _has_passed(network, stream)
    assert receiver.received == b""
    await network.remove()
    sender.send(b", and later")
    await receiver.has(b"late, and later")


@BOTH
async def test_latency_holds_back_the_end_too(network: Network, stream: str) -> None:
    await network.add("latency", stream, latency=FOREVER)
    sender, receiver = await network.ends(stream)
    sender.send(b"late")
    sender.close()
    await _has_passed(network, stream)
    assert receiver.ended is None
    await network.remove()
    assert await receiver.end() == "closed"
    assert receiver.received == b"late"


@BOTH
async def test_a_bandwidth_passes_bytes_whole(network: Network, stream: str) -> None:
    await network.add("bandwidth", stream, rate=100_000)
    sender, receiver = await network.ends(stream)
    sender.send(LARGE)
    await receiver.has(LARGE)


@BOTH
async def test_no_bandwidth_passes_nothing_until_it_is_removed(network: Network, stream: str) -> None:
    await network.add("bandwidth", stream, rate=0)
    sender, receiver = await network.ends(stream)
    sender.send(LARGE[:100_000])
    await _has_passed(network, stream)
    assert receiver.received == b""
    await network.remove()
    await receiver.has(LARGE[:100_000])


@BOTH
async def test_a_slow_close_passes_bytes_and_holds_back_the_end(network: Network, stream: str) -> None:
    await network.add("slow_close", stream, delay=FOREVER)
    sender, receiver = await network.ends(stream)
    sender.send(b"last")
    sender.close()
    await receiver.has(b"last")
    await _has_passed(network, stream)
    assert receiver.ended is None
    await network.remove()
    assert await receiver.end() == "closed"


@BOTH
async def test_a_slow_close_closes_in_the_end(network: Network, stream: str) -> None:
    await network.add("slow_close", stream, delay=20)
    sender, receiver = await network.ends(stream)
    sender.close()
    assert await receiver.end() == "closed"


@BOTH
async def test_a_timeout_drops_everything_and_closes_both_ends(network: Network, stream: str) -> None:
    await network.add("timeout", stream, timeout=50)
    sender, receiver = await network.ends(stream)
    sender.send(b"lost")
    assert await receiver.end() == "closed"
    assert await sender.end() == "closed"
    assert receiver.received == b""


@BOTH
async def test_a_timeout_of_none_closes_both_ends_when_it_is_removed(network: Network, stream: str) -> None:
    await network.add("timeout", stream, timeout=0)
    sender, receiver = await network.ends(stream)
    sender.send(b"lost")
    receiver.send(b"other way")
    await sender.has(b"other way")
    await network.remove()
    assert await receiver.end() == "closed"
    assert await sender.end() == "closed"
    assert receiver.received == b""


@BOTH
async def test_a_timeout_passes_an_end_on(network: Network, stream: str) -> None:
    await network.add("timeout", stream, timeout=0)
    sender, receiver = await network.ends(stream)
    sender.close()
    assert await receiver.end() == "closed"


@BOTH
@pytest.mark.parametrize("timeout", [0, 20])
async def test_reset_peer_resets_both_ends_once_something_comes(network: Network, stream: str, timeout: int) -> None:
    await network.add("reset_peer", stream, timeout=timeout)
    sender, receiver = await network.ends(stream)
    receiver.send(b"other way")
    await sender.has(b"other way")
    sender.send(b"lost")
    assert await receiver.end() == "reset"
    assert await sender.end() == "reset"
    assert receiver.received == b""


@BOTH
async def test_reset_peer_that_is_removed_while_it_waits_resets_what_it_has_met(network: Network, stream: str) -> None:
    await network.add("reset_peer", stream, timeout=300)
    sender, receiver = await network.ends(stream)
    other_sender, other_receiver = await network.ends(stream)
    sender.send(b"lost")
    await _has_passed(network, stream)
    await network.remove()
    assert await receiver.end() == "reset"
    assert await sender.end() == "reset"
    assert receiver.received == b""
    other_sender.send(b"passes")
    await other_receiver.has(b"passes")


@BOTH
async def test_a_slicer_passes_bytes_whole_in_several_pieces(network: Network, stream: str) -> None:
    await network.add("slicer", stream, average_size=20, size_variation=10, delay=2_000)
    sender, receiver = await network.ends(stream)
    sender.send(LARGE[:1_000])
    await receiver.has(LARGE[:1_000])
    # How many depends on how busy the machine is.
    assert receiver.reads > 1


@BOTH
async def test_a_slicer_that_is_removed_loses_nothing(network: Network, stream: str) -> None:
    await network.add("slicer", stream, average_size=100, delay=FOREVER)
    sender, receiver = await network.ends(stream)
    sender.send(LARGE[:10_000])
    await until(lambda: receiver.received)
    await network.remove()
    await receiver.has(LARGE[:10_000])


@BOTH
async def test_limited_data_passes_exactly_and_closes_both_ends(network: Network, stream: str) -> None:
    await network.add("limit_data", stream, bytes=100_000)
    sender, receiver = await network.ends(stream)
    sender.send(LARGE[:100_000])
    assert await receiver.end() == "closed"
    assert receiver.received == LARGE[:100_000]
    assert await sender.end() == "closed"


@BOTH
async def test_limited_data_cuts_off_what_is_beyond(network: Network, stream: str) -> None:
    await network.add("limit_data", stream, bytes=5)
    sender, receiver = await network.ends(stream)
    sender.send(b"123456789")
    assert await receiver.end() == "closed"
    assert receiver.received == b"12345"


@BOTH
async def test_no_data_closes_at_the_first_byte(network: Network, stream: str) -> None:
    await network.add("limit_data", stream)
    sender, receiver = await network.ends(stream)
    receiver.send(b"other way")
    await sender.has(b"other way")
    sender.send(b"1")
    assert await receiver.end() == "closed"
    assert receiver.received == b""


@BOTH
async def test_a_limit_that_is_raised_counts_what_has_passed(network: Network, stream: str) -> None:
    await network.add("limit_data", stream, bytes=5)
    sender, receiver = await network.ends(stream)
    sender.send(b"123")
    await receiver.has(b"123")
    await network.update(bytes=6)
    sender.send(b"456")
    assert await receiver.end() == "closed"
    assert receiver.received == b"123456"


# ------------------------------------------------------------------------------------------------- several, and changes


@BOTH
async def test_a_toxic_with_no_toxicity_does_nothing(network: Network, stream: str) -> None:
    await network.add("timeout", stream, toxicity=0.0, timeout=1)
    sender, receiver = await network.ends(stream)
    sender.send(b"passes")
    await receiver.has(b"passes")


@BOTH
async def test_toxicity_can_be_raised_while_a_connection_is_open(network: Network, stream: str) -> None:
    await network.add("limit_data", stream, toxicity=0.0, bytes=1)
    sender, receiver = await network.ends(stream)
    sender.send(b"passes")
    await receiver.has(b"passes")
    await network.update(toxicity=1.0)
    sender.send(b"no more")
    assert await receiver.end() == "closed"
    assert receiver.received == b"passesn"


@BOTH
async def test_a_toxic_meets_open_connections(network: Network, stream: str) -> None:
    sender, receiver = await network.ends(stream)
    sender.send(b"before")
    await receiver.has(b"before")
    await network.add("limit_data", stream, bytes=3)
    sender.send(b" after")
    assert await receiver.end() == "closed"
    assert receiver.received == b"before af"


@BOTH
async def test_toxics_of_one_stream_follow_each_other(network: Network, stream: str) -> None:
    await network.add("latency", stream, name="late", latency=1)
    await network.add("slicer", stream, name="cut", average_size=3)
    await network.add("limit_data", stream, name="end", bytes=7)
    sender, receiver = await network.ends(stream)
    sender.send(b"123456789")
    assert await receiver.end() == "closed"
    assert receiver.received == b"1234567"


@BOTH
async def test_a_toxic_in_the_middle_can_be_removed(network: Network, stream: str) -> None:
    await network.add("slicer", stream, name="first", average_size=100)
    await network.add("latency", stream, name="middle", latency=FOREVER)
    await network.add("limit_data", stream, name="last", bytes=1_000_000)
    sender, receiver = await network.ends(stream)
    sender.send(LARGE[:5_000])
    await _has_passed(network, stream)
    await network.remove("middle")
    sender.send(LARGE[5_000:])
    assert await receiver.end() == "closed"
    assert receiver.received == LARGE[:1_000_000]


@BOTH
async def test_a_toxic_leaves_the_other_direction_alone(network: Network, stream: str) -> None:
    await network.add("timeout", stream)
    sender, receiver = await network.ends(stream)
    receiver.send(LARGE)
    await sender.has(LARGE)


async def _has_passed(network: Network, stream: str) -> None:
    """Lets the proxies carry what is under way: another connection passes bytes both ways, in the other direction."""
    sender, receiver = await network.ends(stream)
    for _ in range(5):
        receiver.send(b"!")
    await sender.has(b"!!!!!")
