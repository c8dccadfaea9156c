"""Tools of a bridge for Google's Agent Development Kit (ADK)."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from grpc_tool_bridge.adapters.calling import HomeLoop
from grpc_tool_bridge.adapters.choice import AnyTool, Bridge, Choice, framework_name, parameters
from grpc_tool_bridge.adapters.metadata import CallMetadata, Metadata, with_metadata
from grpc_tool_bridge.errors import ToolExecutionError
from grpc_tool_bridge.llm.annotations import Approval, needs_approval, titled_annotations
from grpc_tool_bridge.llm.texts import error_facts
from grpc_tool_bridge.llm.tool_filter import ToolFilter, with_tags
from grpc_tool_bridge.llm.tool_marks import described
from grpc_tool_bridge.llm.values import from_json, is_plain_json, value_text
from grpc_tool_bridge.optional import missing

try:
    from google.adk.agents.readonly_context import ReadonlyContext
    from google.adk.tools.base_tool import BaseTool
    from google.adk.tools.base_toolset import BaseToolset
    from google.adk.tools.tool_context import ToolContext
    from google.genai.types import FunctionDeclaration
except ImportError as error:
    raise missing(error, "google.adk", extra="google-adk") from error


def google_adk_toolset(
    bridge: Bridge,
    *names: str,
    tool_filter: ToolFilter | None = None,
    tags: Iterable[str] = (),
    search: bool = False,
    metadata: Metadata | None = None,
    require_confirmation: Approval = False,
) -> "BridgeToolset":
    """Returns a toolset for an ``LlmAgent`` of Google ADK.

    A result that JSON can express is given as it is, and any other as text. A refused call and an error of the tool are
    a result ``{"error": {"type", "message", "details"}}``. An unreachable hub is a ``ToolCommunicationError``, which
    ends the run.

    Args:
        bridge: An initialized bridge.
        *names: Names of tools; default: all that the session has at each run, including later ones, except hidden and
            deprecated ones and older versions.
        tool_filter: Only tools that pass it: a pattern such as ``"weather_*"``, a prefix that ends with a separator
            such as ``"weather_"``, a list of these, or a function that is called with each ``ToolSpec``.
        tags: Only tools that have all of these tags.
        search: Give ``search_tools`` and ``call_tool`` instead of all tools, or beside those that are named: with them
            a model finds and calls all tools that pass the filter, however many there are.
        metadata: Sent with every call; a tool finds it in the bridge's ``ToolContext.metadata``. A dict of texts, or a
            function that is called with the framework's ``ToolContext`` of each call and returns one, such as
            ``lambda call: {"user": call.user_id}``. None: none.
        require_confirmation: Which calls wait for a confirmation: all (True), none (False), or those of tools that say
            that they destroy something ("destructive").

    Raises:
        NotFoundError: The session has no tool with one of the names, or none that passes ``tool_filter``.
        ValidationError: ``require_confirmation`` is none of the three.
        ProtocolError: There is no session yet, or no event loop runs here.
    """
    choice = Choice(names, with_tags(tool_filter, tags), search)
    return BridgeToolset(bridge, choice, CallMetadata(metadata), require_confirmation)


class BridgeToolset(BaseToolset):
    """The tools of a bridge, which may change between two runs."""

    def __init__(self, bridge: Bridge, choice: Choice, metadata: CallMetadata, require_confirmation: Approval) -> None:
        super().__init__()
        self._home = HomeLoop()
        self._bridge = bridge
        self._choice = choice
        self._metadata = metadata
        self._approval = require_confirmation
        # Tools that pass the filter may come later.
        for proxy in choice.tools(bridge, may_be_empty=True):
            needs_approval(proxy.spec, require_confirmation)

    def __repr__(self) -> str:
        return f"<BridgeToolset of {self._bridge!r}>"

    async def get_tools(
        self,
        readonly_context: ReadonlyContext | None = None,  # noqa: ARG002 - the framework's
    ) -> list[BaseTool]:
        """Returns the current tools of the session."""
        choice = self._choice
        names = tuple(name for name in choice.names if name in self._bridge.tools)
        if choice.names and not names and not choice.search:
            return []
        current = replace(choice, names=names).tools(self._bridge, may_be_empty=True)
        return [
            BridgeTool(proxy, self._home, self._metadata, needs_approval(proxy.spec, self._approval))
            for proxy in current
        ]


class BridgeTool(BaseTool):
    """A tool of a bridge. What it says of its effects, and its title, are ``custom_metadata["annotations"]``."""

    def __init__(self, proxy: AnyTool, home: HomeLoop, metadata: CallMetadata, needs_confirmation: bool) -> None:
        said = titled_annotations(proxy.spec)
        super().__init__(
            name=framework_name(proxy.name),
            description=described(proxy.spec),
            custom_metadata={"annotations": said} if said else None,
        )
        self._proxy = proxy
        self._home = home
        self._metadata = metadata
        self._needs_confirmation = needs_confirmation

    def __repr__(self) -> str:
        return f"<BridgeTool {self.name} of {self._proxy!r}>"

    def _get_declaration(self) -> FunctionDeclaration:
        return FunctionDeclaration(
            name=self.name, description=self.description, parameters_json_schema=parameters(self._proxy.spec)
        )

    async def check_require_confirmation(self, args: dict[str, Any], tool_context: ToolContext) -> bool:  # noqa: ARG002 - the framework's
        """Returns whether a person has to confirm a call."""
        return self._needs_confirmation

    async def run_async(self, *, args: dict[str, Any], tool_context: ToolContext) -> Any:
        """Calls the tool.

        Raises:
            ToolCommunicationError: The hub cannot be reached.
        """
        given = from_json(self._proxy.spec, args)
        tool = with_metadata(self._proxy, self._metadata.of(tool_context))
        try:
            value = await self._home.run(lambda: tool(**given), name=self._proxy.name)
        except ToolExecutionError as error:
            return {"error": error_facts(error)}
        return value if is_plain_json(value) else value_text(value)
