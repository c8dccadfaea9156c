"""Names the function of a tool in one process, and finds it in another."""

import contextlib
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from grpc_tool_bridge.errors import UnavailableError
from grpc_tool_bridge.tools.tool import Tool, tool

# The name under which the program's own file is imported. Like multiprocessing's, it makes ``if __name__ ==
# "__main__"`` false.
MAIN = "__mp_main__"

# The module that is being imported to find a function; empty if none is.
importing: ContextVar[str] = ContextVar("importing", default="")


@dataclass(frozen=True, slots=True)
class FunctionPath:
    """Where a function is defined: that of a tool, or another.

    Attributes:
        tool: The tool's name, or what else errors begin with.
        module: Name of the module; ``MAIN`` for a program that was started from its file.
        qualname: The function's name inside the module.
        file: The module's file; empty if it has none.
    """

    tool: str
    module: str
    qualname: str
    file: str


def path_of(tool: Tool) -> FunctionPath:
    """Returns where the function of a tool is defined.

    Raises:
        UnavailableError: The function belongs to a program without a file.
    """
    return path_of_function(tool.function, tool.spec.name)


def path_of_function(function: Any, name: str) -> FunctionPath:
    """Returns where a function is defined; errors, here and where it is found, begin with ``name``.

    Raises:
        UnavailableError: The function belongs to a program without a file.
    """
    qualname = function.__qualname__
    if function.__module__ not in ("__main__", MAIN):
        return FunctionPath(name, function.__module__, qualname, _file_of(sys.modules.get(function.__module__)))
    main = sys.modules["__main__"]
    spec, file = main.__spec__, _file_of(main)
    if spec is not None and spec.name != "__main__":
        # Started with ``python -m``: it can be imported under its real name.
        return FunctionPath(name, spec.name, qualname, file)
    if not file:
        raise UnavailableError(
            f"{name}: its function was typed in interactively, so a process cannot import it; put it into a module"
        )
    return FunctionPath(name, MAIN, qualname, file)


def path_of_named(function: Any, what: str) -> FunctionPath:
    """Returns where a function is defined, if it can be found there by its name; errors begin with ``what``.

    Raises:
        UnavailableError: It cannot, as one inside another function.
    """
    qualname = getattr(function, "__qualname__", "")
    found: Any = sys.modules.get(getattr(function, "__module__", None) or "")
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not qualname or found is not function:
        raise UnavailableError(
            f"{what} cannot be found by its name, and so not in a process; define it at the top level of a module"
        )
    return path_of_function(function, what)


def import_named(path: FunctionPath) -> Any:
    """Imports what has a path; returns None if its module has nothing of that name.

    Raises:
        UnavailableError: Its module cannot be imported; the text says why.
    """
    try:
        with _importing(path.module):
            found: Any = _module(path)
    except (Exception, SystemExit) as error:
        where = path.file if path.module == MAIN else f"{path.module} ({path.file or 'which has no file'})"
        raise UnavailableError(
            f"{path.tool}: its process cannot import {where}: {type(error).__name__}: {error}; what runs only when the "
            "program is started belongs under if __name__ == '__main__'"
        ) from error
    for name in path.qualname.split("."):
        found = getattr(found, name, None)
    return found


def find_tool(path: FunctionPath) -> Tool:
    """Imports a function and returns it as a tool.

    Raises:
        UnavailableError: The function does not exist, or its module cannot be imported; the text says why.
    """
    found = import_named(path)
    if isinstance(found, types.FunctionType):
        found = tool(name=path.tool)(found)
    if not isinstance(found, Tool) or getattr(found.function, "__qualname__", "") != path.qualname:
        raise UnavailableError(
            f"{path.tool}: {path.qualname} in {path.module} is not its function, so its process cannot find it; "
            "keep that name for the function, or for the tool made from it"
        )
    return found


@contextlib.contextmanager
def _importing(module: str) -> Iterator[None]:
    token = importing.set(module)
    try:
        yield
    finally:
        importing.reset(token)


def _module(path: FunctionPath) -> types.ModuleType:
    known = sys.modules.get(path.module)
    if known is not None and _is_same(_file_of(known), path.file):
        return known
    if path.module != MAIN and (not path.file or _is_same(_origin(path.module), path.file)):
        return importlib.import_module(path.module)
    return _import_file(path.module, path.file)


def _origin(module: str) -> str:
    """Returns the file that an import of ``module`` would load."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return ""
    return (spec.origin or "") if spec is not None else ""


def _import_file(name: str, file: str) -> types.ModuleType:
    loader = SourceFileLoader(name, file)
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None  # noqa: S101 - it is, where there is a loader
    module = importlib.util.module_from_spec(spec)
    names = (name, "__main__") if name == MAIN else (name,)
    before = {item: sys.modules.get(item) for item in names}
    sys.modules.update(dict.fromkeys(names, module))
    try:
        loader.exec_module(module)
    except BaseException:
        for item, other in before.items():
            if other is None:
                del sys.modules[item]
            else:
                sys.modules[item] = other
        raise
    return module


def _file_of(module: types.ModuleType | None) -> str:
    file = getattr(module, "__file__", None)
    return str(Path(file).absolute()) if isinstance(file, str) else ""


def _is_same(file: str, other: str) -> bool:
    return bool(file) == bool(other) and (file == other or Path(file).resolve() == Path(other).resolve())
