"""The policy of a running hub: read at the start, and read again when its file changes."""

from collections.abc import Callable
from pathlib import Path

from grpc_tool_bridge.auth.followed_file import LOOK_SECONDS, FollowedFile
from grpc_tool_bridge.auth.policy.decisions import Decisions
from grpc_tool_bridge.auth.policy.model import Policy
from grpc_tool_bridge.auth.policy.reading import read_policy


class PolicyFile(FollowedFile[Policy]):
    """The policy in a file; see ``FollowedFile``.

    Args:
        path: The file.
        look_seconds: Seconds between two looks at it.

    Attributes:
        decisions: What the policy decides now.
        on_change: Called after another policy has begun to hold; None: nobody is.
    """

    decisions: Decisions

    def __init__(self, path: Path, *, look_seconds: float = LOOK_SECONDS) -> None:
        self.on_change: Callable[[], None] | None = None
        super().__init__(path, "the policy stays as it was", read_policy, self._policy_read, look_seconds=look_seconds)

    def _policy_read(self, policy: Policy) -> None:
        self.decisions = Decisions(policy)
        if self.on_change is not None:
            self.on_change()
