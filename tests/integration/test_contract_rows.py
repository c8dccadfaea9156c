"""Each subclass, look-alike, moment and object made of fields arrives over every transport as it does by itself."""

from collections.abc import Iterator
from typing import Any

import pytest

from grpc_tool_bridge import SerializationError
from grpc_tool_bridge.values.foreign import in_place
from integration import meaning_tools
from integration.connections import PLACES, Reach
from unit.tools import test_reading as objects
from unit.values import test_rich as moments
from unit.values import test_rows as rows

# A process finds a function by its name, and so none that a test makes.
HERE = [place for place in PLACES if place not in ("process", "http lines")]


async def test_each_row_arrives_as_argument_result_chunk_and_variable(reach: Reach) -> None:
    bridge = await reach(meaning_tools.echo, meaning_tools.each)
    for name, (make, wanted) in rows.ROWS.items():
        assert rows.same(await bridge.tools["echo"](make()), wanted), name
        assert rows.same(await bridge.tools["echo"](value=[make()]), [wanted]), name
        assert rows.same([chunk async for chunk in bridge.tools["each"].stream(make())], [wanted, [wanted]]), name
        await bridge.session_context.set_variable("v", {"a": make()})
        assert rows.same(await bridge.session_context.get_variable("v"), {"a": wanted}), name


@pytest.mark.parametrize("reach", HERE, indirect=True)
async def test_each_row_is_a_result_wherever_it_was_made(reach: Reach) -> None:
    def made(name: str):  # type: ignore[no-untyped-def]
        return rows.ROWS[name][0]()

    def yields(name: str) -> Iterator[Any]:
        yield {"a": rows.ROWS[name][0]()}

    bridge = await reach(made, yields)
    for name, (_, wanted) in rows.ROWS.items():
        assert rows.same(await bridge.tools["made"](name), wanted), name
        assert rows.same([chunk async for chunk in bridge.tools["yields"].stream(name)], [{"a": wanted}]), name


async def test_what_has_no_row_is_refused_everywhere(reach: Reach) -> None:
    bridge = await reach(meaning_tools.echo)
    for name, (make, advice) in rows.REFUSED.items():
        for value in (make(), [make()]):
            with pytest.raises(SerializationError, match=advice):
                await bridge.tools["echo"](value)
            with pytest.raises(SerializationError, match=advice):
                await bridge.session_context.set_variable(name, value)


async def test_each_moment_is_the_same_moment(reach: Reach) -> None:
    bridge = await reach(meaning_tools.echo)
    for name, (value, wanted) in moments.MOMENTS.items():
        back, [inside] = await bridge.tools["echo"]([value, (value,)])
        assert moments.facts(back) == moments.facts(inside) == moments.facts(wanted), name


@pytest.mark.parametrize("reach", HERE, indirect=True)
@pytest.mark.parametrize("name", objects.VALUES)
async def test_each_object_reaches_who_declares_its_class_as_an_equal_one(reach: Reach, name: str) -> None:
    value = objects.VALUES[name]
    seen: list[Any] = []

    def take(value: Any) -> Any:
        seen.append(value)
        return value

    take.__annotations__ = {"value": type(value), "return": type(value)}
    bridge = await reach(take)
    result = await bridge.tools["take"](value)
    assert seen == [value]
    assert repr(seen) == repr([value])
    with in_place():
        assert repr(result) == repr(objects.output_form(value))
    if name not in objects.INPUT_ONLY:
        # What one tool gives, another takes.
        await bridge.tools["take"](result)
        assert seen == [value, value]
