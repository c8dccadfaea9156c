"""Finds out what is wrong with a gRPC service, step by step, before it is taken in."""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

import grpc.aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from grpc_tool_bridge.adapters.grpc.bounds import Bounds, one_line
from grpc_tool_bridge.adapters.grpc.calls import Caller
from grpc_tool_bridge.adapters.grpc.channel import open_channel, read_credentials
from grpc_tool_bridge.adapters.grpc.config import ServiceConfig
from grpc_tool_bridge.adapters.grpc.descriptors import Descriptors
from grpc_tool_bridge.adapters.grpc.failures import reading_failure
from grpc_tool_bridge.adapters.grpc.imports import Imported, Importer
from grpc_tool_bridge.adapters.grpc.methods import KIND_KEY, KINDS
from grpc_tool_bridge.adapters.grpc.names import is_about_servers
from grpc_tool_bridge.adapters.grpc.protos import is_described, read_description
from grpc_tool_bridge.adapters.grpc.reflection import Reflected, read_reflection
from grpc_tool_bridge.adapters.naming import Naming
from grpc_tool_bridge.errors import UnimplementedError

ROUND_TRIPS = 10

# Of services and of what is refused; who wants to see all lists the tools.
_MOST_NAMED = 10
_MAX_TEXT_CHARS = 300
# What gRPC says of an answer that is none of its own.
_NOT_GRPC = "Received http2 header with status"

_Code = grpc.StatusCode
# The answers of a service to somebody whom it does not know.
_NO_ACCESS = (_Code.UNAUTHENTICATED, _Code.PERMISSION_DENIED)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one step has found.

    Attributes:
        name: The step, in one word.
        status: Whether it is as it should be.
        text: What was found, and what to do if something is wrong.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    text: str


async def diagnose(config: ServiceConfig, bounds: Bounds, *, answer_seconds: float) -> AsyncIterator[Finding]:
    """Yields what each step finds: the first answer, health, how the service is described, its methods as tools.

    After a failure, the steps that depend on it are left out. Nothing but health and reflection is called.

    Args:
        config: The service.
        bounds: Limits on what it says of itself.
        answer_seconds: How long the first answer may take, with the connection.
    """
    try:
        credentials = await asyncio.to_thread(read_credentials, config)
    except OSError as error:
        yield Finding("tls", "fail", f"{error.filename}: {error.strerror}")
        return
    channel = open_channel(config, credentials)
    try:
        async for finding in _answers(config, channel, bounds, answer_seconds):
            yield finding
            if finding.name == "answer" and finding.status == "fail":
                return
        async for finding in _description(config, channel, bounds):
            yield finding
    finally:
        await channel.close()


# ------------------------------------------------------------------------------------------------------------ answers


async def _answers(
    config: ServiceConfig, channel: grpc.aio.Channel, bounds: Bounds, seconds: float
) -> AsyncIterator[Finding]:
    """Makes the calls that every service answers, and be it that it has no health service."""
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )

    async def ask() -> HealthCheckResponse | grpc.aio.AioRpcError:
        try:
            found: HealthCheckResponse = await check(
                HealthCheckRequest(), timeout=seconds, metadata=tuple(config.metadata.items())
            )
        except grpc.aio.AioRpcError as error:
            return error
        return found

    began = time.perf_counter()
    first = await ask()
    took = time.perf_counter() - began
    if isinstance(first, grpc.aio.AioRpcError) and (why := _no_answer(first, config, bounds, seconds)):
        yield Finding("answer", "fail", why)
        return
    yield Finding("answer", "ok", f"the first one took {took * 1000:.1f} ms, with the connection")
    later = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter()
        await ask()
        later.append((time.perf_counter() - began) * 1000)
    yield Finding(
        "latency",
        "ok",
        f"round trip {statistics.median(later):.2f} ms (median of {ROUND_TRIPS}; {min(later):.2f} to {max(later):.2f})",
    )
    yield _health(first)


def _no_answer(error: grpc.aio.AioRpcError, config: ServiceConfig, bounds: Bounds, seconds: float) -> str:
    """Returns why nobody answers; empty: somebody does."""
    said = one_line(error.details() or "", _MAX_TEXT_CHARS)
    if said.startswith(_NOT_GRPC):
        return f"HTTP/2 is spoken there, but not gRPC ({said}); is this the port of the gRPC service?"
    if error.code() == _Code.DEADLINE_EXCEEDED:
        return f"none within {seconds:g} s; does it speak gRPC?{'' if config.tls else ' And does it need TLS?'}"
    if error.code() == _Code.UNAVAILABLE:
        why = reading_failure(error, bounds, is_connected=False).text
        return f"{why}; does it speak gRPC?{'' if config.tls else ' And does it need TLS?'}"
    return ""


