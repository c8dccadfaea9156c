"""Server reflection, with a bound on its streams and their requests."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2

from grpc_tool_bridge.errors import MessageTooLargeError, ResourceExhaustedError, SerializationError
from grpc_tool_bridge.transport.reads import Reads
from grpc_tool_bridge.transport.servicer import abort

SERVICE_NAME: str = reflection.SERVICE_NAME

# A request names a file or a symbol, which the answer repeats.
MAX_REQUEST_BYTES = 4 * 1024
# Concurrent streams; a client needs one for a moment.
MAX_STREAMS = 32


def reflection_handler(services: Sequence[str], reads: Reads) -> Any:
    """Returns the handler of the reflection service."""
    return grpc.method_handlers_generic_handler(
        SERVICE_NAME,
        {"ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(_Reflection(services, reads).serve)},
    )


class _Descriptors:
    """The descriptors of this process, in which methods are found by name, too.

    Reflection promises that, and clients such as ghz rely on it; protobuf's own pool does not find them.
    """

    def __init__(self) -> None:
        self._pool: Any = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - protobuf's name
        """Returns the file that defines a symbol.

        Raises:
            KeyError: None does.
        """
        try:
            file: FileDescriptor = self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            file = self._pool.FindServiceByName(service).methods_by_name[method].containing_service.file
        return file


class _Reflection:
    def __init__(self, services: Sequence[str], reads: Reads) -> None:
        self._servicer: Any = reflection.aio.ReflectionServicer(services, _Descriptors())
        self._reads = reads
        self._streams = 0

    async def serve(self, _: Any, context: Any) -> None:
        self._streams += 1
        try:
            self._check_streams()
            rpc = self._reads.enter(context, "ServerReflectionInfo")
            rpc.hold(MAX_REQUEST_BYTES, "a request for reflection")
            async for answer in self._servicer.ServerReflectionInfo(self._requests(context, rpc), context):
                await context.write(answer.SerializeToString())
        except Exception as error:  # noqa: BLE001 - every failure is a status
            await abort(context, error)
        finally:
            self._streams -= 1

    def _check_streams(self) -> None:
        if self._streams > MAX_STREAMS:
            raise ResourceExhaustedError(
                f"the hub serves {MAX_STREAMS} reflection streams, which is the limit; ask again later",
                details={"retry_after": "1"},
            )

    async def _requests(self, context: Any, rpc: Any) -> AsyncIterator[Any]:
        while (data := await self._reads.message(context, rpc.peer, rpc.what)) is not grpc.aio.EOF:
            if len(data) > MAX_REQUEST_BYTES:
                raise MessageTooLargeError.of("a request for reflection", len(data), MAX_REQUEST_BYTES)
            try:
                request = reflection_pb2.ServerReflectionRequest.FromString(data)
            except Exception as failure:  # noqa: BLE001 - protobuf's DecodeError, which is the peer's fault
                raise SerializationError(f"the request cannot be read: {str(failure)[:200]}") from None
            yield request
