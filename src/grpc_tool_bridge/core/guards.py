"""Who guards a hub, and who keeps what was done there: seams that rooms above the core fill. None by default."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from grpc_tool_bridge.core.limits import ConcurrencyLimiter
from grpc_tool_bridge.core.session_access import SessionAccess
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.context import RequestContext


class Access(Protocol):
    """Decides what principals may do in sessions. Without one, whoever is let in may do everything.

    ``None`` as a principal is this process, which may do everything. No method blocks, and all are quick.
    """

    def may_enter(self, session: Any, principal: Principal | None) -> bool:
        """Returns whether a principal may know of a session and use it at all."""

    def allows(self, session: Any, tool_name: str, principal: Principal | None, *, streams: bool = False) -> bool:
        """Returns whether a principal may call, or stream, the tools with a name in a session."""

    def sees(self, session: Any, tool_name: str, principal: Principal | None) -> bool:
        """Returns whether the tools with a name are listed for a principal; to others they do not exist."""

    def refusal(
        self, session: Any, tool_name: str, principal: Principal | None, *, streams: bool = False
    ) -> ToolBridgeError:
        """Returns the error for a principal that sees a tool and may not call it this way, and notes the refusal."""


class Shown(Protocol):
    """What a hub shows to whom, where it is asked otherwise than by its methods, as the gateway does.

    ``hub.shown`` is one; without, everything is shown to everybody.
    """

    def check_part(self, principal: Principal | None, part: str) -> None:
        """Checks whether a principal administers a part of the hub, such as "limits".

        Raises:
            AccessError: It does not.
        """

    def check_metrics(self, principal: Principal | None) -> None:
        """Checks whether a principal may see all metrics; raises AccessError."""

    def check_session(self, session: Any, principal: Principal | None) -> None:
        """Raises SessionNotFoundError if a principal may not use a session."""

    def sees_session(self, session: Any, principal: Principal | None) -> bool:
        """Returns whether a principal may use a session."""

    def sees_tool(self, session: Any, tool_name: str, principal: Principal | None) -> bool:
        """Returns whether a tool is listed for a principal; without a session (None), in any."""

    def sees_agent(self, session: Any, agent_id: str, principal: Principal | None) -> bool:
        """Returns whether a principal may run an agent of a session."""


class SessionEntry(Protocol):
    """Lets one caller into sessions, or refuses. Without one, everybody is let in."""

    def attach(self, session: Any) -> None:
        """Checks whether the caller may attach to a session.

        Raises:
            AccessError: It may not.
        """

    def begin(self, session_id: str) -> SessionAccess | None:
        """Returns to whom a session belongs that the caller begins; ``session_id`` is empty if the hub makes its id.

        Raises:
            AccessError: The caller may not begin it.
        """

    def tools_of(self, session: Any) -> Any:
        """Returns the ToolFilter for what the caller sees of the tools; None: it sees all."""


class Quota(Protocol):
    """What one principal may still use. No method blocks, and all are quick.

    Attributes:
        limiter: Limits its calls that run at once; None: any number may.
        counts_bytes: Whether it counts bytes; if not, nobody has to find out how many there are.
    """

    limiter: ConcurrencyLimiter | None
    counts_bytes: bool

    def may_take(self, size: int) -> bool:
        """Returns whether a call whose request has ``size`` bytes is within the quota."""

    def try_take(self, size: int, now: float) -> bool:
        """As ``take`` at ``now``, on the monotonic clock; returns False, and counts nothing, if that would raise."""
        ...

    def take(self, size: int) -> None:
        """Counts a call whose request has ``size`` bytes.

        Raises:
            ResourceExhaustedError: It is not within the quota, and was not counted; so for all that follow.
        """

    def take_bytes(self, size: int) -> None:
        """Counts bytes of what is no call."""

    def use_bytes(self, size: int, now: float) -> None:
        """Counts bytes of an answer at ``now``, on the monotonic clock; what is over is taken from what comes."""

    def check_sessions(self, present: int) -> None:
        """Refuses a further session to a principal that has so many."""

    def check_tokens(self) -> None:
        """Refuses a further run of an agent, or a further step of one, once all tokens are used."""

    def use_tokens(self, tokens: int) -> None:
        """Counts tokens that a model has taken."""


class Quotas(Protocol):
    """What principals may use. Without, all that the limits of the hub leave them."""

    def of(self, principal: Principal) -> Quota | None:
        """Returns what a principal may use; None: it has no quota."""

    def refused(self) -> int:
        """Returns how much was refused."""
        ...


class Audit(Protocol):
    """Keeps a line of each call and of each decision. There is none by default.

    It is called in the hub's event loop, and holds nothing up. A line is handed over before its call is answered.

    Attributes:
        refuses: Whether what must be audited is to be refused now, because it could not be.
    """

    @property
    def refuses(self) -> bool:
        """See above."""

    def refusal(self) -> ToolBridgeError:
        """Returns the error of what is refused."""
        ...

    async def open(self) -> None:
        """Begins the trail; raises StoreError if it cannot be written."""

    async def aclose(self) -> None:
        """Writes what is left, and ends the trail."""

    def abandon(self) -> None:
        """As ``aclose``, after the event loop has ended."""

    def counts(self) -> Mapping[str, int | float | str]:
        """Returns the metrics of the trail by name, each beginning with "audit_".

        Counters: ``audit_lines`` that were written, ``audit_lost`` and ``audit_failures`` to write. Gauges:
        ``audit_waiting``, lines that are not written yet, and ``audit_failing``, 1 while nothing can be written.
        """
        ...

    def opened_directly(self, context: RequestContext, session_id: str, tool: Any, data: bytes, place: int) -> Any:
        """Returns a note of a call of the usual form, which becomes its ``audited``.

        Args:
            context: The context of its request.
            session_id: Its session.
            tool: Its tool.
            data: Its request.
            place: Where its arguments begin.
        """

    def ended_directly(self, note: tuple[RequestContext, str, Any, bytes, int], duration_us: int, answer: Any) -> None:
        """Writes the line of a call that has no Call and succeeded.

        Args:
            note: The arguments of ``opened_directly``.
            duration_us: Its duration in microseconds.
            answer: Its answer, as bytes.
        """

    def opened(self, call: Any, context: RequestContext, request: Any) -> Any:
        """Returns a note of a call that is counted, which becomes its ``audited``; ``request`` as for ``started``."""

    def ended(self, call: Any, *, ok: bool, duration_us: int, outcome: Any) -> None:
        """Writes the line of a call that was opened; arguments as for ``CallObserver.ended``."""

    def unopened(
        self,
        request: Any,
        context: RequestContext,
        *,
        session_id: str,
        request_id: str = "",
        error: ErrorInfo | None = None,
        duration_us: int = 0,
    ) -> None:
        """Writes the line of a call that was not opened.

        Args:
            request: The request: of a call, a stream, a batch, an item of one, an agent or a run.
            context: Its context.
            session_id: As in the request.
            request_id: The id of the call, if it has one.
            error: Why it was refused; None: its idempotency key has an answer already, which it got.
            duration_us: How long that took.
        """

    def decision(
        self,
        principal: Principal | None,
        action: str,
        resource: str,
        *,
        allowed: bool,
        rule: str = "",
        peer: str = "",
        session_id: str = "",
        reason: str = "",
    ) -> None:
        """Writes the line of a decision that is no call.

        Args:
            principal: Who asked; None: nobody who is known.
            action: What for, such as "read".
            resource: Of what, such as the name of a variable.
            allowed: What was decided.
            rule: The rule that decided.
            peer: Where it came from, as ``RequestContext.source``.
            session_id: The session that it is about, if it is about one.
            reason: Why, if no rule says it; never a secret.

        Raises:
            StoreError: It is allowed, and must not be, since it cannot be written.
        """


class Approver(Protocol):
    """Has the calls of tools that need approval approved. Without one, a hub refuses them."""

    def check(self, call: Any, size: int) -> None:
        """Refuses a call that has no room to wait.

        Args:
            call: The call.
            size: Bytes of its request.

        Raises:
            ResourceExhaustedError: Its arguments are too large, or too many calls wait.
        """

    async def approve(self, call: Any, request: Any, digest: str, size: int) -> None:
        """Waits until a call is approved; what ends the call cancels this.

        Args:
            call: The call; its arguments were checked.
            request: The message with its ``args`` and ``kwargs``.
            digest: What a decision must name: it stands for the tool, its version and the arguments.
            size: Bytes of its request.

        Raises:
            AccessError: It was denied.
            ResourceExhaustedError: As for ``check``.
        """

    async def list_approvals(self, request: Any, shows: Callable[[str], bool]) -> Any:
        """Answers a ListApprovalsRequest: the calls that wait of the tools that are shown, the oldest first."""
        ...

    def has(self, approval_id: str) -> bool:
        """Returns whether a call waits for an approval."""

    def decide(self, request: Any, context: RequestContext, check: Callable[[str], object] | None) -> str:
        """Grants or denies a call that waits.

        Args:
            request: The DecideApprovalRequest; ``has`` said that its call waits.
            context: Says who decides.
            check: Called with the name of the tool; raises AccessError if the caller may not decide about its calls.

        Returns:
            The name of the tool.

        Raises:
            AccessError: Who decides may not.
            ConflictError: It was decided already, or the digest is another.
            ValidationError: The digest is missing.
        """
        ...
