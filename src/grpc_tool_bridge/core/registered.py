"""A tool as the hub holds it: its spec, its function where it is local, its limits."""

import difflib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.limits import Places, RateLimit
from grpc_tool_bridge.core.metrics import ToolMetrics
from grpc_tool_bridge.core.variables import Revisions, clip
from grpc_tool_bridge.errors import AlreadyExistsError, NotFoundError, ResourceExhaustedError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.tooling.options import TOOL_NAME
from grpc_tool_bridge.tools import Tool, as_tool

ToolSource = Tool | Callable[..., Any] | ToolSpec

# Calls of one tool that may wait for a place, over all sessions; each session has a bound of its own below it.
MAX_TOOL_WAITING = 100_000

# A wrong name is compared with so many right ones; of 10,000 it would hold up the hub for a third of a second.
MAX_COMPARED = 500


class RegisteredTool:
    """A tool in the registry.

    Attributes:
        spec: Its description.
        id, name: From the spec.
        tool: The local tool; None where somebody else runs it.
        revision: Of its registration.
        timeout: Seconds that a call may take; None: no limit of its own.
        places: Calls at once; None: no limit.
        rate: Calls in a minute; None: no limit.
        metrics: Its counts; set by the registry.
    """

    __slots__ = ("id", "metrics", "name", "places", "rate", "revision", "spec", "timeout", "tool")

    def __init__(self, spec: ToolSpec, tool: Tool | None, revision: int, settings: Settings) -> None:
        limits = spec.limits
        self.spec = spec
        self.id = spec.tool_id
        self.name = spec.name
        self.tool = tool
        self.revision = revision
        self.timeout = limits.timeout_ms / 1000 if limits.timeout_ms else None
        at_once = limits.max_concurrent_calls or settings.max_tool_calls
        self.places = Places(at_once, MAX_TOOL_WAITING, f"tool {self.name!r}") if at_once else None
        per_minute = limits.rate_limit_per_minute or settings.rate_limit_per_minute
        self.rate = RateLimit(per_minute) if per_minute else None
        self.metrics = ToolMetrics()


def register_in(
    known: dict[str, RegisteredTool],
    sources: Iterable[ToolSource],
    *,
    settings: Settings,
    revisions: Revisions,
    scope: str,
    limit: int | None = None,
) -> list[RegisteredTool]:
    """Adds tools to one scope, all or none.

    Args:
        known: The scope's tools by id; the new ones are added.
        sources: Functions, tools, or specs of tools that somebody else runs.
        settings: Limits of tools that set none.
        revisions: Numbers the change.
        scope: The scope's name, for the texts of errors.
        limit: Tools that the scope may have; None: no limit.

    Raises:
        AlreadyExistsError: Two tools of the scope would share a name or an id.
        ValidationError: A name or an id cannot be used.
        ResourceExhaustedError: The scope would have too many.
    """
    resolved = [_resolve(source) for source in sources]
    if limit is not None and len(known) + len(resolved) > limit:
        raise ResourceExhaustedError(
            f"{scope} would have {len(known) + len(resolved):,} tools, the limit is {limit:,} (max_session_tools)"
        )
    names = {tool.name for tool in known.values()}
    ids = set(known)
    for spec, _ in resolved:
        if spec.name in names or spec.tool_id in ids:
            what = f"a tool named {spec.name!r}" if spec.name in names else f"a tool with the id {spec.tool_id!r}"
            raise AlreadyExistsError(f"{scope} has {what} already; give one of them another name")
        names.add(spec.name)
        ids.add(spec.tool_id)
    if not resolved:
        return []
    revision = revisions.next()
    added = [RegisteredTool(spec, tool, revision, settings) for spec, tool in resolved]
    known.update((tool.id, tool) for tool in added)
    return added


def tool_not_found(tool_id: str, scope: str, ids: Collection[str]) -> NotFoundError:
    """Makes the error for a tool that is not there, with the ids that look like it."""
    shown = clip(tool_id)
    guess = shown == tool_id and len(ids) <= MAX_COMPARED
    close: Sequence[str] = difflib.get_close_matches(tool_id, ids, n=3) if guess else ()
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return NotFoundError(f"{scope} sees no tool {shown!r}{hint}", error_type="ToolNotFound")


def _resolve(source: ToolSource) -> tuple[ToolSpec, Tool | None]:
    if not isinstance(source, ToolSpec):
        tool = as_tool(source)
        return tool.spec, tool
    spec = ToolSpec()
    spec.CopyFrom(source)
    spec.tool_id = spec.tool_id or spec.name
    for what, text in (("name", spec.name), ("tool_id", spec.tool_id)):
        if not TOOL_NAME.fullmatch(text):
            raise ValidationError(
                f"a tool's {what} is 1 to 128 letters, digits, '_', '-' or '.'; this one is {text[:130]!r}"
            )
    limits = spec.limits
    if min(limits.timeout_ms, limits.max_concurrent_calls, limits.rate_limit_per_minute, limits.max_memory_bytes) < 0:
        raise ValidationError(f"tool {spec.name!r}: limits are 0 (none) or more")
    return spec, None
