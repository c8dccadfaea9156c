"""``metrics``: the numbers that a hub keeps of itself and its tools."""

from typing import Annotated, Any

from grpc_tool_bridge.cli.failures import CommandError
from grpc_tool_bridge.cli.options import HubOptions, JsonOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Argument

NamesArgument = Annotated[
    list[str] | None,
    Argument(
        metavar="NAMES",
        help="Only these; a name that ends in * stands for all that begin so. Default: all.",
        complete="metric",
    ),
]


async def metrics(hub: HubOptions, names: NamesArgument = None, *, as_json: JsonOption = False) -> None:
    """Print the metrics of the hub and its tools: calls, errors, durations, memory, workers."""
    from grpc_tool_bridge.cli import metrics_text
    from grpc_tool_bridge.cli.connection import open_hub
    from grpc_tool_bridge.cli.consoles import console

    async with open_hub(hub) as bridge:
        found = await bridge.client.get_metrics(*names or ())
        for name in names or ():
            if not any(_fits(name, each) for each in found):
                raise _no_metric(name, await bridge.client.get_metrics())
    if as_json:
        print_json({name: metrics_text.facts(value) for name, value in sorted(found.items())})
    else:
        console().print(metrics_text.table(found))


def _fits(wanted: str, name: str) -> bool:
    return name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted


def _no_metric(wanted: str, known: dict[str, Any]) -> CommandError:
    from grpc_tool_bridge.errors.near_names import did_you_mean

    hint = did_you_mean(wanted.rstrip("*."), known, "grpc-tool-bridge metrics lists them")
    return CommandError(f"the hub has no metric {wanted!r}{hint}", error_type="MetricNotFound")
