"""Registered tools: the spec, the function if the tool is local, the backend and the limits."""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.fingerprint import spec_digest
from grpc_tool_bridge.core.interfaces import Backend
from grpc_tool_bridge.core.limits import ConcurrencyLimiter, RateLimit
from grpc_tool_bridge.core.metrics import ToolMetrics
from grpc_tool_bridge.core.revisions import Revisions
from grpc_tool_bridge.errors import (
    AlreadyExistsError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
    ValidationError,
)
from grpc_tool_bridge.errors.near_names import near_names
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec, ToolType
from grpc_tool_bridge.rpc.bounds import shown, spec_nodes
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.tools.breaker_options import breaker_of
from grpc_tool_bridge.tools.options import MAX_TOOL_NAME_CHARS, TOOL_NAME
from grpc_tool_bridge.tools.pipelines import PIPELINE_KEY, pipeline_of
from grpc_tool_bridge.tools.spec_arguments import read_arguments
from grpc_tool_bridge.tools.spec_checks import SpecCheck
from grpc_tool_bridge.tools.tool import Tool, as_tool

# A spec has to fit into a page of a list; no spec written by hand comes near this.
MAX_SPEC_BYTES = 1024 * 1024

# Memory of a tool besides its spec, roughly.
TOOL_BYTES = 2_048


class Prepared(NamedTuple):
    """A checked tool, ready to be registered.

    Attributes:
        spec: Its spec.
        tool: The local tool; None if a worker runs it.
        check: Checks the arguments of a call for a worker.
        size: Bytes charged for it.
        schema: A digest that must be equal for all workers that offer it.
    """

    spec: ToolSpec
    tool: Tool | None
    check: Callable[[Any], None]
    size: int
    schema: bytes


ToolSource = Tool | Callable[..., Any] | ToolSpec | Prepared

# Calls of one tool that may wait for a permit, over all sessions; each session has a lower limit of its own.
MAX_TOOL_WAITING = 100_000


class RegisteredTool:
    """A tool in the registry.

    Attributes:
        spec: Its spec.
        id, name: From the spec.
        tool: The local tool; None if a worker runs it.
        revision: The revision of its registration.
        timeout: Seconds that a call may take; None: no limit of its own.
        limiter: Limits concurrent calls; None: no limit.
        rate: Limits calls per minute; None: no limit.
        metrics: Its metrics; set by the registry.
        check: Checks the arguments of a call for a worker against the spec.
        backend: Runs its calls; None if ``tool`` runs in this process.
        session_id: The session that sees it; empty: every session.
        size: Bytes charged for it.
        spec_bytes, spec_nodes: Bytes and nodes of its spec, of which every list of the tools counts those of each.
        schema: A digest that must be equal for all workers that offer it.
    """

    __slots__ = (
        "backend",
        "check",
        "id",
        "limiter",
        "metrics",
        "name",
        "rate",
        "revision",
        "schema",
        "session_id",
        "size",
        "spec",
        "spec_bytes",
        "spec_nodes",
        "timeout",
        "tool",
    )

    def __init__(self, source: ToolSpec | Prepared, tool: Tool | None, revision: int, settings: Settings) -> None:
        prepared = source if isinstance(source, Prepared) else _prepared(source, tool)
        spec = prepared.spec
        limits = spec.limits
        self.spec = spec
        self.id = spec.tool_id
        self.name = spec.name
        self.tool = prepared.tool
        self.revision = revision
        self.timeout = limits.timeout_ms / 1000 if limits.timeout_ms else None
        at_once = limits.max_concurrent_calls or settings.max_tool_calls
        self.limiter = ConcurrencyLimiter(at_once, MAX_TOOL_WAITING, f"tool {self.name!r}") if at_once else None
        per_minute = limits.rate_limit_per_minute or settings.rate_limit_per_minute
        self.rate = RateLimit(per_minute) if per_minute else None
        self.metrics = ToolMetrics()
        self.check = prepared.check
        self.size = prepared.size
        self.spec_bytes = prepared.size - TOOL_BYTES
        self.spec_nodes = spec_nodes(spec)
        self.schema = prepared.schema
        self.backend: Backend[Any] | None = _Nobody() if prepared.tool is None else None
        self.session_id = ""


