"""What ``tools`` prints: a table, all details of one tool, JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from grpc_tool_bridge.cli.consoles import console, rich_table
from grpc_tool_bridge.cli.spec_text import arguments_text, default_text, signature_text, steps_text
from grpc_tool_bridge.llm.tool_marks import (
    DEPRECATED_KEY,
    HIDDEN_KEY,
    TAGS_KEY,
    deprecated_of,
    described,
    is_hidden,
    tags_of,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ResourceLimits, ToolSpec, ToolType
from grpc_tool_bridge.tools.pipelines import PIPELINE_KEY


def table(
    specs: Sequence[ToolSpec], held: Mapping[str, dict[str, Any]], more: Mapping[str, Sequence[str]] | None = None
) -> Table:
    """Lays out a line for each tool.

    Args:
        specs: The tools.
        held: The state of those that are held back, by name.
        more: Further columns by their titles, which stand after the name.
    """
    further = more or {}
    rows = [
        [_name(spec, held), *(column[row] for column in further.values()), arguments_text(spec)]
        for row, spec in enumerate(specs)
    ]
    whole = [[*row, _first_line(spec.description)] for row, spec in zip(rows, specs, strict=True)]
    return rich_table(["tool", *further, "arguments", "description"], whole)


def facts(spec: ToolSpec, held: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Describes a tool for programs, and that it is held back."""
    return {**tool_facts(spec), **({"breaker": held[spec.name]} if spec.name in held else {})}


def _name(spec: ToolSpec, held: Mapping[str, dict[str, Any]]) -> Text:
    name = Text(spec.name, style="bold")
    if replacement := deprecated_of(spec):
        name.append(f"\ndeprecated: {replacement}", style="not bold yellow")
    if is_hidden(spec):
        name.append("\nhidden", style="not bold dim")
    return name.append(f"\n{_until(held[spec.name])}", style="not bold red") if spec.name in held else name


def _until(held: Mapping[str, Any]) -> str:
    moment = datetime.fromisoformat(held["until"])
    return f"held back until {moment:%H:%M:%S} UTC" if held["state"] == "open" else "held back, to be tried"


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
        "tags": list(tags_of(spec)),
        "deprecated": deprecated_of(spec),
        "hidden": is_hidden(spec),
        "idempotent": spec.idempotent,
        "examples": list(spec.examples),
        "metadata": dict(spec.metadata),
    }


def show(spec: ToolSpec, held: Mapping[str, dict[str, Any]], offers: Mapping[str, Sequence[str]] | None = None) -> None:
    """Prints all details of a tool for people.

    Args:
        spec: The tool.
        held: The state of those that are held back, by name.
        offers: In a cluster, the ids of the workers that run it, by hub; an empty id is the hub itself.
    """
    out = console()
    out.print(Text(signature_text(spec), style="bold"))
    if spec.name in held:
        out.print(Text(_until(held[spec.name]), style="red"))
    if text := described(spec):
        out.print(Text(text))
    if spec.arguments:
        rows = [
            [item.name, item.python_type, "required" if item.required else default_text(item), item.description]
            for item in spec.arguments
        ]
        out.print(rich_table(["argument", "type", "default", "description"], rows))
    known = tool_facts(spec)
    limits = {name: value for name, value in known["limits"].items() if value}
    steps = steps_text(spec)
    stepped = [f"step {number}: {step}" for number, step in enumerate(steps, 1)]
    for line in [*_marks(spec, known), *stepped, *_offered(offers or {})]:
        out.print(Text(line))
    told = {HIDDEN_KEY, DEPRECATED_KEY, TAGS_KEY, *([PIPELINE_KEY] if steps else [])}
    metadata = {key: value for key, value in known["metadata"].items() if key not in told}
    for title, value in (("limits", limits), ("metadata", metadata)):
        if value:
            out.print(Text(f"{title}: {', '.join(f'{key} {item}' for key, item in value.items())}"))
    for example in spec.examples:
        out.print(Text(f"example: {example}"))
    for title in ("input_schema", "output_schema"):
        if known[title] is not None:
            out.print(Text(f"{title.replace('_', ' ')}:", style="bold"))
            out.print(Text(json.dumps(known[title], indent=2, ensure_ascii=False)))


def _offered(offers: Mapping[str, Sequence[str]]) -> list[str]:
    return [
        f"offered at {hub}: {', '.join(worker or 'the hub itself' for worker in workers)}"
        for hub, workers in sorted(offers.items())
    ]


def _marks(spec: ToolSpec, known: Mapping[str, Any]) -> list[str]:
    """Returns the lines that say what is special about it; of most tools there are none."""
    flags = {
        known["type"]: spec.type != ToolType.STANDARD,
        "idempotent": spec.idempotent,
        f"version {spec.version}": spec.version,
        "hidden": is_hidden(spec),
    }
    marks = ", ".join(name for name, is_set in flags.items() if is_set)
    tags = f"tags: {', '.join(known['tags'])}" if known["tags"] else ""
    return [line for line in (marks, tags) if line]


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
