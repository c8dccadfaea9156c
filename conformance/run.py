"""Tests a peer against the vectors: ``python -m conformance.run --peer "COMMAND"``."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from conformance.checks import FAILED, OPAQUE, PASSED, SECTIONS, UNSUPPORTED, Outcome, Peer, check_all
from conformance.hub_checks import HUB, check_hub
from conformance.make import VECTORS
from conformance.peer_process import TIMEOUT, LastingPeer, PeerFailedError
from conformance.properties import PROPERTIES, check_properties

ALL = (*SECTIONS, HUB, PROPERTIES)

_SHOWN_FAILURES = 20
# Of each property, unless a number is given.
EXAMPLES = 100


def run(peer: Peer, *, only: Iterable[str] = (), name: str = "", examples: int = EXAMPLES) -> dict[str, Any]:
    """Tests a peer.

    Args:
        peer: The peer.
        only: Of ``ALL``; empty for all.
        name: Only vectors and checks whose name contains it; empty for all.
        examples: Of each property.

    Returns:
        What the peer says of itself, and ``outcomes``.

    Raises:
        PeerFailedError: The peer ended, or does not speak the protocol.
    """
    chosen = frozenset(only) or frozenset(ALL)
    vectors = json.loads(VECTORS.read_text(encoding="utf-8"))
    hello = peer.ask("hello").get("ok", {})
    named = {
        section: [vector for vector in vectors[section] if name in vector["name"]] if section in chosen else []
        for section in SECTIONS
    }
    outcomes = [*check_all(peer, named)]
    if HUB in chosen:
        outcomes += check_hub(peer, name)
    if PROPERTIES in chosen:
        outcomes += check_properties(peer, examples)
    return {"hello": hello, "outcomes": outcomes}


def table_of(outcomes: Iterable[Outcome]) -> str:
    """Returns the counts of outcomes as a table."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for one in outcomes:
        counts.setdefault((one.section, one.action), Counter())[one.outcome] += 1
    lines = [f"{'section':12} {'action':15} {PASSED:>7} {OPAQUE:>7} {UNSUPPORTED:>12} {FAILED:>7}"]
    for (section, action), found in counts.items():
        cells = f"{found[PASSED]:7} {found[OPAQUE]:7} {found[UNSUPPORTED]:12} {found[FAILED]:7}"
        lines.append(f"{section:12} {action:15} {cells}")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Returns what reads the command's options."""
    commands = argparse.ArgumentParser(
        prog="python -m conformance.run", description="Tests a peer against the vectors."
    )
    commands.add_argument("--peer", required=True, help="the command that starts the peer")
    commands.add_argument("--only", action="append", choices=ALL, default=[], help="repeatable")
    commands.add_argument("--name", default="", metavar="TEXT", help="only what contains this text in its name")
    commands.add_argument("--examples", type=int, default=EXAMPLES, help="of each property; default: %(default)s")
    commands.add_argument("--timeout", type=float, default=TIMEOUT, help="seconds for one answer; default: %(default)s")
    commands.add_argument("--json", action="store_true", help="print every outcome, as JSON")
    return commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0 if nothing failed, 1 if something did, 2 if the peer could not be tested."""
    commands = parser()
    options = commands.parse_args(arguments)
    try:
        with LastingPeer(options.peer, timeout=options.timeout) as peer:
            report = run(peer, only=options.only, name=options.name, examples=options.examples)
    except PeerFailedError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    outcomes: list[Outcome] = report["outcomes"]
    if not outcomes:
        commands.error(f"nothing has {options.name!r} in its name")
    failures = [one for one in outcomes if one.outcome == FAILED]
    if options.json:
        print(json.dumps({"hello": report["hello"], "outcomes": [asdict(one) for one in outcomes]}))
    else:
        _print_report(report["hello"], outcomes, failures)
    return 1 if failures else 0


def _print_report(hello: dict[str, Any], outcomes: list[Outcome], failures: list[Outcome]) -> None:
    print(f"{hello.get('language', 'unknown')} {hello.get('version', '')}\n\n{table_of(outcomes)}")
    for one in failures[:_SHOWN_FAILURES]:
        print(f"\nFAILED {one.section} {one.action}: {one.name}\n  {one.detail}")
    if len(failures) > _SHOWN_FAILURES:
        print(f"\n… and {len(failures) - _SHOWN_FAILURES} more")


if __name__ == "__main__":
    sys.exit(main())
