"""Tools of a bridge for the OpenAI Agents SDK."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from grpc_tool_bridge.adapters.calling import HomeLoop
from grpc_tool_bridge.adapters.choice import AnyTool, Bridge, Choice, framework_name, parameters
from grpc_tool_bridge.adapters.metadata import CallMetadata, Metadata, plain_metadata, with_metadata
from grpc_tool_bridge.errors import ToolBridgeError, ToolExecutionError, ValidationError
from grpc_tool_bridge.llm import annotations
from grpc_tool_bridge.llm.annotations import Approval
from grpc_tool_bridge.llm.strict import is_strict
from grpc_tool_bridge.llm.texts import error_text
from grpc_tool_bridge.llm.tool_args import read_arguments
from grpc_tool_bridge.llm.tool_filter import ToolFilter, with_tags
from grpc_tool_bridge.llm.tool_marks import described
from grpc_tool_bridge.llm.values import from_json, value_text
from grpc_tool_bridge.optional import missing

try:
    from agents.tool_context import ToolContext

    from agents import FunctionTool, RunContextWrapper
except ImportError as error:
    raise missing(error, "agents", extra="openai-agents") from error

# Writes a failed call for the model.
FailureErrorFunction = Callable[[RunContextWrapper[Any], Exception], str | Awaitable[str]]


def failure_text(context: RunContextWrapper[Any], error: Exception) -> str:  # noqa: ARG001 - the SDK's signature
    """Writes a failed call for the model: JSON with the error's type, message and details, and no traceback."""
    return error_text(error) if isinstance(error, ToolBridgeError) else f"{type(error).__name__}: {error}"


def openai_agents_tools(
    bridge: Bridge,
    *names: str,
    tool_filter: ToolFilter | None = None,
    tags: Iterable[str] = (),
    search: bool = False,
    metadata: Metadata | None = None,
    needs_approval: Approval = False,
    failure_error_function: FailureErrorFunction | None = failure_text,
) -> list[FunctionTool]:
    """Returns tools for an ``Agent`` of the OpenAI Agents SDK.

    The model reads results as text. It reads a refused call and an error of the tool as ``failure_error_function``
    writes them. An unreachable hub is raised, and ends the run with a ``UserError`` whose cause is the
    ``ToolCommunicationError``.

    Args:
        bridge: An initialized bridge.
        *names: Names of tools; default: all that the session has now, except hidden and deprecated ones and older
            versions.
        tool_filter: Only tools that pass it: a pattern such as ``"weather_*"``, a prefix that ends with a separator
            such as ``"weather_"``, a list of these, or a function that is called with each ``ToolSpec``.
        tags: Only tools that have all of these tags.
        search: Give ``search_tools`` and ``call_tool`` instead of all tools, or beside those that are named: with them
            a model finds and calls all tools that pass the filter, however many there are.
        metadata: Sent with every call; a tool finds it in ``ToolContext.metadata``. A dict of texts, or a function that
            is called with the SDK's ``ToolContext`` of each call and returns one. None: the plain items of the run's
            ``context``, if that is a dict; nothing that looks like a secret.
        needs_approval: Which calls interrupt the run until they are approved: all (True), none (False), or those of
            tools that say that they destroy something ("destructive").
        failure_error_function: As the SDK's: writes a failed call for the model; None: the error is raised.

    Raises:
        NotFoundError: The session has no tool with one of the names, or none that passes ``tool_filter``.
        AlreadyExistsError: Two tools would have the same name in the framework.
        ValidationError: ``needs_approval`` is none of the three.
        ProtocolError: There is no session yet, or no event loop runs here.
    """
    home, found = HomeLoop(), CallMetadata(_of_context if metadata is None else metadata)
    return [
        _make(proxy, home, found, annotations.needs_approval(proxy.spec, needs_approval), failure_error_function)
        for proxy in Choice(names, with_tags(tool_filter, tags), search).tools(bridge)
    ]


def _of_context(call: ToolContext[Any]) -> dict[str, str]:
    return plain_metadata(call.context) if isinstance(call.context, Mapping) else {}


def _make(
    proxy: AnyTool, home: HomeLoop, metadata: CallMetadata, needs_approval: bool, explain: FailureErrorFunction | None
) -> FunctionTool:
    name, schema = framework_name(proxy.name), parameters(proxy.spec)

    async def invoke(context: ToolContext[Any], sent: str) -> str:
        try:
            given = from_json(proxy.spec, read_arguments(name, sent))
            tool = with_metadata(proxy, metadata.of(context))
            return value_text(await home.run(lambda: tool(**given), name=proxy.name))
        except (ToolExecutionError, ValidationError) as error:
            if explain is None:
                raise
            text = explain(context, error)
            return await text if inspect.isawaitable(text) else text

    return FunctionTool(
        name=name,
        description=described(proxy.spec),
        params_json_schema=schema,
        on_invoke_tool=invoke,
        strict_json_schema=is_strict(schema),
        needs_approval=needs_approval,
    )
