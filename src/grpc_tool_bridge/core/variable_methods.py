"""The methods of the service for the variables of sessions."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Generator
from typing import Any

from grpc_tool_bridge.aio.deferred import Deferred
from grpc_tool_bridge.aio.eager import Done
from grpc_tool_bridge.core.admission import Admission
from grpc_tool_bridge.core.sealed import UnreadableValue
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.core.statuses import failed_status
from grpc_tool_bridge.core.variable import Change, Variable
from grpc_tool_bridge.core.variable_values import encoded
from grpc_tool_bridge.core.variables import Variables, listing
from grpc_tool_bridge.core.writes import Write
from grpc_tool_bridge.errors import MessageTooLargeError, NotFoundError, ToolBridgeError, ValidationError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.bounds import check_request, shown


class VariableMethods:
    """The methods for variables; each returns when what it did is stored.

    Args:
        store: The sessions.
        admission: Says whether the hub takes watches.
    """

    def __init__(self, store: SessionStore, admission: Admission) -> None:
        self._store = store
        self._admission = admission

    async def get(self, request: pb.GetVariableRequest) -> pb.VariableResponse:
        """Reads a variable; a missing one is not an error."""
        check_request(request)
        variables = self._store.variables(request.session_id)
        try:
            variable = variables.get(request.variable_name)
        except NotFoundError:
            return pb.VariableResponse()
        metadata = variable.metadata() if request.include_metadata else None
        return pb.VariableResponse(exists=True, value=encoded(variable.name, variable.value), metadata=metadata)

    def set(self, request: pb.SetVariableRequest) -> Awaitable[pb.StatusResponse]:
        """Sets a variable. It has begun when this returns, unless another change has to be stored first."""
        try:
            size, most = request.ByteSize(), self._store.settings.max_message_bytes
            check_request(request, size)
            if not request.HasField("value"):
                raise ValidationError(f"variable {shown(request.variable_name)}: the request has no value")
            if size > most:
                raise MessageTooLargeError.of(f"variable {shown(request.variable_name)}", size, most)
            variables, name = self._store.variables(request.session_id), request.variable_name
            create, expected = request.create_if_missing, _expected(request)
            if variables.in_the_way(name, create, expected) is not None:
                return self._set_later(request)
            metadata = request.metadata if request.HasField("metadata") else None
            variable = variables.set_encoded(
                name, request.value, metadata=metadata, create=create, expected_revision=expected
            )
        except ToolBridgeError as error:
            return _refused(error)
        # Without a durable store, this is one that is stored already.
        return _StoredAnswer(variable, variables.last_write)

    async def _set_later(self, request: pb.SetVariableRequest) -> pb.StatusResponse:
        try:
            variable = await self._store.set_encoded(
                request.session_id,
                request.variable_name,
                request.value,
                metadata=request.metadata if request.HasField("metadata") else None,
                create=request.create_if_missing,
                expected_revision=_expected(request),
            )
        except ToolBridgeError as error:
            return failed_status(error)
        return _set_status(variable)

    async def delete(self, request: pb.DeleteVariableRequest) -> pb.StatusResponse:
        """Deletes a variable."""
        try:
            check_request(request)
            expected = request.expected_revision if request.HasField("expected_revision") else None
            await self._store.delete_variable(request.session_id, request.variable_name, expected_revision=expected)
        except ToolBridgeError as error:
            return failed_status(error)
        return pb.StatusResponse(success=True, message=f"variable {request.variable_name!r} was deleted")

    async def select(self, request: pb.ListVariablesRequest) -> pb.ListVariablesResponse:
        """Lists variables by name."""
        check_request(request)
        if request.limit < 0:
            raise ValidationError(f"limit must be 0 (all) or more, not {request.limit}")
        chosen: list[Variable] = await self._store.variables(request.session_id).select(
            prefix=request.prefix, tags=request.tags, limit=request.limit
        )
        return await listing(chosen, self._store.settings.max_message_bytes)

    async def watch(self, request: pb.WatchVariablesRequest) -> AsyncGenerator[pb.VariableUpdate, None]:
        """Yields the changes of a session's variables."""
        check_request(request)
        variables: Variables = self._store.variables(request.session_id)
        session = self._admission.session_to_watch(request.session_id)
        self._admission.check_watches(session, session.watches)
        session.watches += 1
        changes = variables.watch(
            request.variable_names, initial=request.include_initial, after=request.from_revision, epoch=request.epoch
        )
        try:
            async for change in changes:
                if isinstance(change.value, UnreadableValue):
                    # The watch goes on: who asks for this variable is told what is wrong with it.
                    continue
                yield _variable_update(change, self._store.revisions.epoch)
        finally:
            session.watches -= 1
            await changes.aclose()


class _StoredAnswer(Deferred[pb.StatusResponse]):
    """The answer to who sets a variable, once that is stored."""

    __slots__ = ("_done", "_variable", "_write")

    def __init__(self, variable: Variable, write: Write) -> None:
        self._variable = variable
        self._write = write
        self._done: Done | None = None

    @property
    def is_over(self) -> bool:
        """See ``Deferred``."""
        return self._write.is_settled

    def on_end(self, done: Done) -> None:
        """See ``Deferred``."""
        self._done = done
        self._write.tell(self._settled)

    def _settled(self, error: ToolBridgeError | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(self._status(error), None)

    def cancel(self) -> None:
        """See ``Deferred``."""
        done, self._done = self._done, None
        if done is not None:
            done(None, asyncio.CancelledError())

    def close(self) -> None:
        """See ``Deferred``."""
        self._done = None

    def __await__(self) -> Generator[Any, None, pb.StatusResponse]:
        write = self._write
        if not write.is_settled:
            try:
                yield from write.__await__()
            except ToolBridgeError as error:
                return self._status(error)
        return self._status(write.error)

    def _status(self, error: ToolBridgeError | None) -> pb.StatusResponse:
        return _set_status(self._variable) if error is None else failed_status(error)


async def _refused(error: ToolBridgeError) -> pb.StatusResponse:
    return failed_status(error)


def _expected(request: pb.SetVariableRequest) -> int | None:
    return request.expected_revision if request.HasField("expected_revision") else None


def _set_status(variable: Variable) -> pb.StatusResponse:
    return pb.StatusResponse(success=True, message=str(variable.revision))


def _variable_update(change: Change, epoch: str) -> pb.VariableUpdate:
    update = pb.VariableUpdate(name=change.name, operation=change.operation, revision=change.revision, epoch=epoch)
    update.secret = change.secret
    if change.operation in {"set", "update"}:
        update.value.CopyFrom(encoded(change.name, change.value))
    update.timestamp.FromMicroseconds(int(change.timestamp * 1e6))
    return update
