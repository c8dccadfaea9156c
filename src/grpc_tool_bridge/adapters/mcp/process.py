"""A process that never outlives this one, and whose children do not either."""

import asyncio
import contextlib
import logging
import os
import re
import shutil
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from grpc_tool_bridge.adapters.mcp import guard
from grpc_tool_bridge.adapters.mcp.bounds import Bucket
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import ValidationError

_log = logging.getLogger(__name__)

# Seconds for the server to end when its input has ended, and when it was told to; then it is killed.
END_SECONDS = 2.0
TERM_SECONDS = 2.0
# How much longer its guard may take for that.
_SLACK_SECONDS = 8.0

# Lines of standard error that an error text repeats, and their characters.
_TOLD_LINES = 8
_LINE_CHARS = 2_000
_LINES_A_SECOND = 50.0
_LINES_AT_ONCE = 500
_CHUNK = 65_536
_VARIABLE = re.compile(r"\b[A-Z][A-Z0-9_]{2,}\b")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class GuardedProcess:
    """A program with a guard above it.

    Args:
        name: What the log calls it.
        process: The guard.
        lifeline: The write end of the pipe that the guard reads; the program ends with it.
        env: The environment that the program has.
    """

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, lifeline: int, env: Mapping[str, str] | None = None
    ) -> None:
        self._name = name
        self._env = env or {}
        self._process = process
        # An object, so that it is closed with this one at the latest.
        self._lifeline = open(lifeline, "wb", buffering=0)  # noqa: SIM115
        self._told: deque[str] = deque(maxlen=_TOLD_LINES)
        self._tasks = TaskSet()
        self._reading = self._tasks.spawn(self._read_errors(), "standard error of an MCP server")
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        self.stdin, self.stdout = process.stdin, process.stdout

    @property
    def pid(self) -> int:
        """The id of the guard's process, which is the parent of the program's."""
        return self._process.pid

    async def ending(self) -> str:
        """Waits until the program has ended, and says how."""
        await asyncio.wait([asyncio.ensure_future(self._process.wait())], timeout=END_SECONDS)
        await asyncio.wait([self._reading], timeout=END_SECONDS)
        code = self._process.returncode
        if code is None:
            how = "it closed its output"
        elif code < 0:
            how = f"it was ended by signal {-code}"
        else:
            how = f"it ended with exit code {code}"
        return f"{how}; its last lines were: {' | '.join(self._told)}{self._hint()}" if self._told else how

    def _hint(self) -> str:
        """Names variables that the program misses although this process has them; else nothing."""
        named = dict.fromkeys(_VARIABLE.findall(" ".join(self._told)))
        kept = [name for name in named if name in os.environ and name not in self._env]
        return (
            f" (it does not get {', '.join(kept)} of the environment; give it as env in --mcp-config)" if kept else ""
        )

    async def aclose(self) -> None:
        """Ends the program: closes its input, tells it to end, kills it with all that it has started."""
        with contextlib.suppress(OSError, RuntimeError):
            self.stdin.close()
        waiting = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait([waiting], timeout=END_SECONDS)
        finally:
            # From here on, its guard ends it, whatever happens to this task.
            self._lifeline.close()
        await asyncio.wait([waiting], timeout=TERM_SECONDS + _SLACK_SECONDS)
        if not waiting.done():
            _log.warning("the MCP server %s could not be ended within %g s", self._name, TERM_SECONDS + _SLACK_SECONDS)
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            waiting.cancel()
        await self._tasks.aclose()
        transport = getattr(self._process, "_transport", None)
        if transport is not None:
            transport.close()

    async def _read_errors(self) -> None:
        """Passes standard error to the log, line by line."""
        stream = self._process.stderr
        assert stream is not None  # noqa: S101 - it is a pipe
        bucket, lost, rest = Bucket(_LINES_A_SECOND, _LINES_AT_ONCE), 0, b""
        while data := await stream.read(_CHUNK):
            *lines, rest = (rest + data).split(b"\n")
            # A line without an end is cut.
            rest = rest[:_CHUNK]
            for line in lines:
                text = _CONTROL.sub("", line[:_LINE_CHARS].decode("utf-8", "replace")).rstrip()
                if not text:
                    continue
                self._told.append(text)
                if bucket.take():
                    if lost:
                        _log.warning("MCP server %s: %d lines of its log were dropped", self._name, lost)
                        lost = 0
                    _log.info("MCP server %s: %s", self._name, text)
                else:
                    lost += 1
            await asyncio.sleep(0)
        if rest.strip():
            self._told.append(_CONTROL.sub("", rest[:_LINE_CHARS].decode("utf-8", "replace")))
            _log.info("MCP server %s: %s", self._name, self._told[-1])


async def start_process(
    name: str, command: Sequence[str], *, env: Mapping[str, str], cwd: str | None
) -> GuardedProcess:
    """Starts a program in a session of its own.

    Args:
        name: What the log calls it.
        command: The program and its arguments.
        env: All of its environment.
        cwd: Its working directory; None: this process's.

    Raises:
        ValidationError: There is no such program or directory.
    """
    program = _found(name, command[0], env, cwd)
    theirs, ours = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            guard.__file__,
            str(theirs),
            str(TERM_SECONDS),
            program,
            *command[1:],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(env),
            cwd=cwd,
            pass_fds=(theirs,),
            start_new_session=True,
            limit=_CHUNK * 4,
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return GuardedProcess(name, process, ours, env)


def _found(name: str, program: str, env: Mapping[str, str], cwd: str | None) -> str:
    """Finds a program as the system does, but with a clear error.

    Raises:
        ValidationError: There is none, or no such working directory.
    """
    if cwd is not None and not Path(cwd).is_dir():
        raise ValidationError(f"MCP server {name}: there is no directory {cwd}")
    if os.sep in program:
        path = Path(cwd or ".", Path(program).expanduser() if program.startswith("~/") else program)
        if path.is_file() and os.access(path, os.X_OK):
            return str(path.absolute())
        what = "it cannot be executed; chmod +x it" if path.is_file() else "there is no such file"
        raise ValidationError(f"MCP server {name}: {program}: {what}")
    found = shutil.which(program, path=env.get("PATH"))
    if found is None:
        hint = "install it"
        if " " in program:
            hint = 'its arguments are separate, as "args" in a file'
        elif "\\" in program:
            hint = "a path is written with /"
        raise ValidationError(f"MCP server {name}: the program {program!r} was not found in PATH; {hint}")
    return found
