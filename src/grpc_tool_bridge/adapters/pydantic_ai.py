"""Tools of a bridge for Pydantic AI."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic_core import SchemaValidator, core_schema

from grpc_tool_bridge.adapters.calling import HomeLoop
from grpc_tool_bridge.adapters.choice import Bridge, Choice, framework_name, parameters
from grpc_tool_bridge.adapters.metadata import CallMetadata, Metadata, plain_metadata, with_metadata
from grpc_tool_bridge.adapters.refusals import is_refusal
from grpc_tool_bridge.errors import NotFoundError, ToolExecutionError, ValidationError
from grpc_tool_bridge.llm.annotations import titled_annotations
from grpc_tool_bridge.llm.texts import failure_text
from grpc_tool_bridge.llm.tool_args import read_arguments
from grpc_tool_bridge.llm.tool_filter import ToolFilter, settled, with_tags
from grpc_tool_bridge.llm.tool_marks import described
from grpc_tool_bridge.llm.values import from_json, is_plain_json, value_text
from grpc_tool_bridge.optional import missing

try:
    from pydantic_ai import ModelRetry, RunContext, ToolDefinition, ToolFailed, ToolReturn
    from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
except ImportError as error:
    raise missing(error, "pydantic_ai", extra="pydantic-ai") from error

# For arguments that the model is still writing.
_PARTIAL = SchemaValidator(core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema()))

# What an error of a tool becomes; Pydantic AI's word for its own toolset of an MCP server.
ToolErrorBehavior = Literal["failed", "retry", "error"]

_AllowPartial = bool | Literal["off", "on", "trailing-strings"]


def pydantic_ai_toolset(
    bridge: Bridge,
    *names: str,
    tool_filter: ToolFilter | None = None,
    tags: Iterable[str] = (),
    search: bool = False,
    metadata: Metadata | None = None,
    tool_error_behavior: ToolErrorBehavior = "failed",
) -> "BridgeToolset":
    """Returns a Pydantic AI toolset, for ``Agent(…, toolsets=[…])``.

    What a tool says of its effects (``readOnlyHint``, ``destructiveHint``, …) and its title are
    ``metadata["annotations"]`` of its definition, as of a tool of an MCP server.

    Args:
        bridge: An initialized bridge.
        *names: Names of tools; default: all that the session has at each step of a run, including later ones,
            except hidden and deprecated ones and older versions.
        tool_filter: Only tools that pass it: a pattern such as ``"weather_*"``, a prefix that ends with a separator
            such as ``"weather_"``, a list of these, or a function that is called with each ``ToolSpec``.
        tags: Only tools that have all of these tags.
        search: Give ``search_tools`` and ``call_tool`` instead of all tools, or beside those that are named: with them
            a model finds and calls all tools that pass the filter, however many there are.
        metadata: Sent with every call; a tool finds it in ``ToolContext.metadata``. A dict of texts, or a function that
            is called with the ``RunContext`` of each call and returns one, such as
            ``lambda ctx: {"user": ctx.deps.user}``. None: the plain items of ``deps``, if that is a dict; nothing that
            looks like a secret.
        tool_error_behavior: What an error of a tool becomes: "failed" tells the model, "retry" asks it to try again,
            and "error" raises the ``ToolExecutionError``, which ends the run.

    Raises:
        NotFoundError: The session has no tool with one of the names, or none that passes ``tool_filter``.
        ValidationError: ``tool_error_behavior`` is none of the three.
        ProtocolError: There is no session yet, or no event loop runs here.
    """
    choice = Choice(names, with_tags(tool_filter, tags), search)
    return BridgeToolset(bridge, choice, _of_deps if metadata is None else metadata, tool_error_behavior)


def _of_deps(ctx: RunContext[Any]) -> dict[str, str]:
    return plain_metadata(ctx.deps) if isinstance(ctx.deps, Mapping) else {}


class _Arguments:
    """Parses the arguments of a call; the hub converts and checks them, by the tool's real types."""

    def __init__(self, name: str) -> None:
        self._name = name

    def validate_json(
        self,
        input: str | bytes | bytearray,  # noqa: A002 - Pydantic AI's name
        *,
        allow_partial: _AllowPartial = False,
        **kwargs: Any,
    ) -> Any:
        if allow_partial not in (False, "off"):
            return _PARTIAL.validate_json(input, allow_partial=allow_partial, **kwargs)
        return self._read(input)

    def validate_python(
        self,
        input: Any,  # noqa: A002 - Pydantic AI's name
        *,
        allow_partial: _AllowPartial = False,
        **kwargs: Any,
    ) -> Any:
        if allow_partial not in (False, "off"):
            return _PARTIAL.validate_python(input, allow_partial=allow_partial, **kwargs)
        return self._read(input)

    def _read(self, given: Any) -> dict[str, Any]:
        try:
            return read_arguments(self._name, given)
        except ValidationError as error:
            raise ModelRetry(failure_text(self._name, error)) from error


