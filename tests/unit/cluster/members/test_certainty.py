"""A hub waits until it is certain again, for as long as a stream may be without a leader."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from grpc_tool_bridge.cluster.members import certainty
from grpc_tool_bridge.cluster.members.certainty import Certainty
from grpc_tool_bridge.errors import UnavailableError
from support.waiting import soon, turns


class Source:
    """What knows whether a hub is certain."""

    def __init__(self) -> None:
        self.certain = True
        self.failure = ""

    def is_certain(self) -> bool:
        return self.certain


@pytest.fixture
def source() -> Source:
    return Source()


async def test_who_asks_a_certain_hub_does_not_wait(source: Source) -> None:
    await soon(Certainty(source).wait(time.monotonic() - 1))


async def test_who_waits_goes_on_when_the_hub_is_certain_again(source: Source) -> None:
    of_hub = Certainty(source)
    source.certain = False
    waiting = asyncio.ensure_future(of_hub.wait())
    await turns()
    assert not waiting.done()
    source.certain = True
    of_hub.changed(True)
    await soon(waiting)


async def test_who_waits_goes_on_though_nobody_is_told(source: Source) -> None:
    of_hub = Certainty(source)
    source.certain = False
    waiting = asyncio.ensure_future(of_hub.wait())
    await turns()
    source.certain = True
    await soon(waiting)


async def test_the_refusal_says_why_and_what_to_do(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certainty, "MAX_WAIT_SECONDS", 0.0)
    source.certain, source.failure = False, "NATS is not reached"
    with pytest.raises(UnavailableError, match=r"cut off .*\(NATS is not reached\); call again, or call another hub"):
        await Certainty(source).wait()


async def test_nobody_waits_longer_than_its_caller(source: Source) -> None:
    source.certain = False
    with pytest.raises(UnavailableError, match="its lease in NATS has run out") as raised:
        await soon(Certainty(source).wait(time.monotonic() + 0.01))
    assert raised.value.retryable


async def test_a_hub_that_has_long_been_cut_off_refuses_at_once(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_hub = Certainty(source)
    source.certain = False
    with pytest.raises(UnavailableError):
        await of_hub.wait(time.monotonic())
    later = time.monotonic() + certainty.MAX_WAIT_SECONDS
    monkeypatch.setattr(certainty, "time", SimpleNamespace(monotonic=lambda: later))
    with pytest.raises(UnavailableError):
        of_hub.wait().send(None)

    # The next time it is not certain, it has as long again.
    of_hub.changed(True)
    waiting = asyncio.ensure_future(of_hub.wait())
    await turns()
    assert not waiting.done()
    source.certain = True
    of_hub.changed(True)
    await soon(waiting)
