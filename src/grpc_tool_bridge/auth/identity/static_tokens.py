"""Callers with a token of their own, by name."""

import time
from pathlib import Path

from grpc_tool_bridge.auth.identity.tokens_file import PREFIX, StaticToken, read_tokens, split_token
from grpc_tool_bridge.auth.identity.watched_file import WatchedFile
from grpc_tool_bridge.rpc.authentication import WRONG_TOKEN, Principal, unauthenticated


class StaticTokens:
    """Authenticates callers by the tokens of a file, which may change at any time.

    Args:
        path: The file.

    Raises:
        ValueError: The file cannot be used.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path, read_tokens, named="tokens_file")

    def principal_of(self, token: bytes) -> Principal | None:
        """Returns who has a token; None if it has another form.

        Raises:
            AccessError: It is wrong, revoked or expired.
        """
        if not token.startswith(PREFIX):
            return None
        parts = split_token(token)
        found = None if parts is None else self._file.content().get(parts[0])
        if found is None or parts is None or not found.has_secret(parts[1]):
            raise unauthenticated(WRONG_TOKEN)
        _check_state(found)
        return Principal(found.name, found.groups, {"token_id": found.id}, "token", found.expires)


def _check_state(token: StaticToken) -> None:
    # Only who has the token is told.
    state = token.state(time.time())
    if state == "revoked":
        raise unauthenticated(f"the token {token.id} of {token.name} was revoked; use another one")
    if state == "expired":
        raise unauthenticated(f"the token {token.id} of {token.name} has expired; use another one")
