"""The processes that tools have started, at the end of a command."""

import logging
import sys
import time

# They have this many seconds to end by themselves once they were told to.
GRACE_SECONDS = 2.0

_log = logging.getLogger(__name__)


def end_children() -> None:
    """Ends the processes that tools have started by multiprocessing, for which Python would wait without end."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    children = multiprocessing.active_children() if multiprocessing is not None else []
    if not children:
        return
    _log.warning("ending %d processes that tools started", len(children))
    for child in children:
        child.terminate()
    end = time.monotonic() + GRACE_SECONDS
    for child in children:
        child.join(max(0.0, end - time.monotonic()))
        if child.is_alive():
            child.kill()
            child.join()
