"""Lists that notebooks show as tables."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class Listing(list[T]):
    """A list that a notebook shows as a table; in all else a list."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return listing_html(self)


class BatchResults(list[Any]):
    """The results of a batch, in the order of its calls, which a notebook shows as a table.

    Args:
        results: The results; a call that failed has its ToolExecutionError.
        tools: The name of each call's tool.

    Attributes:
        tools: As given.
    """

    def __init__(self, results: Iterable[Any] = (), tools: Sequence[str] = ()) -> None:
        super().__init__(results)
        self.tools = tuple(tools)

    def _repr_html_(self) -> str:
        from grpc_tool_bridge.client.html_tables import results_table  # noqa: PLC0415 - only notebooks need it

        return results_table(self, self.tools)


def listing_html(items: Sequence[Any]) -> str:
    """Returns the table of tools, or of records of one kind."""
    from grpc_tool_bridge.client.html_tables import records_table, tools_table  # noqa: PLC0415 - as above

    specs = [item.spec for item in items if hasattr(item, "spec")]
    return tools_table(specs) if specs else records_table(items)
