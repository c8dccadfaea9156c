"""A gRPC service whose methods are tools: it is read, watched, and read again."""

import asyncio
import contextlib
import logging
import time
from datetime import datetime
from types import TracebackType
from typing import Self

import grpc.aio

from grpc_tool_bridge.adapters.grpc.bounds import Bounds
from grpc_tool_bridge.adapters.grpc.calls import Caller
from grpc_tool_bridge.adapters.grpc.channel import open_channel, read_credentials
from grpc_tool_bridge.adapters.grpc.config import ServiceConfig
from grpc_tool_bridge.adapters.grpc.descriptors import Descriptors
from grpc_tool_bridge.adapters.grpc.failures import probe, reading_failure
from grpc_tool_bridge.adapters.grpc.imports import Imported, Importer
from grpc_tool_bridge.adapters.grpc.protos import is_described, read_description
from grpc_tool_bridge.adapters.grpc.reflection import Reflected, read_reflection
from grpc_tool_bridge.adapters.naming import Naming
from grpc_tool_bridge.aio.backoff import back_off
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import ProtocolError, ToolBridgeError, ValidationError
from grpc_tool_bridge.tools.sources import Offer, Refusal
from grpc_tool_bridge.tools.tool import Tool

_log = logging.getLogger(__name__)

# Between two readings: answers may show a thousand times a second that the service may have changed.
_READ_AGAIN_SECONDS = 5.0


