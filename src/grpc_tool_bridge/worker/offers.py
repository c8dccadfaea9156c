"""Offers the tools of a worker's sources over its link."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol

from grpc_tool_bridge.errors import AlreadyExistsError, ToolBridgeError, ToolCommunicationError
from grpc_tool_bridge.link.status import is_transient
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.tools.sources import Refusal
from grpc_tool_bridge.tools.tool import Tool
from grpc_tool_bridge.worker.service import ToolService

_log = logging.getLogger(__name__)


class Registrar(Protocol):
    """What registers tools at the hub."""

    async def register(self, stub: Any, specs: Sequence[ToolSpec]) -> None:
        """Registers tools, all or none; raises AlreadyExistsError, whose ``details["tool"]`` names one, and others."""

    async def unregister(self, stub: Any, specs: Sequence[ToolSpec]) -> None:
        """Unregisters tools."""

    async def seen(self, stub: Any) -> Collection[str]:
        """Returns the names of the tools that tools of this worker would hide; none if the hub refuses them itself."""
        ...


class WorkerOffers:
    """The tools that the sources of a worker offer.

    Args:
        service: Runs the tools.
        registrar: Registers them at the hub.
        stub: Returns the stub of the present link; None: the worker is not registered yet.
    """

    def __init__(self, service: ToolService, registrar: Registrar, stub: Callable[[], Any]) -> None:
        self._service = service
        self._registrar = registrar
        self._stub = stub
        self._own = {tool.spec.name for tool in service.tools}
        self._offers: list[WorkerOffer] = []
        # Names of tools of sources that the hub has taken; after a reconnection, it may still have them.
        self._taken_names: set[str] = set()
        self._links = 0
        # Held while tools are registered, so that a new link and a source do not cross.
        self.lock = asyncio.Lock()

    def make(self) -> "WorkerOffer":
        """Returns what takes the tools of one more source."""
        self._offers.append(WorkerOffer(self))
        return self._offers[-1]

    def relinked(self) -> None:
        """Takes note of another link: what was sent over the one before no longer matters."""
        self._links += 1

    async def register_all(self, stub: Any) -> None:
        """Registers the tools of all sources over another link."""
        for offer in self._offers:
            refused = await self._taken(stub, offer.tools)
            offer.drop(refused)
            for refusal in refused:
                _log.warning("the tool %s is not offered: %s", refusal.name, refusal.reason)

    async def exchange(self, offer: "WorkerOffer", tools: Sequence[Tool]) -> list[Refusal]:
        """Offers tools in the place of those of an offer; returns those that are refused."""
        async with self.lock:
            refused, tools = self._sorted(offer, tools)
            kept = {id(tool) for tool in tools}
            known = {id(tool) for tool in offer.tools}
            gone = [tool for tool in offer.tools if id(tool) not in kept]
            added = [tool for tool in tools if id(tool) not in known]
            self._service.replace(gone, added)
            offer.tools = list(tools)
            stub, links = self._stub(), self._links
            if stub is None:
                return refused
            try:
                if gone:
                    await self._registrar.unregister(stub, [tool.spec for tool in gone])
                    self._taken_names.difference_update(tool.spec.name for tool in gone)
                late = await self._taken(stub, added)
            except ToolBridgeError as error:
                if not _is_lost(error) and links == self._links:
                    offer.give_up(added)
                    raise
                # The next link registers what is offered by then.
                return refused
            offer.drop(late)
            return [*refused, *late]

    def _sorted(self, offer: "WorkerOffer", tools: Iterable[Tool]) -> tuple[list[Refusal], list[Tool]]:
        """Refuses tools whose name another tool of this worker has."""
        taken = set(self._own)
        for other in self._offers:
            if other is not offer:
                taken.update(tool.spec.name for tool in other.tools)
        refused, fine = [], []
        for tool in tools:
            if tool.spec.name in taken:
                refused.append(Refusal(tool.spec.name, f"this worker has another tool named {tool.spec.name!r}"))
            else:
                taken.add(tool.spec.name)
                fine.append(tool)
        return refused, fine

    async def _taken(self, stub: Any, tools: Sequence[Tool]) -> list[Refusal]:
        """Registers tools one at a time less as long as the name of one is taken; returns those."""
        hides = set(await self._registrar.seen(stub) if tools else ()) - self._own - self._taken_names
        refused = [
            Refusal(tool.spec.name, f"the hub has another tool named {tool.spec.name!r}")
            for tool in tools
            if tool.spec.name in hides
        ]
        left = [tool for tool in tools if tool.spec.name not in hides]
        while left:
            try:
                await self._registrar.register(stub, [tool.spec for tool in left])
                self._taken_names.update(tool.spec.name for tool in left)
                break
            except AlreadyExistsError as error:
                name = error.details.get("tool")
                if not any(tool.spec.name == name for tool in left):
                    raise
                refused.append(Refusal(str(name), error.message))
                left = [tool for tool in left if tool.spec.name != name]
        return refused

    def withdraw(self, tools: Iterable[Tool]) -> None:
        """Stops to run tools."""
        self._service.replace(tools, ())


class WorkerOffer:
    """Takes the tools of one source; an ``Offer``.

    Attributes:
        tools: What the source offers now.
    """

    def __init__(self, offers: WorkerOffers) -> None:
        self._offers = offers
        self.tools: list[Tool] = []

    async def replace(self, tools: Sequence[Tool]) -> Sequence[Refusal]:
        """Offers these tools and no others; see ``Offer``."""
        return await self._offers.exchange(self, tools)

    def drop(self, refused: Iterable[Refusal]) -> None:
        """Gives up tools that the hub has refused."""
        names = {refusal.name for refusal in refused}
        self.give_up([tool for tool in self.tools if tool.spec.name in names])

    def give_up(self, tools: Sequence[Tool]) -> None:
        """Offers some of its tools no more, without telling the hub."""
        self._offers.withdraw(tools)
        self.tools = [tool for tool in self.tools if tool not in tools]


def _is_lost(error: ToolBridgeError) -> bool:
    return isinstance(error, ToolCommunicationError) and is_transient(error)
