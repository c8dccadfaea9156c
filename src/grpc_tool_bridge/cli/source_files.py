"""The Python files that tools are made of, and whether one of them has changed."""

import importlib.util
import logging
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from grpc_tool_bridge.cli.tool_sources import split_source

# Of all kinds together. Each look reads the folders again, several times a second, and must stay cheap.
MAX_ENTRIES = 20_000

# What others have written, or a program; besides, folders whose names begin with a dot.
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})
_LIBRARIES = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))

_log = logging.getLogger(__name__)


class SourceFiles:
    """All Python files below some folders.

    Args:
        folders: Folders that hidden ones, virtual environments and caches below are no part of.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = sorted(set(folders))
        self._warned = False

    @classmethod
    def of(cls, sources: Iterable[str]) -> "SourceFiles":
        """Finds the folders of sources, without an import of them.

        Args:
            sources: As given on the command line.

        Raises:
            ArgumentError: A source names neither a module nor a file.
        """
        folders: set[Path] = set()
        for source in sources:
            where, _ = split_source(source)
            if where.endswith(".py"):
                folders.add(Path(where).resolve().parent)
            else:
                folders.add(Path.cwd())
                folders.update(_folders_of_package(where.partition(".")[0]))
        return cls(folder for folder in folders if not any(other in folder.parents for other in folders))

    def look(self) -> dict[Path, tuple[int, int]]:
        """Reads when each file was written last, and its size; a file that is being replaced may be missing."""
        found: dict[Path, tuple[int, int]] = {}
        for number, entry in enumerate(self._entries()):
            if number >= MAX_ENTRIES:
                self._warn()
                break
            if entry.name.endswith(".py"):
                try:
                    facts = entry.stat()
                except OSError:
                    continue
                found[Path(entry.path)] = (facts.st_mtime_ns, facts.st_size)
        return found

    def _entries(self) -> Iterator["os.DirEntry[str]"]:
        """Lists what is in the folders, the upper ones first."""
        folders = [str(folder) for folder in self.folders]
        for folder in folders:
            try:
                entries = list(os.scandir(folder))
            except OSError:
                # Gone since it was listed, or not ours to read.
                continue
            yield from entries
            folders += [entry.path for entry in entries if _holds_sources(entry)]

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            _log.warning(
                "there are more than %s files below %s; changes to some of them are not noticed",
                f"{MAX_ENTRIES:,}",
                ", ".join(map(str, self.folders)),
            )


def _holds_sources(entry: "os.DirEntry[str]") -> bool:
    try:
        is_folder = entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
    if not is_folder or entry.name.startswith(".") or entry.name in _SKIPPED:
        return False
    return not Path(entry.path, "pyvenv.cfg").exists()


def _folders_of_package(name: str) -> Iterator[Path]:
    """Finds a module that lies elsewhere, such as a package that is installed in place."""
    before = sys.path[:]
    sys.path.insert(0, str(Path.cwd()))
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    finally:
        sys.path[:] = before
    if spec is None:
        return
    locations = list(spec.submodule_search_locations or ())
    if not locations and spec.origin is not None and Path(spec.origin).is_file():
        locations = [str(Path(spec.origin).parent)]
    for location in locations:
        folder = Path(location).resolve()
        if not any(folder.is_relative_to(library) for library in _LIBRARIES):
            yield folder
