"""What ``admin`` prints: rows and lines for people, JSON for programs."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from rich.text import Text

from grpc_tool_bridge.cli.consoles import MAX_ROWS, console, rich_table
from grpc_tool_bridge.cli.failures import one_line
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.client.admin import CallStatus, HubEvent
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ApprovalInfo, LogRecord, Progress, RunInfo, SessionInfo, WorkerInfo
from grpc_tool_bridge.values import tagged_json

T = TypeVar("T", bound="OfHub")

# Characters of the arguments or the result of one call; --json prints all.
_SHOWN_CHARS = 200
# Names of a worker's tools in a table.
_SHOWN_TOOLS = 5

_LEVEL_STYLES = {"debug": "dim", "info": "not dim", "warning": "yellow", "error": "red", "critical": "bold red"}

SESSION_COLUMNS = ("session", "started", "last used", "tools", "variables", "active calls", "metadata")
WORKER_COLUMNS = ("worker", "state", "calls", "capacity", "connected", "tools", "peer")
CALL_COLUMNS = ("call", "session", "tool", "state", "worker", "parent", "started", "seconds left", "progress")
APPROVAL_COLUMNS = ("approval", "tool", "arguments", "caller", "session", "since", "seconds left")
RUN_COLUMNS = ("run", "agent", "session", "state", "started", "chunks", "readers")


def event_text(event: HubEvent) -> str:
    """Describes an event in one line."""
    match event.subject:
        case CallStatus() as call:
            text = f"{call.call_id} {call.tool_id} of {call.session_id}: {_call_text(call)}"
            if call.args or call.kwargs:
                text += f" ({arguments_text(call)})"
            return text if event.result is None else f"{text} = {_short(tagged_json.dumps(event.result))}"
        case WorkerInfo() as worker:
            tools = "1 tool" if worker.tool_count == 1 else f"{worker.tool_count} tools"
            return f"{worker.worker_id}: {tools} ({_tools_text(worker)})"
        case SessionInfo() as session:
            return f"{session.session_id} {_pairs(session.metadata)}"
        case LogRecord() as line:
            return f"{line.level} {line.logger}: {line.message} {_pairs(line.fields)}"


def _call_text(call: CallStatus) -> str:
    text = call.state
    if call.worker_id:
        text += f" on {call.worker_id}"
    if call.duration is not None:
        return f"{text} after {call.duration:.3f} s" + (f", {_error_text(call)}" if call.error else "")
    return text + (f", {progress_text(call.progress)}" if call.progress else "")


def _error_text(call: CallStatus) -> str:
    error = call.error
    return "" if error is None else f"{error.type}: {error.message}" if error.message else error.type


def progress_text(progress: Progress | None) -> str:
    """Writes the progress of a call; nothing if it has reported none."""
    if progress is None:
        return ""
    end = f" of {progress.total:g}" if progress.total else ""
    return f"{progress.current:g}{end} {progress.message}".rstrip()


def arguments_text(call: CallStatus) -> str:
    """Writes the arguments of a call, shortened if they are long."""
    given = [tagged_json.dumps(value) for value in call.args]
    given += [f"{name}={tagged_json.dumps(value)}" for name, value in call.kwargs.items()]
    return _short(", ".join(given))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def _tools_text(worker: WorkerInfo) -> str:
    named = ", ".join(worker.tools[:_SHOWN_TOOLS])
    return named if worker.tool_count <= _SHOWN_TOOLS else f"{named}, …"


def _pairs(texts: Any) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(texts.items()))


def _local(timestamp: Timestamp) -> str:
    return _local_time(timestamp.ToDatetime(UTC))


def _local_time(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def session_row(session: SessionInfo) -> list[Any]:
    """Makes the row of a session."""
    times = [_local(session.created_at), _local(session.last_activity)]
    counts = [session.tool_count, session.variable_count, session.active_operations]
    return [session.session_id, *times, *counts, _pairs(session.metadata)]


def session_facts(session: SessionInfo) -> dict[str, Any]:
    """Describes a session for programs."""
    return {
        "session_id": session.session_id,
        "created_at": session.created_at.ToJsonString(),
        "last_activity": session.last_activity.ToJsonString(),
        "tool_count": session.tool_count,
        "variable_count": session.variable_count,
        "active_operations": session.active_operations,
        "metadata": dict(session.metadata),
        "hub": session.hub,
        "access": _access_facts(session),
    }


def _access_facts(session: SessionInfo) -> dict[str, Any] | None:
    """Describes whose a session is, and with whom it is shared; None: it is nobody's."""
    if not session.HasField("access"):
        return None
    shares = [
        {"principal": share.principal, "group": share.group, "rights": list(share.rights)}
        for share in session.access.shares
    ]
    return {"owner": session.access.owner, "shares": shares}


