"""``agent``: runs an agent and prints its steps as they happen."""

from collections.abc import Mapping
from contextlib import aclosing
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from grpc_tool_bridge.cli.arguments import read_value, split_pairs
from grpc_tool_bridge.cli.commands import WordsCommand
from grpc_tool_bridge.cli.connection import open_bridge
from grpc_tool_bridge.cli.failures import ArgumentError, CommandError, visible
from grpc_tool_bridge.cli.options import HubOptions, JsonOption, SessionOption
from grpc_tool_bridge.cli.output import console, print_json
from grpc_tool_bridge.client.options import to_milliseconds
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.values import tagged_json

# Characters of a tool's result; --json prints all.
_SHOWN_CHARS = 2_000

_LABELS = {"thought": "thought", "action": "action", "observation": "observed", "result": "answer"}
_STYLES = {"thought": "italic", "action": "cyan", "observation": "", "result": "bold"}

_WHY = {
    "max_iters": "it used all its steps (--max-iters)",
    "time": "it ran out of time (--timeout)",
    "tokens": "it used all its tokens, or its context was full",
}


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
    inputs = {
        name: read_value(word, f"input {name}") for name, word in split_pairs(given or (), "--input", "input").items()
    }
    if timeout is not None:
        _check(timeout)
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
                    _print(chunk, out)
                if chunk["type"] == "result" and chunk["stop_reason"] != "finished":
                    why = _WHY.get(chunk["stop_reason"], chunk["stop_reason"])
                    raise CommandError(f"the agent did not finish: {why}")


def _check(timeout: float) -> None:
    try:
        to_milliseconds(timeout, "agent")
    except ValidationError as error:
        raise ArgumentError(f"--timeout: {error.message}") from None


def _print(chunk: Mapping[str, Any], out: Console) -> None:
    kind = chunk["type"]
    text = _text(chunk)
    if len(text) > _SHOWN_CHARS and kind == "observation":
        text = f"{text[:_SHOWN_CHARS]}… ({len(text) - _SHOWN_CHARS:,} more characters; --json gives all)"
    step = f"{chunk['step']}" if "step" in chunk else ""
    line = Text(f"{step:>2} {_LABELS[kind]:<9}", style="dim")
    line.append(visible(text).replace("\n", "\n" + " " * 12), style=f"not dim {_STYLES[kind]}")
    out.print(line, soft_wrap=True)


def _text(chunk: Mapping[str, Any]) -> str:
    match chunk["type"]:
        case "thought":
            return str(chunk["text"])
        case "action":
            arguments = ", ".join(f"{name}={tagged_json.dumps(value)}" for name, value in chunk["tool_input"].items())
            return f"{chunk['tool_name']}({arguments})"
        case "observation":
            return _shown(chunk["output"])
        case _:
            answer = chunk["final_answer"]
            return "\n".join(f"{name}: {_shown(value)}" for name, value in answer.items())


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else tagged_json.dumps(value)
