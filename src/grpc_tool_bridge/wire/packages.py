"""Optional packages, imported when a value needs them and not before."""

import functools
import importlib
from collections.abc import Callable
from typing import Any

from grpc_tool_bridge.errors import SerializationError

DATA_PACKAGES = frozenset({"numpy", "pandas", "polars", "pyarrow"})
_CONTAINERS = (tuple, list, dict, set, frozenset)


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
    if issubclass(cls, _CONTAINERS) and not hasattr(cls, "__arrow_c_schema__"):
        # A row of itertuples(), the groups of a frame: what is special about them is how they are printed.
        return None
    for base in cls.__mro__:
        package = str(base.__module__).partition(".")[0]
        if package in DATA_PACKAGES:
            return package
    return None


# Names the package of DATA_PACKAGES that a class, or the first such base of it, comes from; of Python's own containers
# they have subclasses as well, which are no data of theirs.
home_of: Callable[[type], str | None] = functools.lru_cache(maxsize=1_024)(_home_of)
