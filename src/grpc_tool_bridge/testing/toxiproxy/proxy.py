"""A TCP proxy with toxics."""

import asyncio
import logging
from collections.abc import Mapping
from random import Random
from typing import Any

from grpc_tool_bridge.aio.servers import close_server
from grpc_tool_bridge.testing.toxiproxy.connection import Connection, reset
from grpc_tool_bridge.testing.toxiproxy.listening import listen, resolved
from grpc_tool_bridge.testing.toxiproxy.stream import CHUNK_BYTES, Gate
from grpc_tool_bridge.testing.toxiproxy.toxics import DIRECTIONS, Direction, Toxic
from grpc_tool_bridge.transport.addresses import join_address, split_address

_log = logging.getLogger(__name__)


class Proxy:
    """Listens at one address and forwards each connection to another.

    Chance is a function of the seed, the proxy's and the toxic's name, and the number of the connection, so that the
    same connections meet the same toxics in each run.

    Args:
        name: Its name.
        listen: ``host:port`` to listen at; port 0 picks a free port.
        upstream: The server, as ``host:port``.
        seed: Of the chances of its toxics.
        gates: Decide, for each direction, when bytes may be written.
        is_transparent: Whether each end gets what the other one did, a finished stream or a reset; otherwise, like
            Toxiproxy, the proxy closes the connection for each of them.

    Attributes:
        listen: Where it listens; once started, with the port that it got.
        upstream: The server of later connections.
        is_enabled: Whether it listens.
        is_refusing: Whether it resets new connections.
        accepted: Connections accepted so far.
        refused: Connections refused so far.
    """

    def __init__(
        self,
        name: str,
        listen: str,
        upstream: str,
        *,
        seed: int,
        gates: Mapping[Direction, Gate] | None = None,
        is_transparent: bool = False,
    ) -> None:
        self.name = name
        self.listen = listen
        self.upstream = upstream
        self.is_enabled = False
        self.is_refusing = False
        self.accepted = 0
        self.refused = 0
        self._seed = seed
        self._gates = gates or {}
        self._is_transparent = is_transparent
        self._toxics: dict[str, Toxic] = {}
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], Connection] = {}
        # The number of the next connection, for the chances.
        self._number = 0

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._open)

    @property
    def toxics(self) -> list[Toxic]:
        """Its toxics, upstream first."""
        return [toxic for direction in DIRECTIONS for toxic in self._toxics_of(direction)]

    def toxic(self, name: str) -> Toxic | None:
        """Finds a toxic by its name."""
        return self._toxics.get(name)

    def to_json(self) -> dict[str, Any]:
        """Returns it as Toxiproxy writes it."""
        return {
            "name": self.name,
            "listen": self.listen,
            "upstream": self.upstream,
            "enabled": self.is_enabled,
            "toxics": [toxic.to_json() for toxic in self.toxics],
        }

    # ------------------------------------------------------------------------------------------------- lifetime

    async def start(self) -> None:
        """Starts listening; does nothing if it listens.

        Raises:
            ValueError: Its address is not valid.
            OSError: It cannot listen there.
        """
        if self._server is not None:
            return
        listener = await listen(self.listen)
        self._server = await asyncio.start_server(self._accept, sock=listener, limit=CHUNK_BYTES)
        self.listen = join_address(*listener.getsockname()[:2])
        self.is_enabled = True

    async def stop(self) -> None:
        """Stops listening and closes all connections."""
        server, self._server, self.is_enabled = self._server, None, False
        if server is None:
            return
        await close_server(server)
        for connection in self._open.values():
            connection.abort()
        await self._end_connections()
        await server.wait_closed()

    async def move(self, listen: str, upstream: str) -> bool:
        """Listens and connects elsewhere; if that is a change, stops first. Returns whether it was one.

        Raises:
            ValueError: The address to listen at is not valid.
            OSError: There is no such host.
        """
        if not await self.differs(listen, upstream):
            return False
        await self.stop()
        self.listen, self.upstream = listen, upstream
        return True

    async def differs(self, listen: str, upstream: str) -> bool:
        """Returns whether these addresses are others than its own.

        Raises:
            ValueError: The address to listen at is not valid.
            OSError: There is no such host.
        """
        return await resolved(listen) != self.listen or upstream != self.upstream

    # --------------------------------------------------------------------------------------------------- toxics

    def add_toxic(self, toxic: Toxic) -> None:
        """Adds a toxic, to open connections as well."""
        self._toxics[toxic.name] = toxic
        for connection in self._open.values():
            if toxic.direction in connection.streams:
                connection.streams[toxic.direction].add(toxic)

    def update_toxic(self, toxic: Toxic) -> None:
        """Replaces the toxic of this name, which is of the same type and stream."""
        self._toxics[toxic.name] = toxic
        for connection in self._open.values():
            if toxic.direction in connection.streams:
                connection.streams[toxic.direction].update(toxic)

    def remove_toxic(self, toxic: Toxic) -> None:
        """Removes a toxic, from open connections as well."""
        del self._toxics[toxic.name]
        for connection in self._open.values():
            if toxic.direction in connection.streams:
                connection.streams[toxic.direction].remove(toxic)

    def remove_toxics(self) -> None:
        """Removes all toxics, and counts connections anew, so that the same chances come again."""
        for toxic in self.toxics:
            self.remove_toxic(toxic)
        self._number = 0

    # ---------------------------------------------------------------------------------------------- connections

    def reset_connections(self) -> None:
        """Begins to reset all connections."""
        for task, connection in self._open.items():
            connection.reset()
            task.cancel()

    async def cut(self) -> None:
        """Resets all connections, and waits for their end."""
        self.reset_connections()
        await self._end_connections()

    async def _end_connections(self) -> None:
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _toxics_of(self, direction: Direction) -> list[Toxic]:
        return [toxic for toxic in self._toxics.values() if toxic.direction == direction]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:
            # It came while the proxy stopped.
            writer.transport.abort()
            return
        if self.is_refusing:
            self.refused += 1
            reset(writer)
            return
        self.accepted += 1
        number, self._number = self._number, self._number + 1

        def chance(toxic: Toxic) -> Random:
            return Random(f"{self._seed}/{self.name}/{toxic.name}/{number}")  # noqa: S311 - no secret

        connection = Connection(reader, writer, chance=chance, gates=self._gates, is_transparent=self._is_transparent)
        task = asyncio.get_running_loop().create_task(self._serve(connection), name=f"proxy {self.name}")
        self._open[task] = connection
        task.add_done_callback(self._open.pop)

    async def _serve(self, connection: Connection) -> None:
        try:
            await connection.run(_target(self.upstream), self._toxics_of)
        except ValueError as error:
            # Neither an address nor a name; Toxiproxy does not tell before it dials, either.
            _log.warning("proxy %s: %s", self.name, error)
            connection.abort()


def _target(upstream: str) -> tuple[str, int]:
    # Without a host it is this machine, as for Go.
    return split_address(f"localhost{upstream}" if upstream.startswith(":") else upstream)
