"""Variables of a session, and watches of them."""

from contextlib import aclosing

from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from integration.transcript_scenarios import refused, scenario
from integration.transcript_stage import Stage
from support.waiting import soon


@scenario()
async def variables_that_are_set_read_and_deleted(stage: Stage) -> None:
    variables = (await stage.play()).session_context
    await variables.set_variable("a", 1)
    await variables.set_variable("a", [1.5], {"type": "sizes", "created_by": "ann", "tags": {"unit": "m"}})
    await variables.get_variable("a")
    await variables.get_variable_with_metadata("a")
    await variables.get_variable("b", default=0)
    await refused(variables.get_variable("b"))
    await refused(variables.set_variable("b", 1, create_if_missing=False))
    await variables.delete_variable("a")
    await refused(variables.delete_variable("a"))
    await refused(variables.set_variable("", 1))


@scenario()
async def variables_that_are_listed(stage: Stage) -> None:
    variables = (await stage.play()).session_context
    await variables.set_variable("size.a", 1, {"tags": {"unit": "m"}})
    await variables.set_variable("size.b", 2.5, pb.VariableMetadata(secret=True))
    await variables.set_variable("other", "x")
    await variables.list_variables()
    await variables.list_variables("size.", tags=("unit=m",), limit=1)


@scenario()
async def variable_that_is_compared_and_set(stage: Stage) -> None:
    variables = (await stage.play()).session_context
    revision = await variables.set_variable("a", 1, expected_revision=0)
    await variables.set_variable("a", 2, expected_revision=revision)
    await refused(variables.set_variable("a", 3, expected_revision=revision))
    await refused(variables.set_variable("a", 3, expected_revision=0))
    await refused(variables.delete_variable("a", expected_revision=revision))


@scenario()
async def watch_of_variables(stage: Stage) -> None:
    bridge = await stage.play()
    variables = bridge.session_context
    await variables.set_variable("a", 1)
    async with aclosing(variables.watch_variables("a", "b")) as changes:
        for change in (
            variables.set_variable("a", 2),
            variables.set_variable("b", "x"),
            variables.delete_variable("a"),
        ):
            await soon(anext(changes))
            await change
        await soon(anext(changes))


@scenario()
async def watch_of_variables_whose_session_ends(stage: Stage) -> None:
    bridge = await stage.play()
    variables = bridge.session_context
    await variables.set_variable("a", 1)
    changes = variables.watch_variables()
    await soon(anext(changes))
    await bridge.client.cleanup_session()
    await refused(anext(changes))
