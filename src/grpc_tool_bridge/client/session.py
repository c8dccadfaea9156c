"""A client's session: opened, and resumed over the next link."""

import contextlib
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace

from grpc_tool_bridge.client.caller import Caller
from grpc_tool_bridge.client.resume import is_lost, reach
from grpc_tool_bridge.client.tools import SessionTools, ToolChange, read_tools
from grpc_tool_bridge.config.argument_checks import check_seconds, check_text, check_texts_by_name, message_of
from grpc_tool_bridge.errors import (
    SessionExpiredError,
    SessionNotFoundError,
    ToolBridgeError,
    ToolCommunicationError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    GetSessionInfoRequest,
    InitializeSessionRequest,
    InitializeSessionResponse,
    SessionConfig,
)

# A third of the default session_idle_timeout; the hub sends its own value.
HEARTBEAT_SECONDS = 100.0
HEARTBEAT_LEAST_SECONDS = 0.01

# The answer to a session's opening, and its defaults.
Opened = tuple[InitializeSessionResponse, Mapping[str, float]]

_log = logging.getLogger(__name__)


class ClientSession:
    """Opens a session for a caller, and resumes it when the link has been reconnected.

    Args:
        caller: Makes the calls; gets the session's id and defaults.
        tools: Gets the session's tools.

    Attributes:
        created: Whether this client created the session.
        heartbeat_interval: Seconds between two heartbeats.
        on_renewed: Called when the session has been created again, empty, at a hub that has restarted.
    """

    def __init__(self, caller: Caller, tools: SessionTools) -> None:
        self.created = False
        self.heartbeat_interval = HEARTBEAT_SECONDS
        self.on_renewed: Callable[[], None] | None = None
        self._caller = caller
        self._tools = tools
        self._given_options = caller.options
        self._request = InitializeSessionRequest()
        # When the session began, which shows whether the hub has restarted; None: unknown.
        self._began_at: int | None = None

    async def open(
        self,
        session_id: str | None,
        metadata: Mapping[str, str] | None,
        config: SessionConfig | None,
        connect_timeout: float,
    ) -> None:
        """Opens a session; arguments and errors as for ``ToolBridgeClient.initialize_session``."""
        check_session(session_id, metadata, config, connect_timeout)
        caller = self._caller
        request = InitializeSessionRequest(
            # Generated here, so that a retry after a lost answer finds the same session.
            session_id=session_id or uuid.uuid4().hex,
            metadata=metadata or {},
            config=None if config is None else message_of("config", config, SessionConfig),
        )
        response, defaults = await self._reach(request, connect_timeout)
        opened = response.session_id or request.session_id
        # It existed, but this client had created it: with an earlier call, or a try whose answer was lost.
        known = not session_id or (self.created and opened == caller.session_id)
        request.session_id = opened
        self._request = request
        caller.session_id, self.created = opened, known or not response.resumed
        self._take_defaults(defaults)
        await self._take_tools(caller, response)
        self._began_at = None
        if caller.transport.is_linked:
            with contextlib.suppress(ToolBridgeError):
                self._began_at = await self._read_begin(caller)

    async def rejoin(self, stub: object) -> None:
        """Resumes the session over another link, or creates it again at a hub that does not have it.

        Args:
            stub: The new link's stub; no other calls use it until this returns.
        """
        session_id, lost = self._caller.session_id, self._began_at
        if not session_id or session_id != self._request.session_id:
            return
        caller = self._caller.over(stub)
        try:
            found = await self._read_begin(caller)
        except SessionExpiredError:
            _log.warning("session %s ended at the hub while the link was lost", session_id)
            return
        except SessionNotFoundError:
            found = None  # the hub has restarted
        response, defaults = await caller.open(self._request)
        self._take_defaults(defaults)
        self._tools.notify(await self._take_tools(caller, response))
        self._began_at = found or await self._read_begin(caller)
        # Another client of the session, or a try whose answer was lost, may have created it first.
        if not response.resumed or (lost is not None and found != lost):
            _log.warning(
                "the hub at %s has restarted or is another one: session %s was created again, and what it held is lost",
                caller.transport.where,
                session_id,
            )
            if self.on_renewed is not None:
                self.on_renewed()

    async def _reach(self, request: InitializeSessionRequest, connect_timeout: float) -> Opened:
        async def attempt(seconds: float) -> Opened:
            await self._caller.connect(seconds)
            return await self._caller.open(request)

        try:
            return await reach(attempt, connect_timeout, self._caller.pauses(), self._caller.transport.move_on)
        except ToolCommunicationError as error:
            if is_lost(error):
                where = self._caller.transport.where
                error.add_note(f"Does a hub run at {where}? grpc-tool-bridge serve --tools … starts one.")
            raise

    async def _read_begin(self, caller: Caller) -> int:
        info = await caller.call("GetSessionInfo", GetSessionInfoRequest(session_id=caller.session_id or ""))
        return int(info.created_at.ToNanoseconds())

    def _take_defaults(self, defaults: Mapping[str, float]) -> None:
        """Applies the session's defaults to options that this client does not set."""
        if defaults.get("idle-timeout"):
            self.heartbeat_interval = max(defaults["idle-timeout"] / 3, HEARTBEAT_LEAST_SECONDS)
        given = self._given_options
        self._caller.options = replace(
            given,
            call_timeout=given.call_timeout or defaults.get("call-timeout"),
            stream_timeout=given.stream_timeout or defaults.get("stream-timeout"),
        )

    async def _take_tools(self, caller: Caller, response: InitializeSessionResponse) -> list[ToolChange]:
        """Takes the session's tools; reads them all if the answer does not have all of them."""
        tools = (await read_tools(caller))[0] if response.more_tools else response.tools
        return self._tools.take(tools)


def check_session(session_id: object, metadata: object, config: object, connect_timeout: object) -> None:
    """Refuses invalid arguments for opening a session."""
    if session_id is not None:
        check_text("session_id", session_id, "a text of 1 to 256 characters, or None for a new one")
    if metadata is not None:
        check_texts_by_name("metadata", metadata)
    if config is not None:
        message_of("config", config, SessionConfig)
    check_seconds("connect_timeout", connect_timeout, may_be_endless=True)