def _health(answer: HealthCheckResponse | grpc.aio.AioRpcError) -> Finding:
    if isinstance(answer, grpc.aio.AioRpcError):
        said = one_line(answer.details() or "", _MAX_TEXT_CHARS)
        match answer.code():
            case _Code.UNIMPLEMENTED:
                return Finding("health", "ok", "it has no health service")
            case _Code.NOT_FOUND:
                return Finding("health", "ok", "its health service does not know the server as a whole")
            case code if code in _NO_ACCESS:
                return Finding("health", "warn", f"it does not admit this: {code.name}: {said}; give it metadata")
        return Finding("health", "warn", f"its health service answers {answer.code().name}: {said}")
    names = HealthCheckResponse.ServingStatus.DESCRIPTOR.values_by_number
    name = names[answer.status].name if answer.status in names else str(answer.status)
    if answer.status == HealthCheckResponse.SERVING:
        return Finding("health", "ok", "it serves")
    return Finding("health", "fail", f"its health service says {name}; is it starting, or shutting down?")


# -------------------------------------------------------------------------------------------------------- description


async def _description(config: ServiceConfig, channel: grpc.aio.Channel, bounds: Bounds) -> AsyncIterator[Finding]:
    """Reads how the service is described, and makes the tools of its methods."""
    reflected: Reflected | None = None
    name = "files" if is_described(config) else "reflection"
    try:
        if is_described(config):
            descriptors = await asyncio.to_thread(read_description, config, bounds)
            yield Finding("files", "ok", f"{config.descriptor_set or config.proto} describes it")
        else:
            reflected = await read_reflection(channel, bounds, metadata=tuple(config.metadata.items()))
            descriptors = await asyncio.to_thread(Descriptors.of, reflected.files, bounds)
            what = reflected.protocol.removesuffix(".ServerReflection")
            yield Finding("reflection", "ok", f"by {what}: {_count(len(reflected.files), 'file')}")
    except UnimplementedError:
        hint = "have it serve grpc.reflection, or describe it: give --descriptor-set FILE or --proto PATH"
        yield Finding("reflection", "fail", f"neither v1 nor v1alpha; {hint}")
        return
    except Exception as error:  # noqa: BLE001 - whatever it says, this is what a reading says of it
        yield Finding(name, "fail", reading_failure(error, bounds, is_connected=True).text)
        return
    naming = Naming(config.name, config.prefix or "", config.methods, config.exclude)
    importer = Importer(naming, Caller(config, channel, str, lambda: None), bounds)
    imported = await asyncio.to_thread(importer.read, descriptors, reflected)
    yield _services(descriptors, reflected)
    for finding in _methods(imported, config):
        yield finding


def _services(descriptors: Descriptors, reflected: Reflected | None) -> Finding:
    described = [service.full_name for service in descriptors.services()]
    names = described if reflected is None else reflected.services
    own = [one_line(name, _MAX_TEXT_CHARS) for name in names if not is_about_servers(name)]
    if not own:
        return Finding("services", "warn", "none, except those about the server itself")
    return Finding("services", "ok", f"{len(own):,}: {_some(own, ', ')}")


def _methods(imported: Imported, config: ServiceConfig) -> list[Finding]:
    count = len(imported.tools)
    if count:
        kinds = Counter(tool.spec.metadata[KIND_KEY] for tool in imported.tools)
        told = ", ".join(f"{kinds[kind]:,} {kind}" for kind in KINDS.values() if kinds[kind])
        found = [Finding("methods", "ok", f"{count:,} would be {'a tool' if count == 1 else 'tools'}: {told}")]
    else:
        chosen = "; no method matches the patterns" if config.methods or config.exclude else ""
        found = [Finding("methods", "warn", f"none would be a tool{chosen}")]
    if imported.refused:
        told = _some([f"{item.name}: {one_line(item.reason, _MAX_TEXT_CHARS)}" for item in imported.refused], "; ")
        found.append(Finding("refused", "warn", f"{len(imported.refused):,} would not be offered: {told}"))
    return found


def _some(texts: list[str], separator: str) -> str:
    more = len(texts) - _MOST_NAMED
    return separator.join([*texts[:_MOST_NAMED], *([f"and {more:,} more"] if more > 0 else [])])


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
