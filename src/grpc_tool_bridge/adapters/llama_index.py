"""Tools of a bridge for LlamaIndex."""

from collections.abc import Iterable
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from grpc_tool_bridge.adapters.calling import HomeLoop
from grpc_tool_bridge.adapters.choice import AnyTool, Bridge, Choice, framework_name, parameters
from grpc_tool_bridge.adapters.metadata import CallMetadata, Metadata, with_metadata
from grpc_tool_bridge.errors import ToolExecutionError
from grpc_tool_bridge.llm.annotations import titled_annotations
from grpc_tool_bridge.llm.texts import error_text
from grpc_tool_bridge.llm.tool_filter import ToolFilter, with_tags
from grpc_tool_bridge.llm.tool_marks import described
from grpc_tool_bridge.llm.values import from_json, value_text
from grpc_tool_bridge.optional import missing

try:
    from llama_index.core.tools import AsyncBaseTool, ToolMetadata, ToolOutput
except ImportError as error:
    raise missing(error, "llama_index", extra="llama-index") from error


def llama_index_tools(
    bridge: Bridge,
    *names: str,
    tool_filter: ToolFilter | None = None,
    tags: Iterable[str] = (),
    search: bool = False,
    metadata: Metadata | None = None,
) -> "list[BridgeTool]":
    """Returns LlamaIndex tools, for ``FunctionAgent``, ``ReActAgent`` and every other user of tools.

    A result is text for the model, and ``raw_output`` is the value itself. A refused call and an error of the tool are
    an output with ``is_error``, whose text has the error's type, message and details, and whose ``exception`` is the
    ``ToolExecutionError``. An unreachable hub is raised; LlamaIndex's agents turn that, too, into an output for the
    model.

    ``await tool.acall(…)`` works in any event loop; ``tool(…)`` in any thread but that of the bridge's own loop.

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
            is called without arguments for each call and returns one. None: none.

    Raises:
        NotFoundError: The session has no tool with one of the names, or none that passes ``tool_filter``.
        AlreadyExistsError: Two tools would have the same name in the framework.
        ProtocolError: There is no session yet, or no event loop runs here.
    """
    home, found = HomeLoop(), CallMetadata(metadata)
    return [
        BridgeTool(proxy, home, found) for proxy in Choice(names, with_tags(tool_filter, tags), search).tools(bridge)
    ]


class _Arguments(BaseModel):
    """Arguments of a tool, with the schema that the hub has; the hub converts and checks them."""

    model_config = ConfigDict(extra="allow")
    schema_of_tool: ClassVar[dict[str, Any]]

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:  # noqa: ARG003 - pydantic's signature
        return cls.schema_of_tool


class BridgeTool(AsyncBaseTool):
    """A tool of a bridge.

    Attributes:
        annotations: What the tool says of its effects (``readOnlyHint``, ``destructiveHint``, …), and its title.
    """

    def __init__(self, proxy: AnyTool, home: HomeLoop, metadata: CallMetadata) -> None:
        self._proxy = proxy
        self._home = home
        self._sent = metadata
        self._metadata = ToolMetadata(
            name=framework_name(proxy.name),
            description=described(proxy.spec),
            fn_schema=type(proxy.name, (_Arguments,), {"schema_of_tool": parameters(proxy.spec)}),
        )
        self.annotations = titled_annotations(proxy.spec)

    def __repr__(self) -> str:
        return f"<BridgeTool {self._metadata.get_name()} of {self._proxy!r}>"

    @property
    def metadata(self) -> ToolMetadata:
        """The tool as the model is told of it."""
        return self._metadata

    def call(self, /, **kwargs: Any) -> ToolOutput:  # type: ignore[override] # LlamaIndex passes the arguments by name
        """Calls the tool and waits for it."""
        given = from_json(self._proxy.spec, kwargs)
        tool = with_metadata(self._proxy, self._sent.of())
        try:
            return self._output(kwargs, self._home.block(self._proxy.name, lambda: tool(**given)))
        except ToolExecutionError as error:
            return self._failure(kwargs, error)

    async def acall(self, /, **kwargs: Any) -> ToolOutput:  # type: ignore[override] # as above
        """Calls the tool."""
        given = from_json(self._proxy.spec, kwargs)
        tool = with_metadata(self._proxy, self._sent.of())
        try:
            return self._output(kwargs, await self._home.run(lambda: tool(**given), name=self._proxy.name))
        except ToolExecutionError as error:
            return self._failure(kwargs, error)

    def _output(self, given: dict[str, Any], value: Any) -> ToolOutput:
        return ToolOutput(
            tool_name=self._metadata.get_name(), content=value_text(value), raw_input=given, raw_output=value
        )

    def _failure(self, given: dict[str, Any], error: ToolExecutionError) -> ToolOutput:
        text = error_text(error)
        return ToolOutput(
            tool_name=self._metadata.get_name(),
            content=text,
            raw_input=given,
            raw_output=text,
            is_error=True,
            exception=error,
        )
