"""Methods of gRPC services as tools of a hub: real servers of grpc.aio, and real sockets."""

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, ToolExecutionError, ToolTimeoutError, ToolWorker, tool
from grpc_tool_bridge.adapters.grpc import import_grpc
from grpc_tool_bridge.errors import ProtocolError, UnavailableError, ValidationError
from grpc_tool_bridge.server import LocalToolBridge
from support.grpc_services.bridges import bridge_of, refused, values_of, weather_bridge, weather_handlers
from support.grpc_services.compiled import PROTOS, files_of
from support.grpc_services.serving import V1, V1ALPHA, service_handler, serving
from support.grpc_services.weather import SERVICE, Weather
from support.waiting import soon, until

# ----------------------------------------------------------------------------------------------- every kind of method


@pytest.mark.parametrize("reflection", [V1, V1ALPHA])
async def test_every_method_of_a_service_with_reflection_is_a_tool(reflection: str) -> None:
    weather = Weather()
    async with (
        serving(*weather_handlers(weather, service=reflection)) as address,
        bridge_of(import_grpc(address)) as bridge,
    ):
        assert sorted(bridge.tools) == sorted(f"{SERVICE}.{name}" for name in weather.handlers())
        report = await soon(bridge.tools[f"{SERVICE}.Get"](city="Bern"))
        assert (report["city"], report["degrees"], report["text"]) == ("Bern", 21.5, "sunny")


async def test_a_server_stream_is_a_stream() -> None:
    async with weather_bridge() as bridge:
        method = bridge.tools["weather.Forecast"]
        found = await soon(values_of(method.stream(city="Bern", days=3)))
        assert [(item["city"], item["degrees"]) for item in found] == [("Bern", 0.0), ("Bern", 1.0), ("Bern", 2.0)]
        assert await soon(values_of(method.stream(city="Bern", days=0))) == []
        assert len(await soon(method(city="Bern", days=2))) == 2


async def test_a_client_stream_takes_a_list() -> None:
    weather = Weather()
    async with weather_bridge(weather) as bridge:
        method = bridge.tools["weather.Record"]
        assert await soon(method(requests=[{"degrees": 1.5}, {"degrees": 2.5}])) == {"count": 2, "mean": 2.0}
        assert weather.measured == [1.5, 2.5]
        assert await soon(method(requests=[])) == {"count": 0, "mean": 0.0}


async def test_none_of_a_clients_requests_is_sent_if_one_of_them_is_wrong() -> None:
    weather = Weather()
    async with weather_bridge(weather) as bridge:
        error = await refused(bridge.tools["weather.Record"](requests=[{"degrees": 1.5}, {"degrees": "warm"}]))
        assert error.error_type == "ValidationError"
        assert "requests[1].degrees" in error.details
        assert weather.measured == []


async def test_a_service_may_answer_before_it_has_read_all_requests() -> None:
    async with weather_bridge() as bridge:
        requests = [{"degrees": -300.0}] + [{"degrees": 1.0}] * 10_000
        error = await refused(bridge.tools["weather.Record"](requests=requests), "colder than it can be")
        assert error.error_type == "OutOfRange"


async def test_a_bidirectional_method_takes_a_list_and_is_a_stream() -> None:
    async with weather_bridge() as bridge:
        stream = bridge.tools["weather.Chat"].stream(requests=[{"degrees": 1}, {"degrees": 3}])
        assert await soon(values_of(stream)) == [{"count": 1, "mean": 1.0}, {"count": 2, "mean": 2.0}]


async def test_an_empty_response_is_none_and_a_plain_request_is_one_argument() -> None:
    async with weather_bridge() as bridge:
        assert await soon(bridge.tools["weather.Reset"]()) is None
        day = await soon(bridge.tools["weather.DayAfter"](request="2026-02-28T12:00:00Z"))
        assert day == "2026-03-01T12:00:00Z"


