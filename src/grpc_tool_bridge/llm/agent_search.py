"""How the definition of an agent says that it searches for its tools: by names among its ``tool_names``.

``search_tools`` gives it a tool that searches all tools of the session, and ``search_tools:PATTERN`` one that searches
those whose names match; several patterns add up. A tool of the session that is called ``search_tools`` is meant by its
name, and is no search.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

from grpc_tool_bridge.errors import AlreadyExistsError, NotFoundError
from grpc_tool_bridge.errors.near_names import did_you_mean
from grpc_tool_bridge.llm.found_tools import SEARCH_TOOLS
from grpc_tool_bridge.llm.tool_filter import for_models
from grpc_tool_bridge.llm.tool_marks import VERSION_SIGN
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

_SCOPE = f"{SEARCH_TOOLS}:"


@dataclass(frozen=True, slots=True)
class AgentTools:
    """The tools of an agent, as its definition names them.

    Attributes:
        names: Those that it is given, in order, each once.
        patterns: Patterns of those that it may find and call; none: all that models are given. None: it does not
            search.
    """

    names: tuple[str, ...]
    patterns: tuple[str, ...] | None

    def finds(self) -> Callable[[ToolSpec], bool] | None:
        """Returns what says whether it may find and call a tool; None: it does not search.

        Raises:
            ValidationError: A pattern is not valid, or there are too many.
        """
        if self.patterns is None:
            return None
        return for_models(self.patterns or None)


def specs_named(names: Iterable[str], known: Mapping[str, ToolSpec]) -> dict[str, ToolSpec]:
    """Returns the specs of the tools that an agent is given, by these names.

    Raises:
        NotFoundError: The session has no tool with one of them.
    """
    wanted = list(names)
    found = {name: spec for name in wanted if (spec := known.get(name) or _by_version(name, known)) is not None}
    missing = [name for name in wanted if name not in found]
    if missing:
        hint = did_you_mean(missing[0], known, n=1)
        raise NotFoundError(
            f"the session has no tool {', '.join(missing)}{hint}",
            error_type="ToolNotFound",
            details={"tool_names": ", ".join(missing)},
        )
    return found


def _by_version(name: str, known: Mapping[str, ToolSpec]) -> ToolSpec | None:
    """Returns the spec of a newest version under its version, such as ``add@2``; None if the name is none."""
    plain, _, version = name.partition(VERSION_SIGN)
    newest = known.get(plain)
    if newest is None or not version or newest.version != version:
        return None
    spec = ToolSpec()
    spec.CopyFrom(newest)
    spec.name, spec.tool_id = name, f"{newest.tool_id or plain}{VERSION_SIGN}{version}"
    return spec


def search_names(patterns: Iterable[str]) -> list[str]:
    """Returns the names that let an agent search the tools that match one of these patterns."""
    return [f"{_SCOPE}{pattern}" for pattern in patterns]


def is_search(name: str, known: Container[str]) -> bool:
    """Returns whether a name of a definition stands for the search and not for one of the ``known`` tools."""
    return name not in known and (name == SEARCH_TOOLS or (name.startswith(_SCOPE) and name != _SCOPE))


def read_agent_tools(names: Iterable[str], known: Container[str]) -> AgentTools:
    """Reads the ``tool_names`` of a definition.

    Args:
        names: The names.
        known: The names of the tools that the session has.

    Raises:
        AlreadyExistsError: The agent searches some tools only, and the session has a tool called ``search_tools``.
    """
    given = list(dict.fromkeys(names))
    searches = [name for name in given if is_search(name, known)]
    plain = tuple(name for name in given if name not in searches)
    if not searches:
        return AgentTools(plain, None)
    if SEARCH_TOOLS in known:
        raise AlreadyExistsError(
            f"the agent is to search the session's tools with {SEARCH_TOOLS}, but the session has a tool of this name; "
            "rename that tool"
        )
    if SEARCH_TOOLS in searches:
        return AgentTools(plain, ())
    return AgentTools(plain, tuple(name.removeprefix(_SCOPE) for name in searches))
