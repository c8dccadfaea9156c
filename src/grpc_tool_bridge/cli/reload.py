"""A worker that restarts whenever its source files change.

The worker is a separate process: leftovers of a module, such as threads, native libraries and registered codecs, end
with it, and the next one starts clean. The previous one continues until the next has imported its tools. The files are
polled, which needs no library and detects changes on every kind of file system.
"""

import asyncio
import importlib.util
import logging
import os
import sys
import sysconfig
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from grpc_tool_bridge.cli.supervisor import Supervisor
from grpc_tool_bridge.cli.tool_sources import split_source
from grpc_tool_bridge.cli.worker_process import WorkerProcess

# Seconds between two looks at the files.
LOOK_SECONDS = 0.5
# A longer import is logged.
IMPORT_SECONDS = 10.0

_Seen = dict[Path, tuple[int, int]]

# Maximum number of files. Each look lists the folders again, several times a second, and must stay cheap.
MAX_ENTRIES = 20_000

# Third-party or generated files; hidden folders are skipped too.
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})
_LIBRARIES = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))

_log = logging.getLogger(__name__)


class SourceFiles:
    """All Python files below some folders, without hidden folders, virtual environments and caches."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = sorted(set(folders))
        self._warned = False

    @classmethod
    def of(cls, sources: Iterable[str]) -> "SourceFiles":
        """Finds the folders of the sources on the command line without importing them.

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

    def look(self) -> _Seen:
        """Reads the modification time and size of each file; a file that is being replaced may be missing."""
        found: _Seen = {}
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
        """Lists the files in the folders, top down."""
        folders = [str(folder) for folder in self.folders]
        for folder in folders:
            try:
                entries = list(os.scandir(folder))
            except OSError:
                # Gone since it was listed, or not readable.
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
    """Finds a module that is elsewhere, such as a package in editable mode."""
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


class Reloader(Supervisor):
    """Runs ``worker`` in separate processes, one after the other.

    The next one imports its tools while the previous one continues. It offers them once the hub gives the previous one
    no new calls: until then, the hub would refuse the same tool with another schema. Calls that arrive in between wait
    at the hub, and those in flight finish where they are.

    Args:
        words: The command line, without the program's name.
        files: The files to watch.
        worker_id: The id of all workers; None: one is generated.
        grace: Grace period of calls in flight, in seconds.
        announces: Whether each worker prints that it serves.
    """

    def __init__(
        self,
        words: Sequence[str],
        files: SourceFiles,
        *,
        worker_id: str | None,
        grace: float,
        announces: bool = True,
    ) -> None:
        super().__init__(grace)
        self._announces = announces
        own = [] if worker_id else ["--worker-id", uuid.uuid4().hex]
        self._words = [words[0], *own, *(word for word in words[1:] if word != "--reload")]
        self._files = files
        self._slow_told = False
        self._has_served = False

    async def _supervise(self, told: "asyncio.Future[int]") -> None:
        """Starts the next worker at each change."""
        seen = await asyncio.to_thread(self._files.look)
        await self._start_next()
        while not told.done():
            await self._wait(told)
            if told.done():
                return
            await self._advance(told)
            now = await asyncio.to_thread(self._files.look)
            changed = _changed(seen, now)
            if changed is not None and not told.done():
                seen = now
                _log.info("%s has changed; loading the tools again", changed)
                await self._start_next()

    def _signalled(self) -> Sequence[WorkerProcess]:
        # Those that leave were signalled to do so; a second signal would cancel their calls.
        return [] if self._serving is None else [self._serving]

    async def _start_next(self) -> None:
        if self._next is not None:
            # It imports files that have changed since.
            await self._next.kill()
        self._slow_told = False
        self._next = await WorkerProcess.start(self._words)

    async def _wait(self, told: "asyncio.Future[int]") -> None:
        """Waits until a worker changes state, a signal arrives, or it is time to look at the files."""
        events: list[asyncio.Future[Any]] = [told, *(w.ended for w in (self._next, self._serving) if w is not None)]
        imported = None if self._next is None else asyncio.ensure_future(self._next.line.imported.wait())
        try:
            await asyncio.wait(
                [*events, *(() if imported is None else (imported,))],
                timeout=LOOK_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            if imported is not None:
                imported.cancel()

    async def _advance(self, told: "asyncio.Future[int]") -> None:
        """Acts on the workers' states."""
        if self._serving is not None and self._serving.ended.done():
            code = self._serving.ended.result()
            self._serving.line.close()
            self._serving = None
            _log.warning(
                "the worker ended with exit code %d; %s",
                code,
                "waiting for a change" if self._next is None else "starting the next one",
            )
        worker = self._next
        if worker is None:
            return
        if worker.ended.done():
            self._next = None
            worker.line.close()
            goes_on = "" if self._serving is None else "the previous one keeps running; "
            code = worker.ended.result()
            _log.warning("the new worker ended with exit code %d; %swaiting for a change", code, goes_on)
        elif worker.line.imported.is_set():
            await self._hand_over(worker, told)
        elif not self._slow_told and asyncio.get_running_loop().time() - worker.began_at > IMPORT_SECONDS:
            self._slow_told = True
            goes_on = "" if self._serving is None else "; the previous one keeps running"
            _log.warning("the new worker has been importing its tools for %g s%s", IMPORT_SECONDS, goes_on)

    async def _hand_over(self, worker: WorkerProcess, told: "asyncio.Future[int]") -> None:
        """Lets the next worker offer its tools once the previous one gets no new calls."""
        before = self._serving
        if before is not None:
            self._serving = None
            await before.line.make_way()
            self._see_off(before, self._patience)
            left = asyncio.ensure_future(before.line.left.wait())
            try:
                await asyncio.wait((left, told), return_when=asyncio.FIRST_COMPLETED)
            finally:
                left.cancel()
        if not told.done():
            await worker.line.give_turn(announces=self._announces)
            self._serving, self._next = worker, None
            if self._has_served and not self._announces:
                _log.info("the tools are loaded again")
            self._has_served = True


def _changed(before: _Seen, now: _Seen) -> Path | None:
    """Returns a file that was added, removed or changed."""
    return next((path for path, _ in sorted(before.items() ^ now.items())), None)
