"""The lines of usual calls, which succeed at once: nearly all of what a busy hub writes.

The event loop hands over what they are made of, and the writer's thread makes many of them in a row, which takes a
fraction of what it takes between other work.
"""

import json
import time

from grpc_tool_bridge.auth.audit.arguments import empty_digest, plain_arguments
from grpc_tool_bridge.auth.audit.keys import AuditKeys
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.bounds import MAX_NAME_CHARS
from grpc_tool_bridge.rpc.context import RequestContext

# Beginnings of lines that are remembered, by who calls what.
MAX_HEADS = 10_000

_NS = 1_000_000_000

# The context of a call, the id of its session, its tool, its request, and where the arguments begin in that.
UsualNote = tuple[RequestContext, str, RegisteredTool, bytes, int]
# When it ended, in nanoseconds since the epoch; its note; and its duration in microseconds.
UsualCall = tuple[int, UsualNote, int]


class UsualLines:
    """Makes the fields of lines; used by one thread.

    Args:
        keys: The keys.
    """

    def __init__(self, keys: AuditKeys) -> None:
        self._digest = empty_digest(keys)
        self._second = -1
        self._time = ""
        # By session, tool, principal, source and delegation: the principal, who it is, and the beginning of its lines.
        self._heads: dict[tuple[str, str, int, str, tuple[str, ...]], tuple[Principal | None, str, str]] = {}

    def fields(self, call: UsualCall) -> str:
        """Returns the fields of the line of a call."""
        ended_at, (context, session_id, tool, data, place), duration_us = call
        second, rest = divmod(ended_at, _NS)
        if second != self._second:
            self._second, self._time = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _, head = self.head(context, session_id, tool.id)
        digest = self._digest.copy()
        digest.update(plain_arguments(data, place))
        return f'"time":"{self._time}.{rest:09d}Z",{head}{digest.hexdigest()}","outcome":"ok","us":{duration_us}'

    def head(self, context: RequestContext, session_id: str, tool_id: str) -> tuple[str, str]:
        """Returns the fields that say who makes a call, and those up to the digest of its arguments."""
        principal, source = sender_of(context), context.source
        key = (session_id, tool_id, id(principal), source, context.via)
        known = self._heads.get(key)
        if known is None:
            if len(self._heads) >= MAX_HEADS:
                self._heads.clear()
            who = who_fields(principal, source)
            head = head_fields("call", who, session_id, tool_id, via_fields(context.via))
            # The principal stays as long as its id stands for it.
            known = self._heads[key] = (principal, who, head)
        return known[1], known[2]


def sender_of(context: RequestContext) -> Principal | None:
    """Returns who sent a request; the fast path leaves that to the link."""
    if context.principal is not None or context.peer is None:
        return context.principal
    sender: Principal | None = getattr(context.peer, "principal", None)
    return sender


def json_text(text: str) -> str:
    """Returns a text as JSON, in ASCII; nothing that a line names has to be longer than a name."""
    return json.dumps(text if len(text) <= MAX_NAME_CHARS else f"{text[:MAX_NAME_CHARS]}…")


def who_fields(principal: Principal | None, source: str) -> str:
    """Returns the fields that say who it is, and from where."""
    who = "null"
    if principal is not None:
        who = f'{{"name":{json_text(principal.name)},"method":{json_text(principal.method)}}}'
    return f'"who":{who},"peer":{json_text(source or "this process")}'


def via_fields(via: tuple[str, ...]) -> str:
    """Returns the field that says how a call came from its principal, after a comma; empty if it made it itself."""
    return f',"via":[{",".join(map(json_text, via))}]' if via else ""


def head_fields(action: str, who: str, session_id: str, tool_id: str, more: str = "") -> str:
    """Returns the fields of a call's line up to the digest of its arguments."""
    session, tool = json_text(session_id), json_text(tool_id)
    return f'"event":"call","action":"{action}",{who},"session":{session},"tool":{tool}{more},"digest":"'
