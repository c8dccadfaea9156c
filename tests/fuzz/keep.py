"""Adds to the corpus what fuzzing has found: the shortest inputs that reach branches which no other input reaches."""

import hashlib
import warnings
from pathlib import Path

import coverage

from fuzz.corpus import Target

# A branch: a file, and the lines that it leaves and comes to.
Branch = tuple[str, int, int]


def keep(target: Target, found: Path, package: str) -> list[Path]:
    """Copies inputs to the corpus.

    Args:
        target: Whose corpus.
        found: Folder of the inputs that were found.
        package: Whose branches count.

    Returns:
        The new files.
    """
    seen: set[Branch] = set()
    for path in target.inputs():
        seen |= _reached(target, path.read_bytes(), package)
    added = []
    for path in sorted(found.iterdir(), key=lambda path: (path.stat().st_size, path.name)):
        data = path.read_bytes()
        new = _reached(target, data, package) - seen
        if new:
            seen |= new
            kept = target.folder / hashlib.sha256(data).hexdigest()[:12]
            kept.write_bytes(data)
            added.append(kept)
    return added


def _reached(target: Target, data: bytes, package: str) -> set[Branch]:
    measuring = coverage.Coverage(data_file=None, branch=True, source_pkgs=[package], config_file=False, messages=False)
    # What is read for the first time may be cached; only the second time counts.
    target.run(data)
    with warnings.catch_warnings(action="ignore", category=coverage.exceptions.CoverageWarning):
        measuring.start()
        try:
            target.run(data)
        finally:
            measuring.stop()
        measured = measuring.get_data()
    return {(file, *arc) for file in measured.measured_files() for arc in measured.arcs(file) or ()}
