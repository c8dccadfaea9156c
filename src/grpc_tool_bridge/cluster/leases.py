"""STAND-IN until branch nats-bus has its own."""

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from grpc_tool_bridge.cluster import clock
from grpc_tool_bridge.cluster.bus import Bus
from grpc_tool_bridge.cluster.errors import WrongSequenceError
from grpc_tool_bridge.errors import StoreError

TERM, MARGIN, PERIOD = 1.0, 0.2, 0.3


@dataclass
class HubRecord:
    incarnation: str
    is_closed: bool
    info: dict[str, Any]
    sequence: int = 0

    @property
    def closed(self) -> bool:
        return self.is_closed

    @property
    def name(self) -> str:
        return str(self.info.get("name", ""))



class Lease:
    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.incarnation = secrets.token_hex(8)
        self.on_lost: Callable[[str], None] | None = None
        self._last = 0
        self._until = 0.0
        self._info: dict[str, Any] = {}
        self._task: asyncio.Task[None] | None = None
        self.paused = False

    async def begin(self, info: dict[str, Any]) -> None:
        self._info = dict(info)
        await self._renew()
        self._task = asyncio.create_task(self._keep())

    def update(self, **info: Any) -> None:
        self._info.update(info)

    def is_certain(self) -> bool:
        return clock.now() < self._until

    async def _renew(self, closed: bool = False) -> None:
        began = clock.now()
        data = json.dumps({"closed": closed, **self._info}).encode()
        self._last = await self.bus.append_surely(
            self.bus.names.hub(self.incarnation), data, last=self._last, headers={"Nats-Rollup": "sub"}, patience=1
        )
        self._until = 0.0 if closed else began + TERM - MARGIN

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            if self.paused:
                continue
            try:
                await self._renew()
            except WrongSequenceError:
                self._until = 0.0
                if self.on_lost:
                    self.on_lost("another hub has closed its lease")
                return
            except StoreError:
                continue

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if self._until:
                await self._renew(closed=True)


class Leases:
    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self._book: dict[str, HubRecord] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        self._told: list[Any] = []
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self._look()
        self._task = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            try:
                await self.close_dead()
            except StoreError:
                self._seen.clear()

    async def _look(self) -> None:
        prefix = self.bus.names.hub("")
        for message in await self.bus.last_of([self.bus.names.hubs]):
            found = json.loads(message.data)
            name = message.subject.removeprefix(prefix)
            before = self._book.get(name)
            self._book[name] = HubRecord(name, found["closed"], found, message.sequence)
            if before is None or before.is_closed != found["closed"]:
                for told in self._told:
                    told(self._book[name], "closed" if found["closed"] else "joined")
            if self._seen.get(name, (0, 0))[0] != message.sequence:
                self._seen[name] = (message.sequence, clock.now())

    def on_change(self, told: Any) -> None:
        self._told.append(told)

    def hubs(self) -> list[HubRecord]:
        return list(self._book.values())

    def get(self, incarnation: str) -> HubRecord | None:
        return self._book.get(incarnation)

    async def close_dead(self) -> None:
        await self._look()
        for name, record in list(self._book.items()):
            seen = self._seen.get(name)
            if not record.is_closed and seen and clock.now() - seen[1] > TERM + MARGIN:
                data = json.dumps({**record.info, "closed": True}).encode()
                try:
                    await self.bus.append(self.bus.names.hub(name), data, last=record.sequence)
                except StoreError:
                    continue
                record.is_closed = True

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