async def test_its_specs_say_what_its_proto_says() -> None:
    async with weather_bridge(descriptor_set=None, proto=PROTOS / "weather.proto") as bridge:
        spec = bridge.tools["weather.Get"].spec
        assert spec.description == "Gets the weather of a city."
        assert (spec.arguments[0].name, spec.arguments[0].description) == ("city", "The city's name.")
        assert "How much time its caller had." in spec.output_schema
        assert spec.idempotent
        assert json.loads(spec.metadata["mcp.annotations"]) == {"readOnlyHint": True, "idempotentHint": True}
        assert (spec.metadata["grpc.service"], spec.metadata["grpc.method"]) == ("weather", f"{SERVICE}.Get")
        assert json.loads(bridge.tools["weather.Reset"].spec.metadata["mcp.annotations"]) == {"idempotentHint": True}
        # A method without a comment has the first sentence of its service.
        assert bridge.tools["weather.Reset"].spec.description == "Says what the weather is."
        assert bridge.tools["weather.Old"].spec.metadata["deprecated"]
        assert not bridge.tools["weather.Record"].spec.idempotent


async def test_wrong_arguments_are_named_as_those_of_any_tool() -> None:
    async with weather_bridge() as bridge:
        unknown = await refused(bridge.tools["weather.Get"](town="Bern"))
        assert unknown.error_type == "ValidationError"
        assert "town" in unknown.details
        wrong = await refused(bridge.tools["weather.Get"](city=3))
        assert "city" in wrong.details
        assert wrong.details["origin"] == "bridge"
        assert await soon(bridge.tools["weather.Get"](city="Bern", dayCount=2))


# --------------------------------------------------------------------------------------------- deadlines and endings


async def test_the_service_has_the_time_that_the_caller_has() -> None:
    async with weather_bridge() as bridge:
        report = await soon(bridge.tools["weather.Get"].with_options(timeout=1_000)(city="Bern"))
        assert 900 < report["seconds_left"] < 1_100
    async with weather_bridge(timeout=500) as bridge:
        report = await soon(bridge.tools["weather.Get"].with_options(timeout=1_000)(city="Bern"))
        assert 400 < report["seconds_left"] < 600


async def test_a_call_whose_time_is_over_ends_at_the_service_too() -> None:
    weather = Weather()
    async with weather_bridge(weather) as bridge:
        with pytest.raises(ToolTimeoutError):
            await soon(bridge.tools["weather.Wait"].with_options(timeout=0.3)(city="Bern"))
        await soon(weather.ended.wait())


async def test_the_settings_bound_the_time_of_a_call() -> None:
    weather = Weather()
    async with weather_bridge(weather, timeout=0.3) as bridge:
        with pytest.raises(ToolTimeoutError):
            await soon(bridge.tools["weather.Wait"](city="Bern"))
        await soon(weather.ended.wait())


async def test_a_cancelled_call_is_cancelled_at_the_service() -> None:
    weather = Weather()
    async with weather_bridge(weather) as bridge:
        task = asyncio.ensure_future(bridge.tools["weather.Wait"](city="Bern"))
        await soon(weather.begun.wait())
        task.cancel()
        await soon(weather.ended.wait())
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_stream_that_nobody_reads_on_ends_at_the_service() -> None:
    weather = Weather()
    async with weather_bridge(weather) as bridge:
        stream = bridge.tools["weather.Watch"].stream(city="Bern")
        async for value in stream:
            assert value["city"] == "Bern"
            break
        await soon(weather.begun.wait())
        await stream.aclose()
        await soon(weather.ended.wait())


async def test_a_hub_that_stops_ends_its_calls_at_the_service() -> None:
    weather = Weather()
    async with serving(*weather_handlers(weather)) as address:
        async with bridge_of(import_grpc(address, name="weather")) as bridge:
            task = asyncio.ensure_future(bridge.tools["weather.Wait"](city="Bern"))
            await soon(weather.begun.wait())
        await soon(weather.ended.wait())
        with pytest.raises(BaseException):  # noqa: B017, PT011 - it has ended, however
            await task


# -------------------------------------------------------------------------------------------------------- errors


def packed(*details: Any) -> bytes:
    status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT)
    for detail in details:
        status.details.add().Pack(detail)
    return bytes(status.SerializeToString())


async def failed(bridge: Any, code: int, message: str = "so it is", *details: Any) -> ToolExecutionError:
    return await refused(bridge.tools["weather.Fail"](code=code, message=message, status=packed(*details)))


