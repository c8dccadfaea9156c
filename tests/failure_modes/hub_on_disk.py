"""A hub whose disk fails while it runs: run as a program in a process whose disk, or whose limits, may be spoilt.

    python -m failure_modes.hub_on_disk KIND DIRECTORY

It ends with 0 if what the hub has in memory, what it has stored and what callers were told agree, before, during and
after the failure.
"""

import asyncio
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.stored import StoredSession
from grpc_tool_bridge.errors import ResourceExhaustedError, StoreError, ToolBridgeError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.stores.sqlite.store import SqliteStore
from support.patience import PATIENCE

VALUE = "v" * 60_000
SECRET = "the-value-that-nobody-may-see"


class FullDisk:
    """A small file system that something else fills."""

    said = "the disk of the store is full"
    error: type[ToolBridgeError] = ResourceExhaustedError
    outcome = "nothing was changed"

    def __init__(self, folder: Path) -> None:
        self._filler = folder / "filler"

    def spoil(self) -> None:
        with self._filler.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                pass

    def mend(self) -> None:
        self._filler.unlink()


class LimitedFiles:
    """A disk that fails to write beyond a place."""

    said = "SQLITE_IOERR"
    error: type[ToolBridgeError] = StoreError
    outcome = "nothing was changed"

    def __init__(self, folder: Path) -> None:
        del folder

    def spoil(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))

    def mend(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


class UnflushedDisk:
    """A disk that takes what is written and cannot flush it; see ``unflushed.c``."""

    said = "SQLITE_IOERR_FSYNC"
    error = StoreError
    # A loss of power now might leave it there.
    outcome = "it is not known whether the hub will have the change"

    def __init__(self, folder: Path) -> None:
        del folder
        self._flag = Path(os.environ["UNFLUSHED"])

    def spoil(self) -> None:
        self._flag.touch()

    def mend(self) -> None:
        self._flag.unlink()

    @property
    def is_spoilt(self) -> bool:
        return self._flag.exists()


Spoilt = FullDisk | LimitedFiles | UnflushedDisk

KINDS: dict[str, Callable[[Path], Spoilt]] = {"full": FullDisk, "limited": LimitedFiles, "unflushed": UnflushedDisk}


class Life:
    """A hub with its store, and what it has acknowledged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.durable = SqliteStore(path)
        self.hub = Hub(Settings(), durable=self.durable)
        self.acknowledged: dict[str, int] = {}
        self.revisions: list[int] = []

    async def start(self) -> None:
        await self.hub.restore()
        await self.hub.start()

    async def end(self) -> None:
        await self.hub.drain(0)
        await self.hub.aclose()

    async def set(self, name: str, value: str = VALUE) -> None:
        request = pb.SetVariableRequest(session_id="s", variable_name=name, create_if_missing=True)
        request.value.value = value.encode()
        answer = await self.hub.set_session_variable(request)
        if not answer.success:
            error = ResourceExhaustedError if answer.error.type == "ResourceExhausted" else StoreError
            raise error(answer.message)
        self.acknowledged[name] = int(answer.message)
        self.revisions.append(int(answer.message))

    def in_memory(self) -> dict[str, int]:
        variables = self.hub.store.variables("s")
        return {name: variable.revision for name, variable in variables._items.items()}

    def check(self) -> None:
        assert self.in_memory() == self.acknowledged
        assert len(set(self.revisions)) == len(self.revisions)


async def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def fail(life: Life, disk: Spoilt) -> None:
    """Changes things until they cannot be stored, one at a time and many at once, and checks what callers are told."""
    told: list[ToolBridgeError] = []
    while not told:
        try:
            await life.set(f"w{len(life.acknowledged)}")
        except ToolBridgeError as error:
            told.append(error)
        assert len(life.acknowledged) < 1_000
    life.check()
    # Some of them on what others have just changed.
    results = await asyncio.gather(*(life.set(f"v{number % 5}") for number in range(50)), return_exceptions=True)
    told.extend(result for result in results if isinstance(result, ToolBridgeError))
    assert not [result for result in results if isinstance(result, BaseException) and result not in told]
    assert len(told) > 10
    for refusal in told:
        assert isinstance(refusal, disk.error), refusal
        assert disk.said in refusal.message
        assert disk.outcome in refusal.message
        assert SECRET not in refusal.message
        assert str(life.path.parent) not in refusal.message
    life.check()


async def scenario(kind: str, folder: Path) -> None:
    """A hub whose disk fails and is mended, and that begins once more."""
    disk, life = KINDS[kind](folder), Life(folder / "hub.db")
    await life.start()
    hub, durable = life.hub, life.durable
    for session_id in ("s", "ends"):
        await hub.store.create_session(session_id)
    await life.set("secret", SECRET)
    for number in range(5):
        await life.set(f"v{number}")
    life.check()

    disk.spoil()
    await fail(life, disk)
    await until(lambda: durable.is_failing)
    assert not hub.serving
    assert disk.said in hub.not_serving_reason
    try:
        await hub.store.create_session("new")
    except ToolBridgeError:
        assert "new" not in [session.id for session in hub.store.sessions()]

    disk.mend()
    await until(lambda: hub.serving)
    for name in ("v0", "after"):
        await life.set(name)
    assert life.revisions[-1] == max(life.revisions)
    await hub.store.cleanup_session("ends")
    life.check()
    await life.end()

    again = Life(life.path)
    await again.start()
    again.acknowledged = life.acknowledged
    again.check()
    sessions = [session.id for session in again.hub.store.sessions()]
    assert ("s" in sessions, "ends" in sessions) == (True, False)
    assert again.hub.store.revisions.epoch == hub.store.revisions.epoch
    assert again.hub.store.revisions.next() > max(life.revisions)
    await again.end()


async def ghost(path: Path) -> None:
    """One flush fails, the one after it does not, and the process is killed: the change must not be there later."""
    disk = UnflushedDisk(path.parent)

    def mend_before_the_next(sql: str) -> None:
        if "'tried'" in sql and disk.is_spoilt:
            disk.mend()

    store = SqliteStore(path)
    await store.open(Settings())
    await store.create_session(StoredSession("there", 1.0, {}))
    assert store._writer is not None
    store._writer._connection.set_trace_callback(mend_before_the_next)
    disk.spoil()
    (told,) = await asyncio.gather(write(store, "ghost"), return_exceptions=True)
    os._exit(0 if isinstance(told, StoreError) and "nothing was changed" in told.message else 1)


async def write(store: SqliteStore, session_id: str) -> None:
    await store.create_session(StoredSession(session_id, 2.0, {}))


if __name__ == "__main__":
    kind, folder = sys.argv[1], Path(sys.argv[2])
    asyncio.run(ghost(folder / "hub.db") if kind == "ghost" else scenario(kind, folder))
