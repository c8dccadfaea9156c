"""Calls as the hub has them."""

import asyncio

from grpc_tool_bridge.core.interfaces import Abortable
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.sessions import Session
from grpc_tool_bridge.errors import CallCancelledError, ToolBridgeError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo, Progress, ToolStreamChunk
from grpc_tool_bridge.rpc.asks import Asker
from grpc_tool_bridge.rpc.budgets import Budget
from grpc_tool_bridge.runner.calls import Call

# A worker ends a call itself, and alone knows whether the tool had begun: its answer is waited for a while longer, in
# seconds; less than what a client waits longer for the hub's.
WORKER_SLACK = 0.25

# A request beyond this is counted on its session; those of smaller ones that a session may have take little.
CHARGED_BYTES = 16 * 1024


class HubCall(Call):
    """A call that the hub has opened.

    Attributes:
        session, tool: Whose call of what.
        root: The outermost call above it; None where it is that itself.
        descendants: Calls that run below it, of an outermost one.
        parent: The call whose tool made this one; None for a call from outside.
        worker: Who runs it now; None where that is the hub itself, or where it waits for a worker.
        last_chunk: What its stream ended with, where the backend has it.
        error: What that says went wrong.
        forwarded: What waits for its outcome in its stead, where no task does.
        charged: The budget that counts its request, and the bytes.
        asker: Puts its tool's questions to whoever made the outermost call; None: they cannot answer.
        request_id: As its caller gave it, of a stream its id; empty: it gave none.
        run_id: Of the run of an agent that it is; empty: it is none.
        call_id: Made when somebody first asks for it, by ``CallIds``.
        progress: The last that its tool reported; None: none.
    """

    session: Session
    tool: RegisteredTool
    parent: "HubCall | None"
    root: "HubCall | None" = None
    descendants = 0
    worker: object | None = None
    last_chunk: ToolStreamChunk | bytes | None = None
    error: ErrorInfo | None = None
    forwarded: Abortable | None = None
    charged: tuple[Budget, int] | None = None
    asker: Asker | None = None
    request_id = ""
    run_id = ""
    call_id = ""
    progress: Progress | None = None
    _gave_slack = False

    def begin(self) -> bool:
        """As of any call; false where its session has ended, though nobody may have come to cancel it yet."""
        return self.session.ended is None and super().begin()

    def cancel(self, cause: ToolBridgeError) -> None:
        """Ends the call with ``cause``, unless it is ending already."""
        if self.forwarded is None:
            super().cancel(cause)
        elif self._cause is None:
            self._cause = cause
            self.forwarded.abort(cause)

    def refuse_ended(self) -> None:
        """Raises where its session ended while it waited."""
        if self.session.ended is not None:
            raise session_ended(self.session.ended)

    def charge(self, memory: Budget, size: int) -> None:
        """Counts a large request on the budget of its session; its connection counts it on the hub's.

        Raises:
            ResourceExhaustedError: There is no room.
        """
        # What is read of it takes as much again.
        memory.take_own(2 * size, f"the call of {self.tool.name}")
        self.charged = (memory, 2 * size)

    def uncharge(self) -> None:
        """Takes that back."""
        if self.charged is not None:
            memory, size = self.charged
            self.charged = None
            memory.give_back_own(size)

    def _expire(self) -> None:
        if self.worker is None or self._gave_slack:
            super()._expire()
        else:
            self._gave_slack = True
            self._timer = asyncio.get_running_loop().call_later(WORKER_SLACK, self._expire)


def session_ended(error: ToolBridgeError) -> CallCancelledError:
    """Makes the error for a call whose session ended while it ran."""
    return CallCancelledError(f"the call was cancelled: {error.message}")
