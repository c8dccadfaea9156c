"""A proxy between a client and a hub that fails on demand."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Literal

from anyio.from_thread import BlockingPortal, start_blocking_portal

from grpc_tool_bridge.testing.running import Running, running_address
from grpc_tool_bridge.testing.toxiproxy.effects import EFFECTS
from grpc_tool_bridge.testing.toxiproxy.proxy import Proxy
from grpc_tool_bridge.testing.toxiproxy.toxics import DIRECTIONS, Toxic, attributes_of, default_name
from grpc_tool_bridge.transport.addresses import join_address, split_address

Direction = Literal["to_hub", "to_client", "both"]

# A limited bandwidth is enforced by sending pieces of this many seconds.
_PIECE_SECONDS = 0.02


class ToxicProxy(Running):
    """A TCP proxy between a client and a hub, whose connections a test can break, stall and slow down.

    ``with`` and ``async with`` both run it, inside and outside an event loop. Its methods can be called from any
    thread while it runs; each has taken effect when it returns. Bytes are counted when they have been forwarded.

    Args:
        target: The hub, as ``host:port``; the attribute can be changed, for later connections.
        address: ``host:port`` to listen at; port 0 picks a free port.
        seed: Decides which connections a toxic takes part in, and how it varies; None: it differs from run to run.

    Attributes:
        connections: Open connections.
        accepted: Connections accepted so far.
        refused: Connections refused so far.
        bytes_to_hub: Bytes forwarded to the hub.
        bytes_to_client: Bytes forwarded to clients.
        toxics: The toxics, as Toxiproxy writes them, upstream first.

    Raises:
        ValueError: One of the addresses is not valid.
    """

    def __init__(self, target: str, address: str = "127.0.0.1:0", *, seed: int | None = None) -> None:
        split_address(address)
        self._listen_at = address
        self._address: str | None = None
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._to_hub = _Way(self._reset_connections)
        self._to_client = _Way(self._reset_connections)
        self._proxy = Proxy(
            "hub",
            address,
            join_address(*split_address(target)),
            seed=secrets.randbits(32) if seed is None else seed,
            gates={"upstream": self._to_hub, "downstream": self._to_client},
            is_transparent=True,
        )

    @property
    def target(self) -> str:
        """The hub."""
        return self._proxy.upstream

    @target.setter
    def target(self, address: str) -> None:
        self._proxy.upstream = join_address(*split_address(address))

    @property
    def address(self) -> str:
        """Where clients connect to.

        Raises:
            RuntimeError: The proxy is not running.
        """
        return running_address(self._address, "proxy")

    @property
    def connections(self) -> int:
        """Open connections."""
        return self._proxy.connections

    @property
    def accepted(self) -> int:
        """Connections accepted so far."""
        return self._proxy.accepted

    @property
    def refused(self) -> int:
        """Connections refused so far."""
        return self._proxy.refused

    @property
    def bytes_to_hub(self) -> int:
        """Bytes forwarded to the hub."""
        return self._to_hub.passed

    @property
    def bytes_to_client(self) -> int:
        """Bytes forwarded to clients."""
        return self._to_client.passed

    @property
    def toxics(self) -> list[dict[str, Any]]:
        """The toxics, as Toxiproxy writes them, upstream first."""
        return [toxic.to_json() for toxic in self._proxy.toxics]

    # ------------------------------------------------------------------------------------------------- troubles

    def cut(self) -> None:
        """Resets all connections; new ones are accepted."""
        self._call(self._proxy.cut)

    def cut_after(self, size: int, direction: Direction = "to_hub") -> None:
        """Forwards ``size`` more bytes of all connections together, then resets them all, once.

        Args:
            size: Bytes, counted from now on.
            direction: Which bytes count; "both": each direction separately.

        Raises:
            ValueError: The size is not above 0, or there is no such direction.
        """
        _check(size > 0, f"size must be above 0, not {size}; to cut immediately, use cut()")
        self._change(direction, left=size)

    def refuse(self) -> None:
        """Resets new connections; open ones stay."""
        self._call(self._set_refusing, True)

    def restore(self) -> None:
        """Accepts new connections again, and undoes ``stall``, ``delay``, ``limit`` and ``cut_after``."""
        self._call(self._set_refusing, False)
        self._change("both", stalled=False, delay=0.0, bandwidth=0, left=None)

    def stall(self, direction: Direction = "both") -> None:
        """Forwards nothing, like a network that silently fails; data is kept, and its sender has to wait."""
        self._change(direction, stalled=True)

    def resume(self, direction: Direction = "both") -> None:
        """Ends ``stall``; kept data is forwarded."""
        self._change(direction, stalled=False)

    def delay(self, seconds: float, direction: Direction = "both") -> None:
        """Forwards everything this many seconds after it arrived; 0: immediately.

        Raises:
            ValueError: The seconds are below 0, or there is no such direction.
        """
        _check(seconds >= 0, f"seconds must be 0 or more, not {seconds}")
        self._change(direction, delay=seconds)

    def limit(self, bytes_per_second: int, direction: Direction = "both") -> None:
        """Forwards this many bytes per second, of all connections together; 0: unlimited.

        Raises:
            ValueError: The number is below 0, or there is no such direction.
        """
        _check(bytes_per_second >= 0, f"bytes_per_second must be 0 or more, not {bytes_per_second}")
        self._change(direction, bandwidth=bytes_per_second)

    # --------------------------------------------------------------------------------------------------- toxics

    def add_toxic(
        self,
        type: str,  # noqa: A002 - Toxiproxy's name
        stream: str = "downstream",
        toxicity: float = 1.0,
        name: str | None = None,
        **attributes: int,
    ) -> str:
        """Adds a toxic of Toxiproxy, to open connections as well, and returns its name.

        Args:
            type: "latency" (with the attributes ``latency`` and ``jitter``, in milliseconds), "bandwidth" (``rate``, in
                1,000 bytes per second), "slow_close" (``delay``, ms), "timeout" (``timeout``, ms), "reset_peer"
                (``timeout``, ms), "slicer" (``average_size`` and ``size_variation``, in bytes, and ``delay``, in
                microseconds) or "limit_data" (``bytes``).
            stream: "downstream", to the client, or "upstream", to the hub.
            toxicity: The share of connections that it takes part in, from 0 to 1.
            name: Its name; default: type and stream, as in "latency_downstream".
            attributes: Integers, as above; those that are not given are 0.

        Raises:
            ValueError: There is no such type, stream or attribute, a value is not valid, or the name is taken.
            RuntimeError: The proxy is not running.
        """
        _check(type in EFFECTS, f"{type!r} is not a type of toxic; the types are {', '.join(EFFECTS)}")
        _check(stream in DIRECTIONS, f"stream must be 'downstream' or 'upstream', not {stream!r}")
        _check_attributes(type, attributes, toxicity)
        effect: Any = EFFECTS[type]
        toxic = Toxic(
            name=name or default_name(type, stream),
            type=type,
            stream=stream,
            toxicity=toxicity,
            effect=effect(**attributes),
        )
        _check(self._proxy.toxic(toxic.name) is None, f"there is a toxic named {toxic.name!r}; give it another name")
        self._call(self._proxy.add_toxic, toxic)
        return toxic.name

    def update_toxic(self, name: str, toxicity: float | None = None, **attributes: int) -> None:
        """Changes a toxic, also for bytes that wait for it; what is not given stays.

        Raises:
            ValueError: There is no such toxic or attribute, or a value is not valid.
            RuntimeError: The proxy is not running.
        """
        toxic = self._find_toxic(name)
        _check_attributes(toxic.type, attributes, toxicity)
        self._call(self._proxy.update_toxic, toxic.changed(attributes, toxicity))

    def remove_toxic(self, name: str) -> None:
        """Removes a toxic; bytes that wait for it go on. A timeout has dropped bytes, so its connections are closed.

        Raises:
            ValueError: There is no such toxic.
            RuntimeError: The proxy is not running.
        """
        self._call(self._proxy.remove_toxic, self._find_toxic(name))

    def reset(self) -> None:
        """Removes all toxics, and undoes all that ``restore`` does; later connections have the same chances again."""
        self._call(self._proxy.remove_toxics)
        self.restore()

    # ------------------------------------------------------------------------------------------------- lifetime

    def start(self) -> None:
        """Starts listening.

        Raises:
            RuntimeError: The proxy is already running.
            OSError: It cannot listen at its address.
        """
        if self._portal is not None:
            raise RuntimeError(f"the proxy is already running at {self._address}")
        self._proxy.listen = self._listen_at
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            portal.call(self._proxy.start)
            self._stack = stack.pop_all()
        self._portal, self._address = portal, self._proxy.listen

    def stop(self) -> None:
        """Resets all connections and stops listening; the counts can still be read."""
        portal, self._portal, self._address = self._portal, None, None
        if portal is not None:
            portal.call(self._close)
            self._stack.close()

    # ---------------------------------------------------------------------------------- in the proxy's own thread

    def _call(self, function: Callable[..., Any], *args: Any) -> None:
        if self._portal is None:
            raise RuntimeError("the proxy is not running; enter it with 'with' first")
        self._portal.call(function, *args)

    def _change(self, direction: Direction, **changes: Any) -> None:
        ways = {"to_hub": [self._to_hub], "to_client": [self._to_client], "both": [self._to_hub, self._to_client]}
        _check(direction in ways, f"direction must be 'to_hub', 'to_client' or 'both', not {direction!r}")
        for way in ways[direction]:
            self._call(partial(way.change, **changes))

    def _find_toxic(self, name: str) -> Toxic:
        toxic = self._proxy.toxic(name)
        if toxic is None:
            names = ", ".join(each.name for each in self._proxy.toxics) or "none"
            raise ValueError(f"there is no toxic named {name!r}; the toxics are {names}")
        return toxic

    def _set_refusing(self, refusing: bool) -> None:
        self._proxy.is_refusing = refusing

    def _reset_connections(self) -> None:
        self._proxy.reset_connections()

    async def _close(self) -> None:
        self._proxy.reset_connections()
        await self._proxy.stop()


class _Way:
    """Controls the bytes that flow in one direction.

    Args:
        cut: Resets all connections.
    """

    def __init__(self, cut: Callable[[], None]) -> None:
        self.passed = 0
        self._cut = cut
        self._stalled = False
        self._delay = 0.0
        self._bandwidth = 0
        # Bytes until the connections are cut; None: never.
        self._left: int | None = None
        # When all bytes so far have been sent, at the set bandwidth.
        self._free_at = 0.0
        self._changed = asyncio.Event()

    def change(self, **changes: Any) -> None:
        """Changes settings, also for waiting bytes."""
        for name, value in changes.items():
            setattr(self, f"_{name}", value)
        self._free_at = 0.0
        self._changed.set()
        self._changed = asyncio.Event()

    async def admit(self, came_at: float) -> None:
        """Waits until the bytes that arrived at ``came_at`` may be forwarded."""
        loop = asyncio.get_running_loop()
        while True:
            wait = max(came_at + self._delay, self._free_at) - loop.time()
            held = self._stalled or self._left == 0
            if not held and wait <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(None if held else wait):
                    await self._changed.wait()

    def piece(self, data: memoryview) -> memoryview:
        """Returns the part of admitted bytes that may be sent now."""
        if self._bandwidth:
            data = data[: max(1, int(self._bandwidth * _PIECE_SECONDS))]
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        return data

    def sent(self, size: int) -> None:
        """Counts sent bytes."""
        self.passed += size
        if self._bandwidth:
            self._free_at = max(self._free_at, asyncio.get_running_loop().time()) + size / self._bandwidth
        if self._left == 0:
            self._left = None
            self._cut()


def _check(right: bool, text: str) -> None:
    if not right:
        raise ValueError(text)


def _check_attributes(toxic_type: str, attributes: Mapping[str, int], toxicity: float | None) -> None:
    known = attributes_of(toxic_type)
    for name, value in attributes.items():
        has = " and ".join(known) or "none"
        _check(name in known, f"a {toxic_type} toxic has no attribute {name!r}; it has {has}")
        _check(type(value) is int, f"{name} must be an integer, not {value!r}")
    _check(toxicity is None or 0 <= toxicity <= 1, f"toxicity must be from 0 to 1, not {toxicity}")
