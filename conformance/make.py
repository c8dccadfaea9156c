"""Writes the vectors: ``python -m conformance.make``; with ``--check``, fails where the file differs.

Each vector is one line, so that a difference shows which ones have changed.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from conformance.errors import error_table, error_vectors
from conformance.messages import message_vectors
from conformance.refusals import refusal_vectors
from conformance.transcripts import transcript_vectors
from conformance.values import value_vectors

VECTORS = Path(__file__).with_name("vectors.json")

# Raised if the file's form changes, so that an old peer fails by name.
FORMAT = 1


def vectors() -> dict[str, Any]:
    """Returns all vectors, by section."""
    return {
        "format": FORMAT,
        "values": value_vectors(),
        "refusals": refusal_vectors(),
        "error_table": error_table(),
        "errors": error_vectors(),
        "messages": message_vectors(),
        "transcripts": transcript_vectors(),
    }


def text_of(sections: dict[str, Any]) -> str:
    """Returns the file's text, with one vector a line."""
    parts = []
    for name, section in sections.items():
        if isinstance(section, list):
            lines = ",\n".join(json.dumps(entry, allow_nan=False) for entry in section)
            parts.append(f"{json.dumps(name)}: [\n{lines}\n]")
        else:
            parts.append(f"{json.dumps(name)}: {json.dumps(section)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m conformance.make", description="Writes conformance/vectors.json.")
    parser.add_argument("--check", action="store_true", help="fail if the file is not what would be written")
    options = parser.parse_args(arguments)
    text = text_of(vectors())
    if not options.check:
        VECTORS.write_text(text, encoding="utf-8")
        return 0
    if VECTORS.read_text(encoding="utf-8") == text:
        return 0
    print("conformance/vectors.json is stale; run python -m conformance.make and commit it", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
