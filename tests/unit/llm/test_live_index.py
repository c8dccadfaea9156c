"""An index that follows its tools: what is searched is what there is now, and indexing lets others have their turn."""

import asyncio
from typing import Any

import pytest

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.llm import live_index
from grpc_tool_bridge.llm.live_index import MAX_INDEXES, LiveIndex, LiveIndexes
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec


def tool(name: str, description: str = "zebra") -> ToolSpec:
    return ToolSpec(name=name, description=description)


async def names(index: LiveIndex, query: str = "zebra", **options: Any) -> list[str]:
    return [found.name for found in await index.search(query, **options)]


async def test_what_was_noted_is_found_at_the_next_search() -> None:
    index = LiveIndex()
    index.note("a", tool("a"))
    assert await names(index) == ["a"]
    index.note("b", tool("b"))
    index.note("a", tool("a", "lion"))
    assert (await names(index), await names(index, "lion")) == (["b"], ["a"])
    index.note("b", None)
    index.note("unknown", None)
    assert await names(index) == []


async def test_all_tools_can_be_replaced() -> None:
    index = LiveIndex()
    await index.replace([tool("a"), tool("b")])
    await index.replace([tool("b"), tool("c")])
    assert await names(index) == ["b", "c"]
    await index.replace([tool("c"), tool("b", "lion")])
    assert await names(index) == ["c"]
    await index.replace([])
    assert await names(index) == []
    assert len(index) == 0


async def test_a_tool_that_stays_the_same_is_not_indexed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    index = LiveIndex()
    kept = tool("a")
    await index.replace([kept, tool("b")])
    await names(index)
    changes: list[Any] = []
    assert index._index is not None
    monkeypatch.setattr(index._index, "change", changes.append)
    await index.replace([kept, tool("b")])
    await names(index)
    assert changes == []


async def test_wrong_arguments_are_refused_before_anything_is_indexed() -> None:
    index = LiveIndex()
    index.note("a", tool("a"))
    with pytest.raises(ValidationError, match="limit"):
        await index.search("x", limit=0)
    assert index._index is None


async def test_others_have_their_turn_while_thousands_are_indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each slice is over at once.
    monkeypatch.setattr("grpc_tool_bridge.aio.turns.perf_counter", iter(range(10**9)).__next__)
    index = LiveIndex()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    await index.replace(tool(f"t{number}") for number in range(1_000))
    replaced = turns
    # Two at once share the work.
    both = await asyncio.gather(names(index, limit=1), names(index, limit=1))
    counting.cancel()
    assert list(both) == [["t0"], ["t0"]]
    assert len(index) == 1_000
    assert replaced > 500
    assert turns - replaced > 1_000 // live_index._STEP // 4


async def test_two_that_replace_at_once_leave_the_tools_of_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_tool_bridge.aio.turns.perf_counter", iter(range(10**9)).__next__)
    index = LiveIndex()
    await asyncio.gather(
        index.replace(tool(f"a{number}") for number in range(100)),
        index.replace(tool(f"b{number}") for number in range(100)),
    )
    found = await names(index, limit=100)
    assert sorted(found) == sorted(f"b{number}" for number in range(100))


async def test_the_indexes_that_were_used_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    indexes = LiveIndexes()
    first = indexes.of("0")
    for number in range(1, MAX_INDEXES):
        indexes.of(str(number))
    assert indexes.of("0") is first
    indexes.of("one more")
    assert indexes.of("0") is first
    assert len(indexes._of) == MAX_INDEXES
    monkeypatch.setattr(live_index, "MAX_INDEXED_TOOLS", 3)
    for name in ("0", "one more"):
        await indexes.of(name).replace([tool("a"), tool("b")])
    last = indexes.of("one more")
    assert (list(indexes._of), last) == (["one more"], indexes.of("one more"))