class _Nobody:
    """The backend of a tool that no worker offers: it refuses every call."""

    def prepare(self, call: Any, request: Any, payload: Payload, size: int) -> None:
        """Checks the arguments against the spec."""
        del payload, size
        call.tool.check(request)

    async def call(self, call: Any, request: Any, answer: Any, *, as_bytes: bool) -> None:
        """Refuses it."""
        del request, answer, as_bytes
        raise nobody_runs(call.tool.name)

    async def stream(self, call: Any, request: Any, *, as_bytes: bool) -> AsyncGenerator[Any, None]:
        """Refuses it."""
        del request, as_bytes
        raise nobody_runs(call.tool.name)
        yield

    def try_call(self, call: Any, request: Any, payload: Payload, done: Any) -> None:
        """Leaves it to ``call``."""


class NoWorkerError(UnavailableError):
    """No worker offers the tool now, so its call did not run."""


def nobody_runs(name: str) -> NoWorkerError:
    """Returns the error for a tool that no worker offers."""
    return NoWorkerError(f"no worker runs {name} now; start one that offers it, or call again later")


class ToolScope(dict[str, RegisteredTool]):
    """The tools of one scope by id. Changed by ``add`` and ``remove`` only, which keep the rest.

    Attributes:
        names: The same by name.
        size: Bytes charged for all of them, which each registration would otherwise have to add up.
    """

    __slots__ = ("names", "size")

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, RegisteredTool] = {}
        self.size = 0

    def add(self, tool: RegisteredTool) -> None:
        """Adds a tool whose id and name are not taken."""
        self[tool.id] = self.names[tool.name] = tool
        self.size += tool.size

    def remove(self, tool_id: str) -> RegisteredTool | None:
        """Removes the tool with an id, and returns it; None if there is none."""
        tool = self.pop(tool_id, None)
        if tool is not None:
            del self.names[tool.name]
            self.size -= tool.size
        return tool


def register_in(
    known: ToolScope,
    sources: Iterable[ToolSource],
    *,
    settings: Settings,
    revisions: Revisions,
    scope: str,
    bounds: "ScopeBounds | None" = None,
    replaced: Collection[RegisteredTool] = (),
) -> list[RegisteredTool]:
    """Adds tools to one scope, all or none.

    Args:
        known: The scope's tools by id; the new ones are added.
        sources: Functions, tools, or specs: of tools that workers run, or of pipelines, which the hub runs.
        settings: Has the default limits of tools.
        revisions: Numbers the change.
        scope: The scope's name, for error texts.
        bounds: Limits on the number and bytes of tools; None: no limits.
        replaced: Tools of the scope that the new ones replace.

    Raises:
        AlreadyExistsError: Two tools of the scope would share a name or an id.
        ValidationError: A tool is not valid, as for ``prepare``.
        ResourceExhaustedError: The scope would have too many tools.
    """
    resolved = [prepare(source) for source in sources]
    if bounds is not None:
        size = known.size - sum(tool.size for tool in replaced)
        bounds.check(scope, len(known) - len(replaced), size, resolved)
    gone = set(replaced)
    names: set[str] = set()
    ids: set[str] = set()
    for spec in [prepared.spec for prepared in resolved]:
        namesake, same = known.names.get(spec.name), known.get(spec.tool_id)
        same_name = spec.name in names or (namesake is not None and namesake not in gone)
        if same_name or spec.tool_id in ids or (same is not None and same not in gone):
            what = f"a tool named {spec.name!r}" if same_name else f"a tool with the id {spec.tool_id!r}"
            raise AlreadyExistsError(
                f"{scope} has {what} already; give one of them another name", details={"tool": spec.name}
            )
        names.add(spec.name)
        ids.add(spec.tool_id)
    if not resolved:
        return []
    revision = revisions.next()
    added = [RegisteredTool(prepared, None, revision, settings) for prepared in resolved]
    for tool in replaced:
        known.remove(tool.id)
    for tool in added:
        known.add(tool)
    return added


@dataclass(frozen=True, slots=True)
class ScopeBounds:
    """The limits on the tools of one scope, and on those of all scopes of a hub.

    Attributes:
        count, count_setting: Number of tools, and the name of its setting.
        size, size_setting: Bytes of tools, and the name of its setting.
        others: Bytes that the tools of all other scopes take.
        all_size: Limit on the bytes of all tools of a hub.
    """

    count: int
    count_setting: str
    size: int
    size_setting: str
    others: int
    all_size: int

    def check(self, scope: str, kept: int, kept_size: int, added: Sequence[Prepared]) -> None:
        """Checks that a scope stays within its limits.

        Args:
            scope: Its name, for error texts.
            kept: How many tools it keeps.
            kept_size: The bytes of these.
            added: The tools to add.

        Raises:
            ResourceExhaustedError: There would be too many tools, or too many bytes of them.
        """
        count = kept + len(added)
        if count > self.count:
            raise ResourceExhaustedError(
                f"{scope} would have {count:,} tools, the limit is {self.count:,} ({self.count_setting})"
            )
        size = kept_size + sum(prepared.size for prepared in added)
        if size > self.size:
            raise ResourceExhaustedError(
                f"the {count:,} tools of {scope} would take {size:,} bytes, the limit is {self.size:,} "
                f"({self.size_setting}); shorten their descriptions and schemas"
            )
        if self.others + size > self.all_size:
            raise ResourceExhaustedError(
                f"all tools of the hub and its sessions would take {self.others + size:,} bytes, the limit is "
                f"{self.all_size:,} (max_tool_bytes); remove some, or end sessions that have some"
            )


