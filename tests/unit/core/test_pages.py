"""Lists that are read page by page while their entries come and go."""

import asyncio
import base64
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.aio import turns
from grpc_tool_bridge.core.pages import DEFAULT_PAGE_SIZE, MAX_PAGE_BYTES, MAX_PAGE_SIZE, Page, page_in_order, page_of
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import SessionInfo

# Of an entry its place: most have a number of their own.
Entry = tuple[float, str]


def write(entry: Entry) -> SessionInfo | None:
    return SessionInfo(session_id=f"{entry[0]:g}{entry[1]}")


async def page(
    entries: Any, token: str = "", size: int = 0, what: str = "things", write: Any = write
) -> Page[SessionInfo]:
    return await page_of(entries, lambda entry: entry, write, what=what, token=token, size=size)


def ids(page: Page[SessionInfo]) -> list[str]:
    return [entry.session_id for entry in page.entries]


async def test_entries_come_in_the_order_of_their_places() -> None:
    found = await page([(2.0, "a"), (1.0, "b"), (1.0, "a")])
    assert ids(found) == ["1a", "1b", "2a"]
    assert found.next_token == ""
    assert await page([]) == Page([], "")


async def test_a_page_has_as_many_entries_as_it_is_asked_for() -> None:
    entries = [(float(number), "") for number in range(2_500)]
    assert len((await page(entries)).entries) == DEFAULT_PAGE_SIZE
    assert len((await page(entries, size=7)).entries) == 7
    assert len((await page(entries, size=2_000)).entries) == MAX_PAGE_SIZE
    exact = await page(entries[:7], size=7)
    assert (len(exact.entries), exact.next_token) == (7, "")


@given(
    st.lists(st.tuples(st.floats(0, 9), st.text(max_size=2)), unique=True, max_size=60),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_every_entry_that_stays_is_listed_once(entries: list[Entry], size: int, chance: random.Random) -> None:
    async def check() -> None:
        there = {*entries}
        staying = {entry for entry in entries if chance.random() < 0.5}
        seen: list[str] = []
        token = ""
        while True:
            found = await page_of(
                list(there),
                lambda entry: entry,
                lambda entry: SessionInfo(session_id=json.dumps(entry)),
                what="things",
                token=token,
                size=size,
            )
            seen += ids(found)
            token = found.next_token
            if not token:
                break
            there = {entry for entry in there if entry in staying or chance.random() < 0.7}
        assert len(seen) == len(set(seen))
        assert {json.dumps(entry) for entry in staying} <= set(seen)

    asyncio.run(check())


async def test_an_entry_that_has_gone_is_left_out() -> None:
    entries = [(float(number), "") for number in range(4)]
    found = await page(entries, size=2, write=lambda entry: write(entry) if entry[0] != 1 else None)
    assert ids(found) == ["0", "2"]
    assert ids(await page(entries, found.next_token)) == ["3"]


async def test_a_page_ends_before_it_has_too_many_bytes() -> None:
    large = MAX_PAGE_BYTES // 2

    def write_large(entry: Entry) -> SessionInfo:
        return SessionInfo(session_id=f"{entry[0]:g}".rjust(large))

    entries = [(float(number), "") for number in range(3)]
    token, seen = "", []
    while True:
        found = await page(entries, token, write=write_large)
        assert found.entries
        seen += [name.strip() for name in ids(found)]
        token = found.next_token
        if not token:
            break
    assert seen == ["0", "1", "2"]
    # One that is larger comes alone.
    large *= 3
    assert [len((await page(entries[:2], write=write_large)).entries)] == [1]


async def test_a_long_list_gives_others_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(turns, "perf_counter", lambda: clock[0])
    others = 0

    async def run() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    def slow() -> Iterator[Entry]:
        for number in range(10_000):
            clock[0] += turns.SLICE_SECONDS / 100
            yield float(number), ""

    running = asyncio.ensure_future(run())
    found = await page(slow())
    running.cancel()
    assert ids(found)[0] == "0"
    assert others >= 99


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "é",
        "WyJ0aGluZ3MiXQ==",
        *(
            base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()
            for parts in (["others", 1.0, "a"], ["things", "1", "a"], ["things", 1.0, 2], ["things", True, ""], 5)
        ),
        base64.urlsafe_b64encode(b"[" * 1_500).decode(),
    ],
)
async def test_a_token_that_no_page_gave_is_refused(token: str) -> None:
    with pytest.raises(ValidationError, match=r"page_token .* is not from the list of things"):
        await page([(1.0, "a")], token)


async def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"page_size must be 0 \(the default, 100\) or more, not -1"):
        await page([], size=-1)


@given(st.lists(st.tuples(st.integers(0, 5).map(float), st.text("ab", max_size=3)), unique=True), st.integers(1, 4))
async def test_a_list_that_is_kept_in_order_has_the_same_pages(entries: list[Entry], size: int) -> None:
    ordered = sorted(entries)

    def after(place: Entry | None) -> Iterator[Entry]:
        return (entry for entry in ordered if place is None or entry > place)

    token, listed = "", []
    while True:
        expected = await page(entries, token, size)
        found = await page_in_order(after, lambda entry: entry, write, what="things", token=token, size=size)
        assert found == expected
        listed += ids(found)
        token = found.next_token
        if not token:
            break
    assert len(listed) == len(entries)
