"""Sources of tools: what offers tools that come and go, such as another server whose tools are imported."""

from collections.abc import Sequence
from typing import Protocol

from grpc_tool_bridge.tools.tool import Tool


class Offer(Protocol):
    """Takes the tools of one source; the hub or the worker that runs them implements it."""

    async def replace(self, tools: Sequence[Tool]) -> None:
        """Offers these tools, and no others of this source; those that stay the same are not touched.

        Raises:
            AlreadyExistsError: A name is taken by another tool; nothing has changed.
            ValidationError: A tool is not valid; nothing has changed.
            ResourceExhaustedError: There would be too many tools; nothing has changed.
        """


class ToolSource(Protocol):
    """Offers tools that come and go. It is started once, and ended once."""

    async def start(self, offer: Offer) -> None:
        """Starts to offer tools, and returns when the first ones are offered, or are known not to be there yet.

        Raises:
            ToolBridgeError: It can never offer any tools, such as for a mistake in its settings.
        """

    async def aclose(self) -> None:
        """Stops, and ends everything that it has started; its tools are withdrawn by whoever has taken them."""
