"""Writes the lines of a trail, in a thread of its own, so that no disk holds up the event loop."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from grpc_tool_bridge.auth.audit.chain import Chain
from grpc_tool_bridge.auth.audit.sinks import Sink
from grpc_tool_bridge.auth.audit.tails import Tail
from grpc_tool_bridge.auth.audit.usual import UsualCall
from grpc_tool_bridge.config.audit_choices import AuditSync
from grpc_tool_bridge.errors import StoreError, ToolBridgeError

# Lines that wait to be written, and bytes of the large ones among them. What is a few times that in memory.
MAX_LINES = 50_000
MAX_LARGE_BYTES = 64 * 1024 * 1024
LARGE_CHARS = 4 * 1024
# Lines that are written together.
MAX_BATCH = 2_000
# A checkpoint is made after so many lines, and after so many seconds, whatever there was.
CHECKPOINT_LINES = 1_000
CHECKPOINT_SECONDS = 60.0
# How long lines are collected before they are written.
GATHER_SECONDS = 0.02
# Between attempts to write what could not be written.
RETRY_SECONDS = 0.25
SYNC_SECONDS = 1.0
# After another file could not be begun, until it is tried again.
ROTATION_RETRY_SECONDS = 60.0
# For the last lines to be written when the trail is closed.
CLOSE_SECONDS = 5.0

_log = logging.getLogger(__name__)


class LateLine(Protocol):
    """The fields of a line that are not all known yet when it is given."""

    # Bytes that it holds.
    size: int

    def write(self) -> str | None:
        """Returns the fields; None: there is no line, and what had to be done is done."""


class AuditWriter:
    """Writes lines. ``put`` is called in the event loop, all else but ``open`` and ``aclose`` in the thread.

    Args:
        sink: Where they go.
        chain: Makes them.
        sync: When it waits for the disk.
        refuse: Whether calls are refused while lines cannot be written; if not, lines are lost.
        begins: Returns the fields of the first line, by how what was there before ends.
        usual: Returns the fields of the line of a usual call; called in the thread.

    Attributes:
        refuses: Whether calls are to be refused now.
        lost: Lines that were lost.
        failures: Attempts to write that failed.
        written: Lines that were written.
        why: Why nothing can be written; empty: it can.
    """

    def __init__(
        self,
        sink: Sink,
        chain: Chain,
        *,
        sync: AuditSync,
        refuse: bool,
        begins: Callable[[Tail | None], str],
        usual: Callable[[UsualCall], str],
    ) -> None:
        self.refuses = False
        self.lost = self.failures = self.written = 0
        self.why = ""
        self._sink = sink
        self._chain = chain
        self._sync = sync
        self._refuse = refuse
        self._begins = begins
        self._usual = usual
        self._queue: deque[str | UsualCall | LateLine] = deque()
        # Bytes of large lines that were given, counted in the loop, and that were taken, counted in the thread.
        self._given = self._taken = 0
        # Of ``lost``, what a line of the trail tells.
        self._told = 0
        self._idle = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._signed_at = self._synced_at = 0.0
        self._signed_seq = 0
        self._is_dirty = False
        self._rotates_at = 0.0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def is_open(self) -> bool:
        """Whether it takes lines."""
        return self._thread is not None and not self._closing.is_set()

    # --------------------------------------------------------------------------------------------- in the loop

    def put(self, line: str | UsualCall | LateLine) -> None:
        """Takes the fields of a line, without ``seq``, as ASCII; or what they are made of."""
        queue = self._queue
        if len(queue) >= MAX_LINES or self._given - self._taken > MAX_LARGE_BYTES:
            if not self._refuse or len(queue) >= 2 * MAX_LINES:
                self.lost += 1
                return
            # Calls that run have their lines yet; further ones are refused.
            self.refuses = True
        if not isinstance(line, tuple):
            self._given += _weight(line)
        queue.append(line)
        if self._idle:
            self._idle = False
            self._wake.set()

    async def open(self) -> None:
        """Opens the sink and starts the thread.

        Raises:
            StoreError: The sink cannot be used.
        """
        await asyncio.to_thread(self._open)
        self._thread = threading.Thread(target=self._run, name="audit trail", daemon=True)
        self._thread.start()

    async def aclose(self) -> None:
        """Writes what is left, within some seconds, and closes the sink."""
        if self._begin_closing():
            await asyncio.to_thread(self._join)

    def abandon(self) -> None:
        """As ``aclose``, after the event loop has ended."""
        if self._begin_closing():
            self._join()

    def _begin_closing(self) -> bool:
        if self._thread is None:
            return False
        self._closing.set()
        self._wake.set()
        return True

    def _join(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(2 * CLOSE_SECONDS)

    # ------------------------------------------------------------------------------------------- in the thread

    def _open(self) -> None:
        if self._chain.seq:
            # It was closed.
            self._chain = self._chain.another()
        self._closing.clear()
        try:
            tail = self._sink.open()
        except OSError as error:
            raise StoreError(f"the audit trail cannot be opened: {_text(error)}") from None
        try:
            self._sink.add([self._chain.line("begin", self._begins(tail))])
            self._write()
            self._sink.sync()
        except OSError as error:
            self._sink.close()
            raise StoreError(f"the audit trail cannot be written: {_text(error)}") from None
        self._signed_at = self._synced_at = time.monotonic()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wait()
            self._attempt()
        end = time.monotonic() + CLOSE_SECONDS
        while not self._attempt(last=True) and time.monotonic() < end:
            time.sleep(RETRY_SECONDS)
        if self.why:
            _log.error("%d lines of the audit trail are lost: %s", len(self._queue), self.why)
        self._sink.close()

    def _wait(self) -> None:
        """Waits until there is something to do, and then for what comes together with it."""
        if self.why:
            self._closing.wait(RETRY_SECONDS)
            return
        self._wake.clear()
        self._idle = True
        if not self._queue:
            self._wake.wait(self._seconds_to_next())
        self._idle = False
        if self._queue:
            self._closing.wait(GATHER_SECONDS)

    def _seconds_to_next(self) -> float:
        """Returns how long nothing has to be done if no line comes."""
        due = self._signed_at + CHECKPOINT_SECONDS
        if self._is_dirty:
            due = min(due, self._synced_at + SYNC_SECONDS)
        return max(0.0, due - time.monotonic())

    def _attempt(self, *, last: bool = False) -> bool:
        """Writes what waits; returns whether all of it is written."""
        try:
            self._sink.flush()
            while True:
                self._rotate_if_due()
                self._take()
                if last and not self._queue:
                    self._sink.add([self._chain.checkpoint("end")])
                self._write()
                if not self._queue:
                    break
            self._sync_if_due(now=last)
        except OSError as error:
            self._fail(_text(error))
            return False
        except Exception as error:  # noqa: BLE001 - a fault, which is logged
            # The thread has to go on, or nothing would be audited any more.
            _log.exception("fault in the audit trail")
            self._fail(f"a fault: {type(error).__name__}")
            return False
        self._recover()
        return True

    def _take(self) -> None:
        """Makes lines of what waits, at most ``MAX_BATCH``."""
        queue, usual = self._queue, self._usual
        bodies: list[str] = []
        for _ in range(min(len(queue), MAX_BATCH)):
            line = queue.popleft()
            if isinstance(line, tuple):
                bodies.append(usual(line))
                continue
            self._taken += _weight(line)
            body = line if isinstance(line, str) else line.write()
            if body is not None:
                bodies.append(body)
        lines = self._chain.lines(bodies)
        lost = self.lost
        if lost > self._told:
            lines.append(self._chain.line("lost", f'"lines":{lost - self._told}'))
            self._told = lost
        now = time.monotonic()
        if self._chain.seq - self._signed_seq >= CHECKPOINT_LINES or now - self._signed_at >= CHECKPOINT_SECONDS:
            lines.append(self._chain.checkpoint())
            self._signed_at, self._signed_seq = now, self._chain.seq
        self._sink.add(lines)

    def _write(self) -> None:
        self._sink.flush()
        self.written, self._is_dirty = self._chain.seq, True
        if self._sync is AuditSync.ALWAYS:
            self._sync_if_due(now=True)

    def _sync_if_due(self, *, now: bool) -> None:
        moment = time.monotonic()
        if not self._is_dirty or self._sync is AuditSync.NEVER:
            self._is_dirty = False
        elif now or moment - self._synced_at >= SYNC_SECONDS:
            self._sink.sync()
            self._synced_at, self._is_dirty = moment, False

    def _rotate_if_due(self) -> None:
        if not self._sink.is_due or time.monotonic() < self._rotates_at:
            return
        self._sink.add([self._chain.checkpoint("rotate")])
        self._sink.flush()
        try:
            name = self._sink.rotate()
        except OSError as error:
            # A file that is too large is better than none.
            _log.error("the audit trail goes on in the same file: %s", _text(error))
            self._rotates_at = time.monotonic() + ROTATION_RETRY_SECONDS
            return
        self._sink.add([self._chain.line("continue", f'"after":"{name}"')])
        expired = self._sink.expired()
        for old, tail in expired:
            last = "{}" if tail is None else tail.fields()
            self._sink.add([self._chain.line("removed", f'"file":"{old}","last":{last}')])
        # First what tells of it, then what it tells.
        self._write()
        if expired:
            self._sink.sync()
        for old, _ in expired:
            self._sink.remove(old)

    def _fail(self, why: str) -> None:
        self.failures += 1
        if not self.why:
            what = "calls are refused until it can" if self._refuse else "lines that find no room are lost"
            _log.error("the audit trail cannot be written, and %s: %s", what, why)
        self.why = why
        self.refuses = self._refuse

    def _recover(self) -> None:
        if self.why:
            _log.warning("the audit trail can be written again; %d lines were lost so far", self.lost)
            self.why = ""
        self.refuses = False

    def refusal(self) -> ToolBridgeError:
        """Returns the error of a call that is refused."""
        why = self.why or f"{len(self._queue):,} lines wait to be written"
        return StoreError(
            f"what must be audited is refused, since the audit trail cannot be written: {why}",
            details={"retry_after": "1"},
        )


def _weight(line: str | LateLine) -> int:
    """Returns the bytes that a line counts for, if it is large."""
    if isinstance(line, str):
        return len(line) if len(line) > LARGE_CHARS else 0
    return line.size


def _text(error: OSError) -> str:
    named = f" ({error.filename})" if isinstance(error.filename, str) else ""
    return f"{error.strerror or error}{named}"
