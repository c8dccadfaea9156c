"""What a run has shown of a peer, in a form that is kept: ``conformance/results/<language>.json``."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from conformance.checks import FAILED, OPAQUE, PASSED, UNSUPPORTED, Outcome

RESULTS = Path(__file__).with_name("results")

# The worst outcome of a row counts.
_ORDER = (PASSED, OPAQUE, UNSUPPORTED, FAILED)


def summary_of(language: str, hello: dict[str, Any], outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Summarizes a run: counts by section, and the outcome of each row of the table of values."""
    sections: dict[str, Counter[str]] = {}
    rows: dict[str, str] = {}
    for one in outcomes:
        sections.setdefault(one.section, Counter())[one.outcome] += 1
        if one.row:
            rows[one.row] = max(rows.get(one.row, PASSED), one.outcome, key=_ORDER.index)
    return {
        "language": language,
        "forms": hello.get("forms", {}),
        "sections": {name: dict(sorted(counts.items())) for name, counts in sections.items()},
        "rows": rows,
    }


def save(summary: dict[str, Any], folder: Path = RESULTS) -> None:
    """Keeps a summary."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{summary['language'].lower().replace('.', '')}.json"
    path.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def kept(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Returns the summaries that are kept, Python's first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    return sorted(found, key=lambda summary: (summary["language"] != "Python", summary["language"]))
