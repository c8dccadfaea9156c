"""A client's view of its session: variables, shared with every peer of the session."""

import os.path
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from grpc_tool_bridge.aio.loops import LoopStream
from grpc_tool_bridge.aio.portal import AsyncApi
from grpc_tool_bridge.client.caller import Caller, HasCaller, stream_ended
from grpc_tool_bridge.client.listing import Listing
from grpc_tool_bridge.client.resume import is_lost, reach, resumed
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
    SerializationError,
    ToolBridgeError,
    ToolCommunicationError,
    UnavailableError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    DeleteVariableRequest,
    GetMetricsRequest,
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
from grpc_tool_bridge.tools.variable import Variable, unreadable_secret
from grpc_tool_bridge.values.offload import read_value, written

# Longer names, which no variable can have, are cut in error texts.
MAX_SHOWN_CHARS = 256

_A_NAME = "the name of a variable, 1 to 256 characters"

# The largest revision that the wire can carry.
MAX_REVISION = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableChange:
    """A change of a variable.

    Attributes:
        name: The variable's name; empty for a reset.
        operation: "set" (a new variable, or a current value when the watch starts), "update", "delete", or "reset":
            discard all known values; the current ones follow as "set".
        value: The new value; None for "delete" and "reset".
        revision: The revision of the change; rises throughout the session.
        epoch: Identifies one run of the hub; revisions of different epochs cannot be compared.
        timestamp: When the change was made, in UTC.
        secret: Whether the variable is secret, as far as the hub says; then the repr does not show the value.
    """

    name: str
    operation: str
    value: Any
    revision: int
    epoch: str
    timestamp: datetime
    secret: bool = False

    def __repr__(self) -> str:
        shown = {item.name: getattr(self, item.name) for item in fields(self)}
        listed = ", ".join(
            f"{name}={'********' if name == 'value' and self.secret else repr(value)}" for name, value in shown.items()
        )
        return f"{type(self).__name__}({listed})"


