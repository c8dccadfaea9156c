"""The tools of a run: those that the agent is given, and those that it finds."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from grpc_tool_bridge.agents.react import FINISH
from grpc_tool_bridge.errors import NotFoundError, ValidationError, wire_text
from grpc_tool_bridge.llm.agent_search import read_agent_tools, specs_named
from grpc_tool_bridge.llm.found_tools import SEARCH_TOOLS, describe_found, search_spec
from grpc_tool_bridge.llm.live_index import LiveIndex
from grpc_tool_bridge.llm.tool_marks import is_for_models
from grpc_tool_bridge.llm.tool_search import DEFAULT_LIMIT
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

_log = logging.getLogger(__name__)

# The tools that a model has found are in each of its prompts; those that were found first make room.
MAX_FOUND = 64

OpenIndex = Callable[[], LiveIndex]


class RunTools:
    """The tools that an agent may call in one run.

    Args:
        specs: The tools of the session.
        tool_names: Those of the agent's definition; none: every tool of the session that models are given.
        open_index: Returns the index of the session's tools; called once the agent searches.

    Raises:
        NotFoundError: The session has no tool with one of the names.
        ValidationError: The agent would be given a tool called ``finish``.
        AlreadyExistsError: The agent searches, and the session has a tool called ``search_tools``.
    """

    def __init__(self, specs: Sequence[ToolSpec], tool_names: Sequence[str], open_index: OpenIndex) -> None:
        self._specs = specs
        self._open_index = open_index
        self._index: LiveIndex | None = None
        self._found: dict[str, ToolSpec] = {}
        known = {spec.name: spec for spec in specs}
        chosen = read_agent_tools(tool_names, known)
        self._may_find = chosen.finds()
        offered = {name: spec for name, spec in known.items() if is_for_models(spec)}
        self._given = specs_named(chosen.names, known) if tool_names else offered
        if FINISH in self._given:
            raise ValidationError(
                f"an agent cannot be given the tool {FINISH}, which is how it says that it is done; "
                "name the others in tool_names",
                details={"tool_names": FINISH},
            )
        if self._may_find is not None:
            self._given = {SEARCH_TOOLS: search_spec("then call it by its name"), **self._given}
        elif SEARCH_TOOLS in tool_names:
            _log.info("the session has a tool called %s, which the agent is given instead of the search", SEARCH_TOOLS)

    def __iter__(self) -> Iterator[str]:
        """Iterates over the names."""
        return iter([*self._given, *self._found])

    def specs(self) -> list[ToolSpec]:
        """Returns the specs of all tools that the model is told of."""
        return [*self._given.values(), *self._found.values()]

    def get(self, name: str) -> ToolSpec | None:
        """Returns the spec of a tool that may be called; None if there is none, or if it has not been found yet."""
        return self._given.get(name) or self._found.get(name)

    def is_search(self, spec: ToolSpec) -> bool:
        """Returns whether a tool is the search."""
        return self._may_find is not None and spec.name == SEARCH_TOOLS

    async def search(self, args: Mapping[str, Any]) -> tuple[str, bool]:
        """Searches the session's tools, and lets the agent call those that were found.

        Returns:
            What the model reads of them, and whether there are other tools now than before.

        Raises:
            ValidationError: The arguments are not valid.
        """
        unknown = sorted(args.keys() - {"query", "limit"})
        if unknown or "query" not in args:
            what = f"takes query and limit, not {', '.join(unknown)}"[:200] if unknown else "needs a query"
            raise ValidationError(f"{SEARCH_TOOLS}: it {what}")
        if self._index is None:
            self._index = self._open_index()
            await self._index.replace(self._specs)
        limit = args.get("limit")
        found = await self._index.search(
            args["query"], limit=DEFAULT_LIMIT if limit is None else limit, allows=self._may_be_found
        )
        before = list(self._found)
        for tool in found:
            if tool.name not in self._given:
                self._found.pop(tool.name, None)
                self._found[tool.name] = tool.spec
        while len(self._found) > MAX_FOUND:
            del self._found[next(iter(self._found))]
        return describe_found(tool.spec for tool in found), before != list(self._found)

    def _may_be_found(self, spec: ToolSpec) -> bool:
        return spec.name != FINISH and self._may_find is not None and self._may_find(spec)

    def unknown(self, name: str) -> NotFoundError:
        """Returns the error for a tool that the agent has not."""
        there = ", ".join([*self, FINISH])
        hint = f"; {SEARCH_TOOLS} finds more" if self._may_find is not None else ""
        return NotFoundError(
            f"there is no tool {wire_text(name, 100)!r}; there are {there}{hint}", error_type="ToolNotFound"
        )
