"""Threads by the depth of the calls that they run, so that calls never wait for themselves."""

from grpc_tool_bridge.running.threads import ToolThreads

# Deeper than the hub lets tools call one another; whoever says that a call is deeper still gets no further threads.
MAX_DEPTH = 64


class NestedThreads:
    """As many threads for each depth of nested calls.

    A call that holds a thread may wait for calls that it has made, which are deeper. So the deepest calls wait for
    nobody, and every thread becomes free again. Threads begin when they are wanted and end when they are idle, so that
    a depth that nobody uses costs nothing.

    Args:
        max_threads: Threads at once of one depth; more work of that depth waits in order.
    """

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self._depths: list[ToolThreads] = [ToolThreads(max_threads)]

    @property
    def busy(self) -> int:
        """Threads that run a function now, those left behind included."""
        return sum(threads.busy for threads in self._depths)

    def at(self, depth: int) -> ToolThreads:
        """Returns the threads of calls that have ``depth`` calls above them."""
        depth = min(depth, MAX_DEPTH)
        while len(self._depths) <= depth:
            self._depths.append(ToolThreads(self._max_threads))
        return self._depths[depth]
