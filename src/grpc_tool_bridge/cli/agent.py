"""``agent``: runs an agent and prints its steps as they happen."""

from collections.abc import Sequence
from typing import Annotated, Any

from grpc_tool_bridge.cli.failures import CommandError
from grpc_tool_bridge.cli.options import HubOptions, JsonOption, SessionOption, check_timeout
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Argument, Option
from grpc_tool_bridge.cli.tags import check_tags


async def agent(
    hub: HubOptions,
    signature: Annotated[str, Argument(metavar="SIGNATURE", help='Inputs and outputs, such as "Question -> Answer".')],
    *,
    given: Annotated[
        list[str] | None,
        Option(
            "--input",
            metavar="NAME=VALUE",
            help="An input of the signature: JSON, or plain text. --NAME VALUE does the same. Repeatable.",
        ),
    ] = None,
    tool: Annotated[
        list[str] | None,
        Option(
            metavar="NAME", help="A tool that the agent may call. Default: all tools of the session.", complete="tool"
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        Option("--tag", metavar="TAG", help="Only tools with this tag; with all of them if repeated.", complete="tag"),
    ] = None,
    max_iters: Annotated[
        int, Option(min=1, metavar="N", help="Maximum number of steps; a runtime allows up to 100.")
    ] = 5,
    model: Annotated[str | None, Option(metavar="MODEL", help="The model. Default: the runtime's own.")] = None,
    timeout: Annotated[
        float | None, Option(metavar="SECONDS", help="Deadline of the run. Default: the hub's agent_timeout.")
    ] = None,
    session: SessionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run an agent, and print its thoughts, actions and observations as they happen."""
    from contextlib import aclosing

    from grpc_tool_bridge.cli import agent_text
    from grpc_tool_bridge.cli.connection import open_bridge
    from grpc_tool_bridge.cli.consoles import console

    inputs = _inputs(given or ())
    async with open_bridge(hub, session) as bridge:
        agent_id = await bridge.create_react_agent(
            signature, tool, max_iters, None if model is None else {"model": model}, tags=tag or ()
        )
        asked: dict[str, Any] = {"agent_id": agent_id, "input": inputs, "timeout": timeout}
        out = console()
        # If the reader leaves, by Ctrl-C or a closed pipe, the run is cancelled at the hub here.
        async with aclosing(bridge.execute_agent_streaming(asked)) as chunks:
            async for chunk in chunks:
                if as_json:
                    print_json(chunk)
                elif chunk["type"] != "result" or chunk["final_answer"]:
                    agent_text.print_chunk(chunk, out)
                if chunk["type"] == "result" and chunk["stop_reason"] != "finished":
                    raise CommandError(f"the agent did not finish: {agent_text.why(chunk['stop_reason'])}")


def check(*, given: list[str] | None, tag: list[str] | None, timeout: float | None, **_: Any) -> None:
    """Checks the arguments that do not need the hub; raises ArgumentError."""
    check_tags(tag)
    # What stands on stdin can be read only once.
    _inputs([pair for pair in given or () if pair.partition("=")[2] != "-"])
    check_timeout(timeout, "agent")


def _inputs(given: Sequence[str]) -> dict[str, Any]:
    from grpc_tool_bridge.cli.arguments import read_value, split_pairs

    pairs = split_pairs(given, "--input", "input")
    return {name: read_value(word, f"input {name}") for name, word in pairs.items()}
