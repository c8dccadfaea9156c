"""Tools that fork; most give the id of the process that they have started, which ends only when it is told to.

An exit code is below 0 where a signal has ended the process.
"""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Iterator

from grpc_tool_bridge import ToolContext, tool

_MP = multiprocessing.get_context("fork")


def _wait() -> None:
    while True:
        signal.pause()


def _fork(*, leaves: bool) -> int:
    pid = os.fork()
    if not pid and not leaves:
        _wait()
    return pid


@tool
def fork(leaves: bool = False) -> int:
    """Forks in a thread."""
    return _fork(leaves=leaves)


@tool
async def fork_in_loop(leaves: bool = False) -> int:
    """Forks in the event loop."""
    return _fork(leaves=leaves)


@tool
async def fork_in_loop_and_wait() -> int:
    """Forks in the event loop, where both processes go on; gives the exit code of the new one."""
    pid = os.fork()
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    return os.waitstatus_to_exitcode(status)


@tool(executor="process")
def fork_in_process() -> int:
    """Forks in a process of the tool's own, and returns in both; gives the exit code of the new one."""
    pid = os.fork()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else 0


@tool(executor="process")
def fork_in_stream() -> Iterator[int]:
    """Forks likewise between values."""
    pid = os.fork()
    yield os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else 0


@tool
def start_process(daemon: bool) -> int:
    """Starts a process as most programs do."""
    process = _MP.Process(target=_wait, daemon=daemon)
    process.start()
    assert process.pid is not None
    return process.pid


@tool
def reap(pid: int) -> int:
    """Waits for the end of a process; gives the signal that ended it."""
    return os.WTERMSIG(os.waitpid(pid, 0)[1])


@tool
def ask_in_child(ctx: ToolContext) -> str:
    """Uses the context of this call in a forked process."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            ctx.sync.call_tool("fork")
        except Exception as error:
            os.write(theirs, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as answer:
        text = answer.read().decode()
    os.waitpid(pid, 0)
    return text
