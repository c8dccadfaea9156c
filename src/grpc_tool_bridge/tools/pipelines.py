"""Composite tools: tools that are made of other tools, and run in the hub.

``pipeline`` makes one from a short declaration. The declaration travels in the tool's spec, from which
``pipeline_of`` rebuilds the tool: so a peer in any language can offer one, and the hub runs it.
"""

import asyncio
import inspect
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from grpc_tool_bridge.config.argument_checks import check_type, list_of
from grpc_tool_bridge.errors import SerializationError, ToolExecutionError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ResourceLimits, ToolSpec, ToolType
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.steps import (
    ITEM,
    LAST,
    Declaration,
    Each,
    Parallel,
    Part,
    Step,
    check_declaration,
    read_declaration,
    tools_of,
    write_declaration,
)
from grpc_tool_bridge.tools.templates import fill_template
from grpc_tool_bridge.tools.tool import Tool, tool
from grpc_tool_bridge.values.serialization import deserialize_value

# The key of the declaration in a spec's metadata.
PIPELINE_KEY = "pipeline"

# Inputs of a pipeline that a peer declares: each is compiled at registration, which takes half a millisecond.
MAX_INPUTS = 64

# Characters of the error that a peer gets.
MAX_REASON_CHARS = 500

# No input can have this name by mistake.
_CONTEXT = "_context"

# Types that the hub checks for a peer, by their names in Python and JSON Schema. The steps check all others.
_PYTHON_TYPES: Mapping[str, Any] = {kind.__name__: kind for kind in (str, int, float, bool, bytes, list, dict)}
_JSON_TYPES: Mapping[str, Any] = {
    "string": str, "integer": int, "number": float, "boolean": bool, "array": list, "object": dict,
}  # fmt: skip


class _InputSchema(msgspec.Struct):
    """The part of a JSON Schema that lists the inputs."""

    properties: dict[str, Any] = {}
    required: list[str] = []


def pipeline(
    name: str,
    description: str,
    steps: Iterable[Part],
    *,
    inputs: Mapping[str, Any] | None = None,
    result: Any = f"${LAST}",
    tool_id: str | None = None,
    version: str = "",
    idempotent: bool = False,
    limits: ResourceLimits | Mapping[str, int] | None = None,
    examples: Iterable[str] = (),
    metadata: Mapping[str, str] | None = None,
    hidden: bool = False,
    deprecated: str = "",
    tags: Iterable[str] = (),
    approval: Literal["", "required"] = "",
) -> Tool:
    """Makes a composite tool: its steps call other tools of the session, in the hub.

    To the caller, it is one call: the steps share its deadline and its cancellation. The first step that fails ends the
    call with that step's error; ``details["step"]`` and ``details["tool"]`` say which one.

    Args:
        name: The tool's name.
        description: What the tool is for.
        steps: What ``step``, ``parallel`` and ``each`` return, in order.
        inputs: The type of each input, or ``(type, default)``, by name.
        result: The result: plain data with references to inputs and results, as in a step. Default: the result of the
            last step.
        tool_id: The id that calls use; default: the name.
        version: As for ``tool``.
        idempotent: Whether calling it twice has the same effect as calling it once.
        limits: A ResourceLimits, or its fields by name.
        examples: Calls that show how the tool is used, as text.
        metadata: Texts by name, for clients that list the tools; ``"pipeline"`` is reserved.
        hidden: As for ``tool``.
        deprecated: As for ``tool``.
        tags: As for ``tool``.
        approval: As for ``tool``; steps that need approval ask for it themselves.

    Returns:
        The tool, which can be served like any other.

    Raises:
        TypeError: An option is of the wrong type.
        ValueError: A step refers to something undefined, or an option has an invalid value.
    """
    parameters = _parameters_of(name, inputs, metadata)
    parts = list_of("steps", steps, "a list of what step, parallel and each return")
    declaration = Declaration(parts, result)
    _check(name, declaration, parameters)
    options: dict[str, Any] = {
        "tool_id": tool_id, "version": version, "idempotent": idempotent, "limits": limits, "examples": examples,
        "metadata": metadata, "hidden": hidden, "deprecated": deprecated, "tags": tags,
        "approval": approval,
    }  # fmt: skip
    text = write_declaration(declaration)
    # The caller may change the objects it passed; those read from the text are ours.
    return _make(name, description, read_declaration(text), parameters, text, **options)


