"""``quotas check`` and ``quotas explain``: whether quotas are valid, and which one a principal has."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from grpc_tool_bridge.cli.failures import ArgumentError, CommandError, file_error
from grpc_tool_bridge.cli.options import JsonOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Argument, Option
from grpc_tool_bridge.cli.streams import require_stdout, write

if TYPE_CHECKING:
    from grpc_tool_bridge.auth.quotas.rules import QuotaRule


def check_quotas(
    file: Annotated[Path, Argument(metavar="FILE", help="The quotas, a TOML file.", complete="file")],
    *,
    as_json: JsonOption = False,
) -> int:
    """Check quotas as a hub would that reads them, and say how many there are.

    A quota that is not valid is named with its number and its field.
    """
    require_stdout()
    count = len(_read(file))
    if as_json:
        print_json({"file": str(file), "quotas": count})
    else:
        write(f"{file}: {count} {'quota' if count == 1 else 'quotas'}\n")
    return 0


def explain_quota(
    principal: Annotated[str, Argument(metavar="PRINCIPAL", help="Who.")],
    *,
    group: Annotated[
        list[str] | None, Option("--group", metavar="GROUP", help="A group of the principal. Repeatable.")
    ] = None,
    quotas: Annotated[
        Path | None,
        Option(
            "--quotas",
            metavar="FILE",
            help="The quotas. Default: those of the settings (TOOL_BRIDGE_QUOTAS, --config).",
        ),
    ] = None,
    config: Annotated[Path | None, Option("--config", metavar="FILE", help="TOML file with settings by name.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Say which quota a principal has, which is the first that is for it, and its limits."""
    require_stdout()
    from grpc_tool_bridge.auth.quotas.rules import LIMITS, first_for
    from grpc_tool_bridge.rpc.authentication import Principal

    rules = _read(quotas or _of_settings(config))
    rule = first_for(rules, Principal(principal, frozenset(group or ())))
    limits = {} if rule is None else {name: getattr(rule, name) for name in LIMITS if getattr(rule, name)}
    number = None if rule is None else rules.index(rule) + 1
    if as_json:
        print_json({"principal": principal, "quota": number, "limits": limits})
    elif rule is None:
        write(f"{principal} has no quota\n")
    else:
        write(f"{principal} has quota {number}: {', '.join(f'{name} {most:,}' for name, most in limits.items())}\n")
    return 0


def _of_settings(config: Path | None) -> Path:
    from grpc_tool_bridge.cli.settings import read_settings

    found = read_settings({}, config).quotas
    if found is None:
        raise ArgumentError("no quotas are set; name their file with --quotas FILE")
    return found


def _read(file: Path) -> "tuple[QuotaRule, ...]":
    from grpc_tool_bridge.auth.quotas.rules import read_quotas
    from grpc_tool_bridge.errors import ValidationError

    try:
        return read_quotas(file)
    except ValidationError as error:
        raise CommandError(error.message, error_type=error.error_type) from None
    except OSError as error:
        raise file_error(error, file) from None
