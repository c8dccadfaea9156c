"""Files of faults to inject."""

import tempfile
from pathlib import Path

from grpc_tool_bridge.core.chaos.reading import read_chaos
from grpc_tool_bridge.errors import ValidationError

REFUSALS = (ValidationError,)


def fuzz(data: bytes) -> None:
    """Reads rules."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chaos.toml"
        path.write_bytes(data)
        read_chaos(path)
