import asyncio
from typing import Any

import pytest

from grpc_tool_bridge.errors import UnavailableError, ValidationError
from grpc_tool_bridge.tools.sources import RunningSources, sources_of
from support.waiting import soon, turns


class Source:
    def __init__(self, error: Exception | None = None, *, hangs: bool = False) -> None:
        self.error, self.hangs = error, hangs
        self.happened: list[str] = []

    async def start(self, offer: Any) -> None:
        self.happened.append("started")
        if self.error is not None:
            raise self.error
        if self.hangs:
            await asyncio.Event().wait()

    async def aclose(self) -> None:
        self.happened.append("ended")


def running(*sources: Any) -> RunningSources:
    return RunningSources([(source, None) for source in sources])  # type: ignore[misc]


async def test_one_that_fails_ends_all_even_those_that_still_start() -> None:
    good, slow, bad = Source(), Source(hangs=True), Source(UnavailableError("away"))
    with pytest.raises(UnavailableError, match="away"):
        await soon(running(good, slow, bad).start())
    assert good.happened == slow.happened == bad.happened == ["started", "ended"]


async def test_one_that_cannot_be_ended_does_not_keep_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Source):
        async def aclose(self) -> None:
            raise OSError("stuck")

    good = Source()
    await soon(running(Broken(), good).aclose())
    assert good.happened == ["ended"]
    assert "stuck" in caplog.text


@pytest.mark.parametrize("wrong", ["text", [Source], [1], Source()])
def test_what_is_no_list_of_sources_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError, match="a list of sources of tools"):
        sources_of(wrong)


async def test_sources_offer_their_first_tools_in_their_order() -> None:
    class Taking:
        def __init__(self, number: int) -> None:
            self.number = number

        async def replace(self, tools: Any) -> Any:
            taken.append(self.number)
            return []

    class Offering(Source):
        def __init__(self, may: asyncio.Event) -> None:
            super().__init__()
            self.may = may

        async def start(self, offer: Any) -> None:
            self.offer = offer
            await self.may.wait()
            await offer.replace([])

    taken: list[int] = []
    events = [asyncio.Event() for _ in range(3)]
    sources = [Offering(event) for event in events]
    starting = asyncio.ensure_future(
        RunningSources([(source, Taking(number)) for number, source in enumerate(sources)]).start()
    )
    for event in reversed(events):
        event.set()
        await turns()
    await soon(starting)
    assert taken == [0, 1, 2]
    # Later changes are taken as they come.
    await soon(sources[2].offer.replace([]))
    assert taken == [0, 1, 2, 2]
