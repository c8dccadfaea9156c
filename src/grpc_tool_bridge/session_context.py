"""A client's view of its session: variables, shared with every peer of the session."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.errors import NotFoundError, ProtocolError
from grpc_tool_bridge.portal import AsyncApi
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    DeleteVariableRequest,
    GetVariableRequest,
    ListVariablesRequest,
    SetVariableRequest,
    VariableInfo,
    VariableMetadata,
    VariableResponse,
    VariableUpdate,
    WatchVariablesRequest,
)
from grpc_tool_bridge.proxy import bridge_closed
from grpc_tool_bridge.timeouts import was_cancelled
from grpc_tool_bridge.transport.client_stub import close_stream
from grpc_tool_bridge.transport.status import RpcError, from_rpc_error
from grpc_tool_bridge.wire.values import deserialize_value, serialize_value

if TYPE_CHECKING:
    from grpc_tool_bridge.client import ToolBridgeClient

# A name beyond what any variable can have is cut in the text of an error.
MAX_SHOWN_CHARS = 256


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
        return deserialize_value(response.value)

    async def get_variable_with_metadata(self, name: str) -> tuple[Any, VariableMetadata]:
        """Returns the value of a variable and its metadata, the revision among them; raises as ``get_variable``."""
        response = await self._get(name, include_metadata=True)
        if not response.exists:
            raise _not_found(self._client.require_session(), name)
        return deserialize_value(response.value), response.metadata

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
            metadata: type, created_by, tags and secret; as a message or a mapping of its fields.
            create_if_missing: Whether a variable that does not exist is made.
            expected_revision: Set only where this is the present revision (0: where there is no such variable).

        Raises:
            ConflictError: The present revision is another.
            NotFoundError: There is no such variable, and ``create_if_missing`` is false.
            SerializationError: The value cannot be represented.
            ValidationError: The name cannot be used.
            SessionError, ToolCommunicationError: As of ``get_variable``.
        """
        message = VariableMetadata()
        if isinstance(metadata, VariableMetadata):
            message.CopyFrom(metadata)
        elif metadata is not None:
            message = VariableMetadata(**metadata)
        message.type = message.type or type(value).__name__
        request = SetVariableRequest(
            session_id=self._client.require_session(),
            variable_name=name,
            value=serialize_value(value),
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
        request = ListVariablesRequest(session_id=self._client.require_session(), prefix=prefix, tags=tags, limit=limit)
        response = await self._client.call("ListSessionVariables", request)
        return list(response.variables)

    async def watch_variables(
        self, *names: str, include_initial: bool = True, from_revision: int = 0, epoch: str = ""
    ) -> AsyncGenerator[VariableChange, None]:
        """Iterates over the changes of variables in the order of their revisions, until the session ends.

        Args:
            *names: Which variables; none: all.
            include_initial: First the present values, as "set".
            from_revision: Go on after this revision of ``epoch``; 0: from now on.
            epoch: The life of the hub that ``from_revision`` belongs to.

        Raises:
            SessionError: The session has ended.
            ToolCommunicationError: The connection broke.
        """
        request = WatchVariablesRequest(
            session_id=self._client.require_session(),
            variable_names=names,
            include_initial=include_initial,
            from_revision=from_revision,
            epoch=epoch,
        )
        updates = self.stub.WatchSessionVariables(request)
        try:
            async for update in updates:
                yield _change(update)
        except RpcError as error:
            raise from_rpc_error(error, method="WatchSessionVariables", where=self._client.where) from error
        except asyncio.CancelledError:
            if was_cancelled():
                raise
            raise bridge_closed("WatchSessionVariables") from None
        finally:
            await close_stream(updates)

    async def _get(self, name: str, *, include_metadata: bool) -> VariableResponse:
        request = GetVariableRequest(
            session_id=self._client.require_session(), variable_name=name, include_metadata=include_metadata
        )
        response: VariableResponse = await self._client.call("GetSessionVariable", request)
        return response


def _change(update: VariableUpdate) -> VariableChange:
    try:
        timestamp = update.timestamp.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise ProtocolError(f"a change of variable {update.name!r:.80} has no time: {error}") from None
    return VariableChange(
        name=update.name,
        operation=update.operation,
        value=deserialize_value(update.value) if update.HasField("value") else None,
        revision=update.revision,
        epoch=update.epoch,
        timestamp=timestamp,
    )


def _not_found(session_id: str, name: str) -> NotFoundError:
    shown = name if len(name) <= MAX_SHOWN_CHARS else f"{name[:64]}…"
    return NotFoundError(f"session {session_id!r} has no variable {shown!r}", error_type="VariableNotFound")
