"""Tests every peer that is installed, and writes docs/reference/peers.md: ``python -m conformance.matrix``.

A peer whose language is not installed here keeps what its last run has shown.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from conformance.checks import FAILED, OPAQUE, PASSED, UNSUPPORTED
from conformance.peer_list import ROOT, KnownPeer, known_peers
from conformance.peer_process import LastingPeer, PeerFailedError
from conformance.run import EXAMPLES, run, table_of
from conformance.summary import kept, save, summary_of

PAGE = ROOT / "docs" / "reference" / "peers.md"

_HEAD = """\
# Peers in other languages

A peer is a client or a worker in any language. Each must read and write the same bytes: `conformance/vectors.json` has
what is tested, and [conformance/README.md](../../conformance/README.md) how to write a peer.

This page is made by `python -m conformance.matrix`, which tests every peer that is installed.
"""

_VALUES = """\
What a value of each kind is in each language. *Opaque*: the language has no such type, so the value is kept as it came,
and goes back unchanged.
"""

_SECTIONS = {
    "values": "values: decoded, encoded, and sent back",
    "refusals": "malformed values are refused",
    "errors": "errors",
    "messages": "protobuf messages",
    "transcripts": "transcripts of links",
    "hub": "a client and a worker at a real hub",
    "properties": "generated values and messages",
}

# The rows of the table of values, and the kind of value of each.
ROWS = {
    "null": "null", "boolean": "boolean", "integer": "integer", "big integer": "integer", "float": "float",
    "text": "text", "bytes": "bytes", "list": "list", "dict": "dict", "tuple": "tuple", "set": "set",
    "frozenset": "frozenset", "datetime": "datetime", "date": "date", "time": "time", "timedelta": "timedelta",
    "uuid": "uuid", "decimal": "decimal", "complex": "complex", "tensor": "tensor",
    "scalar of NumPy": "tensor_scalar", "frame": "typed",
}  # fmt: skip


def page_of(summaries: Sequence[Mapping[str, Any]]) -> str:
    """Returns the page for some summaries."""
    heads = [summary["language"] for summary in summaries]
    checks = [[text, *(_counts(summary, name) for summary in summaries)] for name, text in _SECTIONS.items()]
    values = [[row, *(_form(summary, row, kind) for summary in summaries)] for row, kind in ROWS.items()]
    return "\n".join(
        [
            _HEAD,
            "## Conformance\n",
            "Checks that passed, of all that apply.\n",
            *_table(["checks", *heads], checks),
            "\n## Values\n",
            _VALUES,
            *_table(["kind of value", *heads], values),
            "",
        ]
    )


def _counts(summary: Mapping[str, Any], section: str) -> str:
    counts = summary["sections"].get(section)
    if counts is None:
        return "not tested"
    good = counts.get(PASSED, 0) + counts.get(OPAQUE, 0)
    text = f"{good} of {good + counts.get(FAILED, 0)}"
    missing = counts.get(UNSUPPORTED, 0)
    return f"{text}, {missing} not supported" if missing else text


def _form(summary: Mapping[str, Any], row: str, kind: str) -> str:
    outcome = summary["rows"].get(row, UNSUPPORTED)
    form = summary["forms"].get(kind, "")
    named = f"`{form}`" if form else "yes"
    return {PASSED: named, OPAQUE: f"opaque{f', {named}' if form else ''}"}.get(outcome, f"**{outcome}**")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _test(peer: KnownPeer, examples: int) -> bool:
    """Tests one peer and keeps what it has shown; returns whether nothing failed."""
    try:
        with LastingPeer(peer.command, directory=peer.directory) as process:
            report = run(process, examples=examples)
    except PeerFailedError as error:
        print(f"{peer.language}: {error}\n", file=sys.stderr)
        return False
    failures = [one for one in report["outcomes"] if one.outcome == FAILED]
    print(f"{peer.language}\n{table_of(report['outcomes'])}\n")
    for one in failures:
        print(f"FAILED {one.section} {one.action}: {one.name}\n  {one.detail}\n")
    save(summary_of(peer.language, report["hello"], report["outcomes"]))
    return not failures


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 1 if a peer failed."""
    parser = argparse.ArgumentParser(
        prog="python -m conformance.matrix",
        description="Tests the installed peers, and writes docs/reference/peers.md.",
    )
    parser.add_argument("--only", action="append", default=[], metavar="LANGUAGE", help="repeatable")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="of each property; default: %(default)s")
    options = parser.parse_args(arguments)
    good = True
    for peer in known_peers():
        if options.only and peer.language not in options.only:
            continue
        if peer.missing:
            print(f"{peer.language}: skipped, since {', '.join(peer.missing)} is not installed\n")
            continue
        good = _test(peer, options.examples) and good
    PAGE.write_text(page_of(kept()), encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