class SessionContext(AsyncApi):
    """The variables of a client's session.

    Args:
        client: Makes the calls, and holds the session's id and the stub.

    Attributes:
        caller: The client's.
    """

    def __init__(self, client: HasCaller) -> None:
        refuse_plain("client", client, "a ToolBridgeClient")
        self.caller: Caller = client.caller

    @property
    def session_id(self) -> str | None:
        """The session's id; None before there is one."""
        return self.caller.session_id

    @property
    def stub(self) -> Any:
        """The client's stub."""
        return self.caller.transport.stub

    async def get_variable(self, name: str, default: Any = ...) -> Any:
        """Returns the value of a variable.

        Args:
            name: The variable's name.
            default: Returned if there is no such variable; without it, that is an error.

        Raises:
            NotFoundError: There is no such variable and no default.
            SessionError: There is no such session.
            ToolCommunicationError: Nobody answered.
        """
        response = await self._get(name, include_metadata=False)
        if not response.exists:
            if default is not ...:
                return default
            raise _not_found(self.caller.require_session(), name)
        return await self._read(name, response, None)

    async def get_variable_with_metadata(self, name: str) -> tuple[Any, VariableMetadata]:
        """Returns a variable's value and metadata, including its revision; raises like ``get_variable``."""
        response = await self._get(name, include_metadata=True)
        if not response.exists:
            raise _not_found(self.caller.require_session(), name)
        return await self._read(name, response, response.metadata), response.metadata

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
            value: Any serializable value.
            metadata: The fields type, created_by, tags and secret, as a message or a mapping. Fields that are not given
                keep their values; tags are replaced as a whole. A secret variable stays secret until it is deleted.
            create_if_missing: Whether to create the variable if it does not exist.
            expected_revision: Set it only if this is the current revision; 0: only if there is no such variable.

        Raises:
            ConflictError: The current revision is not ``expected_revision``.
            NotFoundError: There is no such variable, and ``create_if_missing`` is false.
            SerializationError: The value cannot be represented.
            ValidationError: The name cannot be used.
            SessionError, ToolCommunicationError: As for ``get_variable``.
        """
        check_text("name", name, _A_NAME, may_be_empty=True)
        check_flag("create_if_missing", create_if_missing)
        _check_revision(expected_revision)
        given = None if metadata is None else message_of("metadata", metadata, VariableMetadata)
        request = SetVariableRequest(
            session_id=self.caller.require_session(),
            variable_name=name,
            value=await written(value, max_nodes=self.caller.options.max_message_nodes),
            metadata=given,
            create_if_missing=create_if_missing,
            expected_revision=expected_revision,
        )
        if given is None or not given.type:
            request.metadata.type = type(value).__name__
        response = await self.caller.call("SetSessionVariable", request)
        try:
            return int(response.message)
        except ValueError:
            raise ProtocolError(f"the answer to SetSessionVariable has no revision: {response.message!r:.60}") from None

    async def delete_variable(self, name: str, *, expected_revision: int | None = None) -> None:
        """Deletes a variable.

        Raises:
            NotFoundError: There is no such variable.
            ConflictError: The current revision is not ``expected_revision``.
            SessionError, ToolCommunicationError: As for ``get_variable``.
        """
        check_text("name", name, _A_NAME, may_be_empty=True)
        _check_revision(expected_revision)
        request = DeleteVariableRequest(
            session_id=self.caller.require_session(), variable_name=name, expected_revision=expected_revision
        )
        await self.caller.call("DeleteSessionVariable", request)

    async def list_variables(self, prefix: str = "", *, tags: tuple[str, ...] = (), limit: int = 0) -> list[Variable]:
        """Lists variables by name, without their values.

        Args:
            prefix: Only names with this prefix.
            tags: Only variables with all of these tags: "key" or "key=value".
            limit: Maximum number of variables; 0: all.

        Raises:
            SessionError, ToolCommunicationError: As for ``get_variable``.
        """
        check_text("prefix", prefix, may_be_empty=True)
        for tag in list_of("tags", tags, 'a list of texts, such as ["unit=m"]'):
            check_text("one of tags", tag)
        check_count("limit", limit, called="0 (all) or more")
        found = await _listed(self.caller, prefix=prefix, tags=tags, limit=limit)
        return Listing(Variable.of(info) for info in found)

    def watch_variables(
        self, *names: str, include_initial: bool = True, from_revision: int = 0, epoch: str = ""
    ) -> AsyncGenerator[VariableChange, None]:
        """Iterates over changes of variables, in the order of their revisions, until the session ends.

        Over a link it resumes after a reconnect, also after the hub has drained, without missing or repeating a change.
        If the hub cannot send what was missed, because its history is too short or it has restarted, a "reset" and the
        current values follow instead.

        Args:
            *names: The variables to watch; default: all.
            include_initial: Start with the current values, as "set".
            from_revision: Start after this revision of ``epoch``; 0: from now on.
            epoch: The epoch that ``from_revision`` belongs to; empty: the current one.

        Raises:
            SessionError: The session has ended.
            UnavailableError: The hub is shutting down; over a link, only if it does not come back.
            ToolCommunicationError: The connection was lost; over a link, only if there was no other within 30 s.
        """
        check_names("watch_variables", names, "unit")
        check_flag("include_initial", include_initial)
        check_count("from_revision", from_revision, most=MAX_REVISION)
        check_text("epoch", epoch, may_be_empty=True)
        request = WatchVariablesRequest(
            variable_names=names, include_initial=include_initial, from_revision=from_revision, epoch=epoch
        )
        watch = _Watch(self.caller, request)
        return LoopStream(
            resumed(self.caller, watch),
            what="the watch of variables",
            ended=lambda: stream_ended(watch.method),
            # As after a reconnect: nothing is missed.
            resume=lambda: resumed(self.caller, watch, again=True) if self.caller.transport.resumes else None,
        )

    async def _get(self, name: str, *, include_metadata: bool) -> VariableResponse:
        check_text("name", name, _A_NAME, may_be_empty=True)
        request = GetVariableRequest(
            session_id=self.caller.require_session(), variable_name=name, include_metadata=include_metadata
        )
        response: VariableResponse = await self.caller.call("GetSessionVariable", request)
        return response

    async def _read(self, name: str, response: VariableResponse, metadata: VariableMetadata | None) -> Any:
        try:
            return await read_value(response.value, max_nodes=self.caller.options.max_message_nodes)
        except SerializationError as error:
            if metadata is None:
                metadata = (await self._get(name, include_metadata=True)).metadata
            if not metadata.secret:
                raise
            raise unreadable_secret(name, error) from None


def _check_revision(revision: object) -> None:
    if revision is not None:
        check_count("expected_revision", revision, most=MAX_REVISION)


async def _listed(caller: Caller, **asked: Any) -> list[VariableInfo]:
    request = ListVariablesRequest(session_id=caller.require_session(), **asked)
    return list((await caller.call("ListSessionVariables", request)).variables)


class _Watch:
    """A watch of variables, for ``resumed``.

    Args:
        caller: Makes the calls.
        asked: The first request.
    """

    method = "WatchSessionVariables"
    # Gives up on a hub that ends each watch immediately.
    keeps_trying = False

    def __init__(self, caller: Caller, asked: WatchVariablesRequest) -> None:
        self._asked = asked
        self._caller = caller
        self._has_begun = False
        # Where to resume; 0: from the current values, none of which has arrived.
        self._revision, self._epoch = asked.from_revision, asked.epoch
        # The last revision that was received before the link was lost.
        self._seen = 0

    async def request(self, *, again: bool) -> WatchVariablesRequest:
        """Returns the first request, or one for what follows the last change; waits until the hub is reachable."""
        asked = self._asked
        if not again:
            asked.session_id = self._caller.require_session()
            if self._caller.transport.resumes:
                await self._find_start()
            self._has_begun = True
            return asked
        await self._reach_hub()
        self._seen = self._revision
        return WatchVariablesRequest(
            session_id=asked.session_id,
            variable_names=asked.variable_names,
            include_initial=not self._revision,
            from_revision=self._revision,
            epoch=self._epoch,
        )

    async def take(self, message: VariableUpdate) -> VariableChange | None:
        """Returns a change that was not received before."""
        if message.operation == "reset":
            # If the link is lost before the first current value, all of them must be sent again.
            self._revision = self._seen = 0
        elif self._seen and message.revision <= self._seen and message.epoch == self._epoch:
            return None
        else:
            self._revision, self._epoch = message.revision, message.epoch
        return await _change(message, self._caller.options.max_message_nodes)

    def resumes_after(self, error: ToolBridgeError) -> bool:
        lost = is_lost(error) or isinstance(error, UnavailableError)
        return lost and self._has_begun and self._caller.transport.resumes

    def has_progressed(self, seconds: float) -> bool:
        return self._revision != self._seen or seconds > CALL_TIMEOUT

    async def _find_start(self) -> None:
        """Finds out where to resume if the link is lost before the first change."""
        caller, asked = self._caller, self._asked
        if not caller.transport.is_linked:
            await self._reach_hub()
        if asked.from_revision or not asked.include_initial:
            # Read before the revision: an epoch that is too old causes a reset, one that is too new a gap.
            answer = await caller.call("GetMetrics", GetMetricsRequest(metric_names=["hub.epoch"]))
            self._epoch = self._epoch or answer.metrics["hub.epoch"].string_value
        if not asked.from_revision and not asked.include_initial:
            await self._find_revision(asked.variable_names)

    async def _find_revision(self, names: Iterable[str]) -> None:
        prefix = os.path.commonprefix(list(names))  # noqa: RUF071 - of names, not of paths
        try:
            variables = await _listed(self._caller, prefix=prefix)
        except MessageTooLargeError:
            # No hub has this epoch, so it answers with a reset.
            self._revision, self._epoch = 1, "unknown"
        else:
            self._revision = max((info.metadata.revision for info in variables), default=0)

    async def _reach_hub(self) -> None:
        """Waits until the hub is reachable, with a call that waits for the link."""
        request = GetSessionInfoRequest(session_id=self._asked.session_id)
        try:
            await reach(lambda _: self._caller.call("GetSessionInfo", request), CALL_TIMEOUT, self._caller.pauses())
        except ToolCommunicationError as error:
            raise ToolCommunicationError(self.method, error.code, error.details) from error


async def _change(update: VariableUpdate, max_nodes: int) -> VariableChange:
    try:
        timestamp = update.timestamp.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise ProtocolError(f"a change of variable {update.name!r:.80} has an invalid timestamp: {error}") from None
    try:
        value = await read_value(update.value, max_nodes=max_nodes) if update.HasField("value") else None
    except SerializationError as error:
        if not update.secret:
            raise
        raise unreadable_secret(update.name, error) from None
    return VariableChange(
        name=update.name,
        operation=update.operation,
        value=value,
        revision=update.revision,
        epoch=update.epoch,
        timestamp=timestamp,
        secret=update.secret,
    )


def _not_found(session_id: str, name: str) -> NotFoundError:
    shown = name if len(name) <= MAX_SHOWN_CHARS else f"{name[:64]}…"
    return NotFoundError(f"session {session_id!r} has no variable {shown!r}", error_type="VariableNotFound")
