"""Puts the guard of a hub together, as its settings say."""

from typing import Any

from grpc_tool_bridge.auth.access import HubAccess
from grpc_tool_bridge.auth.guarded_hub import GuardedHub
from grpc_tool_bridge.auth.policy.file import PolicyFile
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

    Attributes:
        front: What is to be served instead of the hub.
        access: What it decides by.
    """

    def __init__(self, hub: Hub, policy: PolicyFile | None) -> None:
        self.access = HubAccess(policy)
        self.front = GuardedHub(hub, self.access)
        self._policy = policy
        if policy is not None:
            policy.on_change = self.front.policy_changed

    def start(self) -> None:
        """Begins to follow the file of the policy."""
        if self._policy is not None:
            self._policy.start()

    async def aclose(self) -> None:
        """Ends following it."""
        if self._policy is not None:
            await self._policy.aclose()

    def abandon(self) -> None:
        """Gives it up in an event loop that has ended."""
        if self._policy is not None:
            self._policy.abandon()


def guarding_of(hub: Hub, settings: Settings, authenticator: Any = None) -> Guarding | None:
    """Returns the guard of a hub; None: its settings ask for none, and whoever is let in may do everything.

    Args:
        hub: The hub.
        settings: Its settings.
        authenticator: One that is not made by the settings; None: there is none.

    Raises:
        ValidationError: The policy is not valid, or nothing tells who a caller is.
        OSError: The policy cannot be read.
    """
    tells_apart = authenticator is not None or any(getattr(settings, name, None) for name in _IDENTITIES)
    if settings.policy is None:
        return Guarding(hub, None) if tells_apart else None
    if not tells_apart and settings.bearer_token() is None:
        raise ValidationError(
            f"the policy {settings.policy} says who may do what, and nothing tells this hub who a caller is; set a "
            "token or another way to authenticate"
        )
    return Guarding(hub, PolicyFile(settings.policy))
