"""Optional packages, imported when a value needs them and not before."""

import importlib
from typing import Any

from grpc_tool_bridge.errors import SerializationError


def need(package: str) -> Any:
    """Imports a package of the ``data`` extra.

    Raises:
        SerializationError: It is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise SerializationError(
            f'this value needs {package}, which is not installed here; run: pip install "grpc-tool-bridge[data]"'
        ) from None