def _parameters_of(
    name: str, inputs: Mapping[str, Any] | None, metadata: Mapping[str, str] | None
) -> list[inspect.Parameter]:
    """Checks the options that are mappings, and returns the inputs."""
    for what, given in (("inputs", inputs), ("metadata", metadata)):
        if given is not None:
            check_type(what, given, Mapping, "a dict by name")
    if PIPELINE_KEY in (metadata or {}):
        raise ValueError(f"{name}: metadata[{PIPELINE_KEY!r}] has the pipeline itself; choose another key")
    return [_parameter(key, *(kind if isinstance(kind, tuple) else (kind,))) for key, kind in (inputs or {}).items()]


def pipeline_of(spec: ToolSpec) -> Tool:
    """Builds the composite tool that a spec describes.

    Args:
        spec: A spec with the declaration in its metadata. Its inputs are its ``arguments`` or, if it has none, the
        properties of its ``input_schema``.

    Returns:
        The tool; its spec is the given one, completed.

    Raises:
        ValidationError: The declaration is not valid.
    """
    text = spec.metadata.get(PIPELINE_KEY, "")
    try:
        declaration = read_declaration(text)
        parameters = _inputs_of(spec)
        _check(spec.name, declaration, parameters)
        made = _make(spec.name, spec.description, declaration, parameters, text, tool_id=spec.tool_id or None)
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error).removeprefix(f"{spec.name}: ")
        if len(reason) > MAX_REASON_CHARS:
            # It may repeat what the peer wrote, and all the names that are known.
            reason = f"{reason[:MAX_REASON_CHARS]}…"
        raise ValidationError(f"tool {spec.name!r}: its metadata has no valid pipeline: {reason}") from None
    whole = ToolSpec()
    whole.CopyFrom(spec)
    whole.type = ToolType.COMPOSITE
    whole.tool_id = made.spec.tool_id
    whole.input_schema = spec.input_schema or made.spec.input_schema
    if not spec.arguments:
        whole.arguments.extend(made.spec.arguments)
    made.spec.CopyFrom(whole)
    return made


def _check(name: str, declaration: Declaration, parameters: Sequence[inspect.Parameter]) -> None:
    try:
        check_declaration(declaration, [parameter.name for parameter in parameters])
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def _make(
    name: str,
    description: str,
    declaration: Declaration,
    parameters: Sequence[inspect.Parameter],
    text: str,
    **options: Any,
) -> Tool:
    context = inspect.Parameter(_CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=ToolContext)
    signature = inspect.Signature([*parameters, context])

    async def run(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        values = dict(given.arguments)
        return await _Run(values.pop(_CONTEXT), values).whole(declaration)

    vars(run)["__signature__"] = signature
    run.__name__ = run.__qualname__ = name
    run.__doc__ = description
    made = tool(name=name, description=description, **options)(run)
    made.spec.type = ToolType.COMPOSITE
    made.spec.metadata[PIPELINE_KEY] = text
    return made


# ---------------------------------------------------------------------------------------------------- its inputs


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation, default=default)


