"""When the peers of links are authenticated again."""

import asyncio

import pytest

from grpc_tool_bridge.link import renewal
from grpc_tool_bridge.link.renewal import IdentityWatch
from support.waiting import until


class Link:
    def __init__(self) -> None:
        self.renewed: list[float] = []

    def renew_principal(self, grace: float) -> None:
        self.renewed.append(grace)


def test_a_proof_that_ends_is_out_within_a_minute() -> None:
    assert renewal.CHECK_SECONDS + renewal.DRAIN_SECONDS < 45


async def test_links_are_renewed_again_and_again_while_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "CHECK_SECONDS", 0.001)
    links = {Link(), Link()}
    watch = IdentityWatch(links)
    watch.begin()
    watch.begin()
    await until(lambda: all(len(link.renewed) > 2 for link in links))
    assert {grace for link in links for grace in link.renewed} == {renewal.DRAIN_SECONDS}
    links.clear()
    await until(lambda: watch._timer is None)


async def test_it_ends_when_the_last_link_has(monkeypatch: pytest.MonkeyPatch) -> None:
    link = Link()
    watch = IdentityWatch({link})
    watch.begin()
    timer = watch._timer
    assert timer is not None
    assert timer.when() - asyncio.get_running_loop().time() <= renewal.CHECK_SECONDS
    watch.end()
    watch.end()
    assert timer.cancelled()
