"""gRPC's service for tests of interoperability."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc

from support.grpc_services.compiled import types_of

TEST_SERVICE = "grpc.testing.TestService"
UNIMPLEMENTED_SERVICE = "grpc.testing.UnimplementedService"

# Metadata that the service returns: at the beginning, and at the end.
INITIAL_KEY = "x-grpc-test-echo-initial"
TRAILING_KEY = "x-grpc-test-echo-trailing-bin"


class Interop:
    """The service, which does what the descriptions of the test cases say."""

    def __init__(self) -> None:
        self.types = types_of("interop.proto")
        self._of = {
            name: self.types.message(f"grpc.testing.{name}")
            for name in (
                "Empty", "Payload", "SimpleResponse", "StreamingInputCallResponse", "StreamingOutputCallResponse",
            )
        }  # fmt: skip

    async def empty_call(self, request: Any, context: Any) -> Any:
        return self._of["Empty"]()

    async def unary_call(self, request: Any, context: Any) -> Any:
        await self._echo_metadata(context)
        await self._echo_status(request, context)
        return self._of["SimpleResponse"](payload=self._payload(request.response_size))

    async def streaming_output_call(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for parameters in request.response_parameters:
            await asyncio.sleep(parameters.interval_us / 1e6)
            yield self._of["StreamingOutputCallResponse"](payload=self._payload(parameters.size))
        await self._echo_status(request, context)

    async def streaming_input_call(self, requests: AsyncIterator[Any], context: Any) -> Any:
        size = sum([len(request.payload.body) async for request in requests])
        return self._of["StreamingInputCallResponse"](aggregated_payload_size=size)

    async def full_duplex_call(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        await self._echo_metadata(context)
        async for request in requests:
            async for response in self.streaming_output_call(request, context):
                yield response

    async def half_duplex_call(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        for request in [request async for request in requests]:
            async for response in self.streaming_output_call(request, context):
                yield response

    def _payload(self, size: int) -> Any:
        return self._of["Payload"](body=bytes(size))

    async def _echo_metadata(self, context: Any) -> None:
        for key, value in context.invocation_metadata():
            if key == INITIAL_KEY:
                await context.send_initial_metadata(((key, value),))
            elif key == TRAILING_KEY:
                context.set_trailing_metadata(((key, value),))

    async def _echo_status(self, request: Any, context: Any) -> None:
        if request.HasField("response_status"):
            code = next(code for code in grpc.StatusCode if code.value[0] == request.response_status.code)
            await context.abort(code, request.response_status.message)

    def handlers(self) -> Mapping[str, Any]:
        """Returns the methods by their names; one of them is not implemented."""
        return {
            "EmptyCall": self.empty_call, "UnaryCall": self.unary_call, "CacheableUnaryCall": self.unary_call,
            "StreamingOutputCall": self.streaming_output_call, "StreamingInputCall": self.streaming_input_call,
            "FullDuplexCall": self.full_duplex_call, "HalfDuplexCall": self.half_duplex_call,
        }  # fmt: skip
