"""Tools for the tests of toolsets, marks and versions."""

from grpc_tool_bridge import Toolset, tool


class Orders:
    """An object whose methods are tools."""

    def __init__(self, shop: str) -> None:
        self.shop = shop

    @tool(tags=["read"])
    def get(self, number: int) -> str:
        """Gets an order."""
        return f"{self.shop} {number}"

    @tool(tags=["write"])
    def cancel(self, number: int) -> str:
        """Cancels an order."""
        return f"{self.shop} without {number}"


books = Toolset(Orders("books"), "books.", tags=["shop"])


@tool(hidden=True, tags=["read"])
def reset() -> str:
    """Resets all."""
    return "reset"


@tool(deprecated="use add", tags=["math"])
def plus(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@tool(name="add", version="1")
def add_1(a: int, b: int) -> int:
    """Adds two numbers, as it was."""
    return a + b


@tool(name="add", version="2", tags=["math"])
def add_2(a: int, b: int) -> int:
    """Adds two numbers."""
    return 100 + a + b
