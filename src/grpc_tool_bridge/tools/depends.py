"""``Depends``: marks a parameter of a tool that the bridge fills in, with what a provider makes for the call."""

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from grpc_tool_bridge.config.argument_checks import check_callable, check_type

# Providers that replace others, such as in a test, by the provider that each replaces.
Overrides = Mapping[Callable[..., Any], Callable[..., Any]]

# What no provider is meant by.
_NO_CLASSES = (Any, object, str, bytes, int, float, bool, list, dict, tuple, set, frozenset)


@dataclass(frozen=True, slots=True, eq=False)
class Dependency:
    """What ``Depends`` returns: the mark of a parameter.

    Attributes:
        provider: Makes the value; None: the parameter's own type.
        use_cache: Whether the value of a call is made once, for all parameters that have this provider.
    """

    provider: Callable[..., Any] | None
    use_cache: bool = True


def Depends(provider: Callable[..., Any] | None = None, *, use_cache: bool = True) -> Any:  # noqa: N802 - as FastAPI's
    """Marks a parameter that callers do not see: a provider makes its value for each call, and it is closed after it.

    ``db: Annotated[Db, Depends(get_db)]``, or ``db: Db = Depends(get_db)``.

    Args:
        provider: A function, async or not, that returns the value; a generator function, async or not, that yields it
            once and closes it after that; a context manager function; or a class. It may take a ToolContext, and
            parameters with ``Depends`` of its own. None: the type of the parameter.
        use_cache: Whether one value serves the whole call. False makes another one for each parameter.

    Returns:
        The mark. It is typed as Any, so that it can be the default of a parameter of any type.

    Raises:
        ArgumentTypeError: The provider cannot be called.
    """
    if provider is not None:
        check_callable("provider", provider, "a function that makes the value, such as Depends(get_db), without ()")
    check_type("use_cache", use_cache, bool, "True or False")
    return Dependency(provider, use_cache)


def dependency_of(annotation: Any, default: Any, where: str) -> Dependency | None:
    """Returns the mark of a parameter; None if it has none.

    Args:
        annotation: The annotation, with names resolved.
        default: The default.
        where: How errors name the parameter.

    Raises:
        TypeError: It has several marks, or ``Depends()`` has no type to make.
    """
    given = [default] if isinstance(default, Dependency) else []
    if typing.get_origin(annotation) is Annotated:
        given += [extra for extra in annotation.__metadata__ if isinstance(extra, Dependency)]
        if any(extra is Depends for extra in annotation.__metadata__):
            raise TypeError(f"{where}: Depends must be called: Depends(get_db), with the provider inside")
        annotation = annotation.__origin__
    if not given:
        return None
    if len(given) > 1:
        raise TypeError(f"{where}: it has {len(given)} Depends; remove all but one")
    if given[0].provider is not None:
        return given[0]
    if not isinstance(annotation, type) or typing.get_origin(annotation) is not None or annotation in _NO_CLASSES:
        raise TypeError(f"{where}: Depends() makes an object of the parameter's class, but there is none; name one")
    return Dependency(annotation, given[0].use_cache)
