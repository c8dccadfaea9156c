"""Runs the sources of tools of a hub, and registers what they offer."""

import asyncio
from collections.abc import Iterable, Sequence

from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.core.registered_tool import Prepared, RegisteredTool, prepare
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.errors import ProtocolError, ValidationError
from grpc_tool_bridge.tools.sources import Refusal, RunningSources, ToolSource
from grpc_tool_bridge.tools.tool import Tool


class HubOffer:
    """Registers the tools of one source at a hub, where every session sees them; an ``Offer``.

    Args:
        registry: The hub's tools.
    """

    def __init__(self, registry: ToolRegistry) -> None:
        self._registry = registry
        self._registered: dict[str, tuple[Tool, RegisteredTool]] = {}
        self._lock = asyncio.Lock()
        self._closed = False

    async def replace(self, tools: Sequence[Tool]) -> Sequence[Refusal]:
        """Offers these tools and no others; see ``Offer``."""
        async with self._lock:
            prepared, refused = await _prepared(tools)
            if self._closed:
                raise ProtocolError("the hub has stopped, and takes no more tools of this source")
            return [*refused, *self._exchange(prepared)]

    def _exchange(self, prepared: Sequence[tuple[Tool, Prepared]]) -> list[Refusal]:
        """Registers what is new and removes what is gone, in one step."""
        offered = {tool.spec.name: tool for tool, _ in prepared}
        if self._registry.make_room is not None:
            self._registry.make_room([one for _, one in prepared])
        own = {id(registered) for _, registered in self._registered.values()}
        gone = [held for name, (tool, held) in self._registered.items() if offered.get(name) is not tool]
        kept = {name: pair for name, pair in self._registered.items() if offered.get(name) is pair[0]}
        known = self._registry.own("")
        refused: list[Refusal] = []
        added: list[tuple[Tool, Prepared]] = []
        for tool, one in prepared:
            if tool.spec.name in kept:
                continue
            taken = known.names.get(one.spec.name) or known.get(one.spec.tool_id)
            if taken is not None and id(taken) not in own:
                refused.append(Refusal(one.spec.name, f"the hub has another tool named {taken.name!r}"))
            else:
                added.append((tool, one))
        if gone or added:
            still = [held for held in gone if not self._registry.is_gone(held)]
            made = self._registry.replace(still, [one for _, one in added])
            new = {held.name: (tool, held) for (tool, _), held in zip(added, made, strict=True)}
            self._registered = kept | new
        return refused

    def close(self) -> None:
        """Withdraws all tools, and takes no others."""
        self._closed = True
        self._exchange([])


class HubSources:
    """The sources of a hub.

    Args:
        registry: The hub's tools.
        sources: The sources, which are started and ended here.
    """

    def __init__(self, registry: ToolRegistry, sources: Iterable[ToolSource]) -> None:
        offers = [(source, HubOffer(registry)) for source in sources]
        self._offers = [offer for _, offer in offers]
        self._running = RunningSources(offers)

    async def start(self) -> None:
        """Starts all sources; raises as ``RunningSources.start``."""
        await self._running.start()

    async def aclose(self) -> None:
        """Ends all sources and withdraws their tools."""
        await self._running.aclose()
        for offer in self._offers:
            offer.close()


async def _prepared(tools: Sequence[Tool]) -> tuple[list[tuple[Tool, Prepared]], list[Refusal]]:
    """Checks tools, and yields to other tasks meanwhile."""
    made: list[tuple[Tool, Prepared]] = []
    refused: list[Refusal] = []
    names: set[str] = set()
    turns = Turns()
    for tool in tools:
        try:
            one = prepare(tool)
        except ValidationError as error:
            refused.append(Refusal(tool.spec.name, error.message))
            continue
        if tool.spec.name in names:
            refused.append(Refusal(tool.spec.name, "another tool of the same source has this name"))
            continue
        names.add(tool.spec.name)
        made.append((tool, one))
        if turns.due:
            await turns.give()
    return made, refused
