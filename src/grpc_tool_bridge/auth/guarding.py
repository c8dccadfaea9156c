"""Puts the guard of a hub together, as its settings say."""

from typing import Any

from grpc_tool_bridge.auth.access import HubAccess
from grpc_tool_bridge.auth.guarded_hub import GuardedHub
from grpc_tool_bridge.auth.policy.file import PolicyFile
from grpc_tool_bridge.auth.quotas.quotas import QuotaFile
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import ValidationError

# Settings that tell one principal from another. One token for all does not: whoever has it is the same principal.
_IDENTITIES = ("tokens_file", "jwt_issuer", "jwt_keys", "tls_client_ca", "unix_users")


class Guarding:
    """Guards one hub.

    Args:
        hub: The hub.
        policy: Its policy; None: there is none, and a session is its owner's.
        quotas: What principals may use; None: what the limits of the hub leave them.

    Attributes:
        front: What is to be served instead of the hub.
        access: What it decides by.
    """

    def __init__(self, hub: Hub, policy: PolicyFile | None, quotas: QuotaFile | None) -> None:
        self.access = HubAccess(policy)
        self.front = GuardedHub(hub, self.access)
        self._files = [file for file in (policy, quotas) if file is not None]
        if policy is not None:
            policy.on_change = self.front.policy_changed
        if quotas is not None:
            hub.admission.payers.quotas = quotas.quotas

    def start(self) -> None:
        """Begins to follow the files of the policy and of the quotas."""
        for file in self._files:
            file.start()

    async def aclose(self) -> None:
        """Ends following them."""
        for file in self._files:
            await file.aclose()

    def abandon(self) -> None:
        """Gives them up in an event loop that has ended."""
        for file in self._files:
            file.abandon()


def guarding_of(hub: Hub, settings: Settings, authenticator: Any = None) -> Guarding | None:
    """Returns the guard of a hub; None: its settings ask for none, and whoever is let in may do everything.

    Args:
        hub: The hub.
        settings: Its settings.
        authenticator: One that is not made by the settings; None: there is none.

    Raises:
        ValidationError: The policy or the quotas are not valid, or nothing tells who a caller is.
        OSError: They cannot be read.
    """
    tells_apart = authenticator is not None or any(getattr(settings, name, None) for name in _IDENTITIES)
    if settings.quotas is not None and not tells_apart:
        raise ValidationError(
            f"the quotas {settings.quotas} say how much each principal may use, and nothing tells this hub one from "
            "another; set tokens_file or another way to tell who a caller is"
        )
    if settings.policy is not None and not tells_apart and settings.bearer_token() is None:
        raise ValidationError(
            f"the policy {settings.policy} says who may do what, and nothing tells this hub who a caller is; set a "
            "token or another way to authenticate"
        )
    if settings.policy is None and not tells_apart:
        return None
    policy = None if settings.policy is None else PolicyFile(settings.policy)
    quotas = None if settings.quotas is None else QuotaFile(settings.quotas, settings.max_session_waiting)
    return Guarding(hub, policy, quotas)
