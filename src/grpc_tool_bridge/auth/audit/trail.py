"""The audit trail of a hub: what is written of each call and of each decision."""

import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from time import time_ns
from typing import Any

from grpc_tool_bridge.auth.audit.arguments import (
    LARGE_BYTES,
    Digest,
    DigestedLine,
    empty_digest,
    pieces_of,
    plain_arguments,
)
from grpc_tool_bridge.auth.audit.chain import Chain, Clock
from grpc_tool_bridge.auth.audit.files import Rotation
from grpc_tool_bridge.auth.audit.keys import AuditKeys, read_keys
from grpc_tool_bridge.auth.audit.sinks import Sink, make_sink, read_target
from grpc_tool_bridge.auth.audit.tails import Tail
from grpc_tool_bridge.auth.audit.usual import (
    UsualLines,
    UsualNote,
    head_fields,
    json_text,
    sender_of,
    via_fields,
    who_fields,
)
from grpc_tool_bridge.auth.audit.values import AuditedValues
from grpc_tool_bridge.auth.audit.writer import LARGE_CHARS, AuditWriter
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.config.audit_choices import OnAuditFailure
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.infos import CANCELLED, MAX_VALUE_BYTES, error_of, result_of
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.errors import ToolBridgeError, ValidationError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.rpc.large_messages import LargeToolCall
from grpc_tool_bridge.values.call_bytes import UNREADABLE, read_names

# Calls above a nested one that its line names.
MAX_VIA = 32

_DISTRIBUTION = "grpc-tool-bridge"

# Of what a request is, by its class.
_ACTIONS: dict[type[Any], str] = {
    pb.ToolCallRequest: "call",
    LargeToolCall: "call",
    pb.ToolCallItem: "call",
    pb.BatchToolCallRequest: "batch",
    pb.ToolStreamRequest: "stream",
    pb.ExecuteAgentRequest: "run",
    pb.CreateReActAgentRequest: "create_agent",
    bytes: "call",
}


# What is known of a call when it is opened: the fields that say who makes it, and from where; the fields up to its
# digest; the digest of its arguments, as text or not made yet; and the fields after it. A tuple is made soonest.
Note = tuple[str, str, str | Digest, str]