async def test_each_status_is_an_error_of_its_type() -> None:
    async with weather_bridge() as bridge:
        types = {code: (await failed(bridge, code)).error_type for code in range(1, 17)}
    assert types == {
        1: "Cancelled", 2: "UnknownError", 3: "ValidationError", 4: "TimeoutError", 5: "NotFoundError",
        6: "AlreadyExists", 7: "PermissionDenied", 8: "ResourceExhausted", 9: "FailedPrecondition", 10: "Aborted",
        11: "OutOfRange", 12: "Unimplemented", 13: "InternalError", 14: "WorkerUnavailable", 15: "DataLoss",
        16: "Unauthenticated",
    }  # fmt: skip


async def test_an_error_names_the_method_and_the_service() -> None:
    async with weather_bridge() as bridge:
        error = await failed(bridge, 5, "no such city")
        assert error.message == f"{SERVICE}.Fail of the gRPC service weather: no such city"
        assert error.details["status"] == "NOT_FOUND"
        assert error.details["method"] == f"{SERVICE}.Fail"
        assert error.details["origin"] == "tool"
        silent = await failed(bridge, 5, "")
        assert "NOT_FOUND" in silent.message


async def test_details_of_a_status_are_details_of_the_error() -> None:
    rpc = error_details_pb2
    retry = rpc.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2, nanos=500_000_000))
    bad = rpc.BadRequest(
        field_violations=[
            rpc.BadRequest.FieldViolation(field="origin", description="is wrong"),
            rpc.BadRequest.FieldViolation(field="city", description="is no city"),
        ]
    )
    info = rpc.ErrorInfo(reason="API_DISABLED", domain="example.com", metadata={"zone": "a"})
    quota = rpc.QuotaFailure(violations=[rpc.QuotaFailure.Violation(subject="project:1", description="too many")])
    condition = rpc.PreconditionFailure(
        violations=[rpc.PreconditionFailure.Violation(type="TOS", subject="you", description="not accepted")]
    )
    resource = rpc.ResourceInfo(resource_type="city", resource_name="Bern", owner="ann", description="is locked")
    links = rpc.Help(links=[rpc.Help.Link(description="see", url="https://example.com/help")])
    localized = rpc.LocalizedMessage(locale="de", message="So ist es")
    request = rpc.RequestInfo(request_id="r1", serving_data="secret")
    debug = rpc.DebugInfo(stack_entries=["line 1 of the service"], detail="secret")
    other = any_pb2.Any(type_url="type.googleapis.com/weather.v1.Report", value=b"\xff")
    async with weather_bridge() as bridge:
        error = await failed(
            bridge, 8, "wait", retry, bad, info, quota, condition, resource, links, localized, request, debug, other
        )
    assert error.retryable
    assert error.retry_after == 2.5
    details = {key: value for key, value in error.details.items() if key not in ("service", "method", "status")}
    assert details == {
        "origin": "bridge",
        "retry_after": "2.5",
        "field.origin": "is wrong",
        "city": "is no city",
        "reason": "API_DISABLED",
        "domain": "example.com",
        "metadata.zone": "a",
        "quota": "project:1: too many",
        "precondition": "TOS you: not accepted",
        "resource_type": "city",
        "resource_name": "Bern",
        "resource_owner": "ann",
        "resource_description": "is locked",
        "help": "see https://example.com/help",
        "localized_message": "So ist es",
        "locale": "de",
        "service_request_id": "r1",
        "other_details": "google.protobuf.Any",
    }


async def test_details_that_are_none_are_left_out() -> None:
    async with weather_bridge() as bridge:
        error = await refused(bridge.tools["weather.Fail"](code=5, message="no", status=b"\xff\xff"))
        assert error.error_type == "NotFoundError"


async def test_only_some_statuses_may_be_retried() -> None:
    async with weather_bridge() as bridge:
        assert {code for code in range(1, 17) if (await failed(bridge, code)).retryable} == {4, 8, 14}


async def test_a_stream_that_fails_has_given_what_came_before() -> None:
    async with weather_bridge() as bridge:
        stream = bridge.tools["weather.FailLater"].stream(code=9, message="not now")
        assert (await soon(anext(stream)))["city"] == "first"
        error = await refused(anext(stream), "not now")
        assert error.error_type == "FailedPrecondition"