def tool_not_found(tool_id: str, scope: str, ids: Collection[str]) -> NotFoundError:
    """Returns the error for an unknown tool, with similar ids."""
    close = near_names(tool_id, ids)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    if len(tool_id) > MAX_TOOL_NAME_CHARS:
        hint = f"; an id has at most {MAX_TOOL_NAME_CHARS} characters, this one has {len(tool_id):,}"
    return NotFoundError(f"{scope} sees no tool {shown(tool_id)}{hint}", error_type="ToolNotFound")


def _pass(_: Any) -> None:
    """Checks nothing: a local tool checks its arguments itself."""


def prepare(source: ToolSource) -> Prepared:
    """Checks a tool before it is registered.

    Raises:
        ValidationError: A name, an id, a limit or an argument of its spec is not valid, or the spec is too large.
    """
    return source if isinstance(source, Prepared) else _prepared(*resolve(source))


async def prepare_all(specs: Sequence[ToolSpec]) -> list[Prepared]:
    """Checks many tools; yields to other tasks meanwhile.

    Raises:
        AlreadyExistsError: Two of them share a name or an id.
        ValidationError: As for ``prepare``.
    """
    for what, texts in (("name", [spec.name for spec in specs]), ("id", [spec.tool_id or spec.name for spec in specs])):
        if len(set(texts)) < len(texts):
            twice, count = Counter(texts).most_common(1)[0]
            raise AlreadyExistsError(f"{count:,} of the tools have the {what} {shown(twice)}; rename all but one")
    prepared: list[Prepared] = []
    turns = Turns()
    for spec in specs:
        prepared.append(prepare(spec))
        if turns.due:
            await turns.give()
    return prepared


def _prepared(spec: ToolSpec, tool: Tool | None) -> Prepared:
    size = spec.ByteSize()
    if size > MAX_SPEC_BYTES:
        raise _too_large(spec.name, size)
    breaker_of(spec)
    check = SpecCheck(spec) if tool is None else _pass
    return Prepared(spec, tool, check, size + TOOL_BYTES, spec_digest(spec))


def _too_large(name: str, size: int) -> ValidationError:
    return ValidationError(
        f"tool {shown(name)}: its spec has {size:,} bytes, the limit is {MAX_SPEC_BYTES:,}; shorten its "
        "description, its schemas or its examples",
        details={"size": str(size), "limit": str(MAX_SPEC_BYTES)},
    )


def resolve(source: Tool | Callable[..., Any] | ToolSpec) -> tuple[ToolSpec, Tool | None]:
    """Returns the spec to register and, if the hub runs it, the tool.

    Raises:
        ValidationError: As for ``prepare``.
    """
    if not isinstance(source, ToolSpec):
        tool = as_tool(source)
        return tool.spec, tool
    size = source.ByteSize()
    if size > MAX_SPEC_BYTES:
        raise _too_large(source.name, size)
    spec = ToolSpec()
    spec.CopyFrom(source)
    spec.tool_id = spec.tool_id or spec.name
    for what, text in (("name", spec.name), ("tool_id", spec.tool_id)):
        if not TOOL_NAME.fullmatch(text):
            raise ValidationError(
                f"a tool's {what} is 1 to {MAX_TOOL_NAME_CHARS} letters, digits, '_', '-' or '.'; "
                f"this one is {shown(text)}"
            )
    limits = spec.limits
    if min(limits.timeout_ms, limits.max_concurrent_calls, limits.rate_limit_per_minute, limits.max_memory_bytes) < 0:
        raise ValidationError(f"tool {spec.name!r}: limits must be 0 (none) or more")
    if spec.type == ToolType.COMPOSITE and PIPELINE_KEY in spec.metadata:
        # First, since a pipeline with thousands of inputs would block the hub.
        read_arguments(spec)
        composite = pipeline_of(spec)
        return composite.spec, composite
    return spec, None
