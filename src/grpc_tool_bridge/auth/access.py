"""What principals may do at a hub: by its policy, and in sessions by who owns them."""

import logging
from typing import Protocol

from grpc_tool_bridge.auth.policy.decisions import Decisions
from grpc_tool_bridge.auth.policy.model import Action, Decision
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.session_access import SessionAccess
from grpc_tool_bridge.errors import AccessError, ToolBridgeError
from grpc_tool_bridge.errors.throttled_log import ThrottledLog
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.bounds import shown
from grpc_tool_bridge.rpc.callers import HUB_METHOD
from grpc_tool_bridge.tools.tool_versions import split_version

_log = logging.getLogger(__name__)

_ALLOWED = Decision(True, "", "there is no policy, and the session is the principal's own or shared with it")
_ADMINISTRATOR = Decision(True, "", "this process and the other hubs of the cluster may do everything")
_NOT_IN_SESSION = Decision(
    False, "", "the session is another principal's, who has not shared it for this, and no rule allows to share it"
)
_NOT_WITHOUT_POLICY = Decision(False, "", "without a policy, only what is one's own may be seen and changed")


class Rules(Protocol):
    """Has the policy that holds now; ``PolicyFile`` is one."""

    decisions: Decisions


class HubAccess:
    """Decides for one hub; it is its ``Access``.

    Args:
        rules: The policy; None: there is none, and a session is its owner's.
    """

    def __init__(self, rules: Rules | None) -> None:
        self._rules = rules
        # A caller can trigger these log lines as often as it likes.
        self._throttled = ThrottledLog(_log)

    @staticmethod
    def is_administrator(principal: Principal | None) -> bool:
        """Returns whether a principal may do everything: it is this process, or another hub of the cluster."""
        return principal is None or principal.method == HUB_METHOD

    @property
    def has_policy(self) -> bool:
        """Whether there is a policy."""
        return self._rules is not None

    def decide(self, principal: Principal | None, action: Action, resource: str) -> Decision:
        """Decides by the policy alone, whether a principal may do something with a resource of its own or of none."""
        if principal is None or principal.method == HUB_METHOD:
            return _ADMINISTRATOR
        if self._rules is None:
            return _ALLOWED
        return self._rules.decisions.decide(principal, action, resource)

    def decide_apart(self, principal: Principal | None, action: Action, resource: str) -> Decision:
        """Decides about what is not the principal's own: without a policy that is refused."""
        if self._rules is None and principal is not None and principal.method != HUB_METHOD:
            return _NOT_WITHOUT_POLICY
        return self.decide(principal, action, resource)

    # ------------------------------------------------------------------------------------------------- sessions

    def owns(self, access: SessionAccess | None, session_id: str, principal: Principal | None) -> bool:
        """Returns whether a principal may do all in a session: it is its owner, or a rule makes it as good as that."""
        if principal is None or principal.method == HUB_METHOD:
            return True
        if access is not None and access.owner == principal.name:
            return True
        return bool(self.decide_apart(principal, Action.SHARE, session_id))

    def may_enter(self, session: Session, principal: Principal | None) -> bool:
        """As in ``Access``."""
        return self.knows(session.access, session.id, principal)

    def knows(self, access: SessionAccess | None, session_id: str, principal: Principal | None) -> bool:
        """Returns whether a principal may know of a session: it is its own, shared with it, or given by a rule."""
        if self.owns(access, session_id, principal):
            return True
        assert principal is not None  # noqa: S101 - it would own it
        return (
            access is not None and bool(access.rights_of(principal)) and not self.forbids_shares(principal, session_id)
        )

    def may_in(self, access: SessionAccess | None, session_id: str, principal: Principal | None, right: str) -> bool:
        """Returns whether a principal has one of ``RIGHTS`` in a session; the policy may still forbid it."""
        if self.owns(access, session_id, principal):
            return True
        assert principal is not None  # noqa: S101 - it would own it
        return (
            access is not None
            and right in access.rights_of(principal)
            and not self.forbids_shares(principal, session_id)
        )

    def forbids_shares(self, principal: Principal, session_id: str) -> bool:
        """Returns whether a rule takes from a principal what the owners of sessions give it."""
        return self._rules is not None and self._rules.decisions.of(principal).denies(Action.SHARE, session_id)

    # ---------------------------------------------------------------------------------------------------- calls

    def allows(self, session: Session, tool_name: str, principal: Principal | None, *, streams: bool = False) -> bool:
        """As in ``Access``."""
        if principal is None or principal.method == HUB_METHOD:
            return True
        access = session.access
        if (access is None or access.owner != principal.name) and not self.may_in(
            access, session.id, principal, "stream" if streams else "call"
        ):
            return False
        if self._rules is None:
            return True
        rules = self._rules.decisions.of(principal)
        if streams:
            return rules.decide(Action.STREAM, split_version(tool_name)[0]).allowed
        known = rules.calls.get(tool_name)
        return rules.may_call(tool_name) if known is None else known

    def sees(self, session: Session, tool_name: str, principal: Principal | None) -> bool:
        """As in ``Access``."""
        return self.allows(session, tool_name, principal) or self.allows(session, tool_name, principal, streams=True)

    def refusal(
        self, session: Session, tool_name: str, principal: Principal | None, *, streams: bool = False
    ) -> ToolBridgeError:
        """As in ``Access``."""
        action = Action.STREAM if streams else Action.CALL
        if not self.may_in(session.access, session.id, principal, action):
            return self.refused(principal, action, tool_name, _NOT_IN_SESSION)
        return self.refused(principal, action, tool_name, self.decide(principal, action, split_version(tool_name)[0]))

    # ------------------------------------------------------------------------------------------------- refusals

    def check(self, principal: Principal | None, action: Action, resource: str, *, apart: bool = False) -> None:
        """Raises AccessError unless the policy allows something; ``apart`` as for ``decide_apart``."""
        decision = (self.decide_apart if apart else self.decide)(principal, action, resource)
        if not decision.allowed:
            raise self.refused(principal, action, resource, decision)

    def refused(self, principal: Principal | None, action: str, resource: str, decision: Decision) -> AccessError:
        """Notes a refusal, and returns the error for the caller, who is not told which rule decides."""
        name = principal.name if principal is not None else "this process"
        self._throttled.warning("%s may not %s %s: %s", shown(name), action, shown(resource), decision.why)
        return AccessError(f"{shown(name)} may not {action} {shown(resource)}; ask who runs the hub for a rule")
