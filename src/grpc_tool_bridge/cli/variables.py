"""``vars``: the variables of a session."""

from typing import Annotated

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.options import CountOption, HubOptions, JsonOption
from grpc_tool_bridge.cli.output import print_json, print_value
from grpc_tool_bridge.cli.parameters import Argument, Option
from grpc_tool_bridge.cli.streams import read_stdin

SessionOption = Annotated[
    str,
    Option("--session", metavar="ID", help="The session; created if it does not exist, and kept.", complete="session"),
]
ExistingSessionOption = Annotated[
    str, Option("--session", metavar="ID", help="The session, which must exist.", complete="session")
]
NameArgument = Annotated[str, Argument(metavar="NAME", help="The variable's name.", complete="variable")]
SecretsOption = Annotated[bool, Option("--show-secrets", help="Print the values of secret variables too.")]


async def list_variables(
    hub: HubOptions,
    prefix: Annotated[str, Argument(metavar="PREFIX", help="Only names with this prefix.")] = "",
    *,
    session: ExistingSessionOption,
    tag: Annotated[
        list[str] | None,
        Option("--tag", metavar="KEY[=VALUE]", help="Only variables with this tag. Repeatable."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the session's variables, without their values."""
    from grpc_tool_bridge.cli import variable_text
    from grpc_tool_bridge.cli.connection import open_bridge
    from grpc_tool_bridge.cli.consoles import console

    async with open_bridge(hub, session, must_exist=True) as bridge:
        found = await bridge.session_context.list_variables(prefix, tags=tuple(tag or ()))
    if as_json:
        print_json([variable_text.facts(info) for info in found])
    elif found:
        console().print(variable_text.table(found))
    else:
        console().print(f"Session {session!r} has no such variables")


async def get_variable(
    hub: HubOptions,
    name: NameArgument,
    *,
    session: ExistingSessionOption,
    show_secrets: SecretsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Print the value of a variable."""
    from grpc_tool_bridge.cli.connection import open_bridge
    from grpc_tool_bridge.cli.variable_text import SECRET

    async with open_bridge(hub, session, must_exist=True) as bridge:
        value, metadata = await bridge.session_context.get_variable_with_metadata(name)
    shown = SECRET if metadata.secret and not show_secrets else value
    print_json(shown) if as_json else print_value(shown)


async def set_variable(
    hub: HubOptions,
    name: NameArgument,
    value: Annotated[
        str, Argument(metavar="VALUE", help="JSON, or plain text if it is not JSON; - reads JSON from stdin.")
    ],
    *,
    session: SessionOption,
    text: Annotated[bool, Option("--text", help="Take the value as text even if it is valid JSON.")] = False,
    secret: Annotated[bool, Option("--secret", help="Mark the variable as secret.")] = False,
    tag: Annotated[list[str] | None, Option("--tag", metavar="KEY=VALUE", help="Add a tag. Repeatable.")] = None,
    revision: Annotated[
        int | None,
        Option("--revision", min=0, help="Set only if this is the current revision; 0: if it does not exist."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Set a variable and print its new revision. It keeps its tags, and stays secret if it was."""
    from grpc_tool_bridge.cli.arguments import read_value

    tags = dict(_tag(item) for item in tag or ())
    given = _text_of(value) if text else read_value(value, "the value")

    from grpc_tool_bridge.cli.connection import open_bridge
    from grpc_tool_bridge.cli.consoles import console
    from grpc_tool_bridge.cli.variable_text import find_variable

    async with open_bridge(hub, session) as bridge:
        variables = bridge.session_context
        known = await find_variable(variables, name)
        if known is not None:
            tags = {**known.tags, **tags}
            secret = secret or known.secret
        metadata = {"tags": tags, "secret": secret, "created_by": "grpc-tool-bridge vars set"}
        now = await variables.set_variable(name, given, metadata, expected_revision=revision)
    print_json({"name": name, "revision": now}) if as_json else console().print(f"{name} is at revision {now}")


async def delete_variable(
    hub: HubOptions, name: NameArgument, *, session: ExistingSessionOption, as_json: JsonOption = False
) -> None:
    """Delete a variable."""
    from grpc_tool_bridge.cli.connection import open_bridge
    from grpc_tool_bridge.cli.consoles import console

    async with open_bridge(hub, session, must_exist=True) as bridge:
        await bridge.session_context.delete_variable(name)
    print_json({"name": name, "deleted": True}) if as_json else console().print(f"{name} was deleted")


async def watch_variables(
    hub: HubOptions,
    names: Annotated[
        list[str] | None, Argument(metavar="NAMES", help="Names to watch. Default: all.", complete="variable")
    ] = None,
    *,
    session: ExistingSessionOption,
    count: CountOption = None,
    show_secrets: SecretsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Print the current values, and then each change.

    If the hub restarts, it goes on when that is back within 30 s. A hub with a store misses no change.
    """
    from contextlib import aclosing

    from grpc_tool_bridge.cli.connection import open_bridge
    from grpc_tool_bridge.cli.variable_text import SECRET, Secrets, print_change

    # Over a link it goes on when the hub has restarted.
    async with open_bridge(hub, session, transport="link", must_exist=True) as bridge:
        variables = bridge.session_context
        secrets = Secrets(variables)
        async with aclosing(variables.watch_variables(*names or ())) as changes:
            async for change in changes:
                hidden = not show_secrets and (change.secret or await secrets.hides(change))
                print_change(change, SECRET if hidden else change.value, as_json=as_json)
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


def _tag(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    if not key:
        raise ArgumentError(f"--tag {text!r} has no name; write --tag key=value")
    return key, value
