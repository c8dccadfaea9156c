"""The parts of a pipeline: steps, parallel steps, and a step for each item of a list.

A declaration is plain data. Its JSON travels in the metadata of a ToolSpec, so that a peer in any language can write
one::

    {"steps": [{"kind": "step", "tool": "fetch", "kwargs": {"url": "$url"}, "as": "page"},
               {"kind": "each", "over": "$page.links", "step": {"kind": "step", "tool": "title", "args": ["$item"]}}],
     "result": "$last"}
"""

from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from grpc_tool_bridge.config.renamed import warn_renamed
from grpc_tool_bridge.tools.options import TOOL_NAME
from grpc_tool_bridge.tools.templates import NAME, check_template, is_reference
from grpc_tool_bridge.tools.tool_versions import VERSION, split_version

# Reserved names: the result of the previous step and, within each(), the item.
LAST = "last"
ITEM = "item"

# Some hundreds of steps. A longer declaration is a mistake or an attack.
MAX_DECLARATION_BYTES = 65_536

# Enough that one slow item rarely holds up the others; the tool's own limits apply too.
_MAX_CONCURRENCY = 10


class _Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename={"as_": "as"}):
    """Data that is written as JSON without its defaults, and refuses unknown keys."""


class Step(_Data, frozen=True, tag_field="kind", tag="step"):
    """One call of a tool.

    Attributes:
        tool: The tool's id.
        args: Templates of its arguments by position.
        kwargs: Templates of its arguments by name.
        as_: Name of its result; empty: only ``last`` refers to it.
    """

    tool: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    as_: str = ""


class Each(_Data, frozen=True, tag_field="kind", tag="each"):
    """One step for every item of a list.

    Attributes:
        over: Template of the list.
        step: The step; ``$item`` is the item.
        as_: Name of the list of its results; may be empty.
        max_concurrency: Maximum number of concurrent calls.
        at_once: The old name of ``max_concurrency``; read, but not written.
    """

    over: Any
    step: Step
    as_: str = ""
    max_concurrency: int = _MAX_CONCURRENCY
    at_once: int | None = None

    def __post_init__(self) -> None:
        """Accepts the old name."""
        if self.at_once is not None:
            msgspec.structs.force_setattr(self, "max_concurrency", self.at_once)
            msgspec.structs.force_setattr(self, "at_once", None)


class Parallel(_Data, frozen=True, tag_field="kind", tag="parallel"):
    """Steps that run concurrently."""

    steps: "list[Part]"


Part = Step | Each | Parallel


class Declaration(_Data, frozen=True):
    """A whole pipeline.

    Attributes:
        steps: What it does, in order.
        result: Template of its result.
    """

    steps: list[Part]
    result: Any = f"${LAST}"


def step(tool: str, /, *args: Any, as_: str = "", **kwargs: Any) -> Step:
    """Makes a step of a pipeline: one call of a tool.

    Args:
        tool: The tool's id.
        *args: Its arguments by position: plain data in which a text such as ``"$url"`` or ``"$page.links.0"`` refers to
            an input or an earlier result, and ``"$last"`` to the result of the previous step.
        as_: Name by which later steps refer to the result.
        **kwargs: Its arguments by name.

    Returns:
        The step.
    """
    return Step(tool, list(args), kwargs, as_)


def parallel(*steps: Part) -> Parallel:
    """Makes steps of a pipeline that run in parallel; none of them can refer to another's result.

    Args:
        *steps: What ``step`` and ``each`` return; for a sequence of steps, call another pipeline.

    Returns:
        One step, whose result is the list of their results. The first failure cancels the others.
    """
    return Parallel(list(steps))


def each(
    over: Any,
    step: Step,
    /,
    *,
    as_: str = "",
    max_concurrency: int = _MAX_CONCURRENCY,
    at_once: int | None = None,
) -> Each:
    """Makes a step of a pipeline that calls a tool for every item of a list.

    Args:
        over: The list, usually a reference such as ``"$pages"``.
        step: What ``step`` returns; ``"$item"`` in it refers to the item.
        as_: Name by which later steps refer to the list of results.
        max_concurrency: Maximum number of concurrent calls.
        at_once: Deprecated: use ``max_concurrency``.

    Returns:
        The step, whose result is the list of results in the order of the items. The first failure cancels the others.
    """
    if at_once is not None:
        warn_renamed("at_once", "max_concurrency")
        max_concurrency = at_once
    return Each(over, step, as_, max_concurrency)