def worker_row(worker: WorkerInfo) -> list[Any]:
    """Makes the row of a worker."""
    tools = f"{worker.tool_count}: {_tools_text(worker)}"
    counts = [worker.active_calls, worker.capacity]
    return [worker.worker_id, worker.state, *counts, _local(worker.connected_at), tools, worker.peer]


def worker_facts(worker: WorkerInfo) -> dict[str, Any]:
    """Describes a worker for programs."""
    return {
        "worker_id": worker.worker_id,
        "state": worker.state,
        "capacity": worker.capacity,
        "active_calls": worker.active_calls,
        "connected_at": worker.connected_at.ToJsonString(),
        "tools": list(worker.tools),
        "tool_count": worker.tool_count,
        "peer": worker.peer,
        "hub": worker.hub,
    }


def call_row(call: CallStatus) -> list[Any]:
    """Makes the row of a call, without its arguments."""
    where = [call.call_id, call.session_id, call.tool_id, call.state, call.worker_id, call.parent_id]
    return [*where, _local_time(call.started_at), round(call.time_left, 1), progress_text(call.progress)]


def call_facts(call: CallStatus, *, with_arguments: bool) -> dict[str, Any]:
    """Describes a call for programs."""
    facts: dict[str, Any] = {
        "call_id": call.call_id,
        "session_id": call.session_id,
        "tool_id": call.tool_id,
        "request_id": call.request_id,
        "parent_id": call.parent_id,
        "worker_id": call.worker_id,
        "state": call.state,
        "started_at": call.started_at.isoformat(),
        "time_left": call.time_left,
        "hub": call.hub,
        "progress": None,
    }
    if call.progress is not None:
        progress = call.progress
        facts["progress"] = {"current": progress.current, "total": progress.total, "message": progress.message}
    if with_arguments:
        facts |= {"args": list(call.args), "kwargs": call.kwargs}
    if call.duration is not None:
        facts["duration"] = call.duration
    if call.error is not None:
        facts["error"] = {"type": call.error.type, "message": call.error.message}
    return facts


def approval_text(approval: ApprovalInfo) -> str:
    """Writes the call that waits for an approval, shortened if its arguments are long."""
    return f"{approval.tool}({_short(_approval_arguments(approval))})"


def _approval_arguments(approval: ApprovalInfo) -> str:
    return ", ".join([*approval.args, *(f"{name}={value}" for name, value in approval.kwargs.items())])


def approval_row(approval: ApprovalInfo) -> list[Any]:
    """Makes the row of an approval."""
    caller = " > ".join([approval.caller or "not known", *approval.via])
    arguments = _short(_approval_arguments(approval))
    left = approval.time_left_ms // 1_000
    return [
        approval.approval_id,
        approval.tool,
        arguments,
        caller,
        approval.session_id,
        _local(approval.started_at),
        left,
    ]


def approval_facts(approval: ApprovalInfo) -> dict[str, Any]:
    """Describes an approval for programs."""
    return {
        "approval_id": approval.approval_id,
        "digest": approval.digest,
        "tool": approval.tool,
        "version": approval.version,
        "args": [json.loads(value) for value in approval.args],
        "kwargs": {name: json.loads(value) for name, value in approval.kwargs.items()},
        "caller": approval.caller,
        "via": list(approval.via),
        "session_id": approval.session_id,
        "started_at": approval.started_at.ToJsonString(),
        "time_left_ms": approval.time_left_ms,
        "hub": approval.hub,
    }


def run_row(run: RunInfo) -> list[Any]:
    """Makes the row of a run."""
    return [run.run_id, run.agent_id, run.session_id, run.state, _local(run.started_at), run.chunks, run.readers]


def run_facts(run: RunInfo) -> dict[str, Any]:
    """Describes a run for programs."""
    return {
        "run_id": run.run_id,
        "agent_id": run.agent_id,
        "session_id": run.session_id,
        "state": run.state,
        "started_at": run.started_at.ToJsonString(),
        "chunks": run.chunks,
        "readers": run.readers,
        "hub": run.hub,
    }


