"""Who may use which sessions of a hub, and sharing them."""

from collections.abc import Callable

from grpc_tool_bridge.auth.access import HubAccess
from grpc_tool_bridge.auth.policy.model import NEW, Action, Decision
from grpc_tool_bridge.core.ended_sessions import no_session
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.session_access import DEFAULT_RIGHTS, MAX_SHARES, RIGHTS, SessionAccess, read_share
from grpc_tool_bridge.core.statuses import failed_status
from grpc_tool_bridge.core.tool_views import ToolFilter
from grpc_tool_bridge.errors import (
    AccessError,
    NotFoundError,
    ResourceExhaustedError,
    ToolBridgeError,
    ValidationError,
)
from grpc_tool_bridge.errors.near_names import did_you_mean
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.bounds import check_request, shown
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext

_NO_RIGHT = Decision(False, "", "the session is shared with the principal without this right")


class Entry:
    """Lets one caller into sessions, as ``SessionEntry`` says.

    Args:
        access: Decides.
        principal: The caller.
        check_quota: Raises ResourceExhaustedError if the caller has as many sessions as it may have.
        only: Returns which of the tools of a session it sees.
    """

    def __init__(
        self,
        access: HubAccess,
        principal: Principal | None,
        check_quota: Callable[[], None],
        only: Callable[[Session], ToolFilter | None],
    ) -> None:
        self._access = access
        self._check_quota = check_quota
        self._principal = principal
        self.tools_of = only

    def attach(self, session: Session) -> None:
        """See ``SessionEntry``."""
        if not self._access.may_enter(session, self._principal):
            # That it exists cannot be hidden from who may begin sessions: the id is taken.
            raise AccessError(f"the session {shown(session.id)} is another principal's; choose another id")

    def begin(self, session_id: str) -> SessionAccess | None:
        """See ``SessionEntry``."""
        self._access.check(self._principal, Action.OPEN, session_id or NEW)
        if self._principal is None or self._access.is_administrator(self._principal):
            return None
        self._check_quota()
        return SessionAccess(self._principal.name)


class GuardedSessions:
    """The sessions of a hub, for callers that may use some of them.

    Args:
        hub: The hub.
        access: Decides.
    """

    def __init__(self, hub: Hub, access: HubAccess) -> None:
        self._store = hub.store
        self._access = access

    def checked(self, session: Session, context: RequestContext) -> Session:
        """Returns a session if the caller may use it; raises SessionNotFoundError as if it were not there."""
        if not self._access.may_enter(session, context.principal):
            raise no_session(session.id)
        return session

    def require(self, session_id: str, context: RequestContext) -> Session:
        """Returns a session that the caller may use, without counting as its activity.

        Raises:
            SessionError: It is not there, or not for the caller.
        """
        return self.checked(self._store.peek(session_id), context)

    def require_right(
        self, session_id: str, context: RequestContext, right: Action, caller: Principal | None = None
    ) -> Session:
        """As ``require``, of a session in which the caller has a right.

        Args:
            session_id: The session.
            context: The context of the request.
            right: One of ``RIGHTS``.
            caller: Who asks, if it is another than the context says.

        Raises:
            SessionError: It is not there, or not for the caller.
            AccessError: It is shared with the caller without the right.
        """
        principal = caller or context.principal
        session = self._store.peek(session_id)
        if not self._access.may_enter(session, principal):
            raise no_session(session_id)
        if not self._access.may_in(session.access, session.id, principal, right):
            raise self._access.refused(principal, right, session_id, _NO_RIGHT)
        return session

    def require_owner(self, session_id: str, context: RequestContext, what: str) -> Session:
        """As ``require``, of a session that the caller owns; ``what`` it wants to do with it, for the text."""
        session = self.require(session_id, context)
        if not self._access.owns(session.access, session.id, context.principal):
            raise AccessError(f"only who owns the session {shown(session_id)} may {what} it")
        return session

    def may_cancel(self, access: SessionAccess | None, session_id: str, principal: Principal | None) -> bool:
        """Returns whether a principal may cancel the calls and runs of others in a session."""
        return self._access.may_in(access, session_id, principal, Action.CANCEL) or bool(
            self._access.decide_apart(principal, Action.CANCEL, session_id)
        )

    # ------------------------------------------------------------------------------------------------- sharing

    async def share(self, request: pb.ShareSessionRequest, context: RequestContext = LOCAL) -> pb.StatusResponse:
        """Lets another principal, or a group, use a session; for who owns it."""
        try:
            check_request(request)
            session, access = self._to_share(request.session_id, context)
            share = request.share
            _check_named(share.principal, share.group)
            for right in share.rights:
                if right not in RIGHTS:
                    more = did_you_mean(right, RIGHTS, f"the rights are {', '.join(RIGHTS)}")
                    raise ValidationError(f"{shown(right)} is no right{more}")
            shared = access.shared(read_share(share))
            if len(shared.shares) > MAX_SHARES:
                raise ResourceExhaustedError(
                    f"session {session.id!r} is shared with {MAX_SHARES} principals and groups, which is the limit"
                )
            await self._change(session, shared)
        except ToolBridgeError as error:
            return failed_status(error)
        who = f"the group {share.group!r}" if share.group else repr(share.principal)
        rights = ", ".join(sorted(share.rights or DEFAULT_RIGHTS))
        return pb.StatusResponse(success=True, message=f"session {session.id!r} is shared with {who}: {rights}")

    async def unshare(self, request: pb.UnshareSessionRequest, context: RequestContext = LOCAL) -> pb.StatusResponse:
        """Takes a share of a session back; for who owns it."""
        try:
            check_request(request)
            session, access = self._to_share(request.session_id, context)
            _check_named(request.principal, request.group)
            name = request.group or request.principal
            remaining = access.unshared(name, is_group=bool(request.group))
            if remaining == access:
                raise NotFoundError(f"session {session.id!r} is not shared with {shown(name)}")
            await self._change(session, remaining)
        except ToolBridgeError as error:
            return failed_status(error)
        return pb.StatusResponse(success=True, message=f"session {session.id!r} is no longer shared with {name!r}")

    async def _change(self, session: Session, access: SessionAccess) -> None:
        """Changes who may use a session, for those who use it now, too; nothing has changed if it cannot be stored."""
        before, session.access = session.access, access
        if self._store.durable is None:
            return
        try:
            await self._store.durable.set_access(session.id, access)
        except ToolBridgeError:
            if session.access is access:
                session.access = before
            raise

    def _to_share(self, session_id: str, context: RequestContext) -> tuple[Session, SessionAccess]:
        session = self.require_owner(session_id, context, "share")
        principal = context.principal
        if principal is not None and self._access.forbids_shares(principal, session_id):
            raise self._access.refused(
                principal, Action.SHARE, session_id, self._access.decide(principal, Action.SHARE, session_id)
            )
        return session, session.access or SessionAccess("")


def _check_named(principal: str, group: str) -> None:
    if bool(principal) == bool(group):
        raise ValidationError("a share is for one principal or one group; name one of them")
