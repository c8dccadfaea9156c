"""Tools named on the command line: ``module``, ``module:attr``, ``file.py``, ``file.py:attr``."""

import ast
import importlib
import importlib.util
import shlex
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, cast

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.runner.lifespans import Lifespan, check_lifespan
from grpc_tool_bridge.tools.tool import Tool, as_tool
from grpc_tool_bridge.tools.toolset import check_prefix, flat, prefixed

# Frames of these files say less about a failed import than those of the named module.
_LIBRARIES = (
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
    str(Path(__file__).parent.parent),
    "<frozen",
)


class Offered(NamedTuple):
    """What the sources of a command line name.

    Attributes:
        tools: The tools.
        lifespans: What is entered before they are served, in order: those that are named, and ``lifespan`` of each
            module that a source names.
    """

    tools: list[Tool]
    lifespans: list[Lifespan]


def load(
    sources: Iterable[str], *, given_to: str = "--tools", prefix: str = "", lifespans: Iterable[str] = ()
) -> Offered:
    """Imports what the sources of a command line name; a tool that is named twice counts once.

    Args:
        sources: Where the tools are.
        given_to: The option that takes the sources; errors start with it.
        prefix: Comes before the names of all tools.
        lifespans: Sources of lifespans, as ``--lifespan`` takes them; without an attribute, ``lifespan`` of the module.

    Raises:
        ArgumentError: A source cannot be imported, or does not name tools; a lifespan cannot be one, or the prefix is
            not valid.
    """
    modules: dict[str, ModuleType] = {}
    # By identity; the item itself is kept too, so that its id stays unique.
    tools: dict[int, tuple[Any, Tool]] = {}
    for source in sources:
        try:
            where, attribute = split_source(source)
            if where not in modules:
                modules[where] = _import(source, where, given_to)
            for item in _items(source, modules[where], attribute):
                if id(item) not in tools:
                    tools[id(item)] = (item, _tool(source, item))
        except ArgumentError as error:
            raise ArgumentError(f"{given_to} {error}") from error.__cause__
    try:
        offered = list(prefixed((tool for _, tool in tools.values()), check_prefix(prefix)))
    except ValueError as error:
        raise ArgumentError(f"--prefix: {error}") from None
    beside = [_lifespan_beside(module, given_to) for module in modules.values()]
    named = [_named_lifespan(source, modules) for source in lifespans]
    return Offered(offered, [*named, *(item for item in beside if item is not None)])


def load_tools(sources: Iterable[str], *, given_to: str = "--tools", prefix: str = "") -> list[Tool]:
    """Imports the tools of all sources of a command line; arguments and errors as for ``load``."""
    return load(sources, given_to=given_to, prefix=prefix).tools


def _lifespan_beside(module: ModuleType, given_to: str) -> Lifespan | None:
    """Returns ``lifespan`` of a module that a source of tools names, if it has one that is not a tool."""
    found = vars(module).get("lifespan")
    if found is None or isinstance(found, Tool):
        return None
    try:
        check_lifespan(f"lifespan of {module.__name__}:", found)
    except ValidationError as error:
        raise ArgumentError(
            f"{given_to} {module.__name__}: {error.message}; or rename it, if it is no lifespan"
        ) from None
    return cast("Lifespan", found)


def _named_lifespan(source: str, modules: dict[str, ModuleType]) -> Lifespan:
    try:
        where, attribute = split_source(source)
        if where not in modules:
            modules[where] = _import(source, where, "--lifespan")
        found = _attribute(source, modules[where], attribute or "lifespan")
        check_lifespan(source, found)
    except ValidationError as error:
        raise ArgumentError(f"--lifespan {error.message}") from None
    except ArgumentError as error:
        raise ArgumentError(f"--lifespan {error}") from error.__cause__
    return cast("Lifespan", found)


def load_all(sources: Iterable[str] | None, flag: str) -> list[Any]:
    """Loads what each of the sources names, in order; arguments and errors as for ``load_objects``."""
    return [found for source in sources or () for found in load_objects(source, flag)]


def load_objects(source: str, flag: str) -> list[Any]:
    """Imports what ``module:attr`` or ``file.py:attr`` names: one object, or a list or a tuple of some.

    Args:
        source: The name.
        flag: The option that takes it, for errors.

    Raises:
        ArgumentError: It cannot be imported, or names no attribute.
    """
    if not split_source(source)[1]:
        raise ArgumentError(f"{flag} {source}: name an attribute of it, as {source}:name")
    try:
        where, attribute = split_source(source)
        return list(_items(source, _import(source, where, flag), attribute))
    except ArgumentError as error:
        raise ArgumentError(f"{flag} {error}") from error.__cause__


