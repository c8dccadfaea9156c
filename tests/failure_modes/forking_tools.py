"""Tools that fork; each gives the id of the process that it has started, which ends only when it is told to."""

import multiprocessing
import os
import signal

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
