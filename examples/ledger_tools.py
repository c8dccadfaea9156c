"""A tool whose effect lasts, for demo_cluster.py: it writes a line to the file that ``DEMO_LEDGER`` names.

::

    DEMO_LEDGER=/tmp/ledger grpc-tool-bridge worker examples/ledger_tools.py
"""

import os

from grpc_tool_bridge import tool


@tool
def pay(payment: str, amount: int) -> int:
    """Writes a payment to the ledger, and returns its amount.

    Args:
        payment: What the payment is called; a ledger with two of the same name was paid twice.
        amount: In cents.
    """
    with open(os.environ["DEMO_LEDGER"], "a", encoding="utf-8") as ledger:  # noqa: PTH123 - a line is written in one piece
        ledger.write(f"{payment} {amount}\n")
    return amount
