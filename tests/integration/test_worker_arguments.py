"""Wrong arguments are told to a caller in the same way, whether the hub runs the tool or a worker does."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from grpc_tool_bridge import ToolExecutionError, ToolWorker, ValidationError, tool
from integration.connections import Connect, World
from support.waiting import soon


@tool
def forecast(
    city: str,
    days: Annotated[int, Field(gt=0, le=14)] = 1,
    unit: Literal["C", "F"] = "C",
    *,
    tags: list[str] | None = None,
) -> str:
    return f"{city} {days} {unit} {tags}"


async def refusal(world: World, *args: Any, **kwargs: Any) -> ToolExecutionError:
    with pytest.raises(ToolExecutionError) as caught:
        await soon(world.bridge.call_tool(tool_id="forecast", args=list(args), kwargs=kwargs))
    return caught.value


@pytest.mark.parametrize(
    ("args", "kwargs", "names"),
    [
        ((), {}, {"city"}),
        (("Oslo", 1, "C", 4), {}, {"*"}),
        (("Oslo",), {"city": "Rome"}, {"city"}),
        (("Oslo",), {"day": 3}, {"day"}),
        ((5,), {"days": "3"}, {"city", "days"}),
        (("Oslo", 0), {}, {"days"}),
        (("Oslo", 15, "K"), {}, {"days", "unit"}),
        (("Oslo", True, None), {}, {"days", "unit"}),
        (("Oslo",), {"tags": ["a", 1]}, {"tags"}),
    ],
)
async def test_a_wrong_call_fails_alike_at_the_hub_and_at_a_worker(
    connect: Connect, args: tuple[Any, ...], kwargs: dict[str, Any], names: set[str]
) -> None:
    local = await refusal(await connect(forecast), *args, **kwargs)
    world = await connect()
    async with ToolWorker(world.server.address, tools=[forecast]):
        remote = await refusal(world, *args, **kwargs)
        assert await soon(world.bridge.call_tool("forecast", "Oslo", tags=["a"])) == "Oslo 1 C ['a']"
    assert local.details.keys() - {"origin"} == names
    assert (type(remote), remote.error_type, remote.message, remote.details) == (
        type(local), local.error_type, local.message, local.details,
    )  # fmt: skip


async def test_what_a_spec_rules_out_never_gets_to_the_worker(connect: Connect) -> None:
    taken: list[Any] = []

    @tool
    def take(n: Any) -> None:
        taken.append(n)

    take.spec.arguments[0].python_type = "int"
    world = await connect()
    async with ToolWorker(world.server.address, tools=[take]):
        with pytest.raises(ToolExecutionError, match="should be a valid integer, got 'x'"):
            await soon(world.bridge.call_tool("take", "x"))
        await soon(world.bridge.call_tool("take", 5))
    assert taken == [5]


async def test_a_spec_that_cannot_be_checked_is_not_registered(connect: Connect) -> None:
    @tool
    def broken() -> None: ...

    broken.spec.input_schema = "{"
    world = await connect()
    with pytest.raises(ValidationError, match="tool 'broken': its input_schema is not a JSON Schema of an object"):
        await soon(ToolWorker(world.server.address, tools=[forecast, broken]).start())
    assert not world.hub.registry.visible(None)
