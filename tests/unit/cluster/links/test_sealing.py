"""The key of a cluster: made once, and of no use for another link, direction, or message."""

import asyncio

import pytest

from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.links.sealing import SEAL_BYTES, SECRET_BYTES, ClusterKey, LinkSeals, shared_secret
from grpc_tool_bridge.errors import StoreError
from support.waiting import soon

SHARED = b"s" * SECRET_BYTES


def seals(greeting: bytes = b"g", answer: bytes = b"a", *, secret: bytes = b"", dialler: bool = True) -> LinkSeals:
    return ClusterKey(SHARED, secret).link_seals(greeting, answer, dialler=dialler)


async def test_all_hubs_have_the_secret_of_the_one_that_was_first(bus: Bus) -> None:
    found = await soon(asyncio.gather(*(shared_secret(bus) for _ in range(5))))
    assert len(set(found)) == 1
    assert len(found[0]) == SECRET_BYTES
    assert await soon(shared_secret(bus)) == found[0]


async def test_what_is_no_secret_is_refused_and_the_text_says_where_it_stands(bus: Bus) -> None:
    await soon(bus.append(bus.names.fact("secret"), b"short", last=0))
    with pytest.raises(StoreError, match=rf"{bus.names.cluster}\.m\.secret, does not have 32 bytes"):
        await soon(shared_secret(bus))


def test_the_ends_of_a_link_read_each_other_and_not_themselves() -> None:
    ours, theirs = seals(), seals(dialler=False)
    seal = ours.outgoing.of(b"head", b"payload")
    assert len(seal) == SEAL_BYTES
    assert theirs.incoming.fits(seal, b"head", b"payload")
    assert theirs.incoming.fits(seal, b"head", memoryview(b"payload"))
    assert not ours.incoming.fits(seal, b"head", b"payload")
    assert ours.incoming.fits(theirs.outgoing.of(b"head", b""), b"head", b"")


@pytest.mark.parametrize(("head", "payload"), [(b"heae", b"payload"), (b"head", b"payloae"), (b"head", b"")])
def test_a_seal_fits_its_message_alone(head: bytes, payload: bytes) -> None:
    assert not seals(dialler=False).incoming.fits(seals().outgoing.of(b"head", b"payload"), head, payload)


@pytest.mark.parametrize(
    "other",
    [
        seals(b"h", dialler=False),
        seals(answer=b"b", dialler=False),
        # Parts of which one took from the other.
        seals(b"ga", b"", dialler=False),
        seals(secret=b"another", dialler=False),
    ],
)
def test_a_seal_fits_its_link_alone(other: LinkSeals) -> None:
    assert not other.incoming.fits(seals().outgoing.of(b"head", b"payload"), b"head", b"payload")


def test_a_seal_without_a_link_fits_its_purpose_and_its_parts() -> None:
    key = ClusterKey(SHARED, b"secret")
    seal = key.seal(b"greeting", b"one", b"two")
    assert key.fits(seal, b"greeting", b"one", b"two")
    assert ClusterKey(SHARED, b"secret").fits(seal, b"greeting", b"one", b"two")
    assert not key.fits(seal, b"answer", b"one", b"two")
    assert not key.fits(seal, b"greeting", b"onet", b"wo")
    assert not ClusterKey(SHARED).fits(seal, b"greeting", b"one", b"two")
    assert not ClusterKey(b"t" * SECRET_BYTES, b"secret").fits(seal, b"greeting", b"one", b"two")


def test_a_key_does_not_show_itself() -> None:
    assert repr(ClusterKey(SHARED, b"secret")) == "ClusterKey(…)"
