"""What ``store info`` prints: tables for people, JSON for programs."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from grpc_tool_bridge.cli.consoles import console, rich_table
from grpc_tool_bridge.stores.sqlite.report import Amounts, SessionReport, StoreReport

# Sessions that people are shown, the largest first; --json has all.
MAX_SESSIONS = 20

# What people are shown of each kind: its name, and the fields of its number and of its bytes.
_KINDS = (
    ("variables", "variables", "variable_bytes"),
    ("changes, for watches", "changes", "change_bytes"),
    ("kept answers", "answers", "answer_bytes"),
    ("unfinished calls", "unfinished_calls", ""),
    ("agents", "agents", "agent_bytes"),
    ("runs of agents", "runs", ""),
    ("chunks of runs", "chunks", "chunk_bytes"),
)

_COLUMNS = ("session", "started", "variables", "changes", "answers", "unfinished", "agents", "runs", "chunks", "bytes")

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def size_text(size: float) -> str:
    """Writes a size for people: ``1.5 MiB``."""
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:  # noqa: PLR2004 - of each unit in the next
        size /= 1024
        unit += 1
    return f"{size:,.1f} {_UNITS[unit]}" if unit else f"{size:,.0f} bytes"


def report_facts(report: StoreReport) -> dict[str, Any]:
    """Describes a store for programs."""
    return {
        "path": str(report.path),
        "format": report.format,
        "epoch": report.epoch,
        "revision": report.revision,
        "bytes": report.size,
        "log_bytes": report.log_size,
        "free_bytes": report.free,
        "process": report.process,
        "ended_sessions": report.ended_sessions,
        "session_count": len(report.sessions),
        "total": asdict(report.total),
        "sessions": [
            {
                "session_id": session.session_id,
                "created_at": _moment(session.created_at).isoformat(),
                **asdict(session.amounts),
            }
            for session in report.sessions
        ],
    }


def show_report(report: StoreReport, *, one: bool) -> None:
    """Prints what is in a store for people; ``one``: only one session was asked for."""
    out = console()
    out.print(Text(str(report.path), style="bold"), soft_wrap=True)
    had = f"process {report.process} has it" if report.process is not None else "no process is known to have it"
    last = f"variables at revision {report.revision}" if report.revision else "no variables"
    out.print(f"format {report.format}, epoch {report.epoch or 'none'}, {last}; {had}")
    sizes = (
        f"file {size_text(report.size)}, of which {size_text(report.free)} are free; log {size_text(report.log_size)}"
    )
    out.print(sizes)
    if one:
        (session,) = report.sessions
        out.print(f"session {session.session_id}, started {_local(session.created_at)}", soft_wrap=True)
    else:
        count = len(report.sessions)
        some = f"{count:,} session{'' if count == 1 else 's'}"
        out.print(f"{some}; {report.ended_sessions:,} that have ended are remembered")
    out.print(rich_table(["kind", "number", "bytes"], _kind_rows(report.total)))
    if report.sessions and not one:
        out.print(rich_table(_COLUMNS, [_session_row(session) for session in report.sessions[:MAX_SESSIONS]]))
        if len(report.sessions) > MAX_SESSIONS:
            out.print(f"… {len(report.sessions) - MAX_SESSIONS:,} smaller sessions; --json has all")


def _kind_rows(amounts: Amounts) -> list[list[Any]]:
    return [
        [title, getattr(amounts, number), getattr(amounts, size) if size else Text("")]
        for title, number, size in _KINDS
    ]


def _session_row(session: SessionReport) -> list[Any]:
    amounts = session.amounts
    return [
        session.session_id,
        _local(session.created_at),
        amounts.variables,
        amounts.changes,
        amounts.answers,
        amounts.unfinished_calls,
        amounts.agents,
        amounts.runs,
        amounts.chunks,
        amounts.size,
    ]


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _local(seconds: float) -> str:
    return f"{_moment(seconds).astimezone():%Y-%m-%d %H:%M:%S}"
