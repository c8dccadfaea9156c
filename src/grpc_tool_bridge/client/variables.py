"""A client's view of its session: variables, shared with every peer of the session."""

import asyncio
import logging
import os.path
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.aio.backoff import back_off
from grpc_tool_bridge.aio.loops import LoopStream
from grpc_tool_bridge.aio.portal import AsyncApi
from grpc_tool_bridge.aio.timeouts import was_cancelled
from grpc_tool_bridge.client.proxy import bridge_closed, stream_ended
from grpc_tool_bridge.config import CALL_TIMEOUT
from grpc_tool_bridge.config.argument_checks import (
    check_count,
    check_flag,
    check_names,
    check_text,
    list_of,
    message_of,
    refuse_plain,
)
from grpc_tool_bridge.errors import (
    MessageTooLargeError,
    NotFoundError,
    ProtocolError,
    ToolBridgeError,
    ToolCommunicationError,
    UnavailableError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    DeleteVariableRequest,
    GetSessionInfoRequest,
    GetVariableRequest,
    ListVariablesRequest,
    SetVariableRequest,
    VariableInfo,
    VariableMetadata,
    VariableResponse,
    VariableUpdate,
    WatchVariablesRequest,
)
from grpc_tool_bridge.transport.status import RpcError, from_rpc_error
from grpc_tool_bridge.transport.stubs import close_stream
from grpc_tool_bridge.values.offload import read_value, written

if TYPE_CHECKING:
    from grpc_tool_bridge.client.client import ToolBridgeClient

# A name beyond what any variable can have is cut in the text of an error.
MAX_SHOWN_CHARS = 256

_WATCH = "WatchSessionVariables"
_A_NAME = "the name of a variable, 1 to 256 characters"

# What the wire carries.
MAX_REVISION = 2**63 - 1

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableChange:
    """One change of a variable.

    Attributes:
        name: Of the variable; empty for a reset.
        operation: "set" (new, or a present value at the watch's begin), "update", "delete", or "reset": forget what
            you know, the present values follow as "set".
        value: The new value; None for "delete" and "reset".
        revision: Of the change; rises through the whole session.
        epoch: One life of the hub; revisions of different epochs do not compare.
        timestamp: When it was made, in UTC.
    """

    name: str
    operation: str
    value: Any
    revision: int
    epoch: str
    timestamp: datetime


