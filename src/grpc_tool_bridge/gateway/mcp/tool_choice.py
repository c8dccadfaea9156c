"""Which of a session's tools a client sees: all, those that it chooses, or a search that stands for all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from grpc_tool_bridge.gateway.mcp.sessions import Context
from grpc_tool_bridge.llm.found_tools import CALL_TOOL, SEARCH_TOOLS, call_spec, search_spec
from grpc_tool_bridge.llm.mcp_names import SEARCH_ALONE
from grpc_tool_bridge.llm.tool_filter import filter_of, for_models
from grpc_tool_bridge.llm.tool_marks import is_older_version
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

# The parameter of the address that chooses.
TOOLS_PARAMETER = "tools"
# A client that sees more tools than these is given the search as well.
MANY_TOOLS = 100


class HasSpec(Protocol):
    """A tool, or what is shown as one."""

    @property
    def spec(self) -> ToolSpec:
        """What is told of it."""


Tools = Mapping[str, HasSpec]


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """What a client has chosen.

    Attributes:
        passes: Whether a tool may be seen and called.
        is_whole: Whether every tool may.
        lists_search_alone: Whether the tools themselves are not listed.
        finds: Whether its search finds a tool.
        names: What was given, in which names of tools are.
    """

    passes: Callable[[ToolSpec], bool]
    is_whole: bool
    lists_search_alone: bool
    finds: Callable[[ToolSpec], bool]
    names: tuple[str, ...]

    def listed(self, tools: Tools, after: str = "") -> list[ToolSpec]:
        """Returns the specs that are listed after a name, sorted by name; those of the search come before all."""
        chosen = [] if self.lists_search_alone else [tools[name].spec for name in sorted(tools)]
        # Older versions only by their whole names.
        chosen = [
            spec for spec in chosen if self.passes(spec) and (not is_older_version(spec) or spec.name in self.names)
        ]
        is_long = self.lists_search_alone or len(chosen) > MANY_TOOLS
        if after:
            return [spec for spec in chosen if spec.name > after]
        return [*(spec for spec in _search_specs() if is_long and spec.name not in tools), *chosen]


def choice_of(context: Context, default: str) -> ToolChoice:
    """Returns what the client of a request has chosen; ``default`` is for one that has not, or cannot.

    Raises:
        ValidationError: It is not a list of patterns.
    """
    request = context.request
    given = () if request is None else tuple(request.query_params.getlist(TOOLS_PARAMETER))
    return read_choice(given or ((default,) if default else ()))


@lru_cache(maxsize=256)
def read_choice(given: tuple[str, ...]) -> ToolChoice:
    """Reads a choice: patterns with commas between them, as for ``tool_filter``, and ``search``.

    Raises:
        ValidationError: A pattern is not valid.
    """
    patterns = [pattern for text in given for pattern in text.split(",")] if any(given) else []
    chosen = [pattern for pattern in patterns if pattern != SEARCH_ALONE]
    passes = filter_of(chosen) if chosen else _everything
    return ToolChoice(
        passes,
        is_whole=not chosen,
        lists_search_alone=len(chosen) < len(patterns),
        finds=for_models(chosen or None),
        names=tuple(chosen),
    )


@lru_cache(maxsize=1)
def _search_specs() -> tuple[ToolSpec, ToolSpec]:
    return search_spec(), call_spec()


def _everything(_: ToolSpec) -> bool:
    return True


def stands_for_search(name: str, tools: Tools) -> bool:
    """Returns whether a name means the search, or the call of what it finds, and not a tool of the session."""
    return name in (SEARCH_TOOLS, CALL_TOOL) and name not in tools
