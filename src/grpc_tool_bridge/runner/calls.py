"""A running call: its deadline, its cancellation, and the steps of its coroutine."""

import asyncio
import contextlib
import logging
import time
import types
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import CallCancelledError, DeadlineExceededError, ToolBridgeError
from grpc_tool_bridge.errors.faults import log_fault
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.tracing import CallSpan
from grpc_tool_bridge.runner.awaitables import waitable
from grpc_tool_bridge.runner.blocking import BLOCKED_SECONDS, held_loop

if TYPE_CHECKING:
    from grpc_tool_bridge.tools.context import ToolContext
    from grpc_tool_bridge.tools.tool import Tool

# Seconds that a cancelled async tool may take to clean up before the caller is answered anyway.
CLEANUP_SECONDS = 2.0

_log = logging.getLogger(__name__)


class Nested(Protocol):
    """What ends together with a call: a call that its tool made, or a question that it asked."""

    def cancel(self, cause: ToolBridgeError) -> None:
        """Ends it with the error ``cause``."""


class CallSession(Protocol):
    """The session that a call belongs to.

    Attributes:
        id: Its id.
        calls: Its suspended calls; None until there is one.
    """

    id: str
    calls: "set[Call] | None"


class CallTool(Protocol):
    """The tool that is called.

    Attributes:
        name: The tool's name.
        tool: The function; None if the tool runs elsewhere.
    """

    name: str
    tool: "Tool | None"


