"""``policy check`` and ``policy explain``: whether a policy is valid, and which rule decides."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from grpc_tool_bridge.cli.failures import ArgumentError, CommandError, file_error
from grpc_tool_bridge.cli.options import JsonOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Argument, Option
from grpc_tool_bridge.cli.streams import require_stdout, write

if TYPE_CHECKING:
    from grpc_tool_bridge.auth.policy.model import Policy


def check_policy(
    file: Annotated[Path, Argument(metavar="FILE", help="The policy, a TOML file.", complete="file")],
    *,
    as_json: JsonOption = False,
) -> int:
    """Check a policy as a hub would that reads it, and say how many rules it has.

    A rule that is not valid is named with its line and its field.
    """
    require_stdout()
    policy = _read(file)
    allowing = sum(rule.allows for rule in policy.rules)
    if as_json:
        print_json({"file": str(file), "rules": len(policy.rules), "allow": allowing})
        return 0
    count = len(policy.rules)
    denying = count - allowing
    write(f"{file}: {count} {'rule' if count == 1 else 'rules'}, {allowing} allow, {denying} deny\n")
    if not allowing:
        write("Nothing is allowed: what no rule allows is denied.\n")
    return 0


def explain_policy(
    principal: Annotated[str, Argument(metavar="PRINCIPAL", help="Who.")],
    action: Annotated[str, Argument(metavar="ACTION", help="What, such as call, read, open.")],
    resource: Annotated[str, Argument(metavar="RESOURCE", help="With what, such as the name of a tool.")],
    *,
    group: Annotated[
        list[str] | None, Option("--group", metavar="GROUP", help="A group of the principal. Repeatable.")
    ] = None,
    policy: Annotated[
        Path | None,
        Option(
            "--policy",
            metavar="FILE",
            help="The policy. Default: that of the settings (TOOL_BRIDGE_POLICY, --config).",
        ),
    ] = None,
    config: Annotated[Path | None, Option("--config", metavar="FILE", help="TOML file with settings by name.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Say whether a policy lets a principal do something, and which rule decides.

    The exit code is 0 if it does, and 1 if it does not. Sessions have owners, too: what a principal may do by its
    rules, it may do in its own sessions, and in others that are shared with it.
    """
    require_stdout()
    from grpc_tool_bridge.auth.policy.decisions import Decisions
    from grpc_tool_bridge.auth.policy.model import Action
    from grpc_tool_bridge.errors.near_names import did_you_mean
    from grpc_tool_bridge.rpc.authentication import Principal

    if action not in set(Action):
        more = did_you_mean(action, list(Action), f"the actions are {', '.join(Action)}")
        raise ArgumentError(f"{action!r} is no action{more}")
    who = Principal(principal, frozenset(group or ()))
    decision = Decisions(_read(policy or _of_settings(config))).decide(who, Action(action), resource)
    if as_json:
        print_json({"allowed": decision.allowed, "rule": decision.rule, "why": decision.why})
    else:
        write(f"{'allowed' if decision.allowed else 'denied'}: {decision.why}\n")
    return 0 if decision.allowed else 1


def _of_settings(config: Path | None) -> Path:
    from grpc_tool_bridge.cli.settings import read_settings

    found = read_settings({}, config).policy
    if found is None:
        raise ArgumentError("no policy is set; name its file with --policy FILE")
    return found


def _read(file: Path) -> "Policy":
    from grpc_tool_bridge.auth.policy.reading import read_policy
    from grpc_tool_bridge.errors import ValidationError

    try:
        return read_policy(file)
    except ValidationError as error:
        raise CommandError(error.message, error_type=error.error_type) from None
    except OSError as error:
        raise file_error(error, file) from None
