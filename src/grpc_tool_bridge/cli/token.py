"""``token new``, ``list`` and ``revoke``: the tokens of callers by name, in the file of the setting ``tokens_file``."""

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from grpc_tool_bridge.cli.failures import ArgumentError, CommandError, file_error
from grpc_tool_bridge.cli.options import JsonOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Argument, Option
from grpc_tool_bridge.cli.streams import require_stdout

if TYPE_CHECKING:
    from grpc_tool_bridge.auth.identity.tokens_file import StaticToken

FileOption = Annotated[
    Path | None,
    Option(
        "--file",
        metavar="FILE",
        envvar="TOOL_BRIDGE_TOKENS_FILE",
        help="The file with the tokens, as in the hub's setting tokens_file.",
    ),
]

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")
_MAX_SECONDS = 100 * 365 * 86_400


def new_token(
    name: Annotated[str, Argument(metavar="NAME", help="Whose token it is, such as reports-bot.")],
    *,
    file: FileOption = None,
    group: Annotated[
        list[str] | None, Option("--group", metavar="NAME", help="A group of the owner; repeatable.")
    ] = None,
    expires: Annotated[
        str | None,
        Option("--expires", metavar="DURATION", help="How long it is valid: 90d, 12h. Default: until it is revoked."),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Make a token for a caller, and print it: it is shown once, and the file has only its hash.

    A name may have two valid tokens, so that one can replace the other: make the second, hand it over, revoke the
    first. Hubs read the file again by themselves.
    """
    require_stdout()
    path, seconds = _path(file), None if expires is None else _seconds(expires)
    with _errors(path):
        from grpc_tool_bridge.auth.identity.tokens_file import add_token

        token, made = add_token(path, name, group or (), seconds=seconds)
    if as_json:
        print_json({"token": token, **_facts(made)})
    else:
        print(token)  # noqa: T201 - for a pipe or a secret store, alone on its line
    return 0


def list_tokens(*, file: FileOption = None, as_json: JsonOption = False) -> int:
    """List the tokens of a file: whose they are, and whether they are valid; the tokens themselves nobody has kept."""
    require_stdout()
    path = _path(file)
    with _errors(path):
        from grpc_tool_bridge.auth.identity.tokens_file import read_tokens

        found = [_facts(token) for token in read_tokens(path).values()]
    if as_json:
        print_json(found)
        return 0
    from rich.table import Table

    from grpc_tool_bridge.cli.consoles import console

    table = Table(box=None)
    for title in ("ID", "NAME", "GROUPS", "STATE", "CREATED", "EXPIRES"):
        table.add_column(title)
    for item in found:
        groups = ", ".join(item["groups"])
        table.add_row(item["id"], item["name"], groups, item["state"], item["created"], item["expires"] or "never")
    console().print(table)
    return 0


def revoke(
    identity: Annotated[str, Argument(metavar="ID", help="The token's id, as list shows it: the part between the _.")],
    *,
    file: FileOption = None,
    as_json: JsonOption = False,
) -> int:
    """Revoke a token: hubs refuse it from the next second on, and links that it has opened end within a minute."""
    require_stdout()
    path = _path(file)
    with _errors(path):
        from grpc_tool_bridge.auth.identity.tokens_file import revoke_token

        found = revoke_token(path, identity)
    if as_json:
        print_json(_facts(found))
    else:
        print(f"revoked {found.id} of {found.name}")  # noqa: T201 - one line, as it is
    return 0


def _path(file: Path | None) -> Path:
    if file is None:
        raise ArgumentError("no file of tokens is named; give --file FILE, or set TOOL_BRIDGE_TOKENS_FILE")
    return file


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text)
    seconds = 0 if found is None else int(found[1]) * _UNITS[found[2]]
    if not 0 < seconds <= _MAX_SECONDS:
        raise ArgumentError(f"--expires: {text!r:.40} is no duration; write 30m, 12h, 90d or 52w")
    return float(seconds)


def _facts(token: "StaticToken") -> dict[str, Any]:
    from grpc_tool_bridge.auth.identity.tokens_file import iso_time

    return {
        "id": token.id,
        "name": token.name,
        "groups": sorted(token.groups),
        "state": token.state(time.time()),
        "created": iso_time(token.created),
        "expires": iso_time(token.expires),
        "revoked": iso_time(token.revoked),
    }


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    from grpc_tool_bridge.errors import AlreadyExistsError, NotFoundError, ValidationError

    try:
        yield
    except (AlreadyExistsError, NotFoundError) as error:
        raise CommandError(error.message, error_type=error.error_type) from None
    except ValidationError as error:
        raise ArgumentError(error.message) from None
    except OSError as error:
        raise file_error(error, path) from None
    except ValueError as error:
        raise ArgumentError(str(error)) from None
