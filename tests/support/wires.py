"""Connections between processes that a test can cut, stall and slow down: many proxies in one thread."""

import contextlib
from collections.abc import Iterable, Iterator

from anyio.from_thread import BlockingPortal, start_blocking_portal

from grpc_tool_bridge.testing import ToxicProxy


class Wire(ToxicProxy):
    """A proxy that shares its thread with others.

    Args:
        target: Where it leads to, as ``host:port``.
        portal: The thread.
    """

    def __init__(self, target: str, portal: BlockingPortal) -> None:
        super().__init__(target, seed=0)
        self._shared = portal
        self._fails = False

    def start(self) -> None:
        """Starts listening."""
        self._proxy.listen = self._listen_at
        self._shared.call(self._proxy.start)
        self._portal, self._address = self._shared, self._proxy.listen

    def fail(self, *, silently: bool) -> None:
        """Lets nothing pass any more: as a network that drops packets, or as one that resets connections."""
        self._fails = True
        if silently:
            self.stall()
        else:
            self.refuse()
            self.cut()

    def mend(self) -> None:
        """Lets all pass again; connections that were stalled are reset, as the time-outs of their ends would."""
        if self._fails:
            self._fails = False
            self.cut()
            self.restore()


class Wires:
    """Makes wires.

    Args:
        portal: Their thread.
        stack: Ends them.
    """

    def __init__(self, portal: BlockingPortal, stack: contextlib.ExitStack) -> None:
        self._portal, self._stack = portal, stack

    def to(self, target: str) -> Wire:
        """Makes a wire to ``host:port``, where nobody needs to listen yet."""
        return self._stack.enter_context(Wire(target, self._portal))


@contextlib.contextmanager
def making_wires() -> Iterator[Wires]:
    """Gives wires, which end with the block."""
    with start_blocking_portal() as portal, contextlib.ExitStack() as stack:
        yield Wires(portal, stack)


def fail(wires: Iterable[Wire], *, silently: bool) -> None:
    """Lets nothing pass over any of them."""
    for wire in wires:
        wire.fail(silently=silently)


def mend(wires: Iterable[Wire]) -> None:
    """Lets all pass again."""
    for wire in wires:
        wire.mend()
