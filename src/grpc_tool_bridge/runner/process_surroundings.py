"""The lifespans of a hub or a worker, and the providers that replace others, in a process that runs its tools.

Each call names them, as it names its function, and the process finds them there.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import asdict
from typing import Any

from grpc_tool_bridge.errors import UnavailableError
from grpc_tool_bridge.errors.class_facts import class_name
from grpc_tool_bridge.errors.exception_text import own_text
from grpc_tool_bridge.rpc.callers import PRINCIPAL_KEY
from grpc_tool_bridge.runner.functions import FunctionPath, import_named, path_of_named
from grpc_tool_bridge.runner.lifespans import Lifespans, find_lifespan
from grpc_tool_bridge.runner.process_tracing import TRACE_KEYS
from grpc_tool_bridge.runner.surroundings import Surroundings
from grpc_tool_bridge.tools.lifespan_values import LifespanValues
from grpc_tool_bridge.tools.tool import Tool

# The keys in the metadata of a call, beside the path of its function.
_LIFESPANS, _OVERRIDES = "lifespans", "overrides"
_ADDED = frozenset({_LIFESPANS, _OVERRIDES, PRINCIPAL_KEY, *TRACE_KEYS})


def put_surroundings(surroundings: Surroundings, tool: Tool, metadata: MutableMapping[str, str]) -> None:
    """Adds to the metadata of a call what the process has to enter and to replace.

    Raises:
        UnavailableError: A lifespan or a provider cannot be found by its name in a process.
    """
    if surroundings.lifespans:
        metadata[_LIFESPANS] = json.dumps([asdict(path) for path in surroundings.lifespans.paths()])
    if surroundings.dependency_overrides and tool.dependencies is not None:
        name = tool.spec.name
        pairs = [
            [
                asdict(path_of_named(function, f"{name}: its dependency's provider {_name(function)}"))
                for function in pair
            ]
            for pair in surroundings.dependency_overrides.items()
        ]
        metadata[_OVERRIDES] = json.dumps(pairs)


def plain_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Returns the metadata of a call without its surroundings, its caller and its trace: the path of its function."""
    return {name: value for name, value in metadata.items() if name not in _ADDED}


class ChildSurroundings:
    """The lifespans of a process that runs tools, entered once and left at its end.

    Args:
        loop: The event loop, in another thread, in which they live.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lifespans: Lifespans | None = None
        self._overrides: dict[str, dict[Callable[..., Any], Callable[..., Any]]] = {}

    @property
    def values(self) -> LifespanValues:
        """What they have yielded."""
        return (self._lifespans or Lifespans(())).values

    def enter(self, metadata: Mapping[str, str]) -> None:
        """Enters the lifespans that a call names, unless that was done; called by the thread that runs tools.

        Raises:
            UnavailableError: One cannot be found, or fails; the next call tries again.
        """
        named = metadata.get(_LIFESPANS)
        if not named or self._lifespans is not None:
            return
        found = Lifespans([find_lifespan(FunctionPath(**path)) for path in json.loads(named)])
        try:
            asyncio.run_coroutine_threadsafe(found.start(None), self._loop).result()
        except Exception as error:
            raise UnavailableError(
                f"a process for tools cannot enter the lifespan {found.failed}: {class_name(type(error))}: "
                f"{own_text(error)}"
            ) from error
        self._lifespans = found

    async def leave(self) -> None:
        """Leaves them, in the event loop; raises what one of them raises."""
        if self._lifespans is not None:
            await self._lifespans.aclose()

    def overrides(self, metadata: Mapping[str, str]) -> Mapping[Callable[..., Any], Callable[..., Any]]:
        """Returns the providers that replace others in a call.

        Raises:
            UnavailableError: One cannot be imported.
        """
        named = metadata.get(_OVERRIDES, "")
        if not named:
            return {}
        if named not in self._overrides:
            pairs = [[import_named(FunctionPath(**path)) for path in pair] for pair in json.loads(named)]
            self._overrides = {named: dict(pairs)}
        return self._overrides[named]


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))