async def test_large_messages_go_both_ways_without_holding_up_others() -> None:
    async with weather_bridge() as bridge:
        days = await soon(bridge.tools["weather.Forecast"](city="B" * 50_000, days=2))
        assert [len(day["city"]) for day in days] == [50_000, 50_000]
        summary = await soon(bridge.tools["weather.Record"](requests=[{"degrees": 1.0}] * 20_000))
        assert summary == {"count": 20_000, "mean": 1.0}
        wrong = await refused(bridge.tools["weather.Record"](requests=[{"degrees": 1.0}] * 20_000 + [{"degrees": "x"}]))
        assert "requests[20000].degrees" in wrong.details
        assert len((await soon(bridge.tools["weather.Large"](size=1_000_000)))["text"]) == 1_000_000


async def test_messages_over_the_limit_are_refused_in_both_directions() -> None:
    async with weather_bridge(max_message_bytes=100_000) as bridge:
        method = bridge.tools["weather.Large"]
        assert len((await soon(method(size=90_000)))["text"]) == 90_000
        back = await refused(method(size=110_000), "message too large")
        assert back.error_type == "MessageTooLarge"
        there = await refused(method(payload=b"x" * 110_000), "message too large: its request takes 110,0")
        assert there.error_type == "MessageTooLarge"
        assert there.details["limit"] == "100000"


# ------------------------------------------------------------------------------------------------------- metadata


async def test_metadata_of_the_settings_and_what_is_allowed_of_the_callers_is_sent() -> None:
    metadata = {"X-Team": "blue", "x-raw-bin": b"raw"}
    async with weather_bridge(metadata=metadata, forward=["tenant", "trace-*", "x-*"]) as bridge:
        given = {"tenant": "t1", "Trace-Id": "7", "secret": "s", "x-team": "red", "grpc-timeout": "1n", "x y": "bad"}
        found = await soon(bridge.tools["weather.Metadata"].with_options(metadata=given)())
        sent = {key: value for key, value in found["values"].items() if key not in ("user-agent", "x-request-id")}
        assert sent == {"x-team": "blue", "x-raw-bin": "raw", "tenant": "t1", "trace-id": "7"}
        assert found["values"]["user-agent"].startswith("grpc-tool-bridge")


async def test_what_http_or_grpc_itself_says_is_never_the_callers() -> None:
    async with weather_bridge(forward=["*"]) as bridge:
        given = {
            "tenant": "t1",
            "host": "elsewhere",
            "connection": "close",
            "te": "x",
            "content-type": "y",
            ":path": "/",
        }
        method = bridge.tools["weather.Metadata"].with_options(
            metadata={**given, "user-agent": "u", "grpc-encoding": "z"}
        )
        found = (await soon(method()))["values"]
        assert found.keys() == {"user-agent", "x-request-id", "tenant"}
        assert found["user-agent"].startswith("grpc-tool-bridge")


async def test_nothing_of_the_callers_metadata_is_sent_by_default_but_the_id_of_the_call() -> None:
    async with weather_bridge() as bridge:
        method = bridge.tools["weather.Metadata"].with_options(metadata={"tenant": "t1"})
        found = (await soon(method()))["values"]
        assert found.keys() == {"user-agent", "x-request-id"}
        assert found["x-request-id"]


async def test_metadata_that_cannot_be_sent_is_an_error() -> None:
    async with weather_bridge(forward=["tenant"]) as bridge:
        method = bridge.tools["weather.Metadata"].with_options(metadata={"tenant": "ä"})
        assert (await refused(method(), "printable ASCII")).error_type == "ValidationError"


# -------------------------------------------------------------------------------------------------- the connection


