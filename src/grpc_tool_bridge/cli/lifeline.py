"""The connection between a worker and the process that supervises it.

Over it, the worker reports that its tools are imported, waits for its turn, and reports that it serves, that it is old,
and that it gets no new calls. It also detects that the other process has ended, even if that was killed.
"""

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Self

_VARIABLE = "GRPC_TOOL_BRIDGE_LIFELINE"
# From the worker: imported, serving, old, without new calls, ends with an error.
_IMPORTED, _SERVING, _SPENT, _LEFT, _GIVEN_UP = b"i", b"s", b"o", b"l", b"e"
# To it: serve, serve without announcing it, leave when the next one serves, leave before that.
_GO, _GO_QUIETLY, _RETIRE, _MAKE_WAY = b"g", b"q", b"r", b"w"


class Lifeline:
    """The worker's end, made by ``hold``: a socket, or None if this process is not supervised.

    Attributes:
        announces: Whether the worker prints that it serves.
        makes_way: Whether the worker is to leave because its files have changed; the process gets a SIGTERM then.
        on_retire: Called in a thread when the worker has to leave, because the next one serves.
    """

    def __init__(self, end: socket.socket | None) -> None:
        self._end = end
        self._turn = threading.Event()
        self.announces = True
        self.makes_way = False
        self.on_retire: Callable[[], object] | None = None
        if end is not None:
            threading.Thread(target=self._watch, args=(end,), name="lifeline", daemon=True).start()

    def wait_for_turn(self) -> None:
        """Reports that everything is imported, and waits until the tools may be offered."""
        if self._end is not None:
            self._send(_IMPORTED)
            self._turn.wait()

    def serve(self) -> None:
        """Reports that the tools can be called."""
        self._send(_SERVING)

    def spend(self) -> None:
        """Reports that this worker is old, and serves until the next one does."""
        self._send(_SPENT)

    def give_up(self) -> None:
        """Reports that this worker ends with an error that another one would have as well."""
        self._send(_GIVEN_UP)

    def leave(self) -> None:
        """Reports that the hub gives this worker no new calls."""
        self._send(_LEFT)

    def _send(self, word: bytes) -> None:
        if self._end is not None:
            with contextlib.suppress(OSError):
                self._end.sendall(word)

    def _watch(self, end: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while word := end.recv(1):
                if word == _RETIRE:
                    if self.on_retire is not None:
                        self.on_retire()
                    continue
                if word == _MAKE_WAY:
                    self.makes_way = True
                    os.kill(os.getpid(), signal.SIGTERM)
                    continue
                self.announces = word == _GO
                self._turn.set()
        os.kill(os.getpid(), signal.SIGTERM)


def is_held() -> bool:
    """Returns whether another process supervises this one, as long as ``hold`` was not called."""
    return _VARIABLE in os.environ


def hold() -> Lifeline:
    """Takes this process's end; if the owner has gone, the process ends as on SIGTERM."""
    number = os.environ.pop(_VARIABLE, None)
    if number is None:
        return Lifeline(None)
    end = socket.socket(fileno=int(number))
    end.set_inheritable(False)
    return Lifeline(end)


class LifelineOwner:
    """The other end, in the event loop of the process that reloads.

    Attributes:
        imported: Set when the worker's tools are imported.
        serving: Set when its tools can be called.
        spent: Set when it is old.
        given_up: Set when it ends with an error that another one would have as well.
        left: Set when the hub gives the worker no new calls, or the worker has ended.
    """

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair()
        self._ours.setblocking(False)
        self.imported = asyncio.Event()
        self.serving = asyncio.Event()
        self.spent = asyncio.Event()
        self.left = asyncio.Event()
        self.given_up = asyncio.Event()
        self._events = {
            _IMPORTED: self.imported,
            _SERVING: self.serving,
            _SPENT: self.spent,
            _LEFT: self.left,
            _GIVEN_UP: self.given_up,
        }
        self._task: asyncio.Task[None] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment that tells the worker about its inherited end."""
        return {_VARIABLE: str(self.theirs.fileno())}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the worker's end in this process, once the worker has it."""
        self.theirs.close()
        self._task = asyncio.get_running_loop().create_task(self._listen(), name="lifeline")

    async def give_turn(self, *, announces: bool = True) -> None:
        """Lets the worker offer its tools."""
        await self._send(_GO if announces else _GO_QUIETLY)

    async def retire(self) -> None:
        """Lets the worker finish its calls and leave, without a limit of its own."""
        await self._send(_RETIRE)

    async def make_way(self) -> None:
        """Lets the worker finish its calls and leave as on SIGTERM, for the next one to serve."""
        await self._send(_MAKE_WAY)

    async def _send(self, word: bytes) -> None:
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self._ours, word)

    def close(self) -> None:
        """Lets the worker go."""
        if self._task is not None:
            self._task.cancel()
        self._ours.close()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while word := await loop.sock_recv(self._ours, 1):
                self._events[word].set()
        self.left.set()
