"""What ``vars`` prints: variables without their values, changes, and what stands for a secret."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.pretty import pretty_repr
from rich.table import Table

from grpc_tool_bridge.cli.consoles import console, print_value, rich_table, table_of
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.client.variables import SessionContext, VariableChange
from grpc_tool_bridge.tools.variable import Variable


class _Secret:
    """Stands for a hidden value; its JSON form cannot be read back by mistake."""

    def __repr__(self) -> str:
        return "********"


SECRET = _Secret()


class Secrets:
    """Knows which changes to hide: those of an older hub do not say themselves whether their variable is secret.

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
            if info is None or info.created is None or info.created > change.timestamp:
                # Deleted or replaced since: it may have been secret.
                return True
            if info.secret:
                self._known.add(change.name)
        return change.name in self._known


async def find_variable(variables: SessionContext, name: str) -> Variable | None:
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


def facts(info: Variable) -> dict[str, Any]:
    """Describes a variable for programs, without its value."""
    return {
        "name": info.name,
        "type": info.type,
        "size_bytes": info.size,
        "revision": info.revision,
        "created_at": _moment(info.created),
        "updated_at": _moment(info.updated),
        "created_by": info.created_by,
        "tags": dict(info.tags),
        "secret": info.secret,
    }


def _moment(moment: datetime | None) -> str | None:
    """Writes a time as JSON has it; None if it is not known."""
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def _row(info: Variable) -> list[Any]:
    updated = "" if info.updated is None else f"{info.updated.astimezone():%Y-%m-%d %H:%M:%S}"
    tags = " ".join(f"{key}={value}" if value else key for key, value in sorted(info.tags.items()))
    secret = "secret" if info.secret else ""
    return [info.name, info.type, info.size, info.revision, updated, tags, secret]


def table(infos: Sequence[Variable]) -> Table:
    """Lays out a line for each variable."""
    columns = ["name", "type", "bytes", "revision", "updated", "tags", "secret"]
    return rich_table(columns, [_row(info) for info in infos])
