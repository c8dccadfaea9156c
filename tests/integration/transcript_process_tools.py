"""Tools that run in a process, which imports this module and nothing else of the tests."""

from grpc_tool_bridge import tool


class OutOfStockError(Exception):
    """An error of the tool's own."""


def order(amount: int) -> str:
    """Orders."""
    try:
        return {1: "one"}[amount]
    except KeyError as error:
        failure = OutOfStockError(f"there are not {amount}")
        failure.add_note("Order fewer.")
        raise failure from error


@tool(executor="process")
def order_elsewhere(amount: int) -> str:
    """Orders in a process."""
    return order(amount)


@tool(executor="process")
def add_in_a_process(a: int, b: int = 2) -> int:
    """Adds up elsewhere."""
    return a + b
