"""Optional packages, which are imported when a value needs them."""

import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any

from grpc_tool_bridge.errors import SerializationError

DATA_PACKAGES = frozenset({"numpy", "pandas", "polars", "pyarrow"})
_CONTAINERS = (tuple, list, dict, set, frozenset)
_HEAP_TYPE = 1 << 9


def need(package: str) -> Any:
    """Imports a package of the ``data`` extra.

    Raises:
        SerializationError: The package is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise SerializationError(
            f'this value needs {package}, which is not installed here; run: pip install "grpc-tool-bridge[data]"'
        ) from None


def is_made_in(cls: type, packages: frozenset[str]) -> bool:
    """Returns whether a class is really defined in one of some packages.

    Its ``__module__`` does not prove it: anyone can set it, and classes made at run time may get the name of the module
    that made them.
    """
    module = cls.__module__
    if module.partition(".")[0] not in packages:
        return False
    if not cls.__flags__ & _HEAP_TYPE:
        return True
    found: Any = sys.modules.get(module)
    for name in cls.__qualname__.split("."):
        found = getattr(found, "__dict__", {}).get(name)
    return found is cls


def _home_of(cls: type) -> str | None:
    if issubclass(cls, _CONTAINERS) and not hasattr(cls, "__arrow_c_schema__"):
        # A row of itertuples(), or the groups of a frame: only printed differently.
        return None
    for base in cls.__mro__:
        package = str(base.__module__).partition(".")[0]
        if package in DATA_PACKAGES:
            return package
    return None


# Returns the package of DATA_PACKAGES that a class or its first such base comes from. Their subclasses of Python's own
# containers do not count.
home_of: Callable[[type], str | None] = functools.lru_cache(maxsize=1_024)(_home_of)


def _is_subclass_of_data(cls: type) -> bool:
    return home_of(cls) is not None and not is_made_in(cls, DATA_PACKAGES)


# Whether a class is a foreign subclass of a class in DATA_PACKAGES, with methods that may run any code.
is_subclass_of_data: Callable[[type], bool] = functools.lru_cache(maxsize=1_024)(_is_subclass_of_data)


def missing(error: ImportError, module: str, *, extra: str) -> ImportError:
    """Returns the error for a framework's module that cannot be imported.

    Args:
        error: The error of the import.
        module: The framework's module, by its full name.
        extra: The extra of this package that installs the framework.

    Returns:
        An error that names the extra; ``error`` itself if the framework is installed but fails to import.
    """
    name = error.name or ""
    if name != module and not name.startswith(f"{module}."):
        return error
    text = f'{module} is not installed; run: pip install "grpc-tool-bridge[{extra}]"'
    return ImportError(text, name=error.name)
