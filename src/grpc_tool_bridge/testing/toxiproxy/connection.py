"""A client's connection, and its connection to the server."""

import asyncio
import logging
import socket
import struct
from collections.abc import Callable, Mapping
from random import Random

from grpc_tool_bridge.testing.toxiproxy.channel import Ending
from grpc_tool_bridge.testing.toxiproxy.stream import CHUNK_BYTES, Gate, Stream
from grpc_tool_bridge.testing.toxiproxy.toxics import Direction, Toxic

_log = logging.getLogger(__name__)

# SO_LINGER on, with a timeout of 0: closing resets the connection.
_RESET = struct.pack("ii", 1, 0)


class Connection:
    """Forwards in both directions.

    Args:
        reader: What the client sends.
        writer: What the client gets.
        chance: Makes the random numbers of a toxic in this connection.
        gates: Of each direction, where it has one.
        is_transparent: Whether each end gets what the other one did: a finished stream, a reset. Otherwise, like
            Toxiproxy, it closes the connection for each of them.

    Attributes:
        streams: The directions that have not ended.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        chance: Callable[[Toxic], Random],
        gates: Mapping[Direction, Gate],
        is_transparent: bool,
    ) -> None:
        self._reader = reader
        self._writers = [writer]
        self._chance = chance
        self._gates = gates
        self._is_transparent = is_transparent
        self.streams: dict[Direction, Stream] = {}

    async def run(self, upstream: tuple[str, int], toxics: Callable[[Direction], list[Toxic]]) -> None:
        """Forwards until both directions have ended, or the connection is reset.

        Args:
            upstream: The server.
            toxics: Returns the toxics of a direction, in their order.
        """
        (client,) = self._writers
        try:
            reader, server = await asyncio.open_connection(*upstream, limit=CHUNK_BYTES)
            self._writers.append(server)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward("upstream", self._reader, server, toxics))
                group.create_task(self._forward("downstream", reader, client, toxics))
        except* OSError as errors:
            _log.debug("a connection to %s has failed: %s", upstream, errors.exceptions[0])
            if self._is_transparent:
                self.reset()
        finally:
            # Does nothing where it was reset.
            for writer in self._writers:
                writer.close()

    def reset(self) -> None:
        """Resets both connections."""
        for writer in self._writers:
            reset(writer)

    def abort(self) -> None:
        """Closes both connections without waiting for what is still to be sent."""
        for writer in self._writers:
            writer.transport.abort()

    async def _forward(
        self,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        toxics: Callable[[Direction], list[Toxic]],
    ) -> None:
        stream = self.streams[direction] = Stream(
            reader,
            writer,
            toxics(direction),
            chance=self._chance,
            gate=self._gates.get(direction),
            is_transparent=self._is_transparent,
        )
        try:
            ending = await stream.run()
        finally:
            del self.streams[direction]
        if ending is Ending.RESET:
            self.reset()
        elif ending is Ending.FINISHED and self._is_transparent:
            writer.write_eof()
        else:
            # The other direction ends, too: there is no more to read here.
            writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Resets a connection."""
    if not writer.transport.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