class Certificates:
    """An authority, a service at 127.0.0.1, and a client."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca, self.cert, self.key = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
        authority.cert_pem.write_to_path(str(self.ca))
        client = authority.issue_cert("client@example.com")
        client.cert_chain_pems[0].write_to_path(str(self.cert))
        client.private_key_pem.write_to_path(str(self.key))
        self._authority = authority

    def server(self, *names: str, wants_clients: bool = False) -> grpc.ServerCredentials:
        issued = self._authority.issue_cert(*names)
        pair = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
        roots = self.ca.read_bytes() if wants_clients else None
        return grpc.ssl_server_credentials([pair], roots, wants_clients)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def test_tls(certificates: Certificates) -> None:
    async with serving(*weather_handlers(Weather()), credentials=certificates.server("127.0.0.1")) as address:
        async with bridge_of(import_grpc(f"grpcs://{address}", name="weather", tls_ca=certificates.ca)) as bridge:
            assert await soon(bridge.tools["weather.Get"](city="Bern"))
        with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            await soon(BridgeServer(sources=[import_grpc(f"grpcs://{address}")]).start())


async def test_tls_with_a_certificate_of_the_client(certificates: Certificates) -> None:
    credentials = certificates.server("127.0.0.1", wants_clients=True)
    async with (
        serving(*weather_handlers(Weather()), credentials=credentials) as address,
        bridge_of(
            import_grpc(address, name="w", tls_ca=certificates.ca, tls_cert=certificates.cert, tls_key=certificates.key)
        ) as bridge,
    ):
        assert await soon(bridge.tools["w.Get"](city="Bern"))


async def test_tls_under_another_name(certificates: Certificates) -> None:
    async with serving(*weather_handlers(Weather()), credentials=certificates.server("weather.example")) as address:
        source = import_grpc(address, name="w", tls_ca=certificates.ca, tls_server_name="weather.example")
        async with bridge_of(source) as bridge:
            assert await soon(bridge.tools["w.Get"](city="Bern"))


async def test_a_certificate_that_is_not_there_is_an_error_of_the_hub(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"gRPC service x: .*none\.pem: No such file"):
        await BridgeServer(sources=[import_grpc("127.0.0.1:1", name="x", tls_ca=tmp_path / "none.pem")]).start()


async def test_a_unix_socket(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/weather.sock"
    async with (
        serving(*weather_handlers(Weather()), address=address),
        bridge_of(import_grpc(address, prefix="w")) as bridge,
    ):
        assert await soon(bridge.tools["w.Get"](city="Bern"))


async def test_an_ipv6_address_and_a_name_of_the_dns() -> None:
    async with (
        serving(*weather_handlers(Weather()), address="[::1]:0") as address,
        bridge_of(import_grpc(address, prefix="w")) as bridge,
    ):
        assert await soon(bridge.tools["w.Get"](city="Bern"))
    async with (
        serving(*weather_handlers(Weather())) as address,
        bridge_of(import_grpc(f"dns:///localhost:{address.rpartition(':')[2]}", prefix="w")) as bridge,
    ):
        assert await soon(bridge.tools["w.Get"](city="Bern"))


# ------------------------------------------------------------------------------------------- without any reflection


async def test_a_descriptor_set_describes_a_service_without_reflection(tmp_path: Path) -> None:
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    path = tmp_path / "weather.pb"
    path.write_bytes(FileDescriptorSet(file=files_of("weather.proto")).SerializeToString())
    weather = Weather()
    async with (
        serving(service_handler(weather.types, SERVICE, weather.handlers())) as address,
        bridge_of(import_grpc(address, name="weather", descriptor_set=path)) as bridge,
    ):
        assert (await soon(bridge.tools["weather.Get"](city="Bern")))["degrees"] == 21.5
        assert bridge.tools["weather.Get"].spec.description == "Gets the weather of a city."


async def test_a_folder_of_protos_describes_a_service_without_reflection() -> None:
    weather = Weather()
    async with (
        serving(service_handler(weather.types, SERVICE, weather.handlers())) as address,
        bridge_of(import_grpc(address, name="weather", proto=PROTOS, methods=["Weather.*"])) as bridge,
    ):
        assert (await soon(bridge.tools["weather.Get"](city="Bern")))["degrees"] == 21.5


async def test_a_service_that_does_not_describe_itself_is_an_error_that_says_what_to_do() -> None:
    weather = Weather()
    async with serving(service_handler(weather.types, SERVICE, weather.handlers())) as address:
        with pytest.raises(UnavailableError, match=r"gRPC service w: it has no reflection.*descriptor set"):
            await soon(BridgeServer(sources=[import_grpc(address, name="w")]).start())


async def test_a_described_service_that_lacks_a_method_says_so() -> None:
    weather = Weather()
    handlers = {name: method for name, method in weather.handlers().items() if name != "Reset"}
    async with (
        serving(service_handler(weather.types, SERVICE, handlers)) as address,
        bridge_of(import_grpc(address, name="w", proto=PROTOS / "weather.proto")) as bridge,
    ):
        assert (await refused(bridge.tools["w.Reset"]())).error_type == "Unimplemented"


# ------------------------------------------------------------------------------------------------------ whole hubs


async def test_a_worker_offers_them_over_its_link() -> None:
    weather = Weather()
    async with (
        serving(*weather_handlers(weather)) as address,
        BridgeServer() as hub,
        GRPCToolBridge(hub.address) as bridge,
        ToolWorker(hub.address, sources=[import_grpc(address, name="weather")]),
    ):
        await bridge.initialize()
        await until(lambda: "weather.Get" in bridge.tools, "for the tools")
        assert (await soon(bridge.tools["weather.Get"](city="Bern")))["city"] == "Bern"
        assert len(await soon(values_of(bridge.tools["weather.Forecast"].stream(days=2)))) == 2
        assert await soon(bridge.tools["weather.Get"](city="Bern", dayCount=2))
        error = await refused(bridge.tools["weather.Fail"](code=5, message="no"))
        assert error.error_type == "NotFoundError"
        task = asyncio.ensure_future(bridge.tools["weather.Wait"](city="Bern"))
        await soon(weather.begun.wait())
        task.cancel()
        await soon(weather.ended.wait())


async def test_its_tools_can_be_given_to_anything_that_takes_tools() -> None:
    async with serving(*weather_handlers(Weather())) as address:
        async with import_grpc(address, name="weather") as service, LocalToolBridge(service.tools) as bridge:
            await bridge.initialize()
            assert (await soon(bridge.tools["weather.Get"](city="Bern")))["city"] == "Bern"
            with pytest.raises(ProtocolError, match="only once"):
                await service.__aenter__()
        assert service.tools == []


async def test_a_hub_takes_in_the_service_of_another_hub() -> None:
    async def greet(name: str) -> str:
        return f"hello {name}"

    async with BridgeServer(tools=[tool(greet)]) as first:
        source = import_grpc(first.address, name="other", methods=["SnakepitBridge.*"], exclude=["*.Link"])
        async with bridge_of(source) as bridge:
            assert "other.Link" not in bridge.tools
            session = await soon(bridge.tools["other.InitializeSession"](session_id="s"))
            assert session["success"]
            name = {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "Bern"}
            answer = await soon(
                bridge.tools["other.ExecuteTool"](session_id="s", tool_id="greet", kwargs={"name": name})
            )
            assert answer["success"], answer
            assert answer["result"]["value"] == "hello Bern"
            info = await refused(bridge.tools["other.GetSessionInfo"](session_id="none"))
            assert info.details["status"] == "NOT_FOUND"


async def test_the_health_service_is_a_tool_if_it_is_named() -> None:
    async with BridgeServer() as first:
        async with bridge_of(import_grpc(first.address, prefix="h", methods=["grpc.health.v1.*"])) as bridge:
            assert await soon(bridge.tools["h.Check"](service="")) == {"status": "SERVING"}
            first_value = await soon(anext(bridge.tools["h.Watch"].stream(service="")))
            assert first_value == {"status": "SERVING"}
        async with bridge_of(import_grpc(first.address)) as bridge:
            assert not [name for name in bridge.tools if name.startswith("grpc.")]


async def test_two_services_of_one_name_keep_out_of_each_others_way() -> None:
    async with serving(*weather_handlers(Weather())) as one, serving(*weather_handlers(Weather())) as two:
        first, second = import_grpc(one, prefix="w"), import_grpc(two, prefix="w")
        async with bridge_of(first, second) as bridge:
            await soon(bridge.tools["w.Get"](city="Bern"))
            refusals = first.refused or second.refused
            assert "another tool named 'w.Get'" in next(item for item in refusals if item.name == "w.Get").reason
