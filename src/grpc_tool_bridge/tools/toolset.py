"""Toolsets: the methods of an object, or the functions of a module, as tools."""

import inspect
from collections.abc import Collection, Iterable, Iterator, Sequence
from types import FunctionType, ModuleType
from typing import Any, Literal, TypeVar

from grpc_tool_bridge.config.argument_checks import check_type, list_of, refuse_value
from grpc_tool_bridge.errors.near_names import did_you_mean
from grpc_tool_bridge.llm.tool_marks import checked_tags
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.tools.options import TOOL_NAME, checked_name, put_marks
from grpc_tool_bridge.tools.tool import Tool, as_tool

T = TypeVar("T")

_NAMES = 'a list of names, such as ["get", "create"]'


class Toolset:
    """The public methods of an object as tools: ``tools=[Toolset(Orders(db), prefix="orders.")]``.

    If methods are marked with ``@tool``, the toolset has these, with their options, wherever in the class or its base
    classes they are marked; a method that overrides a marked one is one, too, with the same options. If none is marked,
    it has all public methods of the class and of those of its base classes that are of the same package. Static and
    class methods count as methods; properties, and names that begin with ``_``, never do. A tool has the name that its
    method has in the class, unless ``@tool`` gives it another one.

    A module is taken likewise: its tools or, if it has none, the public functions that it defines itself (those of
    ``__all__``, if it has that), but for ``lifespan``.

    Args:
        source: An object, or a module. Not a class: its methods need an instance.
        prefix: Comes before each name, with its separator, such as ``"orders."``.
        include: Names of methods; only these, be they marked or not. None: as above.
        exclude: Names of methods that are left out.
        tags: Tags that each tool has besides its own.
        hidden: Whether all tools are hidden; False: only those that say so themselves.
        deprecated: Makes all tools deprecated, and says what to use instead.
        version: The version of each tool that has none.
        approval: "required": all tools need approval; empty: only those that say so themselves.

    Attributes:
        prefix: As given.
        tools: The tools, by the order of their definition, those of base classes first.

    Raises:
        TypeError: The source has no methods of its own, such as a class, or one cannot be a tool.
        ValueError: There is no tool in it, a name to include or exclude does not exist, or an option is not valid.
    """

    def __init__(
        self,
        source: object,
        prefix: str = "",
        *,
        include: Iterable[str] | None = None,
        exclude: Iterable[str] = (),
        tags: Iterable[str] = (),
        hidden: bool = False,
        deprecated: str = "",
        version: str = "",
        approval: Literal["", "required"] = "",
    ) -> None:
        if isinstance(source, type):
            raise TypeError(
                f"{source.__qualname__} is a class, whose methods need an instance; write Toolset({source.__name__}(…))"
            )
        if isinstance(source, Tool | Toolset):
            raise TypeError(f"{source!r} is no object with methods; put it into the list of tools as it is")
        self.prefix = check_prefix(prefix)
        self._of = source.__name__ if isinstance(source, ModuleType) else type(source).__qualname__
        if isinstance(source, ModuleType):
            members, marked = _of_module(source)
        else:
            members, marked = _of_object(source)
        names = _chosen(self._of, members, marked, include, exclude)
        added = checked_tags(tags)
        check_type("version", version, str, 'a text, such as "1.0"')

        def mark(spec: ToolSpec) -> None:
            put_marks(spec, hidden=hidden, deprecated=deprecated, tags=added, approval=approval)
            spec.version = spec.version or version

        found = [as_tool(members[name], name) for name in names]
        self.tools = [tool.changed(checked_name(f"{prefix}{tool.spec.name}", "name"), mark) for tool in found]

    def __iter__(self) -> Iterator[Tool]:
        return iter(self.tools)

    def __len__(self) -> int:
        return len(self.tools)

    def __repr__(self) -> str:
        return f"<Toolset of {self._of}: {', '.join(tool.spec.name for tool in self.tools)}>"


def flat(tools: Iterable[Any]) -> Iterator[Any]:
    """Yields tools, with those of each toolset in its place."""
    for item in tools:
        if isinstance(item, Toolset):
            yield from item.tools
        else:
            yield item