class AuditTrail:
    """Keeps a line of each call and of each decision. All methods are called in the hub's event loop.

    Args:
        sink: Where the lines go.
        keys: The keys.
        settings: What is kept, and what happens if it cannot be.
        hub_name: The name of the hub, for the first line.
    """

    def __init__(self, sink: Sink, keys: AuditKeys, settings: Settings, *, hub_name: str = "") -> None:
        refuse = settings.audit_on_failure is OnAuditFailure.REFUSE
        self._keys = keys
        self._hub_name = hub_name or settings.hub_name or ""
        chain = Chain(keys)
        self._writer = AuditWriter(
            sink,
            chain,
            sync=settings.audit_sync,
            refuse=refuse,
            begins=self._first_fields,
            # Not the one of the loop: it remembers.
            usual=UsualLines(keys).fields,
        )
        self._put = self._writer.put
        self._clock = Clock()
        self._digest = empty_digest(keys)
        values = AuditedValues(settings.record_redact, settings.record_redact_patterns, sink.most_value_chars)
        self._arguments = values if settings.audit_arguments else None
        self._results = values if settings.audit_results else None
        self._only_digests = not settings.audit_arguments and not settings.audit_results
        self._usual = UsualLines(keys)

    def _first_fields(self, tail: Tail | None) -> str:
        after = "null" if tail is None else tail.fields()
        return (
            f'"hub":{json_text(self._hub_name)},"pid":{os.getpid()},"version":{json_text(version(_DISTRIBUTION))},'
            f'"key":"{self._keys.name}","after":{after}'
        )

    # ------------------------------------------------------------------------------------------------- the trail

    async def open(self) -> None:
        """Begins the trail.

        Raises:
            StoreError: It cannot be written.
        """
        if not self._writer.is_open:
            await self._writer.open()

    async def aclose(self) -> None:
        """Writes what is left, and ends the trail."""
        await self._writer.aclose()

    def abandon(self) -> None:
        """Ends the trail after the event loop has ended."""
        self._writer.abandon()

    @property
    def refuses(self) -> bool:
        """Whether what must be audited is refused, because it could not be written."""
        return self._writer.refuses

    def refusal(self) -> ToolBridgeError:
        """Returns the error of what is refused."""
        return self._writer.refusal()

    def counts(self) -> dict[str, int | float | str]:
        """Returns the metrics of the trail by name, each beginning with "audit_"."""
        writer = self._writer
        return {
            "audit_lines": writer.written,
            "audit_lost": writer.lost,
            "audit_failures": writer.failures,
            "audit_waiting": len(writer),
            "audit_failing": int(bool(writer.why)),
        }

    # ----------------------------------------------------------------------------------------------- usual calls

    def opened_directly(
        self, context: RequestContext, session_id: str, tool: RegisteredTool, data: bytes, place: int
    ) -> Note:
        """Notes a call of the usual form; arguments as for ``Audit.opened_directly``."""
        who, head = self._usual.head(context, session_id, tool.id)
        digest = self._digest.copy()
        digest.update(plain_arguments(data, place))
        tail = "" if self._arguments is None else self._arguments.arguments(pb.ToolCallItem.FromString(data), tool.spec)
        return who, head, digest.hexdigest(), tail

    def ended_directly(self, note: UsualNote, duration_us: int, answer: Any) -> None:
        """Writes the line of a call of the usual form that succeeded; its answer is bytes."""
        if self._only_digests and len(note[3]) <= LARGE_CHARS:
            self._put((time_ns(), note, duration_us))
            return
        _, head, digest, tail = self.opened_directly(*note)
        result = "" if self._results is None else self._results.result(result_of(answer))
        self._put(f'"time":"{self._clock.now()}",{head}{digest}"{tail},"outcome":"ok","us":{duration_us}{result}')

    # ------------------------------------------------------------------------------------------------- any calls

    def opened(self, call: HubCall, context: RequestContext, request: Any) -> Note:
        """Notes a call.

        Args:
            call: The call.
            context: The context of its request.
            request: The request: a message, what stands for one, or the bytes of a ToolCallRequest.
        """
        tool, place = call.tool, 0
        if type(request) is bytes:
            try:
                _, _, place = read_names(request)
                if call.parent is None and call.origin is None:
                    return self.opened_directly(context, call.session.id, tool, request, place)
            except UNREADABLE:
                pass
            request = pb.ToolCallRequest.FromString(request)
        above: Note | None = call.parent.audited if call.parent is not None else None
        who = above[0] if above is not None else who_fields(sender_of(context), context.source)
        action = "create_agent" if request is None else _ACTIONS.get(type(request), "call")
        head = head_fields(action, who, call.session.id, tool.id, _more(call, request, context))
        return who, head, self._digest_of(request), self._arguments_of(request, tool)

    def ended(self, call: HubCall, *, ok: bool, duration_us: int, outcome: Any) -> None:
        """Writes the line of a call that was noted; arguments as for ``CallObserver.ended``."""
        note: Note | None = call.audited
        if note is None:
            return
        _, head, digest, tail = note
        if call.request_id or not ok:
            tail += f',"id":{json_text(call.identify())}'
        if call.rule:
            tail += f',"rule":{json_text(call.rule)}'
        if ok:
            tail += f',"outcome":"ok","us":{duration_us}'
            if self._results is not None:
                tail += self._results.result(result_of(outcome))
        else:
            tail += _failed(error_of(outcome), duration_us)
        self._write(head, digest, tail)

    def unopened(
        self,
        request: Any,
        context: RequestContext,
        *,
        session_id: str,
        request_id: str = "",
        error: pb.ErrorInfo | None = None,
        duration_us: int = 0,
    ) -> None:
        """Writes the line of a call that was refused, or answered without being opened.

        Args:
            request: The request.
            context: Its context.
            session_id: As in the request.
            request_id: The id of the call, if it has one.
            error: Why it was refused; None: it got the answer that is kept for its idempotency key.
            duration_us: How long that took.
        """
        if error is not None and self.refuses:
            # It is refused since nothing can be written.
            self._writer.lost += 1
            return
        parent: HubCall | None = context.parent if isinstance(context.parent, HubCall) else None
        above: Note | None = parent.audited if parent is not None else None
        who = above[0] if above is not None else who_fields(sender_of(context), context.source)
        named = getattr(request, "tool_id", "") or getattr(request, "agent_id", "")
        more = "" if parent is None else _via(parent)
        head = head_fields(_ACTIONS.get(type(request), "call"), who, session_id, named, more)
        tail = self._arguments_of(request, None)
        if request_id:
            tail += f',"id":{json_text(request_id)}'
        if error is None:
            tail += f',"outcome":"kept","us":{duration_us}'
        else:
            tail += _failed(error, duration_us, refused=True)
        self._write(head, self._digest_of(request), tail)

    def _write(self, head: str, digest: str | Digest, tail: str) -> None:
        before, after = f'"time":"{self._clock.now()}",{head}', f'"{tail}'
        if isinstance(digest, str):
            self._put(f"{before}{digest}{after}")
        else:
            self._put(DigestedLine(before, digest, after))

    def _digest_of(self, request: Any) -> str | Digest:
        """Returns the digest of the arguments of a request; empty if it has none."""
        if isinstance(request, pb.ExecuteAgentRequest):
            data = request.input.SerializeToString(deterministic=True)
            pieces: list[bytes | memoryview] = [data]
            size = len(data)
        elif hasattr(request, "kwargs") and hasattr(request, "args"):
            pieces, size = pieces_of(request.args, request.kwargs)
        else:
            return ""
        digest = Digest(self._digest, pieces, size)
        if size <= LARGE_BYTES:
            return digest.text()
        self._put(digest)
        return digest

    def _arguments_of(self, request: Any, tool: RegisteredTool | None) -> str:
        if self._arguments is None:
            return ""
        if isinstance(request, pb.ExecuteAgentRequest):
            if request.ByteSize() > MAX_VALUE_BYTES:
                return f',"arguments_left_out":{request.ByteSize()}'
            from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - few ask for this

            return self._arguments.inputs(MessageToDict(request.input))
        return self._arguments.arguments(request, None if tool is None else tool.spec)

    # ------------------------------------------------------------------------------------------------- decisions

    def decision(
        self,
        principal: Principal | None,
        action: str,
        resource: str,
        *,
        allowed: bool,
        rule: str = "",
        peer: str = "",
        session_id: str = "",
        reason: str = "",
    ) -> None:
        """See ``Audit``."""
        if self.refuses:
            if allowed:
                raise self.refusal()
            self._writer.lost += 1
            return
        text = (
            f'"time":"{self._clock.now()}","event":"decision",{who_fields(principal, peer)},'
            f'"action":{json_text(action)},"resource":{json_text(resource)},"allowed":{"true" if allowed else "false"}'
        )
        for name, value in (("session", session_id), ("rule", rule), ("reason", reason)):
            if value:
                text += f',"{name}":{json_text(value)}'
        self._put(text)


