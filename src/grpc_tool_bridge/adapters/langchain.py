"""Tools of a bridge for LangChain."""

import inspect
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any

from grpc_tool_bridge.adapters.calling import HomeLoop
from grpc_tool_bridge.adapters.choice import AnyTool, Bridge, Choice, framework_name, parameters
from grpc_tool_bridge.adapters.metadata import CallMetadata, Metadata, plain_metadata, with_metadata
from grpc_tool_bridge.errors import ToolExecutionError, ValidationError
from grpc_tool_bridge.llm.texts import error_text
from grpc_tool_bridge.llm.tool_args import read_arguments
from grpc_tool_bridge.llm.tool_filter import ToolFilter, with_tags
from grpc_tool_bridge.llm.tool_marks import described
from grpc_tool_bridge.llm.values import from_json, value_text
from grpc_tool_bridge.optional import missing
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolType

try:
    from langchain_core.callbacks import adispatch_custom_event
    from langchain_core.runnables import RunnableConfig
    from langchain_core.tools import StructuredTool, ToolException
except ImportError as error:
    raise missing(error, "langchain_core", extra="langchain") from error

# The name of the custom event for each value that a tool yields.
CHUNK_EVENT = "tool_chunk"


def langchain_tools(
    bridge: Bridge,
    *names: str,
    tool_filter: ToolFilter | None = None,
    tags: Iterable[str] = (),
    search: bool = False,
    metadata: Metadata | None = None,
) -> list[StructuredTool]:
    """Returns LangChain tools, which can be invoked with and without ``await``.

    A result is text for the model, and the artifact of its ``ToolMessage`` is the value itself. An error of the tool is
    raised as a ``ToolException``, whose text has the class, message and details of the ``ToolExecutionError``; with
    ``tool.handle_tool_error = True`` the model gets that text. A streaming tool returns the list of its values; with
    ``ainvoke``, each value is also sent as a custom event ``tool_chunk``.

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
            is called with the ``config`` of each call and returns one. None: what is plain in the config's ``metadata``
            and ``configurable``, such as ``thread_id``, but nothing that looks like a secret.

    Raises:
        NotFoundError: The session has no tool with one of the names, or none that passes ``tool_filter``.
        AlreadyExistsError: Two tools would have the same name in the framework.
        ProtocolError: There is no session yet, or no event loop runs here.
    """
    home = HomeLoop()
    found = CallMetadata(_of_config if metadata is None else metadata)
    choice = Choice(names, with_tags(tool_filter, tags), search)
    return [_make(proxy, home, found) for proxy in choice.tools(bridge)]


class BridgeTool(StructuredTool):
    """A structured tool whose arguments may have any name, even those that LangChain uses itself.

    A model may send null or an empty text for no arguments, and JSON text for an object. Anything else raises a
    ``ToolException``, like an error of the tool.
    """

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002 - LangChain's name
        """Calls the tool and waits for it."""
        return super().invoke(_whole(input), config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002 - as above
        """Calls the tool."""
        return await super().ainvoke(_whole(input), config, **kwargs)

    def _to_args_and_kwargs(
        self,
        tool_input: str | dict[str, Any],
        tool_call_id: str | None,  # noqa: ARG002 - LangChain's
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = tool_input.sent if isinstance(tool_input, _Unread) else tool_input
        try:
            return (read_arguments(self.name, given),), {}
        except ValidationError as error:
            raise ToolException(error_text(error)) from error

    # LangChain's own methods look for parameters to fill in, in functions that have the tool's parameters.
    def _run(self, arguments: dict[str, Any], config: RunnableConfig) -> Any:  # type: ignore[override] # it passes what it finds named here
        return self.func(arguments, config) if self.func is not None else NotImplemented

    async def _arun(self, arguments: dict[str, Any], config: RunnableConfig) -> Any:  # type: ignore[override] # as above
        return await self.coroutine(arguments, config) if self.coroutine is not None else NotImplemented


class _Unread(dict[str, Any]):
    """Stands for arguments of a tool call that are not a dict, which LangChain does not support."""

    def __init__(self, sent: Any) -> None:
        super().__init__()
        self.sent = sent

    def copy(self) -> "_Unread":
        return self


def _whole(given: Any) -> Any:
    if isinstance(given, dict) and given.get("type") == "tool_call" and not isinstance(given.get("args"), dict):
        return {**given, "args": _Unread(given.get("args"))}
    return given


def _of_config(config: RunnableConfig) -> dict[str, str]:
    return plain_metadata({**(config.get("configurable") or {}), **(config.get("metadata") or {})})


def _make(proxy: AnyTool, home: HomeLoop, metadata: CallMetadata) -> StructuredTool:
    async def call(arguments: dict[str, Any], config: RunnableConfig) -> tuple[str, Any]:
        given = from_json(proxy.spec, arguments)
        tool = with_metadata(proxy, metadata.of(config or {}))
        if proxy.spec.type != ToolType.STREAMING:
            return await _answered(home, tool, given)
        return await _streamed(home, tool, given)

    def call_blocking(arguments: dict[str, Any], config: RunnableConfig) -> tuple[str, Any]:
        given = from_json(proxy.spec, arguments)
        tool = with_metadata(proxy, metadata.of(config or {}))
        try:
            value = home.block(proxy.name, lambda: tool(**given))
        except ToolExecutionError as error:
            raise ToolException(error_text(error)) from error
        return value_text(value), value

    # Some prompts are made from it.
    call_blocking.__signature__ = inspect.signature(proxy)  # type: ignore[attr-defined] # of any function
    return BridgeTool(
        name=framework_name(proxy.name),
        description=described(proxy.spec),
        args_schema=parameters(proxy.spec),
        func=call_blocking,
        coroutine=call,
        response_format="content_and_artifact",
    )


async def _answered(home: HomeLoop, proxy: AnyTool, arguments: dict[str, Any]) -> tuple[str, Any]:
    try:
        value = await home.run(lambda: proxy(**arguments), name=proxy.name)
    except ToolExecutionError as error:
        raise ToolException(error_text(error)) from error
    return value_text(value), value


async def _streamed(home: HomeLoop, proxy: AnyTool, arguments: dict[str, Any]) -> tuple[str, Any]:
    values = []
    try:
        async with aclosing(home.iterate(proxy.stream(**arguments), name=proxy.name)) as chunks:
            async for value in chunks:
                values.append(value)
                await adispatch_custom_event(CHUNK_EVENT, {"tool": proxy.name, "value": value})
    except ToolExecutionError as error:
        raise ToolException(error_text(error)) from error
    return value_text(values), values
