"""Registered tools: the spec, the function if the tool is local, the backend and the limits."""

import copy
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from typing import Any, NamedTuple

from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.fingerprint import spec_digest
from grpc_tool_bridge.core.interfaces import Backend
from grpc_tool_bridge.core.limits import ConcurrencyLimiter, RateLimit
from grpc_tool_bridge.core.metrics import ToolMetrics
from grpc_tool_bridge.errors import (
    AlreadyExistsError,
    NotFoundError,
    UnavailableError,
    ValidationError,
)
from grpc_tool_bridge.errors.near_names import did_you_mean
from grpc_tool_bridge.llm.tool_marks import deprecated_of, is_hidden, needs_approval, tags_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec, ToolType
from grpc_tool_bridge.rpc.bounds import shown, spec_nodes
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.tools.breaker_options import breaker_of
from grpc_tool_bridge.tools.options import MAX_TOOL_NAME_CHARS, TOOL_NAME
from grpc_tool_bridge.tools.pipelines import PIPELINE_KEY, pipeline_of
from grpc_tool_bridge.tools.spec_arguments import read_arguments
from grpc_tool_bridge.tools.spec_checks import SpecCheck
from grpc_tool_bridge.tools.tool import Tool, as_tool
from grpc_tool_bridge.tools.tool_versions import split_version, versioned

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
        version: From the spec.
        versions: All versions of it that are registered, by version; None: it is the only one. Set by its scope.
        is_hidden, tags: What listings filter by, from the spec.
        deprecated: What to use instead, from the spec; empty: it is not deprecated.
        is_older: Whether a newer version is registered, so that it is listed as ``pinned``. Set by the registry.
        base: If it is how a tool is seen under its name with its version (``pinned``), that tool; else None.
        label: Returns the metrics of tools that are called by a name; set by the registry.
        owner: The principal whose workers offer it; empty: the hub itself, or nobody in particular.
    """

    __slots__ = (
        "_pinned",
        "backend",
        "base",
        "check",
        "deprecated",
        "id",
        "is_hidden",
        "is_older",
        "label",
        "limiter",
        "metrics",
        "name",
        "needs_approval",
        "owner",
        "rate",
        "revision",
        "schema",
        "session_id",
        "size",
        "spec",
        "spec_bytes",
        "spec_nodes",
        "tags",
        "timeout",
        "tool",
        "version",
        "versions",
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
        self.owner = ""
        self.version = spec.version
        self.is_hidden = is_hidden(spec)
        self.deprecated = deprecated_of(spec)
        self.needs_approval = needs_approval(spec)
        self.tags = frozenset(tags_of(spec))
        self.versions: dict[str, RegisteredTool] | None = None
        self.is_older = False
        self.base: RegisteredTool | None = None
        self.label: Callable[[str], ToolMetrics] | None = None
        self._pinned: RegisteredTool | None = None

    @property
    def pinned(self) -> "RegisteredTool":
        """The same tool under its name with its version, such as ``add@1``, which always means this version.

        It shares all but the spec and the metrics: an older version is listed so.
        """
        pinned = self._pinned
        if pinned is None:
            pinned = self._pinned = copy.copy(self)
            pinned.base, pinned.versions = self, None
            pinned.spec = ToolSpec()
            pinned.spec.CopyFrom(self.spec)
            pinned.name = pinned.spec.name = versioned(self.name, self.version)
            pinned.id = pinned.spec.tool_id = versioned(self.id, self.version)
            pinned.spec_bytes = pinned.spec.ByteSize()
            pinned.metrics = ToolMetrics() if self.label is None else self.label(pinned.name)
        return pinned

    @property
    def listed_name(self) -> str:
        """The name that it is listed under: an older version's has its version."""
        return self.pinned.name if self.is_older else self.name

    def use(self, backend: Backend[Any] | None) -> None:
        """Sets what runs its calls."""
        self.backend = backend
        if self._pinned is not None:
            self._pinned.backend = backend


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


def tool_not_found(tool_id: str, scope: str, ids: Collection[str]) -> NotFoundError:
    """Returns the error for an unknown tool, with similar ids."""
    hint = did_you_mean(tool_id, ids)
    plain = split_version(tool_id)[0]
    if len(plain) > MAX_TOOL_NAME_CHARS:
        hint = f"; an id has at most {MAX_TOOL_NAME_CHARS} characters, this one has {len(plain):,}"
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
    for what, texts in (
        ("name", [(spec.name, spec.version) for spec in specs]),
        ("id", [(spec.tool_id or spec.name, spec.version) for spec in specs]),
    ):
        if len(set(texts)) < len(texts):
            (twice, version), count = Counter(texts).most_common(1)[0]
            same = f"{shown(twice)} and the version {shown(version)}" if version else shown(twice)
            raise AlreadyExistsError(f"{count:,} of the tools have the {what} {same}; rename all but one")
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
