"""Providers: the functions that make the values of parameters with ``Depends``, and in which order they are called."""

import copy
import inspect
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from grpc_tool_bridge.tools.annotations import UnresolvedNameError
from grpc_tool_bridge.tools.argument_kinds import POSITIONAL_ONLY, VAR_KEYWORD, VAR_POSITIONAL
from grpc_tool_bridge.tools.depends import Dependency, Overrides, dependency_of
from grpc_tool_bridge.tools.signatures import EMPTY, Resolver, described_by, implementation, is_context


@dataclass(frozen=True, slots=True, eq=False)
class Provider:
    """A function that makes a value; equal to another one of the same function.

    Attributes:
        function: The function.
        name: For error texts.
        context: Name of its parameter that gets the ToolContext, if any.
        needs: Its own dependencies, by the parameter's name.
        is_async: Whether it is a coroutine function or an async generator function, below its decorators.
    """

    function: Callable[..., Any]
    name: str
    context: str | None
    needs: Mapping[str, Dependency]
    is_async: bool

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Provider) and _key(other.function) == _key(self.function)

    def __hash__(self) -> int:
        return hash(_key(self.function))


class Making(NamedTuple):
    """A value to make.

    Attributes:
        provider: Makes it.
        parameter: Name of the parameter that gets it.
        kwargs: The provider's arguments.
    """

    provider: Provider
    parameter: str
    kwargs: dict[str, Any]


class Dependencies:
    """What a tool depends on.

    Args:
        needs: The dependencies of its parameters, by name.
        label: How errors name the tool.

    Raises:
        TypeError: A provider cannot be called by the bridge, or needs itself.
    """

    def __init__(self, needs: Mapping[str, Dependency], label: str) -> None:
        self._needs = needs
        self._label = label
        self._providers: dict[Any, Provider] = {}
        for name, dependency in needs.items():
            self._read(dependency, f"{label}: parameter '{name}'", ())

    def renamed(self, label: str) -> "Dependencies":
        """Returns the same for a tool that errors name so."""
        other = copy.copy(self)
        other._label = label  # noqa: SLF001 - of this class
        return other

    def _read(self, dependency: Dependency, where: str, above: tuple[Provider, ...]) -> None:
        """Reads a provider and all that it needs."""
        provider = self._provider(dependency, {}, where)
        _check_circle(provider, above, where)
        for need in provider.needs.values():
            self._read(need, where, (*above, provider))

    def steps(self, context: Any, overrides: Overrides) -> Generator[Making, Any, dict[str, Any]]:
        """Yields the values to make for one call, in order; takes each of them, and returns those of the parameters.

        Args:
            context: The ToolContext of the call.
            overrides: Providers that replace others.

        Raises:
            TypeError: A provider that replaces another cannot be called by the bridge, or needs itself.
        """
        made: dict[Any, Any] = {}
        values = {}
        for name, dependency in self._needs.items():
            values[name] = yield from self._value(name, dependency, context, overrides, made, ())
        return values

    def _value(
        self,
        name: str,
        dependency: Dependency,
        context: Any,
        overrides: Overrides,
        made: dict[Any, Any],
        above: tuple[Provider, ...],
    ) -> Generator[Making, Any, Any]:
        where = f"{self._label}: parameter '{name}'"
        provider = self._provider(dependency, overrides, where)
        if provider in above and provider.function is not dependency.provider:
            # A replacement may need what it replaces.
            provider = self._provider(dependency, {}, where)
        key = _key(provider.function)
        if dependency.use_cache and key in made:
            return made[key]
        if overrides:
            _check_circle(provider, above, where)
        kwargs = {} if provider.context is None else {provider.context: context}
        for parameter, need in provider.needs.items():
            kwargs[parameter] = yield from self._value(parameter, need, context, overrides, made, (*above, provider))
        value = yield Making(provider, name, kwargs)
        if dependency.use_cache:
            made[key] = value
        return value

    def _provider(self, dependency: Dependency, overrides: Overrides, where: str) -> Provider:
        function = dependency.provider
        assert function is not None  # noqa: S101 - ``dependency_of`` has set it
        if overrides:
            function = _replaced(function, overrides)
        key = _key(function)
        known = self._providers.get(key)
        if known is None:
            known = read_provider(function, where)
            if function is dependency.provider:
                self._providers[key] = known
        return known


def read_provider(function: Callable[..., Any], where: str) -> Provider:
    """Reads the parameters of a provider.

    Args:
        function: The provider.
        where: How errors begin.

    Raises:
        TypeError: It has a parameter that the bridge cannot fill in, or an annotation cannot be resolved.
    """
    name = getattr(function, "__qualname__", type(function).__qualname__).rpartition("<locals>.")[2]
    where = f"{where}: its provider {name}"
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise TypeError(f"{where} has no signature that can be read ({error}); wrap it in a function") from error
    code: Any = vars(function).get("__init__", function) if isinstance(function, type) else described_by(function)
    resolve = Resolver.of(code)
    context: str | None = None
    needs: dict[str, Dependency] = {}
    for item in parameters:
        found = _filled_in(item, resolve, where)
        if isinstance(found, Dependency):
            needs[item.name] = found
        elif found:
            if context is not None:
                raise TypeError(f"{where} has two parameters of type ToolContext; remove one")
            context = item.name
    return Provider(function, name, context, needs, _is_async(function))


def _filled_in(item: inspect.Parameter, resolve: Resolver, where: str) -> Dependency | bool:
    """Returns what fills in a provider's parameter: a dependency, the context (True), or its own default (False)."""
    place = f"{where}: parameter '{item.name}'"
    is_optional = item.default is not EMPTY or item.kind in (VAR_POSITIONAL, VAR_KEYWORD)
    annotation: Any = Any
    try:
        annotation = resolve(item.annotation, place)
    except UnresolvedNameError:
        if not is_optional:
            raise
    found = dependency_of(annotation, item.default, place)
    takes_context = found is None and is_context(annotation)
    if found is None and not takes_context:
        if is_optional:
            return False
        raise TypeError(
            f"{place} is neither a ToolContext nor a Depends(...), and has no default; a provider does not get the "
            "arguments of the call"
        )
    if item.kind in (POSITIONAL_ONLY, VAR_POSITIONAL, VAR_KEYWORD):
        raise TypeError(f"{place} is given by name: it must not be positional-only or starred")
    return found or True


def _is_async(function: Callable[..., Any]) -> bool:
    """Whether calling a function does not block: its result is awaited, or entered with ``async with``."""
    if isinstance(function, type):
        return False
    codes = (implementation(function), described_by(function))
    return any(inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code) for code in codes)


def _check_circle(provider: Provider, above: tuple[Provider, ...], where: str) -> None:
    if provider in above:
        way = " → ".join(item.name for item in (*above, provider))
        raise TypeError(f"{where}: its provider needs itself: {way}")


def _replaced(function: Callable[..., Any], overrides: Overrides) -> Callable[..., Any]:
    try:
        return overrides.get(function, function)
    except TypeError:
        # It has no hash, so that it cannot be a key.
        return function


def _key(function: Callable[..., Any]) -> Any:
    """Returns what stands for a function: two bound methods of one object are the same."""
    try:
        hash(function)
    except TypeError:
        return id(function)
    return function
