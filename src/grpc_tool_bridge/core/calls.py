"""The calls of the hub."""

import asyncio
from typing import Any

from grpc_tool_bridge.core.chaos.injections import Injection
from grpc_tool_bridge.core.guards import Quota
from grpc_tool_bridge.core.interfaces import Abortable
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.errors import CallCancelledError, ToolBridgeError, UnavailableError
from grpc_tool_bridge.link.calls import WorkerCall, WorkerLostError
from grpc_tool_bridge.link.connection import CallOrigin
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo, Progress, ToolStreamChunk
from grpc_tool_bridge.rpc.asks import Asker
from grpc_tool_bridge.rpc.budgets import Budget
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.callers import caller_of, extended
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.rpc.request_ids import new_request_id, request_id_of
from grpc_tool_bridge.runner.calls import Call

# A worker enforces the deadline itself, and it alone knows whether the tool had begun. So the hub waits this many
# seconds longer for its answer; a client waits longer than this for the hub's.
WORKER_SLACK = 0.25

# A larger request is charged to its session; the smaller ones that a session can have take little memory.
CHARGED_BYTES = 16 * 1024


class HubCall(Call):
    """A call that the hub has opened.

    Attributes:
        session, tool: The session that it belongs to, and the tool that it calls.
        root: The outermost call above it; None if it is the outermost.
        descendants: Running calls below it, if it is the outermost.
        parent: The call whose tool made this one; None for a call from outside.
        worker: The worker that runs it, or ran it until it ended; None if the hub does, or if it waits for a worker.
        last_chunk: The last chunk of its stream, if the backend has it.
        error: The error in ``last_chunk``.
        forwarded: Waits for its outcome, if no task does.
        injection: The faults that chaos injects into it; None: none.
        charged: The budget to which its request is charged, and the bytes.
        asker: Sends its tool's questions to the caller of the outermost call; None if that caller cannot answer.
        request_id: As given by its caller, for a stream the stream id; empty: none, and ``identify`` was not called.
        adds_metadata: Whether the metadata of its session is added to its own; if not, it was already.
        remote: Its last request to a worker; None: it was sent to none.
        run_id: The id of the agent run; empty for other calls.
        call_id: Set by ``CallIds`` when it is first needed.
        progress: The last progress that its tool reported, if any.
        watched: Whether those who watch a sample of the calls are told of it; None: not decided.
        notable: Whether it has ended as one of the slowest of its time.
        origin: The call of another hub that it runs for, a CallOrigin; None: it is this hub's own.
        lost: If it runs for another hub: why that one has to choose again who runs it.
        quota: What its principal may use; None: it has no quota, or it is a nested call, which is not counted.
        audited: What the audit trail noted when it was opened; None: there is no trail.
        rule: The rule that has allowed it, for the audit trail; empty: there is none, or an authorizer does not tell.
    """

    session: Session
    tool: RegisteredTool
    parent: "HubCall | None"
    root: "HubCall | None" = None
    descendants = 0
    worker: object | None = None
    last_chunk: ToolStreamChunk | Payload | None = None
    error: ErrorInfo | None = None
    forwarded: Abortable | None = None
    injection: Injection | None = None
    charged: tuple[Budget, int] | None = None
    asker: Asker | None = None
    remote: WorkerCall | None = None
    adds_metadata = True
    run_id = ""
    call_id = ""
    progress: Progress | None = None
    watched: bool | None = None
    notable = False
    origin: CallOrigin | None = None
    lost: WorkerLostError | None = None
    quota: Quota | None = None
    audited: Any = None
    rule = ""
    _gave_slack = False

    @property
    def payer(self) -> str:
        """Whose turn it takes where calls wait, and whose quota it uses; empty: nobody's."""
        return "" if self.principal is None else self.principal.name

    @property
    def known_id(self) -> str:
        """The id of the call, as its worker knows it, too; empty if there is none yet."""
        remote = self.remote
        if self.request_id or remote is None:
            return self.request_id
        return request_id_of(getattr(remote.carrier, "link_id", ""), remote.id)

    def identify(self) -> str:
        """Returns the id of the call; makes one if its caller gave none."""
        if not self.request_id:
            # A thread of the tool may ask at the same time.
            self.request_id = self.__dict__.setdefault("_made_id", self.known_id or new_request_id())
        return self.request_id

    def made_for(self, context: RequestContext) -> None:
        """Takes the principal and the delegation of its request; another hub that makes one for itself is nobody."""
        principal = caller_of(context)
        if principal is not None:
            self.principal = principal
            if context.via:
                self.via = context.via

    @property
    def delegation(self) -> tuple[str, ...]:
        """How the calls that its tool or its agent makes come from the principal."""
        if self.principal is None:
            return ()
        return extended(self.via, "agent" if self.run_id else "tool", self.tool.name)

    def metadata_of(self, request: Any) -> dict[str, str]:
        """Returns the metadata that the tool finds: that of the call over that of its session."""
        own, of_session = super().metadata_of(request), self.session.metadata
        return {**of_session, **own} if of_session and self.adds_metadata else own

    def stop_waiting(self) -> bool:
        """As for any call; also False if its session has ended, even if the call is not cancelled yet."""
        return self.session.ended is None and super().stop_waiting()

    def cancel(self, cause: ToolBridgeError) -> None:
        """Ends the call with ``cause``, unless it is ending already."""
        if self.forwarded is None:
            super().cancel(cause)
        elif self._cause is None:
            self._cause = cause
            self.forwarded.abort(cause)

    def refuse_ended(self) -> None:
        """Raises if its session ended while it waited."""
        if self.session.ended is not None:
            raise session_ended(self.session.ended)

    def charge(self, memory: Budget, size: int) -> None:
        """Charges a large request to its session; its connection charges it to the hub.

        Raises:
            ResourceExhaustedError: The session has no memory left.
        """
        # Its parsed arguments take as much again.
        memory.take_own(2 * size, f"the call of {self.tool.name}")
        self.charged = (memory, 2 * size)

    def uncharge(self) -> None:
        """Gives the charge back."""
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


def session_ended(error: ToolBridgeError) -> ToolBridgeError:
    """Returns the error for a call whose session ended, or moved to another hub, while it ran."""
    if isinstance(error, UnavailableError):
        return UnavailableError(error.message, details=dict(error.details))
    return CallCancelledError(f"the call was cancelled: {error.message}")
