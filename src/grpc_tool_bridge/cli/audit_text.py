"""What ``audit verify`` and ``audit show`` print: lines for people, JSON for programs."""

from dataclasses import asdict
from typing import Any

from rich.text import Text

from grpc_tool_bridge.auth.audit.checking import CheckedChain, Report
from grpc_tool_bridge.auth.audit.showing import outcome_of
from grpc_tool_bridge.cli.consoles import console
from grpc_tool_bridge.cli.streams import write

# The time to the millisecond, for people.
_TIME_CHARS = 23


def report_facts(report: Report) -> dict[str, Any]:
    """Describes a check for programs."""
    return {
        "intact": not report.is_broken,
        "chains": [_chain_facts(chain) for chain in report.chains],
        "findings": [asdict(finding) for finding in report.findings],
        "findings_left_out": report.left_out,
    }


def _chain_facts(chain: CheckedChain) -> dict[str, Any]:
    last = chain.last
    return {
        "chain": chain.id,
        "hub": chain.hub,
        "key": chain.key,
        "lines": chain.lines,
        "lost": chain.lost,
        "began": chain.began,
        "last_at": chain.last_at,
        "signed": chain.signed,
        "ended": chain.has_ended,
        "last": f"{last.chain}:{last.seq}:{last.mac.hex()}",
    }


def show_report(report: Report) -> None:
    """Prints a check for people."""
    out = console()
    for chain in report.chains:
        hub = f" of hub {chain.hub}" if chain.hub else ""
        state = "ended" if chain.has_ended else "not ended"
        text = f"chain {chain.id}{hub}: {chain.lines:,} lines from {chain.began} to {chain.last_at}, {state}"
        out.print(Text(text), soft_wrap=True)
    for finding in report.findings:
        where = f"{finding.file}:{finding.line}: " if finding.line else ""
        style = "bold red" if finding.is_broken else "yellow"
        out.print(Text.assemble(where, (finding.text, style)), soft_wrap=True)
    if report.left_out:
        out.print(Text(f"and {report.left_out:,} more"), soft_wrap=True)
    if report.is_broken:
        out.print(Text("The trail is broken.", style="bold red"))
    else:
        out.print(Text("The trail is intact." if report.chains else "There are no lines of a trail.", style="bold"))


def show_line(fields: dict[str, Any]) -> None:
    """Prints a line of a trail for people."""
    who = fields.get("who")
    name = who.get("name", "") if isinstance(who, dict) else "-"
    parts = [str(fields.get("time", ""))[:_TIME_CHARS], str(name)]
    if fields.get("event") in ("call", "decision"):
        what = str(fields.get("tool", fields.get("resource", "")))
        parts += [str(fields.get("action", "")), what, outcome_of(fields)]
    else:
        parts += [str(fields.get("event", "")), f"chain {fields.get('chain', '')}"]
    for field in ("error", "reason", "rule", "session", "peer", "id"):
        if fields.get(field):
            parts.append(f"{field}={fields[field]}")
    if "us" in fields:
        parts.append(f"{fields['us'] / 1_000:g} ms")
    # Names come from callers: none of them writes to the terminal.
    write("  ".join(part if part.isprintable() else ascii(part) for part in parts) + "\n")
