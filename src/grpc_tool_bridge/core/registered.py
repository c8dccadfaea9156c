"""A tool as the hub holds it: its spec, its function where it is local, its limits."""

import difflib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.limits import Places, RateLimit
from grpc_tool_bridge.core.metrics import ToolMetrics
from grpc_tool_bridge.core.spec_arguments import read_arguments
from grpc_tool_bridge.core.spec_checks import SpecCheck
from grpc_tool_bridge.core.variables import Revisions, clip
from grpc_tool_bridge.errors import AlreadyExistsError, NotFoundError, ResourceExhaustedError, ValidationError
from grpc_tool_bridge.pipelines import PIPELINE_KEY, pipeline_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec, ToolType
from grpc_tool_bridge.tooling.options import TOOL_NAME
from grpc_tool_bridge.tools import Tool, as_tool

if TYPE_CHECKING:
    from grpc_tool_bridge.core.workers import Worker

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
        check: Checks the arguments of a call that somebody else runs, as far as its spec tells.
        workers: Who offers it, the one that had a call longest ago first; None: it is no worker's tool.
        session_id: The session that sees it; empty: every session.
    """

    __slots__ = (
        "check",
        "id",
        "metrics",
        "name",
        "places",
        "rate",
        "revision",
        "session_id",
        "spec",
        "timeout",
        "tool",
        "workers",
    )

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
        self.check: Callable[[Any], None] = SpecCheck(spec) if tool is None else _pass
        self.workers: list[Worker] | None = None
        self.session_id = ""


def register_in(
    known: dict[str, RegisteredTool],
    sources: Iterable[ToolSource],
    *,
    settings: Settings,
    revisions: Revisions,
    scope: str,
    limit: int | None = None,
    replaced: Collection[RegisteredTool] = (),
) -> list[RegisteredTool]:
    """Adds tools to one scope, all or none.

    Args:
        known: The scope's tools by id; the new ones are added.
        sources: Functions, tools, specs of tools that somebody else runs, or of pipelines, which the hub runs.
        settings: Limits of tools that set none.
        revisions: Numbers the change.
        scope: The scope's name, for the texts of errors.
        limit: Tools that the scope may have; None: no limit.
        replaced: Tools of the scope that give way to the new ones.

    Raises:
        AlreadyExistsError: Two tools of the scope would share a name or an id.
        ValidationError: A name or an id cannot be used.
        ResourceExhaustedError: The scope would have too many.
    """
    resolved = [resolve(source) for source in sources]
    kept = [tool for tool in known.values() if tool not in replaced]
    if limit is not None and len(kept) + len(resolved) > limit:
        raise ResourceExhaustedError(
            f"{scope} would have {len(kept) + len(resolved):,} tools, the limit is {limit:,} (max_session_tools)"
        )
    names = {tool.name for tool in kept}
    ids = {tool.id for tool in kept}
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
    for tool in replaced:
        del known[tool.id]
    known.update((tool.id, tool) for tool in added)
    return added


def tool_not_found(tool_id: str, scope: str, ids: Collection[str]) -> NotFoundError:
    """Makes the error for a tool that is not there, with the ids that look like it."""
    shown = clip(tool_id)
    guess = shown == tool_id and len(ids) <= MAX_COMPARED
    close: Sequence[str] = difflib.get_close_matches(tool_id, ids, n=3) if guess else ()
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return NotFoundError(f"{scope} sees no tool {shown!r}{hint}", error_type="ToolNotFound")


def _pass(_: Any) -> None:
    """Checks nothing: a local tool checks its arguments itself."""


def resolve(source: ToolSource) -> tuple[ToolSpec, Tool | None]:
    """Makes of a source the spec to register, and the tool where the hub itself runs it.

    Raises:
        ValidationError: A name, an id or a limit cannot be used, or what it says of the arguments.
    """
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
    # Before anything is made of them: thousands of inputs of a pipeline would hold up the hub.
    read_arguments(spec)
    if spec.type == ToolType.COMPOSITE and PIPELINE_KEY in spec.metadata:
        composite = pipeline_of(spec)
        return composite.spec, composite
    return spec, None
