"""A service with every kind of method, by grpc.aio alone, as its author would write it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc.aio

from support.grpc_services.compiled import types_of

PACKAGE = "weather.v1"
SERVICE = f"{PACKAGE}.Weather"


class Weather:
    """The service; it notes what happens to its calls.

    Attributes:
        begun: Set when a call has begun that waits for its end.
        ended: Set when such a call was cancelled.
        calls: The names of the methods that were called.
        measured: The measurements that came in.
    """

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.calls: list[str] = []
        self.measured: list[float] = []
        types = types_of("weather.proto")
        self.types = types
        self._report = types.message(f"{PACKAGE}.Report")
        self._summary = types.message(f"{PACKAGE}.Summary")
        self._pairs = types.message(f"{PACKAGE}.Pairs")
        self._empty = types.message("google.protobuf.Empty")

    async def get(self, request: Any, context: Any) -> Any:
        return self._report(city=request.city, degrees=21.5, text="sunny", seconds_left=context.time_remaining() or 0)

    async def forecast(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for day in range(request.days):
            yield self._report(city=request.city, degrees=day)

    async def record(self, requests: AsyncIterator[Any], context: Any) -> Any:
        found = []
        async for request in requests:
            found.append(request.degrees)
            self.measured.append(request.degrees)
            if request.degrees < -273:
                await context.abort(grpc.StatusCode.OUT_OF_RANGE, "colder than it can be")
        return self._summary(count=len(found), mean=sum(found) / len(found) if found else 0)

    async def chat(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        count, total = 0, 0.0
        async for request in requests:
            count, total = count + 1, total + request.degrees
            yield self._summary(count=count, mean=total / count)

    async def wait(self, request: Any, context: Any) -> Any:
        await self._until_cancelled()

    async def watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield self._report(city=request.city)
        await self._until_cancelled()

    async def _until_cancelled(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.ended.set()
            raise

    async def fail(self, request: Any, context: Any) -> Any:
        code = next(code for code in grpc.StatusCode if code.value[0] == request.code)
        trailing = (("grpc-status-details-bin", request.status),) if request.status else ()
        await context.abort(code, request.message, trailing)

    async def fail_later(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield self._report(city="first")
        await self.fail(request, context)

    async def metadata(self, request: Any, context: Any) -> Any:
        values = {
            key: value.decode() if isinstance(value, bytes) else value for key, value in context.invocation_metadata()
        }
        return self._pairs(values=values)

    async def reset(self, request: Any, context: Any) -> Any:
        return self._empty()

    async def large(self, request: Any, context: Any) -> Any:
        return self._report(text="x" * request.size)

    async def day_after(self, request: Any, context: Any) -> Any:
        request.seconds += 86_400
        return request

    def handlers(self) -> Mapping[str, Any]:
        """Returns the methods by their names."""
        return {
            "Get": self.get, "Forecast": self.forecast, "Record": self.record, "Chat": self.chat, "Wait": self.wait,
            "Watch": self.watch, "Fail": self.fail, "FailLater": self.fail_later, "Metadata": self.metadata,
            "Reset": self.reset, "Old": self.reset, "Large": self.large, "DayAfter": self.day_after,
        }  # fmt: skip