class BridgeToolset(AbstractToolset[Any]):
    """The tools of a bridge.

    If the hub refuses the arguments, or the tool has been removed, it raises ``ModelRetry``, so that the model can
    react. An unreachable hub is raised unchanged. A result that JSON cannot represent, such as a DataFrame, a date or
    NaN, becomes a ``ToolReturn`` with its text for the model and the value as metadata.
    """

    def __init__(
        self, bridge: Bridge, choice: Choice, metadata: Metadata | None, tool_error_behavior: ToolErrorBehavior
    ) -> None:
        if tool_error_behavior not in ("failed", "retry", "error"):
            raise ValidationError(
                f"tool_error_behavior must be 'failed', 'retry' or 'error', not {tool_error_behavior!r:.60}"
            )
        self._home = HomeLoop()
        self._behavior = tool_error_behavior
        # Tools that pass the filter may come later.
        choice.tools(bridge, may_be_empty=True)
        self._bridge = bridge
        self._choice = choice
        self._metadata = CallMetadata(metadata)

    def __repr__(self) -> str:
        return f"<BridgeToolset of {self._bridge!r}>"

    @property
    def id(self) -> str:
        """The toolset's name among those of an agent."""
        choice = self._choice
        patterns = () if choice.tool_filter is None else settled(choice.tool_filter)
        told = [f"filter {id(patterns):x}"] if callable(patterns) else patterns
        searching = ["search"] if choice.search else []
        return ":".join(("grpc-tool-bridge", str(self._bridge.session_id), *choice.names, *told, *searching))

    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:
        """Returns the current tools of the session."""
        choice = self._choice
        names = tuple(name for name in choice.names if name in self._bridge.tools)
        if choice.names and not names and not choice.search:
            return {}
        return {
            framework_name(proxy.name): ToolsetTool(
                toolset=self,
                tool_def=ToolDefinition(
                    name=framework_name(proxy.name),
                    description=described(proxy.spec) or None,
                    parameters_json_schema=parameters(proxy.spec),
                    metadata={"annotations": titled_annotations(proxy.spec) or None},
                ),
                max_retries=ctx.max_retries,
                args_validator=_Arguments(framework_name(proxy.name)),
            )
            for proxy in replace(choice, names=names).tools(self._bridge, may_be_empty=True)
        }

    async def call_tool(
        self,
        name: str,
        tool_args: dict[str, Any],
        ctx: RunContext[Any],
        tool: ToolsetTool[Any],  # noqa: ARG002 - the framework's
    ) -> Any:
        """Calls a tool.

        Raises:
            ModelRetry: The hub refused the arguments, or the session no longer has the tool.
            ToolFailed: The tool raised; it is a ``ModelRetry`` or the ``ToolExecutionError`` if that was asked for.
            ToolCommunicationError: The hub cannot be reached.
        """
        try:
            proxy = with_metadata(self._choice.find(self._bridge, name), self._metadata.of(ctx))
        except NotFoundError as error:
            raise ModelRetry(failure_text(name, error)) from error
        try:
            value = await self._home.run(lambda: proxy(**from_json(proxy.spec, tool_args)), name=name)
        except ToolExecutionError as error:
            if is_refusal(error) or self._behavior == "retry":
                raise ModelRetry(failure_text(name, error)) from error
            if self._behavior == "failed":
                raise ToolFailed(failure_text(name, error)) from error
            raise
        # Pydantic AI would show None and an empty list as an empty text.
        if is_plain_json(value) and value is not None and value != []:
            return value
        return ToolReturn(return_value=value_text(value), metadata=value)
