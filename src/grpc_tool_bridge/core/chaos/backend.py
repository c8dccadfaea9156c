"""The backend that injects faults before and after another backend."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from typing import Any

from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.chaos.injections import Chaos, Injection
from grpc_tool_bridge.core.chaos.rules import Failure, Rule
from grpc_tool_bridge.core.interfaces import Backend
from grpc_tool_bridge.errors import UnavailableError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallResponse, ToolCallResult, ToolStreamChunk, ToolStreamRequest
from grpc_tool_bridge.rpc.buffers import Payload

# Seconds within which the calls of a dropped link are cancelled.
_CANCELLED_SECONDS = 0.25


class ChaosBackend:
    """Injects faults into the calls of a tool. It wraps only tools that a rule can match.

    Args:
        inner: Runs the calls.
        chaos: The rules.
        rules: Those that calls of the tool can match.
    """

    def __init__(self, inner: Backend[HubCall], chaos: Chaos, rules: Sequence[Rule]) -> None:
        self.inner = inner
        self._chaos = chaos
        self._rules = rules

    def prepare(self, call: HubCall, request: Any, payload: Payload, size: int) -> Awaitable[None] | None:
        """Draws the faults of the call, here since calls of a session arrive in order; then prepares it."""
        call.injection = self._chaos.draw(self._rules, call.tool.name, call.session)
        return self.inner.prepare(call, request, payload, size)

    async def call(
        self, call: HubCall, request: Any, answer: ToolCallResponse | ToolCallResult, *, as_bytes: bool
    ) -> Payload | None:
        """Runs the call, with its faults."""
        injection = call.injection
        if injection is None:
            return await self.inner.call(call, request, answer, as_bytes=as_bytes)
        await self._delay(call, injection.latency())
        await self._fail(call, injection, injection.failure("before"))
        data = await self.inner.call(call, request, answer, as_bytes=as_bytes)
        if not answer.success:
            # There is no result to lose.
            return data
        try:
            await self._fail(call, injection, injection.failure("after"), has_run=True)
        except BaseException:
            answer.ClearField("result")
            raise
        return data

    async def stream(
        self, call: HubCall, request: ToolStreamRequest, *, as_bytes: bool
    ) -> AsyncGenerator[ToolStreamChunk | Payload, None]:
        """Runs the stream, with its faults."""
        injection = call.injection
        if injection is not None:
            await self._delay(call, injection.latency())
            await self._fail(call, injection, injection.failure("before"))
        chunks = self.inner.stream(call, request, as_bytes=as_bytes)
        sent = 0
        async with aclosing(chunks):
            if injection is not None:
                await self._fail(call, injection, injection.truncation(0))
            async for chunk in chunks:
                if injection is not None and (seconds := injection.chunk_latency(sent)):
                    await call.step(asyncio.sleep(seconds))
                yield chunk
                sent += 1
                if injection is not None:
                    await self._fail(call, injection, injection.truncation(sent))
        failure = injection.failure("after") if injection is not None and call.error is None else None
        if injection is not None and failure is not None:
            # The worker's own last chunk, if it has sent one.
            call.last_chunk = call.error = None
            await self._fail(call, injection, failure, has_run=True)

    def try_call(self, call: HubCall, request: Any, payload: Payload, done: Any) -> None:
        """Leaves it to ``call``."""

    async def _delay(self, call: HubCall, seconds: float) -> None:
        if seconds:
            call.wait_for("the delay that chaos injects")
            await call.step(asyncio.sleep(seconds))
            call.stop_waiting()
            call.refuse_ended()

    async def _fail(
        self,
        call: HubCall,
        injection: Injection,
        failure: tuple[Rule, Failure] | None,
        *,
        has_run: bool = False,
    ) -> None:
        """Fails the call, if it has to fail.

        Returns:
            Also if the tool has run and the caller's link was dropped: an idempotency key keeps the result.

        Raises:
            BaseException: The failure.
        """
        if failure is None:
            return
        rule, how = failure
        injection.failed(rule, how)
        if how.error:
            raise how.exception(rule.name)
        drop_links = self._chaos.drop_links
        if drop_links is not None and drop_links(call.session.id):
            if has_run:
                return
            await call.step(asyncio.sleep(_CANCELLED_SECONDS))
        raise UnavailableError(f"the chaos rule {rule.name!r} has dropped the connection of this call")
