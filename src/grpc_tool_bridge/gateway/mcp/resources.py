"""Session variables as resources: listed, read and subscribed to."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from mcp.server.connection import Connection
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    EmptyResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    ResourceTemplate,
    SubscribeRequestParams,
    SubscriptionFilter,
    UnsubscribeRequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from grpc_tool_bridge.errors import NotFoundError, ToolBridgeError
from grpc_tool_bridge.gateway.mcp.callers import acting_for, principal_of
from grpc_tool_bridge.gateway.mcp.changes import SUBSCRIBED_KEY
from grpc_tool_bridge.gateway.mcp.cursors import cursor_after, name_before
from grpc_tool_bridge.gateway.mcp.errors import protocol_error
from grpc_tool_bridge.gateway.mcp.resource_contents import contents_of, resource_of
from grpc_tool_bridge.gateway.mcp.resource_uris import TEMPLATE, name_of
from grpc_tool_bridge.gateway.mcp.sdk_internals import connection_of
from grpc_tool_bridge.gateway.mcp.sessions import Context, SessionClients, SessionKey
from grpc_tool_bridge.gateway.mcp.variable_watches import VariableWatches

# Resources on one page.
PAGE_RESOURCES = 1_000
# Resources that one client may subscribe to.
MAX_SUBSCRIPTIONS = 1_000
# The code of the protocol up to 2025-11-25 for a resource that there is not; later it is INVALID_PARAMS.
RESOURCE_NOT_FOUND = -32002

# The key of a connection's state that has its subscriptions.
_SUBSCRIPTIONS_KEY = "grpc-tool-bridge/subscriptions"


class ResourceHandlers:
    """Answers requests about resources.

    Args:
        sessions: The sessions that the clients use.
        watches: Tell of changes.
    """

    def __init__(self, sessions: SessionClients, watches: VariableWatches) -> None:
        self._sessions = sessions
        self._watches = watches

    async def list_resources(self, context: Context, params: PaginatedRequestParams | None) -> ListResourcesResult:
        """Lists a page of the session's variables, by name, without the secret ones.

        A client of the handshake protocol is told from then on when the list changes.
        """
        after = name_before(params)
        if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            await _Subscriptions.of(connection_of(context)).add(self._watches, self._sessions.key_of(context), "")
        try:
            with acting_for(principal_of(context)):
                async with self._sessions.use(context) as session:
                    infos = await session.client.session_context.list_variables()
        except ToolBridgeError as error:
            raise protocol_error(error) from None
        shown = sorted((info for info in infos if not info.secret and info.name > after), key=lambda i: i.name)
        page = shown[:PAGE_RESOURCES]
        return ListResourcesResult(
            resources=[resource_of(info) for info in page],
            next_cursor=cursor_after(page[-1].name) if len(shown) > len(page) else None,
        )

    async def list_templates(
        self, context: Context, params: PaginatedRequestParams | None
    ) -> ListResourceTemplatesResult:
        """Lists the form of the addresses of variables."""
        del context, params
        template = ResourceTemplate(
            uri_template=TEMPLATE,
            name="variable",
            title="A variable of the session",
            description="The current value: a text as it is, bytes as a blob, a frame as CSV, everything else as JSON.",
        )
        return ListResourceTemplatesResult(resource_templates=[template])

    async def read(self, context: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
        """Reads a variable.

        Raises:
            MCPError: There is no such variable, or it is secret.
        """
        name = name_of(params.uri)
        if name is None:
            raise _not_found(context, params.uri)
        try:
            with acting_for(principal_of(context)):
                async with self._sessions.use(context) as session:
                    value, metadata = await session.client.session_context.get_variable_with_metadata(name)
        except NotFoundError as error:
            if error.error_type != "VariableNotFound":
                raise protocol_error(error) from None
            raise _not_found(context, params.uri) from None
        except ToolBridgeError as error:
            raise protocol_error(error) from None
        if metadata.secret:
            raise _not_found(context, params.uri)
        return ReadResourceResult(contents=[await contents_of(params.uri, value, metadata)])

    async def subscribe(self, context: Context, params: SubscribeRequestParams) -> EmptyResult:
        """Tells a client of the handshake protocol when a resource changes, which need not exist yet."""
        subscriptions = _Subscriptions.of(connection_of(context))
        await subscriptions.add(self._watches, self._sessions.key_of(context), params.uri)
        return EmptyResult()

    async def unsubscribe(self, context: Context, params: UnsubscribeRequestParams) -> EmptyResult:
        """Ends a subscription."""
        _Subscriptions.of(connection_of(context)).remove(params.uri)
        return EmptyResult()

    @asynccontextmanager
    async def listening(self, context: Context, wanted: SubscriptionFilter) -> AsyncIterator[None]:
        """Publishes the changes of resources that a client of the protocol 2026-07-28 listens to, in the block.

        Raises:
            MCPError: It wants too many.
        """
        uris = wanted.resource_subscriptions or []
        if len(uris) > MAX_SUBSCRIPTIONS:
            raise _too_many()
        if not uris and not wanted.resources_list_changed:
            yield
            return
        release = await self._watches.hold(self._sessions.key_of(context), uris)
        try:
            yield
        finally:
            release()


class _Subscriptions:
    """What one client has subscribed to; an empty address stands for the list of resources."""

    def __init__(self, connection: Connection) -> None:
        self._releases: dict[str, Callable[[], None]] = connection.state.setdefault(SUBSCRIBED_KEY, {})
        self._closed = False
        connection.exit_stack.callback(self.close)

    @classmethod
    def of(cls, connection: Connection) -> "_Subscriptions":
        """Returns the subscriptions of a connection."""
        found: _Subscriptions | None = connection.state.get(_SUBSCRIPTIONS_KEY)
        if found is None:
            found = connection.state[_SUBSCRIPTIONS_KEY] = cls(connection)
        return found

    async def add(self, watches: VariableWatches, key: SessionKey, uri: str) -> None:
        """Adds a subscription.

        Raises:
            MCPError: There are too many.
        """
        if uri in self._releases:
            return
        if len(self._releases) > MAX_SUBSCRIPTIONS:
            raise _too_many()
        release = await watches.hold(key, [uri])
        # The client may have left, or have subscribed twice, meanwhile.
        if self._closed or uri in self._releases:
            release()
        else:
            self._releases[uri] = release

    def remove(self, uri: str) -> None:
        """Ends a subscription, if there is one."""
        release = self._releases.pop(uri, None) if uri else None
        if release is not None:
            release()

    def close(self) -> None:
        """Ends all."""
        self._closed = True
        while self._releases:
            self._releases.popitem()[1]()


def _not_found(context: Context, uri: str) -> MCPError:
    code = INVALID_PARAMS if context.protocol_version in MODERN_PROTOCOL_VERSIONS else RESOURCE_NOT_FOUND
    return MCPError(code=code, message=f"there is no resource {uri!r:.300}", data={"uri": uri})


def _too_many() -> MCPError:
    text = f"a client may subscribe to {MAX_SUBSCRIPTIONS:,} resources; unsubscribe from some first"
    return MCPError(code=INVALID_PARAMS, message=text)
