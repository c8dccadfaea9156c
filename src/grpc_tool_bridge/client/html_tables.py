"""Tables for notebooks. Whatever a hub or a tool sends is text in them, and nothing else."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from grpc_tool_bridge.client.signature import signature_of
from grpc_tool_bridge.llm.tool_marks import described
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

# A page with more would take long to draw.
MAX_ROWS = 200
MAX_CELL_CHARS = 300
# Text between dollars is not mathematics.
_OPEN = '<div class="tex2jax_ignore mathjax_ignore">'

_LEFT = 'style="text-align: left"'


def escaped(text: str) -> str:
    """Writes a text so that it is shown as it is: no element, no control character, no change of direction."""
    shown = text if text.isprintable() else "".join(each if each.isprintable() else _visible(each) for each in text)
    return html.escape(shown)


def _visible(character: str) -> str:
    return " " if character in "\n\t" else ascii(character)[1:-1]


def cell(value: Any) -> str:
    """Writes a value as the text of a cell, shortened if it is long."""
    text = value if isinstance(value, str) else _text(value)
    return escaped(text if len(text) <= MAX_CELL_CHARS else f"{text[:MAX_CELL_CHARS]}…")


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case Timestamp():
            # The value of a peer may be out of range.
            return value.ToJsonString()[:19].replace("T", " ") if 0 < value.seconds < 2**37 else ""
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={item}" for key, item in sorted(value.items()))
    try:
        return str(value) if isinstance(value, Message) else repr(value)
    except Exception:  # noqa: BLE001 - the repr of a value of somebody else's class
        return f"<{type(value).__name__}>"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "", total: int | None = None) -> str:
    """Makes a table.

    Args:
        columns: Its heads.
        rows: Its rows; at most ``MAX_ROWS`` are shown.
        title: Stands above it.
        total: The number of all rows, if only the first are given.
    """
    shown = list(rows)
    count = len(shown) if total is None else total
    head = "".join(f"<th {_LEFT}>{escaped(column)}</th>" for column in columns)
    body = "".join(f"<tr>{_cells(row)}</tr>" for row in shown[:MAX_ROWS])
    heading = f"<p><strong>{escaped(title)}</strong></p>" if title else ""
    more = f"<p>… {count - MAX_ROWS:,} more</p>" if count > MAX_ROWS else ""
    return f"{_OPEN}{heading}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}</div>"


def _cells(row: Iterable[Any]) -> str:
    return "".join(f"<td {_LEFT}>{cell(value)}</td>" for value in row)


def tools_table(specs: Sequence[ToolSpec]) -> str:
    """Makes a table of tools, a row for each."""
    rows = [[spec.name, signature_text(spec), _first_line(described(spec))] for spec in specs[:MAX_ROWS]]
    count = "1 tool" if len(specs) == 1 else f"{len(specs):,} tools"
    return table(["tool", "arguments", "description"], rows, title=count, total=len(specs))


def tool_page(spec: ToolSpec) -> str:
    """Shows one tool: what it does, and each of its arguments."""
    rows = [
        [item.name, item.python_type, "yes" if item.required else "", item.description]
        for item in spec.arguments[:MAX_ROWS]
    ]
    shown = table(["argument", "type", "required", "description"], rows, total=len(spec.arguments)) if rows else ""
    description = described(spec)
    about = f"<p>{cell(description)}</p>" if description else ""
    return (
        f"{_OPEN}<p><code><strong>{cell(spec.name)}</strong>{cell(signature_text(spec))}</code></p>{about}{shown}</div>"
    )


def signature_text(spec: ToolSpec) -> str:
    """Writes the arguments and the result of a tool; nothing if they are none that Python can write."""
    try:
        return str(signature_of(spec))
    except (ValueError, TypeError):
        # A peer's spec may have any names and defaults.
        return ""


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def results_table(results: Sequence[Any], tools: Sequence[str]) -> str:
    """Makes a table of the results of a batch; ``tools`` names the tool of each."""
    rows = [
        [str(number), tools[number] if number < len(tools) else "", *_outcome(result)]
        for number, result in enumerate(results[:MAX_ROWS])
    ]
    failed = sum(isinstance(result, BaseException) for result in results)
    title = f"{len(results):,} calls, {failed:,} failed"
    return table(["#", "tool", "outcome", "result"], rows, title=title, total=len(results))


def _outcome(result: Any) -> tuple[str, str]:
    if isinstance(result, BaseException):
        return "failed", str(result)
    return "ok", result if isinstance(result, str) else _text(result) or repr(result)


def records_table(records: Sequence[Any]) -> str:
    """Makes a table of messages, dataclasses or dicts of one kind: a column for each field that any of them has."""
    shown = [_fields(record) for record in records[:MAX_ROWS]]
    names = list(dict.fromkeys(name for record in shown for name in record))
    filled = [name for name in names if any(record.get(name) not in _EMPTY for record in shown)] or names
    rows = [[record.get(name) for name in filled] for record in shown]
    return table([name.replace("_", " ") for name in filled], rows, total=len(records))


_EMPTY: tuple[Any, ...] = (None, "", {}, [], ())


def _fields(record: Any) -> dict[str, Any]:
    """Returns the fields of a record; those of a message in it count as its own."""
    if isinstance(record, Mapping):
        return {str(name): value for name, value in record.items()}
    if isinstance(record, Message) and not isinstance(record, Timestamp):
        found: dict[str, Any] = {}
        for field in record.DESCRIPTOR.fields:
            value = getattr(record, field.name)
            if isinstance(value, Message) and not isinstance(value, Timestamp):
                found |= {name: each for name, each in _fields(value).items() if name not in found}
            else:
                found[field.name] = _plain(value)
        return found
    if is_dataclass(record):
        return {field.name: getattr(record, field.name) for field in fields(record)}
    return {"value": record}


def _plain(value: Any) -> Any:
    """Returns the value of a field as Python has it."""
    if isinstance(value, Message) or not hasattr(value, "MergeFrom"):
        return value
    # A map or a list of a message.
    return dict(value) if hasattr(value, "items") else ", ".join(map(str, value))
