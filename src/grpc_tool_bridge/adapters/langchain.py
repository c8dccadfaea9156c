"""Tools of a bridge for LangChain, and so for LangGraph."""

import inspect
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any

from grpc_tool_bridge.adapters.calling import HomeLoop
from grpc_tool_bridge.adapters.choice import AnyTool, Bridge, Choice, framework_name, parameters
from grpc_tool_bridge.adapters.langgraph import RunStream, refused_call, run_stream
from grpc_tool_bridge.adapters.metadata import CallMetadata, Metadata, plain_metadata, with_metadata
from grpc_tool_bridge.adapters.refusals import is_refusal
from grpc_tool_bridge.errors import ToolExecutionError, ValidationError
from grpc_tool_bridge.llm.annotations import titled_annotations
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


# What a tool does with its ToolException: raises it, or gives the model its text, a text, or what a function returns.
HandleToolError = bool | str | Callable[[ToolException], str]


def langchain_tools(
    bridge: Bridge,
    *names: str,
    tool_filter: ToolFilter | None = None,
    tags: Iterable[str] = (),
    search: bool = False,
    metadata: Metadata | None = None,
    handle_tool_error: HandleToolError = False,
) -> list[StructuredTool]:
    """Returns LangChain tools, which can be invoked with and without ``await``.

    A result is text for the model, and the artifact of its ``ToolMessage`` is the value itself. An error of the tool is
    raised as a ``ToolException``, whose text has the class, message and details of the ``ToolExecutionError``. An
    unreachable hub is a ``ToolCommunicationError``, which is never handled. A streaming tool returns the list of its
    values; with ``ainvoke``, each value is also sent as a custom event ``tool_chunk``.

    In a LangGraph run, values and progress are sent to its custom stream, and a ``ToolNode`` gives the model the text
    of a refused call, so that it can correct its arguments.

    What a tool says of its effects (``readOnlyHint``, ``destructiveHint``, …) and its title are its ``metadata``.

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
        handle_tool_error: As LangChain's: True gives the model the text of each ``ToolException``.

    Raises:
        NotFoundError: The session has no tool with one of the names, or none that passes ``tool_filter``.
        AlreadyExistsError: Two tools would have the same name in the framework.
        ProtocolError: There is no session yet, or no event loop runs here.
    """
    home = HomeLoop()
    found = CallMetadata(_of_config if metadata is None else metadata)
    choice = Choice(names, with_tags(tool_filter, tags), search)
    return [_make(proxy, home, found, handle_tool_error) for proxy in choice.tools(bridge)]


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
        self, tool_input: str | dict[str, Any], tool_call_id: str | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = tool_input.sent if isinstance(tool_input, _Unread) else tool_input
        try:
            return (read_arguments(self.name, given), tool_call_id), {}
        except ValidationError as error:
            raise refused_call(self.name, {}, error) from error

    # LangChain's own methods look for parameters to fill in, in functions that have the tool's parameters.
    def _run(self, arguments: dict[str, Any], call_id: str | None, config: RunnableConfig) -> Any:  # type: ignore[override] # it passes what it finds named here
        return self.func(arguments, call_id, config) if self.func is not None else NotImplemented

    async def _arun(self, arguments: dict[str, Any], call_id: str | None, config: RunnableConfig) -> Any:  # type: ignore[override] # as above
        return await self.coroutine(arguments, call_id, config) if self.coroutine is not None else NotImplemented


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


def _make(proxy: AnyTool, home: HomeLoop, metadata: CallMetadata, handle_tool_error: HandleToolError) -> StructuredTool:
    name = framework_name(proxy.name)

    async def call(arguments: dict[str, Any], call_id: str | None, config: RunnableConfig) -> tuple[str, Any]:
        given = from_json(proxy.spec, arguments)
        tool = with_metadata(proxy, metadata.of(config or {}))
        stream = run_stream(proxy.name, call_id)
        try:
            if proxy.spec.type != ToolType.STREAMING:
                value = await home.run(lambda: _told_of(tool, stream)(**given), name=proxy.name)
            else:
                value = []
                async with aclosing(home.iterate(_chunks(tool, given, stream), name=proxy.name)) as chunks:
                    async for chunk in chunks:
                        value.append(chunk)
                        await adispatch_custom_event(CHUNK_EVENT, {"tool": proxy.name, "value": chunk})
        except ToolExecutionError as error:
            raise _as_langchains(name, arguments, error) from error
        return value_text(value), value

    def call_blocking(arguments: dict[str, Any], call_id: str | None, config: RunnableConfig) -> tuple[str, Any]:
        given = from_json(proxy.spec, arguments)
        tool = with_metadata(proxy, metadata.of(config or {}))
        stream = run_stream(proxy.name, call_id)

        async def run() -> Any:
            if stream is None or proxy.spec.type != ToolType.STREAMING:
                return await _told_of(tool, stream)(**given)
            async with aclosing(_chunks(tool, given, stream)) as chunks:
                return [chunk async for chunk in chunks]

        try:
            value = home.block(proxy.name, run)
        except ToolExecutionError as error:
            raise _as_langchains(name, arguments, error) from error
        return value_text(value), value

    # Some prompts are made from it.
    call_blocking.__signature__ = inspect.signature(proxy)  # type: ignore[attr-defined] # of any function
    return BridgeTool(
        name=name,
        description=described(proxy.spec),
        args_schema=parameters(proxy.spec),
        func=call_blocking,
        coroutine=call,
        response_format="content_and_artifact",
        handle_tool_error=handle_tool_error,
        metadata=titled_annotations(proxy.spec) or None,
    )


def _told_of(proxy: AnyTool, stream: RunStream | None) -> AnyTool:
    """Returns the same tool, whose progress goes to the stream of a run if there is one."""
    return proxy if stream is None else proxy.with_options(on_progress=stream.progress)


async def _chunks(proxy: AnyTool, arguments: dict[str, Any], stream: RunStream | None) -> AsyncGenerator[Any, None]:
    async with aclosing(_told_of(proxy, stream).stream(**arguments)) as chunks:
        async for chunk in chunks:
            if stream is not None:
                stream.chunk(chunk)
            yield chunk


def _as_langchains(name: str, arguments: Mapping[str, Any], error: ToolExecutionError) -> ToolException:
    return refused_call(name, arguments, error) if is_refusal(error) else ToolException(error_text(error))
