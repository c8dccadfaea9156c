"""Runs the usual call without the layers of the general way, which takes the same steps.

The usual call is of an async function without a context. Only if its first step does not finish it, or if there is
something to tell of it, it gets a ``Call``.
"""

import types
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallResponse
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.nodes import SLOW_BYTES
from grpc_tool_bridge.runner.calls import Call, CallTool, end_if_forked
from grpc_tool_bridge.runner.error_formatter import ToolRaised
from grpc_tool_bridge.runner.runner import ToolRunner, set_duration
from grpc_tool_bridge.tools.tool import Tool
from grpc_tool_bridge.values.call_bytes import packed_scalar, success_of
from grpc_tool_bridge.values.scalars import SCALARS

S_contra = TypeVar("S_contra", contravariant=True)
T_contra = TypeVar("T_contra", bound=CallTool, contravariant=True)
P = TypeVar("P")

# A larger request is left to the general way, which gives other tasks a turn.
MAX_BYTES = SLOW_BYTES

# Returns the Call of a call that is told of from its start.
Open = Callable[[], Call] | None
# The arguments by position and by name.
Bound = tuple[Sequence[Any], Mapping[str, Any]]
# Serialized, or as a message.
Answer = Payload | ToolCallResponse


class Owner(Protocol[S_contra, T_contra, P]):
    """Whose calls they are."""

    def enter(self, session: S_contra, tool: T_contra, note: Any, /) -> P | None:
        """Counts a call; returns what it holds while it runs, or None if it has to wait for that."""

    def make_call(self, session: S_contra, tool: T_contra, deadline: float, opened_at: float, note: Any, /) -> Call:
        """Returns the Call of a call that was opened before; ``note`` as given to ``run``."""

    def acquire(self, call: Any, /) -> Awaitable[P]:
        """Waits for what the call holds while it runs; raises what ends the call."""

    def end(
        self,
        session: S_contra,
        tool: T_contra,
        opened_at: float,
        held: P | None,
        call: Any,
        answer: Answer | None,
        note: Any,
        /,
    ) -> None:
        """Ends a call that was counted.

        Args:
            session: As given to ``run``.
            tool: Likewise.
            opened_at: Likewise.
            held: From ``enter`` or ``acquire``; None if they returned nothing.
            call: Its Call; None if there was no need of one.
            answer: As bytes if it succeeded, as a message if it failed, None if it was cancelled.
            note: As given to ``run``.
        """


def runs_directly(tool: Tool) -> bool:
    """Returns whether calls of a function can run without the general way's layers."""
    return tool.is_async and not tool.is_stream and not tool.needs_context


class DirectRunner(Generic[S_contra, T_contra, P]):
    """Runs calls of functions for which ``runs_directly`` is true.

    Args:
        runner: Takes the steps that few calls need.
        owner: Whose calls they are.
    """

    def __init__(self, runner: ToolRunner, owner: Owner[S_contra, T_contra, P]) -> None:
        self._runner = runner
        self._owner = owner

    @types.coroutine
    def run(
        self, session: S_contra, tool: T_contra, bound: Bound, deadline: float, opened_at: float, opens: Open, note: Any
    ) -> Generator[Any, Any, Answer]:
        """Runs a call.

        Args:
            session: What it belongs to.
            tool: What it calls.
            bound: The arguments.
            deadline: On the monotonic clock.
            opened_at: Likewise.
            opens: Called when it starts, and returns its Call; None: it need not have one from the start.
            note: What the owner notes of it.

        Returns:
            The answer: a serialized ToolCallResponse if it succeeded, else the message.

        Raises:
            asyncio.CancelledError: The caller cancelled the call.
        """
        owner, function = self._owner, tool.tool
        assert function is not None  # noqa: S101 - as the caller has checked
        call, in_tool = None if opens is None else opens(), False
        answer: Answer | None = None
        held = owner.enter(session, tool, note)
        try:
            if held is None:
                call = call or self._made(session, tool, bound, deadline, opened_at, note)
                held = yield from owner.acquire(call).__await__()
            in_tool = True
            work = function.function(*bound[0], **bound[1])
            if call is not None:
                value = yield from call.step(work if call.trace is None else call.trace.around(call, work))
            else:
                try:
                    waits_for = work.send(None)
                except StopIteration as result:
                    value = result.value
                else:
                    call = self._made(session, tool, bound, deadline, opened_at, note)
                    value = yield from call.resume(work, waits_for)
            is_scalar = type(value) in SCALARS and (function.result is None or type(value) in function.result.accepts)
            in_tool = False
            if forks.process.ends:
                forks.end()
            if call is not None and is_scalar:
                call.refuse_late()
            packed = packed_scalar(value) if is_scalar else None
            if packed is not None:
                answer = success_of(packed, int((monotonic() - opened_at) * 1_000_000))
            else:
                call = call or self._made(session, tool, bound, deadline, opened_at, note)
                answer = yield from self._runner.answer_with(call, function, value, is_scalar=is_scalar).__await__()
        except BaseException as error:  # noqa: BLE001 - every failure is an answer
            call = call or self._made(session, tool, bound, deadline, opened_at, note)
            answer = yield from self._failed(call, error, in_tool=in_tool).__await__()
        finally:
            owner.end(session, tool, opened_at, held, call, answer, note)
        return answer

    def _made(
        self, session: S_contra, tool: T_contra, bound: Bound, deadline: float, opened_at: float, note: Any
    ) -> Call:
        """Returns the Call of a call, with the arguments that a list of the running calls shows."""
        if forks.process.ends:
            forks.end()
        call = self._owner.make_call(session, tool, deadline, opened_at, note)
        call.prepared = bound
        return call

    async def _failed(self, call: Call, error: BaseException, *, in_tool: bool) -> ToolCallResponse:
        """Returns the answer of a call that failed; raises the error if the caller cancelled the call."""
        end_if_forked()
        failure = ToolRaised(error) if in_tool and call.is_raised_by_tool(error) else error
        answer = ToolCallResponse(error=await self._runner.error_info_of(failure, call), request_id=call.identify())
        set_duration(answer.metrics, int((monotonic() - call.opened_at) * 1_000_000))
        return answer