def check_prefix(prefix: Any) -> str:
    """Returns what comes before names; raises ArgumentTypeError or ValidationError if names cannot begin so."""
    called = "the beginning of names, of letters, digits, '_', '-' and '.', such as 'orders.'"
    check_type("prefix", prefix, str, called)
    if prefix and not TOOL_NAME.fullmatch(prefix):
        refuse_value("prefix", prefix, called)
    return str(prefix)


def prefixed(tools: Iterable[Tool], prefix: str) -> Sequence[Tool]:
    """Returns tools with a prefix before their names; raises ValueError if a name is too long with it."""
    if not prefix:
        return list(tools)
    return [tool.changed(checked_name(f"{prefix}{tool.spec.name}", "name")) for tool in tools]


def _of_object(source: object) -> tuple[dict[str, Any], list[str]]:
    """Returns what may be tools of an object by name, and the names of what is by default."""
    kind = type(source)
    members: dict[str, Any] = {}
    marked: list[str] = []
    own: list[str] = []
    # Base classes first, so that the order is that of the definition.
    for base in reversed(kind.__mro__):
        for name, value in vars(base).items():
            if not _is_method(value):
                # An attribute that is no method hides one of a base class.
                members.pop(name, None)
                continue
            members[name] = getattr(source, name)
            if _has_tool(value):
                marked.append(name)
            if _package(base) == _package(kind):
                own.append(name)
    for name in marked:
        if name in members and not _has_tool(inspect.getattr_static(kind, name)):
            members[name] = _tool_of(kind, name).overridden(members[name])
    chosen = marked or [name for name in own if not name.startswith("_")]
    return members, [name for name in dict.fromkeys(chosen) if name in members]


def _tool_of(kind: type, name: str) -> Tool:
    """Returns the tool that a method overrides."""
    values = (vars(base)[name] for base in kind.__mro__ if name in vars(base))
    return next(inside for value in values if (inside := _inside(value)) is not None)


def _of_module(module: ModuleType) -> tuple[dict[str, Any], list[str]]:
    """Returns what may be tools of a module by name, and the names of what is by default."""
    members = {name: value for name, value in vars(module).items() if isinstance(value, Tool | FunctionType)}
    marked = [name for name, value in members.items() if isinstance(value, Tool)]
    public = getattr(module, "__all__", None)
    if public is None:
        public = [
            name
            for name, value in members.items()
            if not name.startswith("_") and name != "lifespan" and value.__module__ == module.__name__
        ]
    return members, marked or [name for name in public if name in members]


def _chosen(
    of: str,
    members: dict[str, Any],
    default: list[str],
    include: Iterable[str] | None,
    exclude: Iterable[str],
) -> list[str]:
    names = default if include is None else list(dict.fromkeys(_names("include", of, include, members)))
    left_out = set(_names("exclude", of, exclude, members))
    names = [name for name in names if name not in left_out]
    if not names:
        raise ValueError(f"{of} has no public methods that could be tools, or all are left out")
    return names


def _names(what: str, of: str, given: Iterable[str], members: Collection[str]) -> list[str]:
    names = list_of(what, given, _NAMES)
    for name in names:
        if name not in members:
            hint = did_you_mean(name, members) if isinstance(name, str) else ""
            raise ValueError(f"{what}: {of} has no method {name!r:.100}{hint}")
    return names


def _is_method(value: object) -> bool:
    """Whether an attribute of a class is a method, be it wrapped by a decorator such as ``functools.cache``."""
    if isinstance(value, FunctionType | staticmethod | classmethod | Tool):
        return True
    wraps = callable(value) and hasattr(type(value), "__get__")
    return wraps and isinstance(getattr(value, "__wrapped__", None), FunctionType)


def _has_tool(value: object) -> bool:
    return _inside(value) is not None


def _inside(value: object) -> Tool | None:
    """Returns the tool that a class has, be it a static or a class method."""
    inner = value.__func__ if isinstance(value, staticmethod | classmethod) else value
    return inner if isinstance(inner, Tool) else None


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]
