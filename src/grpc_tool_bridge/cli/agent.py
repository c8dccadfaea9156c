"""``agent``: runs an agent and prints its steps as they happen."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from grpc_tool_bridge.cli.commands import WordsCommand
from grpc_tool_bridge.cli.failures import ArgumentError, CommandError
from grpc_tool_bridge.cli.options import HubOptions, JsonOption, SessionOption, check_timeout
from grpc_tool_bridge.cli.output import print_json


class AgentCommand(WordsCommand):
    """Accepts ``--question TEXT``, or any other input name, for ``--input question=TEXT``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Converts options that the command does not define to inputs."""
        own = {name for item in self.get_params(ctx) for name in (*item.opts, *item.secondary_opts)}
        written: list[str] = []
        rest = iter(args)
        for arg in rest:
            name, equals, value = arg.partition("=")
            if arg == "--":
                written += [arg, *rest]
            elif not arg.startswith("--") or name in own:
                written.append(arg)
                if not equals and self._takes_value(arg):
                    written += [value for value in (next(rest, None),) if value is not None]
            else:
                if not equals:
                    given = next(rest, None)
                    if given is None:
                        raise ArgumentError(f"{arg} needs a value")
                    value = given
                # Field names have no hyphens.
                written += ["--input", f"{name[2:].replace('-', '_')}={value}"]
        return super().parse_args(ctx, written)


async def agent(
    hub: HubOptions,
    signature: Annotated[
        str, typer.Argument(metavar="SIGNATURE", help='Inputs and outputs, such as "Question -> Answer".')
    ],
    *,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="NAME=VALUE",
            help="An input of the signature: JSON, or plain text. --NAME VALUE does the same. Repeatable.",
        ),
    ] = None,
    tool: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A tool that the agent may call. Default: all tools of the session."),
    ] = None,
    max_iters: Annotated[
        int, typer.Option(min=1, metavar="N", help="Maximum number of steps; a runtime allows up to 100.")
    ] = 5,
    model: Annotated[str | None, typer.Option(metavar="MODEL", help="The model. Default: the runtime's own.")] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Deadline of the run. Default: the hub's agent_timeout.")
    ] = None,
    session: SessionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run an agent, and print its thoughts, actions and observations as they happen."""
    inputs = _inputs(given or ())
    check_timeout(timeout, "agent")

    from contextlib import aclosing

    from grpc_tool_bridge.cli import agent_text
    from grpc_tool_bridge.cli.connection import open_bridge
    from grpc_tool_bridge.cli.consoles import console

    async with open_bridge(hub, session) as bridge:
        agent_id = await bridge.create_react_agent(
            signature, tool, max_iters, None if model is None else {"model": model}
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


def _inputs(given: Sequence[str]) -> dict[str, Any]:
    from grpc_tool_bridge.cli.arguments import read_value, split_pairs

    pairs = split_pairs(given, "--input", "input")
    return {name: read_value(word, f"input {name}") for name, word in pairs.items()}