class Call:
    """A call of a tool, from admission to answer.

    The tool runs in its caller's task. What ends it early (its deadline, its session, the hub) sets a cause and cancels
    that task; ``convert`` then distinguishes that cancellation from one from outside.

    Attributes:
        session, tool: The session that makes the call, and the called tool.
        deadline: On the monotonic clock.
        opened_at: When it was admitted, on the same clock.
        parent: The call whose tool made this one; None for a call from outside.
        depth: Number of calls above it.
        context: The tool's context, if it takes one.
        orphaned: Owner of tools that ignore their cancellation.
        abandoned: Whether its tool ignored the cancellation.
        closing: Whether its coroutine is being closed.
        nested: Pending calls and questions of its tool, in this task or another; None until there is one.
        prepared: The decoded request, for the backend that runs it.
        over: Whether it has been answered; a tool that still runs may not call other tools.
        request_id: As given by its caller; empty: it gave none, and ``identify`` was not called.
        principal: On whose behalf it is made; None: the hub does not authenticate, or makes it itself.
        via: How it came from the principal, see ``RequestContext``.
        trace: Its span; None: it is not traced.
    """

    request_id = ""
    principal: Principal | None = None
    via: tuple[str, ...] = ()
    trace: CallSpan | None = None

    __slots__ = (
        "_cancelling",
        "_cause",
        "_in_tool",
        "_requested",
        "_task",
        "_timer",
        "_waits_for",
        "abandoned",
        "closing",
        "context",
        "deadline",
        "depth",
        "nested",
        "opened_at",
        "orphaned",
        "over",
        "parent",
        "prepared",
        "session",
        "tool",
    )

    def __init__(
        self,
        session: CallSession,
        tool: CallTool,
        deadline: float,
        *,
        parent: "Call | None",
        orphaned: TaskSet,
        opened_at: float | None = None,
    ) -> None:
        self.session = session
        self.tool = tool
        self.deadline = deadline
        self.opened_at = time.monotonic() if opened_at is None else opened_at
        self.parent = parent
        self.depth: int = parent.depth + 1 if parent is not None else 0
        self.orphaned = orphaned
        self.context: ToolContext | None = None
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._cancelling = 0
        self._cause: ToolBridgeError | None = None
        self._in_tool = False
        # Whether the task has a cancellation that was not undone.
        self._requested = False
        self.abandoned = False
        self.closing = False
        self.over = False
        self.nested: set[Nested] | None = None
        self.prepared: Any = None
        # What the tool waits for before it starts. Popping the one item decides between the thread that starts the tool
        # and the loop whose deadline has passed; only one of them can.
        self._waits_for: list[object] | None = None

    def identify(self) -> str:
        """Returns the id of the call; makes one if its caller gave none."""
        return self.request_id

    def set_in_tool(self, *, inside: bool) -> None:
        """Says whether the end of the call cancels its task: while its tool or middleware runs."""
        self._in_tool = inside

    def metadata_of(self, request: Any) -> dict[str, str]:
        """Returns the metadata that the tool finds; an item of a batch has none of its own."""
        return dict(getattr(request, "context", ()))

    @property
    def cause(self) -> ToolBridgeError | None:
        """The error that ended the call early, or None."""
        return self._cause

    def arm(self) -> None:
        """Binds the call to the running task and starts its timer. A call that never waits is never armed."""
        if self._task is not None:
            return
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that suspends is run by a task
        self._task, self._cancelling = task, task.cancelling()
        now = time.monotonic()
        # The call has not been suspended before: everything since it was opened was one step.
        if now - self.opened_at > BLOCKED_SECONDS:
            self.note_step(self.opened_at)
        delay = self.deadline - now
        self._timer = asyncio.get_running_loop().call_later(max(0.0, delay), self._expire)
        self.enter_session()
        if self.parent is not None:
            self.parent.hold(self)

    def hold(self, nested: Nested) -> None:
        """Registers what its tool waits for, to be cancelled when the call ends."""
        if self.nested is None:
            self.nested = set()
        self.nested.add(nested)

    @property
    def armed(self) -> bool:
        """Whether the call has been suspended."""
        return self._task is not None

    def note_step(self, began: float) -> None:
        """Logs the step that began at ``began`` if it blocked the event loop; only tools that run here have steps."""
        if time.monotonic() - began > BLOCKED_SECONDS and getattr(self.tool, "tool", None) is not None:
            held_loop(self.tool.name, self.orphaned, began)

    def enter_session(self) -> None:
        """Registers the call with its session, until it is disarmed."""
        calls = self.session.calls
        if calls is None:
            calls = self.session.calls = set()
        calls.add(self)

    def disarm(self) -> None:
        """Stops the timer, undoes a cancellation that the tool ignored, and ends nested calls.

        An orphaned thread may be waiting for a nested call, which nobody else would end.
        """
        self.over = True
        self._take_back()
        if self.parent is not None and self.parent.nested is not None:
            self.parent.nested.discard(self)
        if self.nested:
            ended = CallCancelledError(f"{self.tool.name}, which made the call, was cancelled or timed out")
            cause = self._cause or ended
            for nested in list(self.nested):
                nested.cancel(cause)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.session.calls is not None:
            self.session.calls.discard(self)

    def cancel(self, cause: ToolBridgeError) -> None:
        """Ends the call with ``cause``, unless it is already ending."""
        if self._cause is not None:
            return
        self._cause = cause
        if self.context is not None:
            self.context.mark_cancelled()
        if self._in_tool and self._task is not None:
            self._requested = True
            self._task.cancel()
            self._limit_cleanup()

    def check(self) -> None:
        """Raises the cause if the call is ending or has timed out."""
        if self._cause is None and self.deadline <= time.monotonic():
            self._cause = self.timeout_error()
        if self._cause is not None:
            raise self._cause

    def refuse_late(self) -> None:
        """Raises the cause if the call was ended; a value that the tool returns after that is too late."""
        if self._cause is not None:
            raise self._cause

    def timeout_error(self) -> DeadlineExceededError:
        """Returns the error for a call that timed out; a tool that has not started by now never starts."""
        seconds = self.deadline - self.opened_at
        waited_for = "" if seconds > 0 else "the call, whose time was over before"
        waits = self._waits_for
        if waits:
            with contextlib.suppress(IndexError):
                waited_for = str(waits.pop())
        details = {"started": "true"}
        if waited_for:
            details = {"started": "false", "waited_for": waited_for}
        return DeadlineExceededError(deadline_text(self.tool.name, seconds, waited_for), details=details)

    # ------------------------------------------------------------------------------------- whether it has begun

    @property
    def is_waiting(self) -> bool:
        """Whether the tool waits for something before it starts, such as a permit, a thread or a worker."""
        return bool(self._waits_for)

    def wait_for(self, what: object) -> None:
        """Notes what the tool waits for before it starts; it is only formatted if an error needs it."""
        self._waits_for = [what]

    def stop_waiting(self) -> bool:
        """Notes that the wait is over; returns False if the deadline has passed and the tool must not start.

        May be called from any thread.
        """
        waits = self._waits_for
        if waits is not None:
            try:
                waits.pop()
            except IndexError:
                return False
            self._waits_for = None
        return True

    def when_begun(self, what: object, function: Callable[[], Any]) -> Callable[[], Any]:
        """Wraps ``function`` for a thread; the call waits for ``what`` until the thread starts it."""
        self.wait_for(what)
        return partial(_begun, self, function)

    def convert(self) -> ToolBridgeError | None:
        """Called on a CancelledError; returns the call's cause, or None if it was cancelled from outside."""
        self._take_back()
        return None if self._cause is None or self.cancelled_from_outside() else self._cause

    def cancelled_from_outside(self) -> bool:
        """Returns whether the task was cancelled, rather than the tool raising CancelledError itself."""
        task = self._task or asyncio.current_task()
        return task is not None and task.cancelling() > self._cancelling

    def is_raised_by_tool(self, error: BaseException) -> bool:
        """Returns whether the tool raised the error, even SystemExit, and not the end of its call."""
        return not issubclass(type(error), asyncio.CancelledError) and not self.closing

    @types.coroutine
    def step(self, tool: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Runs the tool's coroutine in the caller's task; needs no task or timer if the first step finishes."""
        # The first step of a call is measured when the call ends or is armed.
        began = monotonic() if self._task is not None else 0.0
        try:
            waits_for = tool.send(None)
        except StopIteration as result:
            return result.value
        finally:
            end_if_forked()
            if began and monotonic() - began > BLOCKED_SECONDS:
                self.note_step(began)
        return (yield from self.resume(tool, waits_for))

    def resume(self, tool: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
        """Runs a coroutine, whose first step was made, to its end; ``waits_for`` is what it waits for."""
        self.arm()
        self._in_tool = True
        if self._cause is not None:
            self._limit_cleanup()
        return (yield from self._resumed(tool, waits_for))

    def _resumed(self, tool: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
        """Resumes a suspended coroutine until it ends, and measures each of its steps."""
        began = 0.0
        try:
            while True:
                waits_for = waitable(waits_for)
                try:
                    sent = yield waits_for
                except asyncio.CancelledError as cancelled:
                    began = monotonic()
                    if self.abandoned:
                        self._orphan(tool, cancelled)
                        raise
                    self._mark_cancelled()
                    waits_for = tool.throw(cancelled)
                except GeneratorExit:
                    began = monotonic()
                    self.closing = True
                    tool.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - whatever the loop throws in is the tool's to handle
                    began = monotonic()
                    waits_for = tool.throw(error)
                else:
                    began = monotonic()
                    waits_for = tool.send(sent)
                end_if_forked()
                if monotonic() - began > BLOCKED_SECONDS:
                    self.note_step(began)
                    began = 0.0
        except StopIteration as result:
            return result.value
        finally:
            end_if_forked()
            self._in_tool = False
            if began and monotonic() - began > BLOCKED_SECONDS:
                self.note_step(began)

    def _mark_cancelled(self) -> None:
        # If the task was not cancelled, the tool awaited something that was.
        if self.context is not None and self.cancelled_from_outside():
            self.context.mark_cancelled()

    def _take_back(self) -> None:
        if self._requested and self._task is not None:
            self._requested = False
            self._task.uncancel()

    def _limit_cleanup(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(CLEANUP_SECONDS, self._abandon)

    def _expire(self) -> None:
        self.cancel(self.timeout_error())

    def _abandon(self) -> None:
        if self._in_tool and self._task is not None:
            self.abandoned = True
            self._take_back()
            self._requested = True
            self._task.cancel()

    def _orphan(self, tool: Coroutine[Any, Any, Any], cancelled: asyncio.CancelledError) -> None:
        _log.error("%s ignores its cancellation; it continues without a caller", self.tool.name)
        self.orphaned.spawn(_run_out(tool, cancelled), f"orphaned: {self.tool.name}")


def function_of(call: Call) -> "Tool":
    """Returns the function that a call runs."""
    tool = call.tool.tool
    assert tool is not None  # noqa: S101 - every call of a runner has one
    return tool


def end_if_forked() -> None:
    """Ends this process if it is a fork that a tool made in the event loop; called after each step."""
    if forks.process.ends:
        forks.end()


def deadline_text(name: str, seconds: float, waited_for: str) -> str:
    """Returns the text of a timeout.

    Args:
        name: The tool's.
        seconds: The call's whole timeout; 0 or less if the deadline had passed before the call.
        waited_for: What the tool waited for before it started; empty if it had started.
    """
    if seconds <= 0:
        return f"{name} did not end within its deadline, which had passed before the call; it never began"
    text = f"{name} did not end within its deadline of {max(0.001, round(seconds, 3)):.10g} s"
    if waited_for:
        return f"{text}; it never began, since it waited for {waited_for}, so that it is safe to call it again"
    return f"{text}; it had begun, and may have taken effect"


def _begun(call: Call, function: Callable[[], Any]) -> Any:
    if not call.stop_waiting():
        raise CallCancelledError(f"{call.tool.name}: the call was over before its tool began")
    return function()


async def _run_out(tool: Coroutine[Any, Any, Any], cancelled: asyncio.CancelledError) -> None:
    """Runs an orphaned coroutine to its end, in a task of its own."""
    await _steps(tool, cancelled)


@types.coroutine
def _steps(tool: Coroutine[Any, Any, Any], cancelled: asyncio.CancelledError) -> Generator[Any, Any, None]:
    try:
        waits_for = tool.throw(cancelled)
        while True:
            try:
                sent = yield waits_for
            except GeneratorExit:
                tool.close()
                raise
            except asyncio.CancelledError as again:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    # Its owner ends: a tool that ignored one cancellation is not asked again.
                    tool.close()
                    return
                waits_for = tool.throw(again)
            except BaseException as error:  # noqa: BLE001 - likewise the tool's to handle
                waits_for = tool.throw(error)
            else:
                waits_for = tool.send(sent)
    except (StopIteration, StopAsyncIteration, asyncio.CancelledError):
        return
    except GeneratorExit:
        raise
    except BaseException as error:  # noqa: BLE001 - likewise
        log_fault(_log, "an orphaned tool failed", error=error)
