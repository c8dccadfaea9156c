"""The prompts of ``shell``: IPython, and the plain one of Python; both take ``await`` outside functions."""

import ast
import builtins
import code
import contextlib
import inspect
import os
import traceback
import types
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

# Lines of the history that are kept.
_HISTORY_LINES = 1_000

AWAIT_FLAG = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def run_plain(names: dict[str, Any], run: Run, banner: str) -> None:
    """Runs the plain prompt until Ctrl-D or ``exit()``, with completion by tab and a history.

    Args:
        names: The names that are there.
        run: Runs a coroutine to its end.
        banner: Printed at the start.
    """
    with _line_editing(names), contextlib.suppress(SystemExit):
        _Console(names, run).interact(banner=banner, exitmsg="")


class _Console(code.InteractiveConsole):
    """A console that takes ``await``."""

    def __init__(self, names: dict[str, Any], run: Run) -> None:
        # As in every module: without it, a warning is a KeyError.
        names.setdefault("__builtins__", builtins)
        super().__init__(names)
        self.compile.compiler.flags |= AWAIT_FLAG
        self._run = run

    def runcode(self, code: types.CodeType) -> None:
        """Runs what was typed; an error is shown from where it was typed on."""
        try:
            result = types.FunctionType(code, self.locals)()
            if inspect.iscoroutine(result):
                self._run(result)
        except SystemExit:
            raise
        except BaseException as error:  # noqa: BLE001 - shown, and the prompt goes on
            trim(error, self.filename)
            self.write("".join(traceback.format_exception(error)))


def trim(error: BaseException, filename: str) -> None:
    """Leaves out the part of a traceback that stands before the code of ``filename``."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != filename:
        trace = trace.tb_next
    error.__traceback__ = trace


@contextlib.contextmanager
def _line_editing(names: dict[str, Any]) -> Any:
    """Completes names by tab, and keeps a history, where Python has readline."""
    try:
        import readline
        import rlcompleter
    except ImportError:
        yield
        return
    readline.set_completer(rlcompleter.Completer(names).complete)
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
    history = history_file()
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    try:
        yield
    finally:
        readline.set_completer(None)
        readline.set_history_length(_HISTORY_LINES)
        with contextlib.suppress(OSError):
            history.parent.mkdir(parents=True, exist_ok=True)
            # It may hold what nobody else is to read.
            history.touch(mode=0o600)
            readline.write_history_file(history)


def history_file() -> Path:
    """Returns where the plain prompt keeps its history: below XDG_STATE_HOME, by default ``~/.local/state``."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "grpc-tool-bridge" / "shell_history"


def run_ipython(names: dict[str, Any], run: Run, banner: str) -> None:
    """Runs IPython, with the profile and the history of the user; see ``run_plain``."""
    from IPython.terminal.ipapp import TerminalIPythonApp
    from traitlets.config import Config

    config = Config()
    config.TerminalInteractiveShell.banner1 = f"{banner}\n"
    app: Any = TerminalIPythonApp.instance(config=config, user_ns=names)
    # The words of the command line are not for IPython.
    app.initialize(argv=[])
    # No part of the configuration, which is copied.
    app.shell.loop_runner, app.shell.autoawait = run, True
    with contextlib.suppress(SystemExit):
        app.start()
