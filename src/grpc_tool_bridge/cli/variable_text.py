"""What ``vars`` prints: variables without their values, changes, and what stands for a secret."""

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from rich.pretty import pretty_repr
from rich.table import Table

from grpc_tool_bridge.cli.consoles import console, print_value, rich_table, table_of
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.client.variables import SessionContext, VariableChange
from grpc_tool_bridge.proto.dspex_bridge_pb2 import VariableInfo


class _Secret:
    """Stands for a hidden value; its JSON form cannot be read back by mistake."""

    def __repr__(self) -> str:
        return "********"


SECRET = _Secret()


class Secrets:
    """Knows which changes to hide: a change itself does not say whether its variable is secret.

    Args:
        variables: The session whose variables are watched.
    """

    def __init__(self, variables: SessionContext) -> None:
        self._variables = variables
        self._known: set[str] = set()

    async def hides(self, change: VariableChange) -> bool:
        """Returns whether the change is one of a secret variable."""
        if change.operation not in ("set", "update"):
            return False
        if change.name not in self._known:
            info = await find_variable(self._variables, change.name)
            if info is None or info.metadata.created_at.ToDatetime(UTC) > change.timestamp:
                # Deleted or replaced since: it may have been secret.
                return True
            if info.metadata.secret:
                self._known.add(change.name)
        return change.name in self._known


async def find_variable(variables: SessionContext, name: str) -> VariableInfo | None:
    """Finds a variable by name; None if there is none."""
    # Sorted by name, the variable comes before those with its name as prefix.
    found = await variables.list_variables(name, limit=1)
    return found[0] if found and found[0].name == name else None


def print_change(change: VariableChange, value: Any, *, as_json: bool) -> None:
    """Prints a change with the value that may be shown."""
    if as_json:
        print_json(
            {
                "name": change.name,
                "operation": change.operation,
                "value": value,
                "revision": change.revision,
                "epoch": change.epoch,
                "timestamp": change.timestamp.isoformat(),
            }
        )
        return
    out = console()
    head = f"{change.timestamp.astimezone():%H:%M:%S} {change.operation:<6} {change.name}".rstrip()
    if change.operation not in ("set", "update"):
        out.print(head)
    elif table_of(value) is None:
        out.print(f"{head} = {pretty_repr(value)}", soft_wrap=True)
    else:
        out.print(f"{head} =")
        print_value(value, out)


def facts(info: VariableInfo) -> dict[str, Any]:
    """Describes a variable for programs, without its value."""
    metadata = info.metadata
    return {
        "name": info.name,
        "type": info.type,
        "size_bytes": info.size_bytes,
        "revision": metadata.revision,
        "created_at": metadata.created_at.ToJsonString(),
        "updated_at": metadata.updated_at.ToJsonString(),
        "created_by": metadata.created_by,
        "tags": dict(metadata.tags),
        "secret": metadata.secret,
    }


def _row(info: VariableInfo) -> list[Any]:
    metadata = info.metadata
    updated = metadata.updated_at.ToDatetime(UTC).astimezone()
    tags = " ".join(f"{key}={value}" if value else key for key, value in sorted(metadata.tags.items()))
    secret = "secret" if metadata.secret else ""
    return [info.name, info.type, info.size_bytes, metadata.revision, f"{updated:%Y-%m-%d %H:%M:%S}", tags, secret]


def table(infos: Sequence[VariableInfo]) -> Table:
    """Lays out a line for each variable."""
    columns = ["name", "type", "bytes", "revision", "updated", "tags", "secret"]
    return rich_table(columns, [_row(info) for info in infos])
