"""``audit key``, ``verify`` and ``show``: the key of an audit trail, and what is in its files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from grpc_tool_bridge.cli.exit_codes import FAILED
from grpc_tool_bridge.cli.failures import ArgumentError, file_error
from grpc_tool_bridge.cli.options import JsonOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Argument, Option
from grpc_tool_bridge.cli.streams import require_stdout

if TYPE_CHECKING:
    from grpc_tool_bridge.auth.audit.chain import Link

FilesArgument = Annotated[
    list[Path],
    Argument(
        metavar="FILE",
        help="Files of the trail. One that a hub writes stands for all that it has gone on from, too.",
        complete="file",
    ),
]
MixedOption = Annotated[
    bool,
    Option("--mixed", help="The files have other lines, too, and text before each line, as those of syslog have."),
]


def make_key(
    file: Annotated[Path, Argument(metavar="FILE", help="The file to write.")], *, as_json: JsonOption = False
) -> int:
    """Make the key of an audit trail, in a new file that only this user can read.

    Whoever has the key can forge a trail, and only who has it can check one. Keep a copy where the hub's machine cannot
    reach it.
    """
    from grpc_tool_bridge.auth.audit.keys import make_key

    try:
        keys = make_key(file)
    except FileExistsError:
        raise ArgumentError(f"{file} is there already, and a key is never replaced; name another file") from None
    except OSError as error:
        raise file_error(error, file) from None
    if as_json:
        print_json({"file": str(file), "key": keys.name})
    else:
        from grpc_tool_bridge.cli.consoles import console

        console().print(f"{file} has a new key, {keys.name}: set audit_key_file to it", soft_wrap=True)
    return 0


def verify(
    files: FilesArgument,
    *,
    key_file: Annotated[
        Path | None,
        Option(
            "--key-file",
            metavar="FILE",
            envvar="TOOL_BRIDGE_AUDIT_KEY_FILE",
            help="The key of the trail. Required.",
        ),
    ] = None,
    expect: Annotated[
        list[str] | None,
        Option(
            "--expect",
            metavar="CHAIN:SEQ:MAC",
            help="A line that was there before, as an earlier --json said in last: without it, a trail that is cut at "
            "its end looks like one whose hub was killed. Repeatable.",
        ),
    ] = None,
    partial: Annotated[
        bool, Option("--partial", help="These are not all files: what came before them is not missing.")
    ] = False,
    mixed: MixedOption = False,
    as_json: JsonOption = False,
) -> int:
    """Check audit trails, and say which lines were changed, moved, repeated, added or cut.

    The exit code is 1 if there are any. What a crash or a setting explains as well is told, and no failure.
    """
    require_stdout()
    from grpc_tool_bridge.auth.audit.checking import TrailCheck
    from grpc_tool_bridge.auth.audit.keys import read_keys
    from grpc_tool_bridge.auth.audit.showing import all_files
    from grpc_tool_bridge.cli.audit_text import report_facts, show_report
    from grpc_tool_bridge.errors import ValidationError

    if key_file is None:
        raise ArgumentError("missing option '--key-file FILE': which key has the trail?")
    try:
        check = TrailCheck(read_keys(key_file), mixed=mixed, partial=partial)
        report = check.check(all_files(files), _links(expect or ()))
    except ValidationError as error:
        raise ArgumentError(error.message) from None
    except OSError as error:
        raise file_error(error, Path(str(error.filename or key_file))) from None
    if as_json:
        print_json(report_facts(report))
    else:
        show_report(report)
    return FAILED if report.is_broken else 0


def show(
    files: FilesArgument,
    *,
    who: Annotated[str | None, Option("--who", metavar="NAME", help="Only of these principals, as a pattern.")] = None,
    action: Annotated[
        str | None, Option("--action", metavar="NAME", help="Only these actions, such as call, stream or read.")
    ] = None,
    tool: Annotated[
        str | None,
        Option("--tool", metavar="NAME", help="Only calls of these tools, or decisions about it; a pattern."),
    ] = None,
    session: Annotated[str | None, Option("--session", metavar="ID", help="Only of this session.")] = None,
    outcome: Annotated[
        str | None,
        Option(
            "--outcome",
            metavar="NAME",
            help="Only with this outcome.",
            choices=("ok", "error", "cancelled", "refused", "kept", "allowed", "denied"),
        ),
    ] = None,
    since: Annotated[str | None, Option("--since", metavar="TIME", help="Only from this time on, in UTC.")] = None,
    until: Annotated[str | None, Option("--until", metavar="TIME", help="Only before this time, in UTC.")] = None,
    whole: Annotated[bool, Option("--all", help="Lines about the trail itself, too.")] = False,
    mixed: MixedOption = False,
    as_json: JsonOption = False,
) -> int:
    """Show lines of audit trails. They are not checked: see audit verify."""
    require_stdout()
    from grpc_tool_bridge.auth.audit.showing import Filter, all_files, read_moment, shown
    from grpc_tool_bridge.cli.audit_text import show_line
    from grpc_tool_bridge.errors import ValidationError

    try:
        wanted = Filter(
            who=who,
            action=action,
            tool=tool,
            session=session,
            outcome=outcome,
            since=None if since is None else read_moment(since),
            until=None if until is None else read_moment(until),
            whole=whole,
        )
        for fields in shown(all_files(files), wanted, mixed=mixed):
            if as_json:
                print_json(fields)
            else:
                show_line(fields)
    except ValidationError as error:
        raise ArgumentError(error.message) from None
    except OSError as error:
        raise file_error(error, Path(str(error.filename))) from None
    return 0


def _links(given: "list[str] | tuple[()]") -> "list[Link]":
    from grpc_tool_bridge.auth.audit.checking import read_link

    found = []
    for text in given:
        link = read_link(text)
        if link is None:
            raise ArgumentError(f"--expect {text!r:.100} is not CHAIN:SEQ:MAC, as --json of an earlier check says")
        found.append(link)
    return found