def make_trail(settings: Settings, *, hub_name: str = "", warn: Callable[[str], None] | None = None) -> AuditTrail:
    """Makes the trail that settings ask for, which is not open yet.

    Args:
        settings: The settings, with ``audit``.
        hub_name: The name of the hub, for the first line.
        warn: As for ``read_secret``.

    Raises:
        ValidationError: A setting is not valid, or others can read the key.
        OSError: The key cannot be read.
    """
    if settings.audit is None or settings.audit_key_file is None:
        raise ValidationError("an audit trail needs the settings audit and audit_key_file")
    rotation = Rotation(settings.audit_max_bytes, settings.audit_max_seconds, settings.audit_keep)
    sink = make_sink(read_target(settings.audit), rotation)
    return AuditTrail(sink, read_keys(Path(settings.audit_key_file), warn=warn), settings, hub_name=hub_name)


def _more(call: HubCall, request: Any, context: RequestContext) -> str:
    """Returns the fields that only some calls have."""
    more = ',"batch":true' if type(request) is pb.ToolCallItem else ""
    if call.origin is not None:
        more += ',"guest":true'
    return more + (via_fields(context.via) if call.parent is None else _via(call.parent))


def _via(parent: HubCall) -> str:
    """Returns the fields that say which calls are above a nested one, the outermost first."""
    names: list[str] = []
    above: HubCall | None = parent
    while above is not None and len(names) < MAX_VIA:
        names.append(f"{'agent' if above.run_id else 'tool'}:{above.tool.id}")
        above = above.parent
    via = ",".join(map(json_text, reversed(names)))
    return f',"parent":{json_text(parent.identify())},"via":[{via}]'


def _failed(error: pb.ErrorInfo, duration_us: int, *, refused: bool = False) -> str:
    """Returns the fields of a call that failed; never the text of its error, which a tool writes."""
    kind = error.type or CANCELLED
    outcome = "refused" if refused else "cancelled" if kind == CANCELLED else "error"
    rule = error.details.get("rule", "")
    more = f',"rule":{json_text(rule)}' if rule else ""
    return f',"outcome":"{outcome}","error":{json_text(kind)}{more},"us":{duration_us}'
