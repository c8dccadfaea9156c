"""What is found out about a service before it is taken in."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

from grpc_tool_bridge.adapters.grpc.bounds import Bounds
from grpc_tool_bridge.adapters.grpc.config import ServiceConfig
from grpc_tool_bridge.adapters.grpc.diagnosis import diagnose
from support.grpc_services.bridges import weather_handlers
from support.grpc_services.lying import file_of, hangs_after, reflects, serialized
from support.grpc_services.serving import serving
from support.grpc_services.weather import Weather
from support.waiting import soon

Code = grpc.StatusCode


async def diagnosed(
    *handlers: Any, answer_seconds: float = 20.0, bounds: Bounds | None = None, **options: Any
) -> dict[str, tuple[str, str]]:
    """Returns status and text of each finding by its name."""
    async with serving(*handlers) as address:
        found = diagnose(ServiceConfig(address=address, **options), bounds or Bounds(), answer_seconds=answer_seconds)
        return {item.name: (item.status, item.text) for item in await soon(_all(found))}


async def _all(found: Any) -> list[Any]:
    return [item async for item in found]


def health_of(answer: Any) -> Any:
    """Returns the handler of a health service that answers so: with a status, or with a code."""

    async def check(request: Any, context: Any) -> Any:
        if isinstance(answer, grpc.StatusCode):
            await context.abort(answer, "said so")
        return answer

    method: Any = grpc.unary_unary_rpc_method_handler(check)
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})


def many(names: Iterable[str]) -> Any:
    """Returns the handler of a reflection of services with one method each."""
    files = {f"p{name}.S": file_of(f"{name}.proto", package=f"p{name}", service="S") for name in names}
    return reflects(files, lambda name: serialized(files[name]) if name in files else None)


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        (Code.UNIMPLEMENTED, "ok", "it has no health service"),
        (Code.NOT_FOUND, "ok", "its health service does not know the server as a whole"),
        (Code.PERMISSION_DENIED, "warn", "it does not admit this: PERMISSION_DENIED: said so; give it metadata"),
        (Code.INTERNAL, "warn", "its health service answers INTERNAL: said so"),
        (HealthCheckResponse(status=1).SerializeToString(), "ok", "it serves"),
        (b"", "fail", "its health service says UNKNOWN; is it starting, or shutting down?"),
        (b"\x08\x63", "fail", "its health service says 99; is it starting, or shutting down?"),
    ],
)
async def test_health(answer: Any, status: str, text: str) -> None:
    assert (await diagnosed(health_of(answer), many("a")))["health"] == (status, text)


async def test_many_services_are_counted_and_some_of_them_named() -> None:
    found = await diagnosed(many(map(str, range(12))))
    assert found["services"][1].startswith("12: p0.S, p1.S, ")
    assert found["services"][1].endswith(", and 2 more")
    assert found["methods"] == ("ok", "12 would be tools: 12 unary")
    assert (await diagnosed(many("a")))["methods"] == ("ok", "1 would be a tool: 1 unary")


async def test_a_server_without_services_of_its_own() -> None:
    found = await diagnosed(reflects(["grpc.health.v1.Health"], lambda _: None))
    assert found["services"] == ("warn", "none, except those about the server itself")
    assert found["methods"] == ("warn", "none would be a tool")


async def test_what_is_refused_is_counted_and_some_of_it_named() -> None:
    found = await diagnosed(reflects([f"b.T{number}" for number in range(11)], lambda _: None))
    assert found["refused"][0] == "warn"
    assert found["refused"][1].startswith("11 would not be offered: b.T0: ")
    assert found["refused"][1].endswith("; and 1 more")


async def test_a_reflection_that_hangs_is_bounded() -> None:
    found = await diagnosed(hangs_after(1), bounds=Bounds(start_seconds=0.2))
    assert found["reflection"] == ("fail", "it did not describe itself within 0.2 s")
    assert "services" not in found


async def test_a_call_that_is_not_answered_is_bounded() -> None:
    async def wait(request: Any, context: Any) -> Any:
        await Weather().wait(request, context)

    method: Any = grpc.unary_unary_rpc_method_handler(wait)
    slow = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})
    found = await diagnosed(slow, answer_seconds=0.2)
    assert found == {"answer": ("fail", "none within 0.2 s; does it speak gRPC? And does it need TLS?")}


async def test_http_that_is_not_grpc_is_told_from_it() -> None:
    async def refuse(request: Any, context: Any) -> Any:
        await context.abort(Code.UNIMPLEMENTED, "Received http2 header with status: 404")

    method: Any = grpc.unary_unary_rpc_method_handler(refuse)
    other = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})
    ((status, text),) = (await diagnosed(other)).values()
    assert status == "fail"
    assert text.startswith("HTTP/2 is spoken there, but not gRPC (Received http2 header with status: 404)")


async def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    found = await diagnosed(*weather_handlers(Weather()), tls_ca=tmp_path / "ca.pem")
    assert found == {"tls": ("fail", f"{tmp_path / 'ca.pem'}: No such file or directory")}
    found = await diagnosed(*weather_handlers(Weather()), descriptor_set=tmp_path / "x.pb")
    assert found["files"][0] == "fail"
    assert "x.pb cannot be read" in found["files"][1]
