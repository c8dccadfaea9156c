"""Callers at the local socket, by the user of their process, which the system tells."""

import os
from collections.abc import Sequence

from grpc_tool_bridge.rpc.authentication import Principal, unauthenticated

# Stands for every user that the socket admits.
EVERYBODY = "*"


class UnixUsers:
    """Authenticates callers by their user ids.

    Args:
        entries: As in the setting ``unix_users``.

    Raises:
        ValueError: An entry names no user of this machine.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self._has_all = EVERYBODY in entries
        self._principals: dict[int, Principal] = {}
        for entry in entries:
            if entry != EVERYBODY:
                user, _, name = entry.partition("=")
                uid = _uid_of(user.strip())
                self._principals[uid] = _principal(uid, name.strip() or _name_of(uid))

    def principal_of(self, uid: int) -> Principal:
        """Returns who a user is.

        Raises:
            AccessError: The user is none of those that need no token.
        """
        found = self._principals.get(uid)
        if found is None and self._has_all:
            # The socket admits only the hub's own user and root.
            found = self._principals[uid] = _principal(uid, _name_of(uid))
        if found is None:
            raise unauthenticated(f"the user {uid} needs a token here; send it, or add the user to unix_users")
        return found


def _principal(uid: int, name: str) -> Principal:
    return Principal(name, claims={"uid": uid}, method="user")


def _uid_of(user: str) -> int:
    if user.isdecimal():
        return int(user)
    if os.name == "nt":
        raise ValueError("unix_users needs a system with Unix sockets")
    import pwd  # noqa: PLC0415 - not on Windows

    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ValueError(f"unix_users: this machine has no user {user!r:.80}") from None


def _name_of(uid: int) -> str:
    """Returns the name of a user; its id if it has none."""
    if os.name == "nt":
        return str(uid)
    import pwd  # noqa: PLC0415 - not on Windows

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