def _inputs_of(spec: ToolSpec) -> list[inspect.Parameter]:
    """Reads the inputs of a peer's pipeline; an optional one without a default is None."""
    listed = bool(spec.arguments) or not spec.input_schema
    schema = _InputSchema() if listed else msgspec.json.decode(spec.input_schema, type=_InputSchema)
    count = len(spec.arguments) if listed else len(schema.properties)
    if count > MAX_INPUTS:
        raise ValueError(f"it has {count} inputs, the limit is {MAX_INPUTS}; take some as one dict")
    if listed:
        return [_argument(item) for item in spec.arguments]
    # Properties have no order; Python's parameters do.
    names = sorted(schema.properties, key=lambda name: name not in schema.required)
    return [_property(name, schema.properties[name], required=name in schema.required) for name in names]


def _argument(item: ArgumentSpec) -> inspect.Parameter:
    annotation = _PYTHON_TYPES.get(item.python_type, Any)
    if item.required:
        return _parameter(item.name, annotation)
    default = deserialize_value(item.default_value) if item.HasField("default_value") else None
    return _parameter(item.name, annotation, default)


def _property(name: str, schema: Any, *, required: bool) -> inspect.Parameter:
    facts = schema if isinstance(schema, dict) else {}
    kind = facts.get("type")
    annotation = _JSON_TYPES.get(kind, Any) if isinstance(kind, str) else Any
    return _parameter(name, annotation, *([] if required else [facts.get("default")]))


# ---------------------------------------------------------------------------------------------------- one call


@dataclass(frozen=True, slots=True)
class _Run:
    """One call of a pipeline: its results so far, by name."""

    context: ToolContext
    values: dict[str, Any]

    async def whole(self, declaration: Declaration) -> Any:
        total = len(declaration.steps)
        for number, part in enumerate(declaration.steps, 1):
            self.context.progress(number - 1, total, ", ".join(tools_of(part)))
            self.values[LAST] = await self._part(part, str(number))
        return self._fill(declaration.result, self.values, "result", "")

    async def _part(self, part: Part, label: str) -> Any:
        match part:
            case Parallel():
                inner = [self._part(item, f"{label}.{number}") for number, item in enumerate(part.steps, 1)]
                return await _together(inner)
            case Each():
                result = await self._each(part, label)
            case _:
                result = await self._call(part, self.values, label)
        if part.as_:
            self.values[part.as_] = result
        return result

    async def _each(self, part: Each, label: str) -> list[Any]:
        items = self._fill(part.over, self.values, label, part.step.tool)
        if not isinstance(items, list | tuple):
            raise self._error(f"{part.over!r} is a {type(items).__name__}, not a list", label, part.step.tool)
        results: list[Any] = [None] * len(items)
        waiting = enumerate(items)

        async def work() -> None:
            for place, item in waiting:
                results[place] = await self._call(part.step, {**self.values, ITEM: item}, f"{label}[{place}]")

        await _together([work() for _ in range(min(part.max_concurrency, len(items)))])
        return results

    async def _call(self, step: Step, values: Mapping[str, Any], label: str) -> Any:
        args, kwargs = self._fill([step.args, step.kwargs], values, label, step.tool)
        try:
            return await self.context.call_tool(step.tool, *args, **kwargs)
        except (ToolExecutionError, SerializationError) as error:
            place = {"step": label, "tool": step.tool}
            if within := error.details.get("step"):
                place = {"step": f"{label}/{within}", "tool": error.details.get("tool", step.tool)}
            # The step comes first: if there are very many details, the last ones are not sent.
            error.details = place | error.details | place
            raise

    def _fill(self, template: Any, values: Mapping[str, Any], label: str, tool_id: str) -> Any:
        try:
            return fill_template(template, values)
        except LookupError as error:
            raise self._error(str(error), label, tool_id) from None

    def _error(self, problem: str, label: str, tool_id: str) -> ValidationError:
        where = f"step {label} ({tool_id})" if tool_id else f"the {label}"
        details = {"step": label, "tool": tool_id or self.context.tool_name}
        return ValidationError(f"{self.context.tool_name}: {where}: {problem}", details=details)


async def _together(works: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Runs coroutines concurrently; the first failure cancels the others and is raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
