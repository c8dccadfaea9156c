"""``vars``: the variables of a session."""

from contextlib import aclosing
from datetime import UTC
from typing import Annotated, Any

import typer
from rich.pretty import pretty_repr

from grpc_tool_bridge.cli.arguments import read_value
from grpc_tool_bridge.cli.connection import open_bridge
from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.options import HubOptions, JsonOption
from grpc_tool_bridge.cli.output import console, print_json, print_value, rich_table, table_of
from grpc_tool_bridge.cli.streams import read_stdin
from grpc_tool_bridge.client.variables import SessionContext, VariableChange
from grpc_tool_bridge.proto.dspex_bridge_pb2 import VariableInfo

SessionOption = Annotated[
    str, typer.Option("--session", metavar="ID", help="The session; created if it does not exist, and kept.")
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The variable's name.")]
SecretsOption = Annotated[bool, typer.Option("--show-secrets", help="Print the values of secret variables too.")]


async def list_variables(
    hub: HubOptions,
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="Only names with this prefix.")] = "",
    *,
    session: SessionOption,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="KEY[=VALUE]", help="Only variables with this tag. Repeatable."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the session's variables, without their values."""
    async with open_bridge(hub, session) as bridge:
        found = await bridge.session_context.list_variables(prefix, tags=tuple(tag or ()))
    if as_json:
        print_json([_facts(info) for info in found])
    elif found:
        columns = ["name", "type", "bytes", "revision", "updated", "tags", "secret"]
        console().print(rich_table(columns, [_row(info) for info in found]))
    else:
        console().print(f"Session {session!r} has no such variables")


async def get_variable(
    hub: HubOptions,
    name: NameArgument,
    *,
    session: SessionOption,
    show_secrets: SecretsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Print the value of a variable."""
    async with open_bridge(hub, session) as bridge:
        value, metadata = await bridge.session_context.get_variable_with_metadata(name)
    shown = SECRET if metadata.secret and not show_secrets else value
    print_json(shown) if as_json else print_value(shown)


async def set_variable(
    hub: HubOptions,
    name: NameArgument,
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="JSON, or plain text if it is not JSON; - reads JSON from stdin.")
    ],
    *,
    session: SessionOption,
    text: Annotated[bool, typer.Option("--text", help="Take the value as text even if it is valid JSON.")] = False,
    secret: Annotated[bool, typer.Option("--secret", help="Mark the variable as secret.")] = False,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="Add a tag. Repeatable.")] = None,
    revision: Annotated[
        int | None,
        typer.Option("--revision", min=0, help="Set only if this is the current revision; 0: if it does not exist."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Set a variable and print its new revision. It keeps its tags, and stays secret if it was."""
    tags = dict(_tag(item) for item in tag or ())
    given = _text_of(value) if text else read_value(value, "the value")
    async with open_bridge(hub, session) as bridge:
        variables = bridge.session_context
        known = await _find(variables, name)
        if known is not None:
            tags = {**known.metadata.tags, **tags}
            secret = secret or known.metadata.secret
        metadata = {"tags": tags, "secret": secret, "created_by": "grpc-tool-bridge vars set"}
        now = await variables.set_variable(name, given, metadata, expected_revision=revision)
    print_json({"name": name, "revision": now}) if as_json else console().print(f"{name} is at revision {now}")


async def delete_variable(
    hub: HubOptions, name: NameArgument, *, session: SessionOption, as_json: JsonOption = False
) -> None:
    """Delete a variable."""
    async with open_bridge(hub, session) as bridge:
        await bridge.session_context.delete_variable(name)
    print_json({"name": name, "deleted": True}) if as_json else console().print(f"{name} was deleted")


async def watch_variables(
    hub: HubOptions,
    names: Annotated[list[str] | None, typer.Argument(metavar="NAMES", help="Names to watch. Default: all.")] = None,
    *,
    session: SessionOption,
    count: Annotated[
        int | None, typer.Option("--count", min=1, metavar="N", help="Stop after this many lines. Default: at Ctrl-C.")
    ] = None,
    show_secrets: SecretsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Print the current values, and then each change."""
    async with open_bridge(hub, session) as bridge:
        variables = bridge.session_context
        secrets = _Secrets(variables)
        async with aclosing(variables.watch_variables(*names or ())) as changes:
            async for change in changes:
                hidden = not show_secrets and await secrets.hides(change)
                _print_change(change, SECRET if hidden else change.value, as_json=as_json)
                count = count and count - 1
                if count == 0:
                    return


def _text_of(word: str) -> str:
    if word != "-":
        return word
    try:
        return read_stdin()
    except ValueError as error:
        raise ArgumentError(f"the value is read from stdin, which cannot be read: {error}") from None


class _Secret:
    """Stands for a hidden value; its JSON form cannot be read back by mistake."""

    def __repr__(self) -> str:
        return "********"


SECRET = _Secret()


class _Secrets:
    """Knows which changes to hide: a change itself does not say whether its variable is secret."""

    def __init__(self, variables: SessionContext) -> None:
        self._variables = variables
        self._known: set[str] = set()

    async def hides(self, change: VariableChange) -> bool:
        if change.operation not in ("set", "update"):
            return False
        if change.name not in self._known:
            info = await _find(self._variables, change.name)
            if info is None or info.metadata.created_at.ToDatetime(UTC) > change.timestamp:
                # Deleted or replaced since: it may have been secret.
                return True
            if info.metadata.secret:
                self._known.add(change.name)
        return change.name in self._known


async def _find(variables: SessionContext, name: str) -> VariableInfo | None:
    # Sorted by name, the variable comes before those with its name as prefix.
    found = await variables.list_variables(name, limit=1)
    return found[0] if found and found[0].name == name else None


def _print_change(change: VariableChange, value: Any, *, as_json: bool) -> None:
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


def _facts(info: VariableInfo) -> dict[str, Any]:
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


def _tag(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    if not key:
        raise ArgumentError(f"--tag {text!r} has no name; write --tag key=value")
    return key, value
