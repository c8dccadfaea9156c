"""``tools``: lists the tools of the hub."""

import contextlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from grpc_tool_bridge.cli.connection import open_bridge
from grpc_tool_bridge.cli.failures import CommandError
from grpc_tool_bridge.cli.options import HubOptions, JsonOption, SessionOption
from grpc_tool_bridge.cli.output import console, print_json, rich_table
from grpc_tool_bridge.cli.spec_text import arguments_text, default_text, signature_text, steps_text
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.errors.near_names import near_names
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ResourceLimits, ToolSpec, ToolType
from grpc_tool_bridge.tools.pipelines import PIPELINE_KEY


async def tools(
    hub: HubOptions,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Show all details of this tool.")] = None,
    session: SessionOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the tools of the hub, or show one in full."""
    async with open_bridge(hub, session) as bridge:
        specs = [proxy.spec for proxy in bridge.tools.values()]
        held = await _held_back(bridge)
    specs.sort(key=lambda spec: spec.name)
    if name is not None:
        spec = find_tool(specs, name)
        print_json(_facts(spec, held)) if as_json else _show(spec, held)
    elif as_json:
        print_json([_facts(spec, held) for spec in specs])
    elif specs:
        rows = [[_name(spec, held), arguments_text(spec), _first_line(spec.description)] for spec in specs]
        console().print(rich_table(["tool", "arguments", "description"], rows))
    else:
        console().print("The hub has no tools; offer some with grpc-tool-bridge serve --tools …")


async def _held_back(bridge: Any) -> dict[str, dict[str, Any]]:
    """Returns the state of each tool that is held back after failures, by name; nothing from a hub without metrics."""
    found: dict[str, dict[str, Any]] = {}
    with contextlib.suppress(ToolBridgeError):
        for name, metric in (await bridge.client.get_metrics("breaker.*")).items():
            tool, _, what = name.removeprefix("breaker.").rpartition(".")
            found.setdefault(tool, {})[what] = metric.integer_value if what == "refused" else metric.string_value
    return {tool: held for tool, held in found.items() if held.get("until")}


def _facts(spec: ToolSpec, held: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    return {**tool_facts(spec), **({"breaker": held[spec.name]} if spec.name in held else {})}


def _name(spec: ToolSpec, held: Mapping[str, dict[str, Any]]) -> Text:
    name = Text(spec.name, style="bold")
    return name.append(f"\n{_until(held[spec.name])}", style="not bold red") if spec.name in held else name


def _until(held: Mapping[str, Any]) -> str:
    moment = datetime.fromisoformat(held["until"])
    return f"held back until {moment:%H:%M:%S} UTC" if held["state"] == "open" else "held back, to be tried"


def find_tool(specs: list[ToolSpec], name: str) -> ToolSpec:
    """Finds a tool by name or id.

    Raises:
        CommandError: There is no such tool.
    """
    found = next((spec for spec in specs if name in (spec.name, spec.tool_id)), None)
    if found is None:
        close = near_names(name, [spec.name for spec in specs])
        hint = f"did you mean {' or '.join(close)}?" if close else "list its tools with grpc-tool-bridge tools"
        raise CommandError(f"the hub has no tool {name!r}; {hint}", error_type="ToolNotFound")
    return found


def tool_facts(spec: ToolSpec) -> dict[str, Any]:
    """Describes a tool for programs."""
    return {
        "name": spec.name,
        "tool_id": spec.tool_id or spec.name,
        "type": _type_name(spec),
        "description": spec.description,
        "arguments": arguments_text(spec),
        "returns": spec.return_type.python_type,
        "input_schema": _schema(spec.input_schema),
        "output_schema": _schema(spec.output_schema),
        "limits": {name: getattr(spec.limits, name) for name in ResourceLimits.DESCRIPTOR.fields_by_name},
        "version": spec.version,
        "idempotent": spec.idempotent,
        "examples": list(spec.examples),
        "metadata": dict(spec.metadata),
    }


def _show(spec: ToolSpec, held: Mapping[str, dict[str, Any]]) -> None:
    out = console()
    out.print(Text(signature_text(spec), style="bold"))
    if spec.name in held:
        out.print(Text(_until(held[spec.name]), style="red"))
    if spec.description:
        out.print(Text(spec.description))
    if spec.arguments:
        rows = [
            [item.name, item.python_type, "required" if item.required else default_text(item), item.description]
            for item in spec.arguments
        ]
        out.print(rich_table(["argument", "type", "default", "description"], rows))
    facts = tool_facts(spec)
    limits = {name: value for name, value in facts["limits"].items() if value}
    marks = [facts["type"], *(["idempotent"] if spec.idempotent else []), *([spec.version] if spec.version else [])]
    out.print(Text(", ".join(marks)))
    steps = steps_text(spec)
    for number, line in enumerate(steps, 1):
        out.print(Text(f"step {number}: {line}"))
    metadata = {key: value for key, value in facts["metadata"].items() if not (steps and key == PIPELINE_KEY)}
    for title, value in (("limits", limits), ("metadata", metadata)):
        if value:
            out.print(Text(f"{title}: {', '.join(f'{key} {item}' for key, item in value.items())}"))
    for example in spec.examples:
        out.print(Text(f"example: {example}"))
    for title in ("input_schema", "output_schema"):
        if facts[title] is not None:
            out.print(Text(f"{title.replace('_', ' ')}:", style="bold"))
            out.print(Text(json.dumps(facts[title], indent=2, ensure_ascii=False)))


def _type_name(spec: ToolSpec) -> str:
    try:
        return ToolType.Name(spec.type).lower()
    except ValueError:
        # Unknown to this program, or from a newer hub.
        return str(spec.type)


def _schema(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return text


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
