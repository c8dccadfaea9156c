"""Optional packages, imported when a value needs them and not before."""

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
        SerializationError: It is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise SerializationError(
            f'this value needs {package}, which is not installed here; run: pip install "grpc-tool-bridge[data]"'
        ) from None


def is_made_in(cls: type, packages: frozenset[str]) -> bool:
    """Whether a class is one of some packages' own, and not one that only says so.

    What a program makes while it runs (``type``, ``new_class``, a subclass of an abstract one) may be said to be of
    the module that made it, and anybody may write anything into ``__module__``.
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


def _is_subclass_of_data(cls: type) -> bool:
    return home_of(cls) is not None and not is_made_in(cls, DATA_PACKAGES)


# Whether a class was made of one of DATA_PACKAGES by somebody else, and may have code of its own anywhere.
is_subclass_of_data: Callable[[type], bool] = functools.lru_cache(maxsize=1_024)(_is_subclass_of_data)


def missing(error: ImportError, module: str, *, extra: str) -> ImportError:
    """Makes the error for a framework's module that cannot be imported.

    Args:
        error: What importing it raised.
        module: The framework's top module.
        extra: Of this package, which installs the framework.

    Returns:
        An error that names the extra; ``error`` itself where the framework is there but fails by itself.
    """
    if (error.name or "").partition(".")[0] != module:
        return error
    text = f'{module} is not installed; pip install "grpc-tool-bridge[{extra}]" adds it'
    return ImportError(text, name=error.name)
