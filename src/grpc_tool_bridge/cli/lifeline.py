"""A pipe by which a process sees that the one that started it has gone, even where that was killed."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

_VARIABLE = "GRPC_TOOL_BRIDGE_LIFELINE"


@contextlib.contextmanager
def offered() -> Iterator[tuple[int, dict[str, str]]]:
    """Makes a lifeline; gives the end that a child inherits, and the environment that tells it so."""
    theirs, ours = os.pipe()
    try:
        yield theirs, {_VARIABLE: str(theirs)}
    finally:
        os.close(theirs)
        os.close(ours)


def hold() -> None:
    """Asks this process to end as SIGTERM does when who offered it a lifeline has gone; nothing where nobody did."""
    number = os.environ.pop(_VARIABLE, None)
    if number is None:
        return
    end = int(number)
    os.set_inheritable(end, False)

    def wait() -> None:
        os.read(end, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
