"""What a guarded hub shows to whom, where it is asked otherwise than by its methods."""

from grpc_tool_bridge.auth.access import HubAccess
from grpc_tool_bridge.auth.policy.model import Action
from grpc_tool_bridge.core.ended_sessions import no_session
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.tools.tool_versions import split_version

# A resource that only a rule for all metrics matches.
_ALL_METRICS = "*"


class ShownParts:
    """Decides what is shown, as ``core.interfaces.Shown`` says.

    Args:
        access: Decides.
    """

    def __init__(self, access: HubAccess) -> None:
        self._access = access

    def check_part(self, principal: Principal | None, part: str) -> None:
        """See ``Shown``."""
        self._access.check(principal, Action.ADMINISTER, part, apart=True)

    def check_metrics(self, principal: Principal | None) -> None:
        """See ``Shown``."""
        self._access.check(principal, Action.METRICS, _ALL_METRICS, apart=True)

    def check_session(self, session: Session, principal: Principal | None) -> None:
        """See ``Shown``."""
        if not self._access.may_enter(session, principal):
            raise no_session(session.id)

    def sees_session(self, session: Session, principal: Principal | None) -> bool:
        """See ``Shown``."""
        return self._access.may_enter(session, principal)

    def sees_tool(self, session: Session | None, tool_name: str, principal: Principal | None) -> bool:
        """See ``Shown``."""
        if session is not None:
            return self._access.sees(session, tool_name, principal)
        name = split_version(tool_name)[0]
        return any(self._access.decide(principal, action, name) for action in (Action.CALL, Action.STREAM))

    def sees_agent(self, session: Session, agent_id: str, principal: Principal | None) -> bool:
        """See ``Shown``."""
        has_right = self._access.may_in(session.access, session.id, principal, Action.RUN)
        return has_right and self._access.decide(principal, Action.RUN, agent_id).allowed