def tools_of(part: Part) -> list[str]:
    """Lists the ids of the tools that a part of a pipeline calls."""
    match part:
        case Parallel():
            return [tool for inner in part.steps for tool in tools_of(inner)]
        case Each():
            return [part.step.tool]
        case _:
            return [part.tool]


def read_declaration(text: str) -> Declaration:
    """Reads a declaration from JSON without checking it.

    Raises:
        ValueError: It is not a declaration.
    """
    if len(text) > MAX_DECLARATION_BYTES:
        raise ValueError(
            f"it has {len(text):,} bytes, the limit is {MAX_DECLARATION_BYTES:,}; split it into two pipelines"
        )
    try:
        return msgspec.json.decode(text, type=Declaration)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def write_declaration(declaration: Declaration) -> str:
    """Writes a checked declaration as JSON."""
    return msgspec.json.encode(declaration).decode()


def check_declaration(declaration: Declaration, inputs: Iterable[str]) -> None:
    """Checks that a declaration can run with inputs of these names.

    Raises:
        TypeError: A step is not a step.
        ValueError: A step, a name or a reference is not valid; the text says which.
    """
    # A dict, for order and fast lookup: there may be thousands, each with as many references.
    known: dict[str, None] = {}
    for name in inputs:
        _add(known, name, f"input {name!r}")
    if not declaration.steps:
        raise ValueError("it has no steps")
    for number, part in enumerate(declaration.steps, 1):
        for name in _check_part(part, str(number), known):
            _add(known, name, f"step {number}")
        if number == 1:
            known[LAST] = None
    _check_template(declaration.result, known, "the result")


def _is_id(text: Any) -> bool:
    """Returns whether a value is a tool's id, with or without a version."""
    if not isinstance(text, str):
        return False
    plain, version = split_version(text)
    return TOOL_NAME.fullmatch(plain) is not None and (plain == text or VERSION.fullmatch(version) is not None)


def _check_part(part: Any, label: str, known: Collection[str]) -> list[str]:
    """Checks a part and returns the names of its results."""
    match part:
        case Step():
            if not _is_id(part.tool):
                raise ValueError(f"step {label}: {part.tool!r} is not a tool's id")
            _check_template([part.args, part.kwargs], known, f"step {label} ({part.tool})")
        case Each(step=Step(as_="")):
            where = f"step {label} (each {part.step.tool})"
            if type(part.max_concurrency) is not int or part.max_concurrency < 1:
                raise ValueError(f"{where}: max_concurrency must be at least 1, not {part.max_concurrency!r}")
            if not is_reference(part.over) and not isinstance(part.over, list):
                raise ValueError(f"{where}: it must iterate over a list or a reference to one, not {part.over!r}")
            _check_template(part.over, known, where)
            _check_part(part.step, label, dict.fromkeys([*known, ITEM]))
        case Each(step=Step()):
            raise ValueError(f"step {label}: each() has as many results as items; give as_ to each(), not to its step")
        case Parallel(steps=[_, *_]):
            numbered = enumerate(part.steps, 1)
            return [name for number, inner in numbered for name in _check_part(inner, f"{label}.{number}", known)]
        case Parallel():
            raise ValueError(f"step {label}: parallel() has no steps")
        case _:
            raise TypeError(f"step {label}: {part!r} is not a step(), each() or parallel()")
    return [part.as_] if part.as_ else []


def _check_template(template: Any, known: Collection[str], where: str) -> None:
    try:
        check_template(template, known)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _add(known: dict[str, None], name: Any, where: str) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"{where}: {name!r} is not a name; a name has letters, digits and '_'")
    if name in (LAST, ITEM):
        raise ValueError(f"{where}: the name {name!r} is reserved by the bridge; choose another")
    if name in known:
        raise ValueError(f"{where}: there is already a {name!r}; choose another name")
    known[name] = None
