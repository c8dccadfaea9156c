"""A hub whose disk fails while it runs: run as a program in a process whose disk, or whose limits, may be spoilt.

    python -m failure_modes.hub_on_disk KIND DIRECTORY

It ends with 0 if what the hub has in memory, what it has stored and what callers were told agree, before, during and
after the failure.
"""

import asyncio
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import ResourceExhaustedError, StoreError, ToolBridgeError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.stores.sqlite.store import SqliteStore
from support.patience import PATIENCE

VALUE = "v" * 60_000
SECRET = "the-value-that-nobody-may-see"


class FullDisk:
    """A small file system that something else fills."""

    said = "the disk of the store is full"
    error = ResourceExhaustedError

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
    error = StoreError

    def __init__(self, folder: Path) -> None:
        del folder

    def spoil(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))

    def mend(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


KINDS: dict[str, Callable[[Path], FullDisk | LimitedFiles]] = {"full": FullDisk, "limited": LimitedFiles}


class Life:
    """A hub with its store, and what it has acknowledged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hub = Hub(Settings(), durable=SqliteStore(path))
        self.acknowledged: dict[str, int] = {}
        self.revisions: list[int] = []

    async def start(self) -> None:
        await self.hub.restore()
        await self.hub.start()

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


async def scenario(kind: str, folder: Path) -> None:
    disk, path = KINDS[kind](folder), folder / "hub.db"
    life = Life(path)
    await life.start()
    hub = life.hub
    assert hub.durable is not None
    await hub.store.create_session("s")
    await hub.store.create_session("ends")
    await life.set("secret", SECRET)
    for number in range(5):
        await life.set(f"v{number}")
    life.check()

    disk.spoil()
    told: list[ToolBridgeError] = []
    while not told:
        try:
            await life.set(f"w{len(life.acknowledged)}")
        except ToolBridgeError as error:
            told.append(error)
        assert len(life.acknowledged) < 1_000
    life.check()
    # Many at once, some of them on what others have just changed.
    results = await asyncio.gather(*(life.set(f"v{number % 5}") for number in range(50)), return_exceptions=True)
    told.extend(result for result in results if isinstance(result, ToolBridgeError))
    assert not [result for result in results if isinstance(result, BaseException) and result not in told]
    assert len(told) > 10
    for error in told:
        assert isinstance(error, disk.error), error
        assert disk.said in error.message
        assert "nothing was changed" in error.message
        assert SECRET not in error.message
        assert str(folder) not in error.message
    life.check()
    await until(lambda: hub.durable is not None and hub.durable.is_failing)
    assert not hub.serving
    assert disk.said in hub.not_serving_reason
    try:
        await hub.store.create_session("new")
    except ToolBridgeError:
        assert "new" not in [session.id for session in hub.store.sessions()]

    disk.mend()
    await until(lambda: hub.serving)
    await life.set("v0")
    await life.set("after")
    assert life.revisions[-1] == max(life.revisions)
    await hub.store.cleanup_session("ends")
    life.check()
    before = life.acknowledged
    epoch = hub.store.revisions.epoch
    await hub.drain(0)
    await hub.aclose()

    again = Life(path)
    await again.start()
    again.acknowledged = before
    again.check()
    sessions = [session.id for session in again.hub.store.sessions()]
    assert "s" in sessions
    assert "ends" not in sessions
    assert again.hub.store.revisions.epoch == epoch
    assert again.hub.store.revisions.next() > max(life.revisions)
    await again.hub.drain(0)
    await again.hub.aclose()


if __name__ == "__main__":
    asyncio.run(scenario(sys.argv[1], Path(sys.argv[2])))
