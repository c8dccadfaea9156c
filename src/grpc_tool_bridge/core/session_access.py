"""To whom a session belongs, and who else may use it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.authentication import Principal

# What an owner can let others do in a session. Who has any of them sees the session and its tools, and keeps it alive.
RIGHTS = ("call", "stream", "read", "write", "run", "register", "calls", "cancel")
# What an owner gives who names no rights.
DEFAULT_RIGHTS = ("call", "stream", "read", "write", "run")
# With whom one session can be shared.
MAX_SHARES = 100

NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Share:
    """An invitation to use a session.

    Attributes:
        name: Of a principal, or of a group.
        is_group: Whether everybody in a group is meant.
        rights: Some of ``RIGHTS``.
    """

    name: str
    is_group: bool = False
    rights: frozenset[str] = frozenset(DEFAULT_RIGHTS)


@dataclass(frozen=True, slots=True)
class SessionAccess:
    """Who may use a session.

    Attributes:
        owner: The name of the principal that has begun it, who may do all in it.
        shares: Who else may use it.
    """

    owner: str
    shares: tuple[Share, ...] = ()

    def rights_of(self, principal: Principal) -> frozenset[str]:
        """Returns what the shares let a principal do; the owner needs none."""
        found = NOTHING
        for share in self.shares:
            if share.name in principal.groups if share.is_group else share.name == principal.name:
                found |= share.rights
        return found

    def shared(self, share: Share) -> "SessionAccess":
        """Returns the same with a share, in place of an earlier one with the same name."""
        return replace(self, shares=(*self._others(share.name, is_group=share.is_group), share))

    def unshared(self, name: str, *, is_group: bool) -> "SessionAccess":
        """Returns the same without a share."""
        return replace(self, shares=tuple(self._others(name, is_group=is_group)))

    def _others(self, name: str, *, is_group: bool) -> Iterable[Share]:
        return (share for share in self.shares if (share.name, share.is_group) != (name, is_group))


def access_message(access: SessionAccess) -> pb.SessionAccess:
    """Writes who may use a session."""
    message = pb.SessionAccess(owner=access.owner)
    for share in access.shares:
        named = {"group": share.name} if share.is_group else {"principal": share.name}
        message.shares.add(**named, rights=sorted(share.rights))
    return message


def read_access(message: pb.SessionAccess) -> SessionAccess:
    """Reads what ``access_message`` has written."""
    return SessionAccess(message.owner, tuple(map(read_share, message.shares)))


def read_share(message: pb.SessionShare) -> Share:
    """Reads one share; without rights it has the default ones."""
    rights = frozenset(message.rights or DEFAULT_RIGHTS)
    return Share(message.group or message.principal, is_group=bool(message.group), rights=rights)