class SessionContext(AsyncApi):
    """The variables of a client's session.

    Args:
        client: Holds the session's id and the stub.
    """

    def __init__(self, client: "ToolBridgeClient") -> None:
        refuse_plain("client", client, "a ToolBridgeClient")
        self._client = client

    @property
    def session_id(self) -> str | None:
        """The session's id; None before there is one."""
        return self._client.session_id

    @property
    def stub(self) -> Any:
        """The client's stub."""
        return self._client.stub

    async def get_variable(self, name: str, default: Any = ...) -> Any:
        """Returns the value of a variable.

        Args:
            name: The variable's name.
            default: Returned where there is no such variable; without it that is an error.

        Raises:
            NotFoundError: There is no such variable and no default.
            SessionError: There is no such session.
            ToolCommunicationError: Nobody answered.
        """
        response = await self._get(name, include_metadata=False)
        if not response.exists:
            if default is not ...:
                return default
            raise _not_found(self._client.require_session(), name)
        return await read_value(response.value, max_nodes=self._client.max_message_nodes)

    async def get_variable_with_metadata(self, name: str) -> tuple[Any, VariableMetadata]:
        """Returns the value of a variable and its metadata, the revision among them; raises as ``get_variable``."""
        response = await self._get(name, include_metadata=True)
        if not response.exists:
            raise _not_found(self._client.require_session(), name)
        return await read_value(response.value, max_nodes=self._client.max_message_nodes), response.metadata

    async def set_variable(
        self,
        name: str,
        value: Any,
        metadata: VariableMetadata | Mapping[str, Any] | None = None,
        *,
        create_if_missing: bool = True,
        expected_revision: int | None = None,
    ) -> int:
        """Sets a variable and returns its new revision.

        Args:
            name: 1 to 256 printable characters.
            value: Any value that the bridge can carry.
            metadata: type, created_by, tags and secret; as a message or a mapping of its fields. What it does not give
                stays as it was, and tags are replaced as a whole. A variable that is secret once is so until it is
                deleted.
            create_if_missing: Whether a variable that does not exist is made.
            expected_revision: Set only where this is the present revision (0: where there is no such variable).

        Raises:
            ConflictError: The present revision is another.
            NotFoundError: There is no such variable, and ``create_if_missing`` is false.
            SerializationError: The value cannot be represented.
            ValidationError: The name cannot be used.
            SessionError, ToolCommunicationError: As of ``get_variable``.
        """
        check_text("name", name, _A_NAME, may_be_empty=True)
        check_flag("create_if_missing", create_if_missing)
        _check_revision(expected_revision)
        message = VariableMetadata()
        if metadata is not None:
            message.CopyFrom(message_of("metadata", metadata, VariableMetadata))
        message.type = message.type or type(value).__name__
        request = SetVariableRequest(
            session_id=self._client.require_session(),
            variable_name=name,
            value=await written(value, max_nodes=self._client.max_message_nodes),
            metadata=message,
            create_if_missing=create_if_missing,
            expected_revision=expected_revision,
        )
        response = await self._client.call("SetSessionVariable", request)
        try:
            return int(response.message)
        except ValueError:
            raise ProtocolError(f"the answer to SetSessionVariable has no revision: {response.message!r:.60}") from None

    async def delete_variable(self, name: str, *, expected_revision: int | None = None) -> None:
        """Deletes a variable.

        Raises:
            NotFoundError: There is no such variable.
            ConflictError: The present revision is not ``expected_revision``.
            SessionError, ToolCommunicationError: As of ``get_variable``.
        """
        check_text("name", name, _A_NAME, may_be_empty=True)
        _check_revision(expected_revision)
        request = DeleteVariableRequest(
            session_id=self._client.require_session(), variable_name=name, expected_revision=expected_revision
        )
        await self._client.call("DeleteSessionVariable", request)

    async def list_variables(
        self, prefix: str = "", *, tags: tuple[str, ...] = (), limit: int = 0
    ) -> list[VariableInfo]:
        """Lists variables by name.

        Args:
            prefix: Only names that begin so.
            tags: Only variables that carry every one of these: "key" or "key=value".
            limit: The first so many; 0: all.
        """
        check_text("prefix", prefix, may_be_empty=True)
        for tag in list_of("tags", tags, 'a list of texts, such as ["unit=m"]'):
            check_text("one of tags", tag)
        check_count("limit", limit, called="0 (all) or more")
        request = ListVariablesRequest(session_id=self._client.require_session(), prefix=prefix, tags=tags, limit=limit)
        response = await self._client.call("ListSessionVariables", request)
        return list(response.variables)

    def watch_variables(
        self, *names: str, include_initial: bool = True, from_revision: int = 0, epoch: str = ""
    ) -> AsyncGenerator[VariableChange, None]:
        """Iterates over the changes of variables in the order of their revisions, until the session ends.

        Over a link it goes on where it was when the link is lost and there is another, or when the hub drains and comes
        back: nothing is missed and nothing comes twice. Where the hub cannot tell what was missed, since its history
        is too short or it began anew, one "reset" and the present values come instead.

        Args:
            *names: Which variables; none: all.
            include_initial: First the present values, as "set".
            from_revision: Go on after this revision of ``epoch``; 0: from now on.
            epoch: The life of the hub that ``from_revision`` belongs to; empty: the present one.

        Raises:
            SessionError: The session has ended.
            UnavailableError: The hub is shutting down; over a link, only where it does not come back.
            ToolCommunicationError: The connection broke; over a link, only where there was no other within 30 s.
        """
        check_names("watch_variables", names, "unit")
        check_flag("include_initial", include_initial)
        check_count("from_revision", from_revision, most=MAX_REVISION)
        check_text("epoch", epoch, may_be_empty=True)
        request = WatchVariablesRequest(
            variable_names=names, include_initial=include_initial, from_revision=from_revision, epoch=epoch
        )
        watch = _Watch(self._client, request)
        return LoopStream(
            self._watch(watch),
            what="the watch of variables",
            ended=lambda: stream_ended(_WATCH),
            # As over another link: nothing is missed.
            resume=lambda: self._watch(watch, stream_ended(_WATCH)) if self._client.resumes else None,
        )

    async def _watch(
        self, watch: "_Watch", lost: ToolBridgeError | None = None
    ) -> AsyncGenerator[VariableChange, None]:
        if lost is None:
            watch.request.session_id = self._client.require_session()
            await watch.begin()
        else:
            await watch.come_back(lost)
        while True:
            updates = self.stub.WatchSessionVariables(watch.request)
            try:
                async for update in updates:
                    if watch.is_new(update):
                        yield await _change(update, self._client.max_message_nodes)
            except RpcError as error:
                lost = from_rpc_error(error, method=_WATCH, where=self._client.where)
                if not self._client.resumes or not _is_unavailable(lost):
                    raise lost from error
            except asyncio.CancelledError:
                if was_cancelled():
                    raise
                raise bridge_closed(_WATCH) from None
            else:
                return
            finally:
                await close_stream(updates)
            await watch.come_back(lost)

    async def _get(self, name: str, *, include_metadata: bool) -> VariableResponse:
        check_text("name", name, _A_NAME, may_be_empty=True)
        request = GetVariableRequest(
            session_id=self._client.require_session(), variable_name=name, include_metadata=include_metadata
        )
        response: VariableResponse = await self._client.call("GetSessionVariable", request)
        return response


