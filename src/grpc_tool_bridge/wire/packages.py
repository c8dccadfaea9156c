"""Optional packages, imported when a value needs them and not before."""

import functools
import importlib
from collections.abc import Callable
from typing import Any

from grpc_tool_bridge.errors import SerializationError

DATA_PACKAGES = frozenset({"numpy", "pandas", "polars", "pyarrow"})


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


def _home_of(cls: type) -> str | None:
    for base in cls.__mro__:
        package = str(base.__module__).partition(".")[0]
        if package in DATA_PACKAGES:
            return package
    return None


# Names the package of DATA_PACKAGES that a class, or the first such base of it, comes from.
home_of: Callable[[type], str | None] = functools.lru_cache(maxsize=1_024)(_home_of)
