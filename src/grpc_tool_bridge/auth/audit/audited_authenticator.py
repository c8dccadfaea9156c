"""Audits who was not let in."""

from grpc_tool_bridge.core.guards import Audit
from grpc_tool_bridge.errors import AccessError
from grpc_tool_bridge.rpc.authentication import Authenticator, PeerInfo, Principal


class AuditedAuthenticator:
    """An authenticator whose refusals have a line in the audit trail; what it lets in shows in the lines of calls.

    Args:
        authenticator: Decides who callers are.
        audit: The trail.
    """

    def __init__(self, authenticator: Authenticator, audit: Audit) -> None:
        self._authenticator = authenticator
        self._audit = audit

    def authenticate(self, peer: PeerInfo) -> Principal:
        """See ``Authenticator``."""
        try:
            return self._authenticator.authenticate(peer)
        except AccessError as error:
            self._audit.decision(None, "authenticate", "", allowed=False, peer=peer.address, reason=error.message)
            raise