def _check_revision(revision: object) -> None:
    if revision is not None:
        check_count("expected_revision", revision, most=MAX_REVISION)


class _Watch:
    """Where a watch stands, so that it can go on over another link.

    Args:
        client: Holds the stub.
        request: What was asked for.

    Attributes:
        request: What to ask for next.
    """

    def __init__(self, client: "ToolBridgeClient", request: WatchVariablesRequest) -> None:
        self.request = request
        self._client = client
        # Where to go on; 0: with the present values, all of which are still to come.
        self._revision, self._epoch = request.from_revision, request.epoch
        # What was seen already when the link was lost.
        self._seen = 0
        self._began_at = 0.0
        # Where the hub ends each watch at once, it is not asked for ever.
        self._give_up_at: float | None = None
        self._waits = back_off()

    async def begin(self) -> None:
        """Learns where to go on if the link is lost before anything has come."""
        client, request = self._client, self.request
        if not client.resumes:
            return
        if not client.is_linked:
            await self._reach_hub()
        if request.from_revision or not request.include_initial:
            # Before the revision: with an epoch that is too old there is a reset, with one that is too new a gap.
            metric = (await client.get_metrics("hub.epoch")).get("hub.epoch")
            self._epoch = self._epoch or (metric.string_value if metric is not None else "")
        if not request.from_revision and not request.include_initial:
            await self._find_revision(request.variable_names)
        self._began_at = asyncio.get_running_loop().time()

    def is_new(self, update: VariableUpdate) -> bool:
        """Takes a change; tells whether it was not seen before."""
        if update.operation == "reset":
            # Until the first of the present values comes, all of them would be lost with the link.
            self._revision = self._seen = 0
            return True
        if self._seen and update.revision <= self._seen and update.epoch == self._epoch:
            return False
        self._revision, self._epoch = update.revision, update.epoch
        return True

    async def come_back(self, lost: ToolBridgeError) -> None:
        """Waits until the hub can be asked to go on.

        Args:
            lost: What the watch ended with.

        Raises:
            ToolCommunicationError: There is no link.
            ToolBridgeError: The hub refuses; or ``lost``, where it ends each watch at once.
        """
        now = asyncio.get_running_loop().time()
        if self._give_up_at is None or self._revision != self._seen or now - self._began_at > CALL_TIMEOUT:
            self._waits, self._give_up_at = back_off(), now + CALL_TIMEOUT
        elif now > self._give_up_at:
            raise lost
        else:
            await asyncio.sleep(next(self._waits))
        _log.debug("watching again from revision %d: %s", self._revision, lost)
        await self._reach_hub()
        self._seen = self._revision
        self.request = WatchVariablesRequest(
            session_id=self.request.session_id,
            variable_names=self.request.variable_names,
            include_initial=not self._revision,
            from_revision=self._revision,
            epoch=self._epoch,
        )
        self._began_at = asyncio.get_running_loop().time()

    async def _find_revision(self, names: Iterable[str]) -> None:
        prefix = os.path.commonprefix(list(names))  # noqa: RUF071 - of names, not of paths
        try:
            variables = await self._client.session_context.list_variables(prefix)
        except MessageTooLargeError:
            # No hub knows this life: what it answers is a reset.
            self._revision, self._epoch = 1, "unknown"
        else:
            self._revision = max((info.metadata.revision for info in variables), default=0)

    async def _reach_hub(self) -> None:
        """Waits for the link: a call does, for as long as it may take."""
        request = GetSessionInfoRequest(session_id=self.request.session_id)
        end = asyncio.get_running_loop().time() + CALL_TIMEOUT
        for wait in back_off():
            try:
                await self._client.call("GetSessionInfo", request)
            except ToolCommunicationError as error:
                if not _is_unavailable(error) or asyncio.get_running_loop().time() >= end:
                    raise ToolCommunicationError(_WATCH, error.code, error.details) from error
                await asyncio.sleep(wait)
            else:
                return


def _is_unavailable(error: ToolBridgeError) -> bool:
    """Tells whether the hub may be there again in a while."""
    lost = isinstance(error, ToolCommunicationError) and error.code_name == "UNAVAILABLE"
    return lost or isinstance(error, UnavailableError)


async def _change(update: VariableUpdate, max_nodes: int) -> VariableChange:
    try:
        timestamp = update.timestamp.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise ProtocolError(f"a change of variable {update.name!r:.80} has no time: {error}") from None
    return VariableChange(
        name=update.name,
        operation=update.operation,
        value=await read_value(update.value, max_nodes=max_nodes) if update.HasField("value") else None,
        revision=update.revision,
        epoch=update.epoch,
        timestamp=timestamp,
    )


def _not_found(session_id: str, name: str) -> NotFoundError:
    shown = name if len(name) <= MAX_SHOWN_CHARS else f"{name[:64]}…"
    return NotFoundError(f"session {session_id!r} has no variable {shown!r}", error_type="VariableNotFound")
