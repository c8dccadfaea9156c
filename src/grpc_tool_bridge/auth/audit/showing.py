"""Chooses lines of audit trails."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from grpc_tool_bridge.auth.audit.files import files_of
from grpc_tool_bridge.auth.audit.reading import event_of, fields_of, read_file
from grpc_tool_bridge.errors import ValidationError

# What is written of calls and decisions; all other lines are about the trail.
EVENTS = ("call", "decision")

_NUMBERED = re.compile(r"\.[0-9]{8}").fullmatch


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which lines are shown; None: any.

    Attributes:
        who: A pattern of the name of the principal; "" stands for nobody who is known.
        action, tool, session: Patterns of those; for a decision, ``tool`` is its resource.
        outcome: Of a call, or "allowed" and "denied" of a decision.
        since, until: Times as ``read_moment`` returns them.
        whole: Whether lines about the trail itself are shown, too.
    """

    who: str | None = None
    action: str | None = None
    tool: str | None = None
    session: str | None = None
    outcome: str | None = None
    since: str | None = None
    until: str | None = None
    whole: bool = False

    def takes(self, fields: dict[str, Any]) -> bool:
        """Returns whether a line is shown."""
        if fields.get("event") not in EVENTS:
            return self.whole
        who = fields.get("who")
        named = (
            (self.who, who.get("name", "") if isinstance(who, dict) else ""),
            (self.action, fields.get("action", "")),
            (self.tool, fields.get("tool", fields.get("resource", ""))),
            (self.session, fields.get("session", "")),
            (self.outcome, outcome_of(fields)),
        )
        return all(wanted is None or fnmatchcase(str(found), wanted) for wanted, found in named)


def outcome_of(fields: dict[str, Any]) -> str:
    """Returns how a call ended, or what was decided."""
    if fields.get("event") == "decision":
        return "allowed" if fields.get("allowed") is True else "denied"
    return str(fields.get("outcome", ""))


def shown(files: Iterable[Path], wanted: Filter, *, mixed: bool = False) -> Iterator[dict[str, Any]]:
    """Yields the fields of lines, as they stand in the files; they are not checked.

    Args:
        files: The files.
        wanted: Which lines.
        mixed: As for ``read_file``.

    Raises:
        OSError: A file cannot be read.
    """
    for path in files:
        for read in read_file(path, mixed=mixed):
            if read.line is None:
                continue
            at, _ = event_of(read.line)
            if (wanted.since is not None and at < wanted.since) or (wanted.until is not None and at >= wanted.until):
                continue
            fields = fields_of(read.line)
            if wanted.takes(fields):
                yield fields


def all_files(given: Iterable[Path]) -> list[Path]:
    """Returns files, and for each one that is written those that it has gone on from, the oldest first.

    Raises:
        OSError: A folder cannot be read.
    """
    found: dict[Path, None] = {}
    for path in given:
        if path.suffix == ".lock":
            # As a shell finds it with audit.log*.
            continue
        for each in [path] if _NUMBERED(path.suffix) else files_of(path):
            found.setdefault(each)
    return list(found)


def read_moment(text: str) -> str:
    """Reads a date or a time, in UTC unless it says otherwise; returns it in the form of the lines, to compare.

    Raises:
        ValidationError: It is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValidationError(f"{text!r:.100} is no time, such as 2026-12-31 or 2026-12-31T12:30:00Z") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")