def split_source(source: str) -> tuple[str, str]:
    """Splits a source into module or file, and attribute; a colon may also follow a drive letter.

    A file below ``~`` is found: a shell does not replace that in quotes and in ``--tools=~/my_tools.py``.

    Raises:
        ArgumentError: It names neither.
    """
    if source.endswith(".py"):
        return _expanded(source), ""
    head, suffix, attribute = source.rpartition(".py:")
    if suffix:
        return _expanded(f"{head}.py"), attribute
    where, _, attribute = source.partition(":")
    if not where:
        raise ArgumentError(f"{source!r} does not name a module; write module:attr, module or path/to/file.py")
    return where, attribute


def _expanded(path: str) -> str:
    return str(Path(path).expanduser()) if path.startswith("~/") else path


def check_file(source: str, where: str) -> None:
    """Checks that a source that is a file exists.

    Raises:
        ArgumentError: It does not.
    """
    if where.endswith(".py") and not Path(where).is_file():
        raise ArgumentError(f"{source}: the file {where} does not exist")


def _import(source: str, where: str, given_to: str) -> ModuleType:
    is_file = where.endswith(".py")
    check_file(source, where)
    # As for a script and ``python -m``: modules beside it can be imported.
    folder = str(Path(where).resolve().parent if is_file else Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return _import_file(Path(where).resolve()) if is_file else importlib.import_module(where)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{where}.".startswith(f"{error.name}."):
            raise ArgumentError(
                f"{source}: there is no module {error.name}; run where it can be imported, or give its file"
            ) from None
        hint = _module_instead(error, where, given_to, source) if isinstance(error, ImportError) else ""
        raise ArgumentError(f"{source}: cannot import it: {cause_text(error)}{hint}") from error


def _import_file(path: Path) -> ModuleType:
    name, number = path.stem, 1
    # A file must not replace a module of the same name that is imported now or later.
    while name in sys.modules or name in sys.stdlib_module_names:
        number += 1
        name = f"{path.stem}_{number}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def cause_text(error: BaseException) -> str:
    """Describes an exception of a named module, with file and line."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_LIBRARIES)]
    frame = (own or list(frames))[-1]
    what = f"it exits with {error.code!r}" if isinstance(error, SystemExit) else str(error)
    return f"{type(error).__name__}: {what} ({frame.filename}, line {frame.lineno})"


def _module_instead(error: ImportError, where: str, given_to: str, source: str) -> str:
    """Suggests how to name a module whose relative import fails because it was not imported from its package."""
    failed = traceback.extract_tb(error.__traceback__)[-1].filename
    path = Path(failed).resolve()
    is_it = path == Path(where).resolve() if where.endswith(".py") else path.stem == where.rpartition(".")[2]
    if "relative import" not in str(error) or not is_it or not path.is_file():
        return ""
    packages = _packages(path)
    names = [folder.name for folder in packages] + ([] if path.stem == "__init__" else [path.stem])
    if not all(name.isidentifier() for name in names):
        return "; write the import without the leading dot"
    module = ".".join(names)
    attribute = split_source(source)[1]
    command = f"grpc-tool-bridge {'serve --tools' if given_to == '--tools' else given_to} {module}"
    command += f":{attribute}" if attribute else ""
    root = packages[0].parent
    if root != Path.cwd().resolve():
        command = f"cd {shlex.quote(str(root))} && {command}"
    return f"; it is part of the package {names[0]}, so name the module {module}, not its file: {command}"


def _packages(path: Path) -> list[Path]:
    """Lists the package folders of a module with relative imports, outermost first."""
    tree = ast.parse(path.read_bytes())
    level = max((node.level for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)), default=1)
    folders = list(path.parents)
    count = 1
    # A package need not have an __init__.py; the dots show the minimum number of folders.
    while count < len(folders) - 1 and (count < level or (folders[count] / "__init__.py").exists()):
        count += 1
    return folders[:count][::-1]


def _items(source: str, module: ModuleType, attribute: str) -> Sequence[Any]:
    if not attribute:
        found = [item for item in flat(vars(module).values()) if isinstance(item, Tool)]
        if not found:
            raise ArgumentError(
                f"{source}: {module.__name__} has no tools; mark functions with @tool, or name one as {source}:function"
            )
        return found
    value = _attribute(source, module, attribute)
    if isinstance(value, Mapping):
        return list(flat(value.values()))
    return list(flat(value if isinstance(value, list | tuple) else [value]))


def _attribute(source: str, module: ModuleType, attribute: str) -> Any:
    value: Any = module
    for name in attribute.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            raise ArgumentError(f"{source}: {module.__name__} has no {attribute}") from None
    return value


def _tool(source: str, item: Any) -> Tool:
    try:
        return as_tool(item)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{source}: {error}") from None
