"""Chains of other hubs: how they are read, and what may be taken."""

import pytest

from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.errors import GapError
from grpc_tool_bridge.cluster.journal import changes
from grpc_tool_bridge.cluster.journal.appending import Appender
from grpc_tool_bridge.cluster.journal.chain import Chain
from grpc_tool_bridge.cluster.journal.image import SessionImage
from grpc_tool_bridge.cluster.journal.pending import PendingChange
from grpc_tool_bridge.cluster.sessions.taking import ChainEnd, chain_end, chain_ends, read_chain, take_chain
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.commit_metrics import CommitMetrics
from grpc_tool_bridge.core.stored import StoredSession
from grpc_tool_bridge.errors import StoreError, ToolBridgeError
from support.waiting import soon


def _end(chain: Chain, error: ToolBridgeError | None) -> None:
    """Nobody is told."""


def appender(bus: Bus, owner: str) -> Appender:
    return Appender(bus, owner, lambda: True, Settings(), CommitMetrics())


async def begun(bus: Bus, session_id: str = "s", owner: str = "one") -> Chain:
    """Stores the beginning of a session."""
    chain = Chain(appender(bus, owner), SessionImage(Settings(), session_id), token=1, on_end=_end)
    await soon(chain.submit(PendingChange(changes.create(StoredSession(session_id, 1.0, {})))))
    return chain


async def taken(bus: Bus, session_id: str = "s", gone: str = "one") -> Chain | None:
    async def is_gone(owner: str) -> bool:
        return owner == gone

    return await soon(take_chain(appender(bus, "two"), session_id, is_gone=is_gone, on_end=_end))  # type: ignore[no-any-return]


async def test_only_a_session_whose_hub_is_gone_is_taken_and_only_once(bus: Bus) -> None:
    await begun(bus)
    assert await taken(bus, gone="another") is None
    assert await taken(bus, "missing") is None
    chain = await taken(bus)
    assert chain is not None
    assert (chain.token, chain.count, chain.session_id) == (2, 2, "s")
    assert await taken(bus) is None


async def test_a_session_that_has_ended_is_not_taken_and_says_why(bus: Bus) -> None:
    chain = await begun(bus)
    await soon(chain.submit(PendingChange(changes.end("it was removed", 1.0))))
    assert await taken(bus) is None
    message = await bus.last(bus.names.session("s"))
    assert message is not None
    assert chain_end(message) == ChainEnd("s", "one", "it was removed", message.sequence)


async def test_the_ends_of_all_chains_are_told_be_they_more_than_one_answer_holds(bus: Bus) -> None:
    chains = [await begun(bus, f"s{number}", owner=f"hub {number}") for number in range(70)]
    large = chains[:8]
    for chain in large:
        await soon(chain.submit(PendingChange(changes.begin_call("k", b"x" * 850_000))))
    found = [end async for end in chain_ends(bus)]
    assert sorted((end.session_id, end.owner) for end in found) == sorted(
        (f"s{number}", f"hub {number}") for number in range(70)
    )
    assert all(end.ended is None for end in found)


async def test_a_chain_that_is_written_anew_while_it_is_read_is_read_again(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begun(bus)
    read, tries = Bus.read, 0

    async def gapped(self: Bus, subject: str, after: int = 0):  # type: ignore[no-untyped-def]
        nonlocal tries
        tries += 1
        async for message in read(self, subject, after):
            yield message
            if tries == 1:
                raise GapError("messages have been purged")

    monkeypatch.setattr(Bus, "read", gapped)
    assert (await read_chain(bus, bus.names.session("s"))).count == 1
    assert tries == 2


async def test_a_chain_that_is_never_whole_is_an_error(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gapped(self: Bus, subject: str, after: int = 0):  # type: ignore[no-untyped-def]
        raise GapError("messages have been purged")
        yield

    monkeypatch.setattr(Bus, "read", gapped)
    with pytest.raises(StoreError, match="changes all the time"):
        await read_chain(bus, "s")


async def test_a_damaged_chain_keeps_nobody_from_the_others(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    await begun(bus, "good")
    for number, garbage in enumerate((b"", b"\xff" * 100, b"x")):
        await bus.nc.request(bus.names.session(f"bad{number}"), garbage)
    assert [end.session_id async for end in chain_ends(bus)] == ["good"]
    assert "passed over a session at" in caplog.text
    with pytest.raises(StoreError, match="the chain of a session in NATS is damaged"):
        await taken(bus, "bad1")
