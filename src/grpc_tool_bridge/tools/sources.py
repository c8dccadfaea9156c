"""Sources of tools: what offers tools that come and go, such as another server whose tools are imported."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from grpc_tool_bridge.config.argument_checks import list_of, refuse_type
from grpc_tool_bridge.errors.faults import log_fault
from grpc_tool_bridge.tools.tool import Tool

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A tool that was not taken.

    Attributes:
        name: Its name.
        reason: Why, such as the name that is taken.
    """

    name: str
    reason: str


class Offer(Protocol):
    """Takes the tools of one source; the hub or the worker that runs them implements it."""

    async def replace(self, tools: Sequence[Tool]) -> Sequence[Refusal]:
        """Offers these tools, and no others of this source, in one change; those that stay the same are not touched.

        A tool never takes the place of another one: a tool whose name is taken, or that is not valid, is refused, and
        the others are offered.

        Returns:
            The refused tools.

        Raises:
            ResourceExhaustedError: There would be too many tools; nothing has changed.
            ToolBridgeError: The hub did not take them for another reason.
        """
        ...


class ToolSource(Protocol):
    """Offers tools that come and go. It is started once, and ended once."""

    async def start(self, offer: Offer) -> None:
        """Starts to offer tools, and returns when the first ones are offered, or are known not to be there yet.

        Raises:
            ToolBridgeError: It can never offer any tools, such as for a mistake in its settings.
        """

    async def aclose(self) -> None:
        """Stops, and ends everything that it has started; its tools are withdrawn by whoever has taken them."""


def sources_of(sources: Any) -> list[ToolSource]:
    """Checks an argument that is a list of sources.

    Raises:
        ArgumentTypeError: It is no list, or an item is no source.
    """
    found = list_of("sources", sources, "a list of sources of tools, such as [import_mcp(...)]")
    for source in found:
        if isinstance(source, type) or not callable(getattr(source, "start", None)):
            refuse_type("sources", source, "a list of sources of tools, such as [import_mcp(...)]")
    return found


class _InTurn:
    """Takes the tools of a source when those before it have started.

    Args:
        offer: What takes them.
        before: The starts of the sources before it.
    """

    def __init__(self, offer: Offer, before: Iterable[asyncio.Future[None]]) -> None:
        self._offer = offer
        self._before = tuple(before)

    async def replace(self, tools: Sequence[Tool]) -> Sequence[Refusal]:
        """See ``Offer``."""
        if self._before:
            await asyncio.wait(self._before)
            self._before = ()
        return await self._offer.replace(tools)


class RunningSources:
    """Sources that are started and ended together.

    Args:
        offers: Each source, with what takes its tools.
    """

    def __init__(self, offers: Iterable[tuple[ToolSource, Offer]]) -> None:
        self._offers = list(offers)

    async def start(self) -> None:
        """Starts all sources at the same time; if one fails, all are ended.

        They offer their first tools in their order, so that of two tools of one name the same one is taken each time.

        Raises:
            ToolBridgeError: A source can never offer any tools.
        """
        starting: list[asyncio.Future[None]] = []
        for source, offer in self._offers:
            starting.append(asyncio.ensure_future(source.start(_InTurn(offer, tuple(starting)))))
        try:
            await asyncio.gather(*starting)
        except BaseException:
            for task in starting:
                task.cancel()
            await asyncio.gather(*starting, return_exceptions=True)
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Ends all sources at the same time."""
        ended = await asyncio.gather(*(source.aclose() for source, _ in self._offers), return_exceptions=True)
        for failure in ended:
            if isinstance(failure, Exception):
                log_fault(_log, "a source of tools could not be ended", error=failure)
