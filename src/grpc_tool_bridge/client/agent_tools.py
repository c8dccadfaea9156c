"""The names of the tools that an agent is created with."""

from collections.abc import Mapping, Sequence
from typing import Any

from grpc_tool_bridge.config.argument_checks import check_text, list_of
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.llm.agent_search import search_names, specs_named
from grpc_tool_bridge.llm.found_tools import SEARCH_TOOLS
from grpc_tool_bridge.llm.tool_filter import ToolFilter, filter_of, for_models, nothing_passes, pattern_for, settled
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.rpc.bounds import MAX_TEXTS


def agent_tool_names(tool_names: Any, tool_filter: ToolFilter | None, specs: Sequence[ToolSpec]) -> list[str]:
    """Returns the names for the request that creates an agent; none for every tool of the session.

    Args:
        tool_names: As given to ``create_react_agent``.
        tool_filter: Likewise.
        specs: The tools of the session. The hub knows them better: only a filter needs them.

    Raises:
        ValidationError: An argument is not valid, or more tools pass the filter than a request can name.
        NotFoundError: No tool passes the filter, or it is given with an unknown name.
    """
    names = None if tool_names is None else _checked(tool_names)
    if names is not None and not names:
        raise ValidationError("tool_names is empty; None gives the agent every tool of the session")
    if tool_filter is None:
        return names or []
    tool_filter = settled(tool_filter)
    passes = filter_of(tool_filter)
    if names is None:
        is_given = for_models(tool_filter)
        chosen = [spec.name for spec in specs if is_given(spec)]
    else:
        known = {spec.tool_id: spec for spec in specs} | {spec.name: spec for spec in specs}
        wanted = [name for name in names if name != SEARCH_TOOLS or name in known]
        chosen = [spec.name for spec in specs_named(wanted, known).values() if passes(spec)]
        if _searches(names, known):
            chosen += _scope(tool_filter, list(filter(for_models(tool_filter), specs)))
    if not chosen:
        raise nothing_passes(tool_filter)
    if len(chosen) > MAX_TEXTS:
        raise ValidationError(
            f"{len(chosen):,} tools pass tool_filter; an agent is given at most {MAX_TEXTS:,} by their names: let it "
            f'search them, with tool_names=["{SEARCH_TOOLS}"] and patterns such as "weather_*"'
        )
    return chosen


def _checked(tool_names: Any) -> list[str]:
    names = (
        list(tool_names) if isinstance(tool_names, Mapping) else list_of("tool_names", tool_names, "a list of names")
    )
    for name in names:
        check_text("one of tool_names", name, "a tool's name")
    return list(names)


def _searches(names: Sequence[str], known: Mapping[str, ToolSpec]) -> bool:
    return SEARCH_TOOLS in names and SEARCH_TOOLS not in known


def _scope(tool_filter: ToolFilter, passing: Sequence[ToolSpec]) -> list[str]:
    """Returns the names that let an agent search the tools that pass: by patterns, those that come later too."""
    if not passing:
        return []
    patterns = settled(tool_filter)
    return search_names([pattern_for(spec.name) for spec in passing] if callable(patterns) else patterns)