class GrpcService:
    """The methods of the gRPC services at one address, as tools; made by ``import_grpc``.

    As ``sources=[service]`` of a BridgeServer or a ToolWorker, its tools come and go with it. ``async with service:``
    starts it alone; ``tools`` are then tools for ``tools=`` of anything, and their calls fail while it is away.

    Args:
        config: The service.
        bounds: Limits on what it says of itself.

    Attributes:
        tools: The tools that can be called; empty if the service has been away for longer than a restart takes.
        refused: What of it is not offered, with the reason.
    """

    def __init__(self, config: ServiceConfig, bounds: Bounds) -> None:
        self.config = config
        self.tools: list[Tool] = []
        self.refused: list[Refusal] = []
        self._bounds = bounds
        self._offer: Offer | None = None
        self._channel: grpc.aio.Channel | None = None
        self._importer: Importer | None = None
        self._tasks = TaskSet()
        self._first: asyncio.Future[None] | None = None
        # The connection is there; it was lost; an answer shows that the service may have changed.
        self._ready, self._lost, self._doubt = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._digest = ""
        self._imported = Imported()
        self._is_offered = False
        self._read_at = 0.0
        self._away = "it has not been started"
        self._since = datetime.now().astimezone()
        self._withdrawing: asyncio.Task[None] | None = None
        self._told: set[Refusal] = set()

    @property
    def name(self) -> str:
        """What texts call the service."""
        return self.config.name

    @property
    def away(self) -> str:
        """Why the service cannot be called now, and since when; empty if it can."""
        return self._away

    def __repr__(self) -> str:
        return f"<GrpcService {self.name} ({self.config.where})>"

    # ------------------------------------------------------------------------------------------------- lifetime

    async def start(self, offer: Offer) -> None:
        """Connects, and offers the tools; a service that is not there yet is offered when it is.

        Raises:
            ProtocolError: It was started before.
            ValidationError: A file of its settings cannot be used.
            UnavailableError: It cannot describe itself, or refuses access.
        """
        self._offer = offer
        await self._start()

    async def _start(self) -> None:
        if self._first is not None:
            raise ProtocolError(f"the gRPC service {self.name} was started before, and can be started only once")
        self._first = asyncio.get_running_loop().create_future()
        try:
            credentials = await asyncio.to_thread(read_credentials, self.config)
        except OSError as error:
            raise ValidationError(f"gRPC service {self.name}: {error.filename}: {error.strerror}") from None
        self._channel = open_channel(self.config, credentials)
        caller = Caller(self.config, self._channel, lambda: self._away, self._doubt.set)
        naming = Naming(self.name, self.config.prefix or "", self.config.methods, self.config.exclude)
        self._importer = Importer(naming, caller, self._bounds)
        self._away = ""
        self._tasks.spawn(self._watch(self._channel), f"watch the connection to {self.name}")
        self._tasks.spawn(self._run(self._channel), f"gRPC service {self.name}")
        try:
            await asyncio.shield(self._first)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Ends the connection, and every call with it."""
        self._away = "it has been stopped"
        await self._tasks.aclose()
        if self._channel is not None:
            await self._channel.close()
        self.tools = []
        if self._first is not None and not self._first.done():
            self._first.cancel()

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _run(self, channel: grpc.aio.Channel) -> None:
        """Reads again and again, until it is cancelled or can never be read."""
        pauses = back_off()
        while True:
            try:
                await self._read(channel)
            except Exception as error:  # noqa: BLE001 - whatever it says, the next reading may succeed
                failure = reading_failure(error, self._bounds, is_connected=self._ready.is_set())
                if not self._first_done and failure.is_final:
                    self._settle(failure.error_of(self.name))
                    return
                if failure.is_away:
                    self._note_away(failure.text)
                else:
                    _log.warning("gRPC service %s: it could not be read again: %s", self.name, failure.text)
                self._settle(None)
                await self._wait_for_return(next(pauses))
                continue
            self._note_back()
            self._settle(None)
            pauses = back_off()
            await self._wait_for_change()

    async def _watch(self, channel: grpc.aio.Channel) -> None:
        """Follows the state of the connection, and connects again when it is idle.

        One task waits for it from beginning to end: a wait that is given up stays with gRPC until the state changes.
        """
        while True:
            state = channel.get_state(try_to_connect=True)
            if state is grpc.ChannelConnectivity.READY:
                self._ready.set()
                self._lost.clear()
                if self._withdrawing is not None:
                    # Calls may be made before all is read again.
                    self._away = ""
            else:
                self._ready.clear()
                self._lost.set()
            await channel.wait_for_state_change(state)

    async def _wait_for_change(self) -> None:
        """Waits until the service should be read again: after a while, or since it may have changed."""
        lost, doubt = (asyncio.ensure_future(event.wait()) for event in (self._lost, self._doubt))
        try:
            await asyncio.wait((lost, doubt), timeout=self.config.refresh, return_when=asyncio.FIRST_COMPLETED)
            if doubt.done() and not lost.done():
                await asyncio.wait((lost,), timeout=self._read_at + _READ_AGAIN_SECONDS - time.monotonic())
        finally:
            lost.cancel()
            doubt.cancel()
            self._doubt.clear()

    async def _wait_for_return(self, pause: float) -> None:
        """Waits for the connection, but not longer than a pause; the whole pause if it is there."""
        if self._ready.is_set():
            await asyncio.sleep(pause)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._ready.wait()

    # --------------------------------------------------------------------------------------------------- tools

    async def _read(self, channel: grpc.aio.Channel) -> None:
        """Reads what the service offers, and offers it if that has changed."""
        self._read_at = time.monotonic()
        if is_described(self.config):
            if not self._digest:
                descriptors = await asyncio.to_thread(read_description, self.config, self._bounds)
                await self._import(descriptors, None)
                self._digest = descriptors.digest
            if not self._first_done:
                # Its tools are known, whether it is there or not.
                await self._offer_tools()
                self._settle(None)
            await probe(channel, self._bounds)
            await self._offer_tools()
            return
        reflected = await read_reflection(channel, self._bounds, metadata=tuple(self.config.metadata.items()))
        digest = await asyncio.to_thread(reflected.digest)
        if digest != self._digest:
            descriptors = await asyncio.to_thread(Descriptors.of, reflected.files, self._bounds)
            await self._import(descriptors, reflected)
            self._digest = digest
        await self._offer_tools()

    async def _import(self, descriptors: Descriptors, reflected: Reflected | None) -> None:
        assert self._importer is not None  # noqa: S101 - it is made at the start
        # Ten thousand methods take seconds.
        self._imported = await asyncio.to_thread(self._importer.read, descriptors, reflected)
        self._is_offered = False

    async def _offer_tools(self) -> None:
        if self._is_offered:
            return
        tools, refused = self._imported.tools, list(self._imported.refused)
        if self._offer is not None:
            late = await self._offer.replace(tools)
            refused += late
            names = {refusal.name for refusal in late}
            tools = [tool for tool in tools if tool.spec.name not in names]
        self.tools, self.refused, self._is_offered = list(tools), refused, True
        for refusal in refused:
            if refusal not in self._told:
                _log.warning("gRPC service %s: %s is not offered: %s", self.name, refusal.name, refusal.reason)
        self._told = set(refused)

    async def _withdraw(self) -> None:
        await asyncio.sleep(self.config.away_seconds)
        self.tools, self._is_offered = [], False
        if self._offer is not None:
            try:
                await self._offer.replace([])
            except ToolBridgeError as error:
                _log.warning("gRPC service %s: its tools could not be withdrawn: %s", self.name, error)
        _log.warning("gRPC service %s: its tools are gone until it is back", self.name)

    # ---------------------------------------------------------------------------------------------- its absence

    def _note_away(self, why: str) -> None:
        if self._withdrawing is None:
            self._since = datetime.now().astimezone()
            _log.warning("gRPC service %s is away: %s", self.name, why)
            self._withdrawing = self._tasks.spawn(self._withdraw(), f"withdraw the tools of {self.name}")
        self._away = f"{why} (since {self._since:%H:%M:%S})"

    def _note_back(self) -> None:
        if self._withdrawing is not None:
            self._withdrawing.cancel()
            self._withdrawing = None
            _log.info("gRPC service %s is back with %d tools", self.name, len(self.tools))
        self._away = ""

    @property
    def _first_done(self) -> bool:
        return self._first is not None and self._first.done()

    def _settle(self, error: ToolBridgeError | None) -> None:
        """Ends the wait of ``start``."""
        if self._first is not None and not self._first.done():
            self._first.set_result(None) if error is None else self._first.set_exception(error)
