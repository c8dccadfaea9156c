"""``store info``, ``backup``, ``restore`` and ``vacuum``: what keeps the state of a hub beyond its process."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.options import JsonOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Argument, Option
from grpc_tool_bridge.cli.streams import require_stdout

StoreArgument = Annotated[
    str,
    Argument(
        metavar="STORE", help="The store: sqlite:////absolute/path/hub.db, or the path of its file.", complete="file"
    ),
]


def store_info(
    store: StoreArgument,
    *,
    session: Annotated[str | None, Option("--session", metavar="ID", help="Only this session. Default: all.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Say what is in a store: how much of each kind, by session, and never a value.

    A hub may have the store meanwhile; nothing of it is changed.
    """
    require_stdout()
    with working():
        from grpc_tool_bridge.cli.store_text import report_facts, show_report
        from grpc_tool_bridge.stores.sqlite.report import report

        loaded()
        found = report(path_of(store), session)
        if as_json:
            print_json(report_facts(found))
        else:
            show_report(found, one=session is not None)
    return 0


def back_up(
    store: StoreArgument,
    file: Annotated[Path, Argument(metavar="FILE", help="The backup to write.")],
    *,
    force: Annotated[bool, Option("--force", help="Replace the file if it is there.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Copy a store into a file, as it is at one moment, while its hub goes on.

    Only this user can read the file: it has the values of secret variables. It gets its name when it is whole, was
    checked, and is on the disk.
    """
    with working():
        from grpc_tool_bridge.cli.store_text import size_text
        from grpc_tool_bridge.stores.sqlite.backup import back_up

        loaded()
        made = back_up(path_of(store), file, replace=force)
        facts = {"store": store, "file": str(file), "bytes": made.size, "seconds": round(made.seconds, 3)}
        say(facts, f"{file} has the state of {store}: {size_text(made.size)} in {made.seconds:.1f} s", as_json=as_json)
    return 0


def restore(
    file: Annotated[Path, Argument(metavar="FILE", help="The backup.")],
    store: StoreArgument,
    *,
    force: Annotated[
        bool, Option("--force", help="Replace the store if it is there; it is kept beside it, under another name.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Make a store of a backup, while no hub has it.

    The hub that opens it next begins another epoch: what clients have seen after the backup is not there any more, and
    their watches begin with the values that are.
    """
    with working():
        from grpc_tool_bridge.cli.store_text import size_text
        from grpc_tool_bridge.stores.sqlite.backup import restore

        loaded()
        made = restore(file, path_of(store), replace=force)
        kept = None if made.kept is None else str(made.kept)
        facts = {"store": store, "file": str(file), "bytes": made.size, "seconds": round(made.seconds, 3)}
        text = f"{store} has the state of {file}: {size_text(made.size)} in {made.seconds:.1f} s"
        if kept is not None:
            text += f"; what it was is {kept}, to be removed when nobody needs it"
        say({**facts, "epoch": made.epoch, "kept": kept}, text, as_json=as_json)
    return 0


def vacuum(store: StoreArgument, *, as_json: JsonOption = False) -> int:
    """Give the room in a store that nothing is in back to the disk, while no hub has it.

    A hub uses such room again by itself; this is for a store that was much larger once.
    """
    with working():
        from grpc_tool_bridge.cli.store_text import size_text
        from grpc_tool_bridge.stores.sqlite.vacuum import vacuum

        loaded()
        made = vacuum(path_of(store))
        facts = {"store": store, "bytes_before": made.before, "bytes": made.after, "seconds": round(made.seconds, 3)}
        text = f"{store} has {size_text(made.after)}; it had {size_text(made.before)}"
        say(facts, f"{text}; that took {made.seconds:.1f} s", as_json=as_json)
    return 0


def path_of(store: str) -> Path:
    """Returns the file of a store that is given as an argument; raises ArgumentError."""
    from grpc_tool_bridge.errors import ValidationError
    from grpc_tool_bridge.stores.urls import store_path

    try:
        return store_path(store)
    except ValidationError as error:
        raise ArgumentError(error.message) from None


def loaded() -> None:
    """Called once all is imported: from then on, Ctrl-C interrupts the work."""
    from grpc_tool_bridge.cli import interrupts

    interrupts.loaded()


def say(facts: dict[str, object], text: str, *, as_json: bool) -> None:
    """Prints what a command has done: a text, or with ``as_json`` the facts."""
    if as_json:
        print_json(facts)
        return
    from grpc_tool_bridge.cli.consoles import console

    console().print(text, soft_wrap=True)


@contextlib.contextmanager
def working() -> Iterator[None]:
    """Turns wrong arguments into the command's error, and signals that end the program into Ctrl-C.

    So the command can remove the file that it has not finished.
    """
    from grpc_tool_bridge.errors import AlreadyExistsError, ValidationError

    is_main = threading.current_thread() is threading.main_thread()
    names = ("SIGTERM", "SIGHUP") if is_main else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    replaced = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in replaced:
        signal.signal(number, _interrupt)
    try:
        yield
    except (AlreadyExistsError, ValidationError) as error:
        raise ArgumentError(error.message) from None
    finally:
        for number in replaced:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt
