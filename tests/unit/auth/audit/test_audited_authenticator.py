from typing import Any

import pytest

from grpc_tool_bridge import AccessError
from grpc_tool_bridge.auth.audit.audited_authenticator import AuditedAuthenticator
from grpc_tool_bridge.rpc.authentication import BearerToken, PeerInfo


class Trail:
    def __init__(self) -> None:
        self.decisions: list[tuple[Any, ...]] = []

    def decision(self, principal: Any, action: str, resource: str, **how: Any) -> None:
        self.decisions.append((principal, action, resource, how))


def test_who_is_let_in_has_no_line_and_who_is_not_has_one() -> None:
    trail = Trail()
    audited = AuditedAuthenticator(BearerToken("word"), trail)  # type: ignore[arg-type] # what it needs
    assert audited.authenticate(PeerInfo([("authorization", "Bearer word")])).name == "token"
    assert trail.decisions == []
    with pytest.raises(AccessError):
        audited.authenticate(PeerInfo([("authorization", "Bearer another")], address="10.0.0.1:5"))
    ((principal, action, _, how),) = trail.decisions
    assert (principal, action) == (None, "authenticate")
    assert how == {"allowed": False, "peer": "10.0.0.1:5", "reason": "the token is wrong"}
