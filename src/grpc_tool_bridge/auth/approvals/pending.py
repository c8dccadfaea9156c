"""The calls of a hub that wait for approval, and the decisions about them."""

import asyncio
import hmac
import json
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.infos import set_time, time_of
from grpc_tool_bridge.core.pages import page_of
from grpc_tool_bridge.errors import (
    AccessError,
    ConflictError,
    ResourceExhaustedError,
    ToolBridgeError,
    ValidationError,
)
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.authentication import BearerToken, Principal
from grpc_tool_bridge.rpc.bounds import shown
from grpc_tool_bridge.rpc.callers import caller_of
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.values.redaction import Redactor, TooManySecretsError
from grpc_tool_bridge.values.serialization import deserialize_value
from grpc_tool_bridge.values.tagged_json import to_json

# Calls that wait at once, and bytes of their arguments together.
MAX_PENDING = 1_000
MAX_PENDING_BYTES = 16 * 1024 * 1024
# Whoever decides has to be shown all of the arguments.
MAX_ARGUMENT_BYTES = 64 * 1024

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about a call.

    Attributes:
        approval_id: The approval's id.
        tool: The tool's name.
        digest: Stands for the tool, its version and the arguments.
        granted: Whether the call may run.
        caller: Who makes the call; None: not known.
        decided_by: Who decided; None: not known.
        reason: Why; may be empty.
    """

    approval_id: str
    tool: str
    digest: str
    granted: bool
    caller: Principal | None
    decided_by: Principal | None
    reason: str


@dataclass(slots=True, eq=False)
class _Pending:
    approval_id: str
    call: HubCall
    request: Any = field(repr=False)
    digest: str
    size: int
    decided: "asyncio.Future[Decision]"


class Approvals:
    """Keeps calls waiting until somebody decides, as ``core.guards.Approver`` says.

    Args:
        settings: The names and patterns of secrets that are not shown.
    """

    def __init__(self, settings: Settings) -> None:
        self._names, self._patterns = settings.record_redact, settings.record_redact_patterns
        self._pending: dict[str, _Pending] = {}
        self._bytes = 0

    def check(self, call: HubCall, size: int) -> None:
        """See ``Approver``."""
        if size > MAX_ARGUMENT_BYTES:
            raise ResourceExhaustedError(
                f"{call.tool.name} needs approval, and its arguments take {size:,} bytes; "
                f"{MAX_ARGUMENT_BYTES:,} can be shown to whoever approves"
            )
        if len(self._pending) >= MAX_PENDING or self._bytes + size > MAX_PENDING_BYTES:
            raise ResourceExhaustedError(
                f"{len(self._pending):,} calls wait for approval, which is as many as the hub keeps; call again later"
            )

    async def approve(self, call: HubCall, request: Any, digest: str, size: int) -> None:
        """See ``Approver``."""
        self.check(call, size)
        decided = asyncio.get_running_loop().create_future()
        pending = _Pending(secrets.token_hex(8), call, request, digest, size, decided)
        self._pending[pending.approval_id] = pending
        self._bytes += size
        try:
            decision = await decided
        finally:
            self._drop(pending)
        if not decision.granted:
            why = f": {decision.reason}" if decision.reason else ""
            raise AccessError(f"the call of {call.tool.name} was denied{why}")
        # For the audit trail, which has who decided, too.
        call.rule = f"approval {decision.approval_id}"

    def _drop(self, pending: _Pending) -> None:
        if self._pending.pop(pending.approval_id, None) is not None:
            self._bytes -= pending.size

    async def list_approvals(
        self, request: pb.ListApprovalsRequest, shows: Callable[[str], bool]
    ) -> pb.ListApprovalsResponse:
        """See ``Approver``."""
        page = await page_of(
            (pending for pending in tuple(self._pending.values()) if shows(pending.call.tool.name)),
            lambda pending: (pending.call.opened_at, pending.approval_id),
            lambda pending: self._info(pending, with_arguments=request.include_arguments),
            what="approvals",
            token=request.page_token,
            size=request.page_size,
        )
        return pb.ListApprovalsResponse(approvals=page.entries, next_page_token=page.next_token)

    def _info(self, pending: _Pending, *, with_arguments: bool) -> pb.ApprovalInfo | None:
        call = pending.call
        if call.over or pending.decided.done():
            return None
        info = pb.ApprovalInfo(
            approval_id=pending.approval_id,
            digest=pending.digest,
            tool=call.tool.name,
            version=call.tool.version,
            session_id=call.session.id,
            caller="" if call.principal is None else call.principal.name,
            via=call.via,
            time_left_ms=max(0, int((call.deadline - time.monotonic()) * 1_000)),
        )
        set_time(info.started_at, time_of(call.opened_at))
        if with_arguments:
            self._put_arguments(info, pending)
        return info

    def _put_arguments(self, info: pb.ApprovalInfo, pending: _Pending) -> None:
        # Each has one of its own: what is secret in one call need not be known in another.
        redactor = Redactor(self._names, patterns=self._patterns)
        names = [argument.name for argument in pending.call.tool.spec.arguments]
        request = pending.request
        try:
            named = {name: _plain(value) for name, value in request.kwargs.items()}
            for place, value in enumerate(request.args):
                # All that have no name of their own have the last one's.
                name = names[min(place, len(names) - 1)] if names else ""
                secret = bool(name) and redactor.is_secret(name)
                info.args.append(_json(redactor.json(_plain(value), secret=secret)))
            for name, value in redactor.json(named).items():
                info.kwargs[name] = _json(value)
        except TooManySecretsError:
            info.ClearField("args")
            info.ClearField("kwargs")

    def has(self, approval_id: str) -> bool:
        """See ``Approver``."""
        pending = self._pending.get(approval_id)
        return pending is not None and not pending.call.over

    def decide(
        self, request: pb.DecideApprovalRequest, context: RequestContext, check: Callable[[str], object] | None
    ) -> str:
        """See ``Approver``."""
        pending = self._pending[request.approval_id]
        if check is not None:
            check(pending.call.tool.name)
        if pending.decided.done():
            raise ConflictError(f"the approval {shown(request.approval_id)} was decided already")
        if not request.digest:
            raise ValidationError("digest is empty; name the digest of the arguments that you have seen")
        if not hmac.compare_digest(request.digest.encode(), pending.digest.encode()):
            raise ConflictError("the digest is not that of the call that waits; list the approvals again")
        caller, decider = pending.call.principal, caller_of(context)
        # Without a check no caller is told from another, so there is nobody that the other hub could name.
        if check is not None and context.principal is not None and decider is None:
            raise AccessError("another hub cannot decide for itself; connect to the hub where the call waits")
        if request.grant:
            self._check_grant(caller, decider)
        decision = Decision(
            pending.approval_id, pending.call.tool.name, pending.digest, request.grant, caller, decider, request.reason
        )
        pending.decided.set_result(decision)
        _log.info(
            "the call of %s was %s by %s", decision.tool, "granted" if decision.granted else "denied",
            shown(decider.name) if decider is not None else "an administrator",
        )  # fmt: skip
        return decision.tool

    def _check_grant(self, caller: Principal | None, decider: Principal | None) -> None:
        """Refuses that a caller approves its own call, where callers can be told apart."""
        if caller is None or decider is None or caller == _EVERYBODY:
            return
        if caller.name == decider.name:
            raise AccessError("who makes a call may not approve it; ask another principal to")


# Everybody who has the one token.
_EVERYBODY = BearerToken("x").principal_of(b"x")


def _plain(value: Any) -> Any:
    try:
        return to_json(deserialize_value(value))
    except (ToolBridgeError, ValueError, RecursionError):
        return {"$type": value.type_url, "value": None}


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
