"""Another hub as a worker: it runs calls with its own functions and workers."""

from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.workers.worker import Worker, WorkerLink


class PeerWorker(Worker):
    """Another hub.

    Its tools differ in how many calls they take: those of a function are many, those of its workers as many as these
    take together. So room is counted for each tool.

    Args:
        worker_id: Its id, which has the hub's.
        link: The link over which it has registered its tools.
        max_calls: Calls that the link takes.
    """

    is_peer = True

    def __init__(self, worker_id: str, link: WorkerLink, max_calls: int) -> None:
        super().__init__(worker_id, link)
        self.capacity = max_calls
        # By the tool's backend: how many calls it takes, and how many it has from this hub.
        self._limits: dict[object, int] = {}
        self._running: dict[object, int] = {}
        # All calls that were sent to it, ended or not.
        self.begun = 0
        self._sent = 0
        # Calls that it had room for when it last said so, and those that it had from here then.
        self._room: int | None = None
        self._sent_then = 0

    def set_limit(self, crew: object, limit: int) -> None:
        """Sets how many calls of a tool it takes; 0: none for now."""
        self._limits[crew] = limit

    def forget(self, crew: object) -> None:
        """Forgets a tool that it no longer offers."""
        self._limits.pop(crew, None)

    def set_room(self, room: int | None) -> None:
        """Notes how many further calls its workers have room for; None: it is not known."""
        self._room, self._sent_then = room, self._sent

    def room_for(self, crew: object) -> int:
        """Returns how many further calls of a tool it takes.

        A hub that says that it is full takes one call of each tool nevertheless: it may be the only one that offers it,
        and there the call has its turn.
        """
        if self.suspect or self.gone or self.active >= self.capacity:
            return 0
        running = self._running.get(crew, 0)
        left = self._limits.get(crew, 0) - running - self.reserved
        if self._room is not None:
            least = 0 if running else 1
            left = min(left, max(least, self._room - (self._sent - self._sent_then) - self.reserved))
        return max(0, left)

    def begin(self, crew: object) -> None:
        """Counts a call of a tool that is sent to it."""
        self.begun += 1
        self._sent += 1
        self._running[crew] = self._running.get(crew, 0) + 1

    def end(self, crew: object) -> None:
        """Counts the end of a call."""
        self._sent -= 1
        left = self._running.get(crew, 1) - 1
        if left:
            self._running[crew] = left
        else:
            self._running.pop(crew, None)


def number_above(call: HubCall, worker: Worker) -> int:
    """Returns the number that the nearest call above has on the link of a peer; 0: none runs there.

    The peer must know it: a call that waits for what the calls above it hold would wait for itself.
    """
    above = call.parent
    while above is not None:
        if above.worker is worker and above.remote is not None:
            return above.remote.id
        above = above.parent
    return 0