def event_facts(event: HubEvent, *, with_arguments: bool) -> dict[str, Any]:
    """Describes an event for programs."""
    facts = {
        "sequence": event.sequence,
        "dropped": event.dropped,
        "omitted_calls": event.omitted_calls,
        "timestamp": event.timestamp.isoformat(),
        "kind": event.kind,
        "operation": event.operation,
        event.kind: _subject_facts(event, with_arguments=with_arguments),
    }
    return facts | {"result": event.result} if event.result is not None else facts


def _subject_facts(event: HubEvent, *, with_arguments: bool) -> dict[str, Any]:
    match event.subject:
        case CallStatus() as call:
            return call_facts(call, with_arguments=with_arguments)
        case WorkerInfo() as worker:
            return worker_facts(worker)
        case SessionInfo() as session:
            return session_facts(session)
        case LogRecord() as line:
            return line_facts(line)


def line_facts(line: LogRecord) -> dict[str, Any]:
    """Describes a log line for programs."""
    return {
        "level": line.level,
        "logger": line.logger,
        "message": line.message,
        "fields": dict(line.fields),
        "timestamp": line.timestamp.ToJsonString(),
    }


class OfHub(Protocol):
    """An entry of a list."""

    @property
    def hub(self) -> str:
        """The name of its hub; empty without a cluster."""
        ...


def with_hub(row: Sequence[Any], hub: Any) -> list[Any]:
    """Adds the column of the hub to a row."""
    return [row[0], hub, *row[1:]]


def sort_by(entries: list[Any], field: str) -> None:
    """Sorts entries by a time of theirs, since a long list of several hubs has one hub after the other."""
    entries.sort(key=lambda entry: getattr(entry, field).ToNanoseconds())


def tell_missing(hub: str) -> None:
    """Says that a hub did not answer, apart from what is printed."""
    console(stderr=True).print(Text(f"hub {one_line(hub)} did not answer: what it has is missing here", style="yellow"))


def print_list(
    entries: Sequence[T],
    columns: Sequence[str],
    row: Callable[[T], list[Any]],
    facts: Callable[[T], dict[str, Any]],
    *,
    none: str,
    as_json: bool,
) -> None:
    """Prints a list: ``row`` is an entry's line for people, ``facts`` its JSON, and ``none`` the line without any.

    Where the hub has others beside it, the second column has the hub of each entry.
    """
    if as_json:
        print_json([facts(entry) for entry in entries])
    elif entries:
        rows = [row(entry) for entry in entries[:MAX_ROWS]]
        if any(entry.hub for entry in entries):
            columns = with_hub(columns, "hub")
            rows = [with_hub(line, entry.hub) for line, entry in zip(rows, entries, strict=False)]
        console().print(rich_table(columns, rows))
        if len(entries) > MAX_ROWS:
            console().print(f"… {len(entries) - MAX_ROWS:,} more rows; --json gives all")
    else:
        console().print(none)


def print_event(event: HubEvent, *, with_arguments: bool, as_json: bool) -> None:
    """Prints one event."""
    if as_json:
        print_json(event_facts(event, with_arguments=with_arguments))
        return
    out = console()
    if event.dropped:
        out.print(Text(f"… {event.dropped:,} events were dropped because they came too fast", style="dim"))
    if event.omitted_calls:
        calls = "1 call" if event.omitted_calls == 1 else f"{event.omitted_calls:,} calls"
        out.print(Text(f"… {calls} left out", style="dim"))
    head = f"{event.timestamp.astimezone():%H:%M:%S} {event.kind:<7} {event.operation:<12} "
    out.print(one_line(head + event_text(event)).rstrip(), soft_wrap=True)


def print_line(line: LogRecord, event: HubEvent, *, as_json: bool) -> None:
    """Prints a log line; ``event`` is the one that it came with."""
    if as_json:
        print_json(line_facts(line))
        return
    out = console()
    if event.dropped:
        out.print(Text(f"… {event.dropped:,} lines were dropped because they came too fast", style="dim"))
    moment = _local_time(line.timestamp.ToDatetime(UTC) if line.HasField("timestamp") else event.timestamp)
    head = Text(f"{moment} ", style="dim")
    head.append(f"{line.level:<8}", style=_LEVEL_STYLES.get(line.level.lower(), "not dim"))
    fields = {name: value for name, value in line.fields.items() if name != "session_id"}
    session = line.fields.get("session_id", "")
    text = f" {line.logger}: {line.message} {_pairs(fields)}".rstrip() + (f" [{session}]" if session else "")
    out.print(head.append(" " + one_line(text), style="not dim default"), soft_wrap=True)
