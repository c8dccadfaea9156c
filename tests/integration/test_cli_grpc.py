"""gRPC services on the command line: ``serve``, ``worker``, ``mcp``, ``tools --from`` and ``doctor``."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from mcp import Client, StdioServerParameters

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, LocalToolBridge, ValidationError
from grpc_tool_bridge.adapters.grpc import import_grpc
from grpc_tool_bridge.cli import main
from integration.test_cli import popen, read_line
from integration.test_cli_mcp import Programs, run
from integration.test_cli_mcp_stdio import ENVIRONMENT, PROGRAM
from integration.test_grpc_services import Certificates
from support.grpc_services.bridges import weather_handlers
from support.grpc_services.lying import file_of, reflects, serialized
from support.grpc_services.serving import V1, serving
from support.grpc_services.weather import SERVICE, Weather
from support.waiting import soon, until

PROTO = Path(__file__).parents[1] / "support" / "grpc_services" / "protos" / "weather.proto"
# Nothing listens there.
NOBODY = "127.0.0.1:9"


@pytest.fixture
def programs() -> Iterator[Programs]:
    made = Programs()
    yield made
    for process in made.processes:
        process.kill()
        process.communicate()


@pytest.fixture
async def weather() -> AsyncIterator[str]:
    async with serving(*weather_handlers(Weather())) as address:
        yield address


async def ready(programs: Programs, *words: str) -> dict[str, Any]:
    """Starts a command while the service of the test goes on."""
    return await asyncio.to_thread(programs.ready, *words)


async def printed(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """Runs a command; returns what it prints."""
    assert await asyncio.to_thread(main, list(words)) == code
    return str(capsys.readouterr().out)


# ----------------------------------------------------------------------------------------------- serve, worker and mcp


async def test_a_hub_serves_what_its_command_line_names(programs: Programs, weather: str, tmp_path: Path) -> None:
    config = tmp_path / "services.toml"
    config.write_text(f'[services.filed]\naddress = "{weather}"\nmethods = ["Weather.Reset"]\n')
    words = ["serve", "--address", "127.0.0.1:0", "--grpc-config", str(config)]
    facts = await ready(
        programs, *words, "--grpc", f"sky={weather}", "--grpc-methods", "Weather.*", "--grpc-exclude", "*.Fail*"
    )
    assert {"sky.Get", "sky.Forecast", "filed.Reset"} <= set(facts["tools"])
    assert not {"sky.Fail", "sky.FailLater", "filed.Get"} & set(facts["tools"])
    async with GRPCToolBridge(facts["address"]) as bridge:
        tools = await bridge.initialize()
        assert (await soon(tools["sky.Get"](city="Bern")))["city"] == "Bern"
        assert await soon(tools["filed.Reset"]()) is None


async def test_metadata_comes_from_the_environment_and_from_callers_only_where_that_is_allowed(
    programs: Programs, weather: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEATHER_TOKEN", "s3cret")
    words = ["serve", "--address", "127.0.0.1:0", "--grpc", f"sky={weather}", "--grpc-forward", "tenant"]
    facts = await ready(
        programs, *words, "--grpc-metadata", "Authorization=env:WEATHER_TOKEN", "--grpc-metadata", "x-plain=a=b"
    )
    async with GRPCToolBridge(facts["address"], metadata={"tenant": "blue", "other": "no"}) as bridge:
        tools = await bridge.initialize()
        got = (await soon(tools["sky.Metadata"]()))["values"]
    assert (got["authorization"], got["x-plain"], got["tenant"]) == ("s3cret", "a=b", "blue")
    assert "other" not in got


async def test_tls_with_certificates(programs: Programs, tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    credentials = made.server("127.0.0.1", wants_clients=True)
    async with serving(*weather_handlers(Weather()), credentials=credentials) as address:
        pair = ["--grpc-tls-cert", str(made.cert), "--grpc-tls-key", str(made.key)]
        words = ["serve", "--address", "127.0.0.1:0", "--grpc", address, "--grpc-tls-ca", str(made.ca)]
        assert f"{SERVICE}.Get" in (await ready(programs, *words, *pair))["tools"]


async def test_a_service_that_is_away_at_the_start_is_waited_for(programs: Programs, unused_tcp_port: int) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    facts = await ready(programs, "serve", "--address", "127.0.0.1:0", "--grpc", f"sky={address}")
    assert facts["tools"] == []
    async with GRPCToolBridge(facts["address"]) as bridge:
        await bridge.initialize()
        async with serving(*weather_handlers(Weather()), address=address):
            await until(lambda: "sky.Get" in bridge.tools, "for the service")
    programs.processes[0].kill()
    assert f"gRPC service sky is away: ipv4:{address}: " in programs.processes[0].communicate()[1]


def test_a_hub_whose_services_are_away_does_not_ask_for_other_tools() -> None:
    process = popen("serve", "--address", "127.0.0.1:0", "--grpc", NOBODY)
    try:
        assert read_line(process).startswith("The hub listens on ")
        assert read_line(process) == "No tools yet\n"
    finally:
        process.kill()
        process.communicate()


async def test_a_worker_offers_what_its_command_line_names(programs: Programs, weather: str) -> None:
    async with BridgeServer() as hub, GRPCToolBridge(hub.address) as bridge:
        await bridge.initialize()
        programs.start("worker", "--address", hub.address, "--grpc", f"sky={weather}")
        await until(lambda: "sky.Get" in bridge.tools, "for the worker")
        assert (await soon(bridge.tools["sky.Get"](city="Bern")))["city"] == "Bern"


async def test_mcp_serves_them_without_a_hub(weather: str) -> None:
    words = [*PROGRAM[1:], "--grpc", f"sky={weather}", "--tool-filter", "sky.Get"]
    server = StdioServerParameters(command=PROGRAM[0], args=words, env=ENVIRONMENT)
    async with Client(server) as client:
        (found,) = (await soon(client.list_tools())).tools
        answer = await soon(client.call_tool(found.name, {"city": "Bern"}))
    assert json.loads(answer.content[0].text)["city"] == "Bern"


async def test_a_bridge_with_its_own_hub_has_sources(weather: str) -> None:
    source = import_grpc(weather, name="sky")
    async with LocalToolBridge(sources=[source]) as bridge:
        tools = await bridge.initialize()
        assert (await soon(tools["sky.Get"](city="Bern")))["city"] == "Bern"
    assert source.tools == []
    wrong = LocalToolBridge(sources=[import_grpc(weather, name="sky", descriptor_set="none.pb")])
    with pytest.raises(ValidationError, match=r"none\.pb cannot be read"):
        await wrong.initialize()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["serve", "--grpc", "nowhere"], 2, "--grpc: 'nowhere' is not a valid address"),
        (["serve", "--grpc", "http://a:1"], 2, "--grpc: http://a:1 begins with http://"),
        (["serve", "--grpc", "a:1", "--grpc", "a:1"], 2, "two gRPC services are called 'a:1'"),
        (["serve", "--grpc-config", "/no/such/file"], 2, "cannot read /no/such/file"),
        (["serve", "--grpc", "a:1", "--proto", "/no/such"], 2, "there is no folder and no file /no/such"),
        (["serve", "--grpc", "a:1", "--descriptor-set", "/no"], 2, "the descriptor set /no cannot be read"),
        (["serve", "--grpc", "a:1", "--grpc-tls-ca", "/no"], 2, "gRPC service a:1: /no: No such file"),
        (["worker", "--grpc", "a:1", "--grpc-tls-ca", "/no"], 2, "gRPC service a:1: /no: No such file"),
        (["mcp", "--grpc", "a:1", "--grpc-tls-ca", "/no"], 2, "gRPC service a:1: /no: No such file"),
        (["worker"], 2, "it is optional with --agents, --mcp and --grpc"),
        (["mcp", "--grpc", "a:1", "--address", "b:1"], 2, "so do --grpc and --address"),
        (["mcp", "--grpc", "a:1", "--session", "s"], 2, "--session: for the session of a hub"),
        (["tools", "--from", "grpc:"], 2, "or grpc: and the address of a gRPC service"),
        (["tools", "--from", "grpc:nowhere"], 2, "--from: 'nowhere' is not a valid address"),
        (["tools", "--from", "grpc:none.toml"], 2, "cannot read none.toml"),
        (["tools", "--from", "grpc:s.toml", "--grpc-tls"], 2, "--grpc-tls: for gRPC services only; give an address"),
        (["tools", "--from", f"grpc:{NOBODY}"], 1, f"gRPC service {NOBODY}: ipv4:{NOBODY}: "),
        (["tools", "--from", "mcp:x", "--proto", "p"], 2, "--proto: for gRPC services only; give --from grpc:ADDRESS"),
        (["doctor", "--grpc", NOBODY, "--store", "s"], 2, "--grpc and --store exclude each other"),
        (["doctor", "--grpc-methods", "x"], 2, "--grpc-methods: for gRPC services only; give --grpc, too"),
        (["doctor", "--grpc", "nowhere"], 2, "--grpc: 'nowhere' is not a valid address"),
        (["doctor", "--grpc", NOBODY], 1, "connect failed; the lines above say why"),
    ],
)
def test_what_is_wrong_is_one_clear_line(words: list[str], code: int, text: str) -> None:
    address = ["--address", "127.0.0.1:0"] if words[0] == "serve" else []
    found = run(*words, *address)
    assert found.returncode == code
    (line,) = [line for line in found.stderr.splitlines() if line.startswith("error: ")]
    assert text in line


async def test_a_service_that_cannot_be_taken_in_is_an_error_of_the_command(weather: str) -> None:
    async with serving(weather_handlers(Weather())[0]) as bare:
        for words in (["serve", "--address", "127.0.0.1:0"], ["worker", "--address", NOBODY], ["mcp"]):
            found = await asyncio.to_thread(run, *words, "--grpc", bare)
            assert found.returncode == 1
            assert f"error: gRPC service {bare}: it has no reflection: have it serve grpc.reflection" in found.stderr
            found = await asyncio.to_thread(run, *words, "--grpc", f"grpcs://{weather}")
            assert found.returncode == 1
            assert f"error: gRPC service {weather}: it does not use TLS at this port" in found.stderr


# ------------------------------------------------------------------------------------------------------- tools --from


async def test_what_would_be_imported_can_be_seen_before(weather: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = await printed(capsys, "tools", "--from", f"grpc:sky={weather}")
    table = {line.split()[0]: " ".join(line.split()[1:]) for line in shown.splitlines() if line.startswith("sky.")}
    assert table["sky.Get"].startswith("unary ")
    assert table["sky.Forecast"].startswith("server streaming ")
    assert table["sky.Record"].startswith("client streaming ")
    assert table["sky.Chat"].startswith("bidirectional streaming ")
    whole = json.loads(
        await printed(capsys, "tools", "--from", f"grpc://{weather}", "--grpc-methods", "*.Chat", "--json")
    )
    (tool,) = whole["tools"]
    assert (tool["name"], tool["metadata"]["grpc.kind"]) == (f"{SERVICE}.Chat", "bidirectional streaming")
    assert whole["refused"] == []
    one = await printed(capsys, "tools", "--from", f"grpc:sky={weather}", "--proto", str(PROTO), "sky.DayAfter")
    assert "The day after a moment." in one


async def test_those_of_files_can_be_seen_without_the_service(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, weather: str
) -> None:
    words = ["--proto", str(PROTO), "--json"]
    described = json.loads(await printed(capsys, "tools", "--from", f"grpc:sky={NOBODY}", *words))
    assert "sky.Get" in {tool["name"] for tool in described["tools"]}
    config = tmp_path / "services.toml"
    config.write_text(f'[services.a]\naddress = "{weather}"\n[services.b]\naddress = "{weather}"\n')
    both = json.loads(await printed(capsys, "tools", "--from", f"grpc:{config}", "--json"))
    assert {"a.Get", "b.Get"} <= {tool["name"] for tool in both["tools"]}


async def test_what_would_be_refused_is_shown_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    file = file_of("a.proto", package="a", service="S")

    def answer(name: str) -> Any:
        return serialized(file) if name == "a.S" else None

    async with serving(reflects(["a.S", "b.T"], answer)) as address:
        found = json.loads(await printed(capsys, "tools", "--from", f"grpc:x={address}", "--json"))
        text = await printed(capsys, "tools", "--from", f"grpc:x={address}")
    assert [tool["name"] for tool in found["tools"]] == ["x.Do"]
    ((server, name, reason),) = [(item["server"], item["name"], item["reason"]) for item in found["refused"]]
    assert (server, name) == ("x", "b.T")
    assert "there is none" in reason
    assert f"b.T of x would not be offered: {reason}" in text


async def test_grpcs_is_tls(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    async with serving(*weather_handlers(Weather()), credentials=made.server("127.0.0.1")) as address:
        words = ["--grpc-tls-ca", str(made.ca), "--json"]
        for source in (f"grpcs:sky={address}", f"grpcs://{address}", f"grpc:grpcs://{address}"):
            assert json.loads(await printed(capsys, "tools", "--from", source, *words))["tools"]


# -------------------------------------------------------------------------------------------------------------- doctor


async def examined(
    capsys: pytest.CaptureFixture[str], address: str, *words: str, code: int = 0
) -> dict[str, tuple[str, str]]:
    """Runs ``doctor --grpc``; gives status and text of each check by name."""
    answer = json.loads(await printed(capsys, "doctor", "--grpc", address, "--json", *words, code=code))
    assert answer["ok"] is (code == 0)
    return {check["name"]: (check["status"], check["text"]) for check in answer["checks"]}


async def test_doctor_finds_nothing_wrong_with_a_good_service(weather: str, capsys: pytest.CaptureFixture[str]) -> None:
    checks = await examined(capsys, weather)
    assert {status for status, _ in checks.values()} == {"ok"}
    assert list(checks) == [
        "address", "connect", "tls", "answer", "latency", "health", "reflection", "services", "methods", "version",
    ]  # fmt: skip
    assert checks["reflection"][1].startswith("by grpc.reflection.v1alpha: ")
    assert checks["services"][1] == f"1: {SERVICE}"
    assert "1 bidirectional streaming" in checks["methods"][1]
    text = await printed(capsys, "doctor", "--grpc", weather)
    assert "ok   health     it has no health service" in text
    assert "warn methods    none would be a tool; no method" in await printed(
        capsys, "doctor", "--grpc", weather, "--grpc-methods", "x"
    )


async def test_doctor_says_which_reflection_and_what_of_health(capsys: pytest.CaptureFixture[str]) -> None:
    servicer = health.aio.HealthServicer()
    handlers = weather_handlers(Weather(), service=V1)

    class Registry:
        def add_generic_rpc_handlers(self, given: Any) -> None:
            self.handlers = given

        def add_registered_method_handlers(self, *_: Any) -> None:
            """Has no need of them."""

    registry: Any = Registry()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, registry)
    async with serving(*handlers, *registry.handlers) as address:
        checks = await examined(capsys, address)
        assert checks["health"] == ("ok", "it serves")
        assert checks["reflection"][1].startswith("by grpc.reflection.v1: ")
        await servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        status, text = (await examined(capsys, address, code=1))["health"]
        assert (status, text) == ("fail", "its health service says NOT_SERVING; is it starting, or shutting down?")


async def test_doctor_says_what_to_do_without_reflection(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(weather_handlers(Weather())[0]) as address:
        status, text = (await examined(capsys, address, code=1))["reflection"]
        assert status == "fail"
        assert text.startswith("neither v1 nor v1alpha; ")
        assert "--descriptor-set FILE or --proto PATH" in text
        checks = await examined(capsys, address, "--proto", str(PROTO))
        assert checks["files"] == ("ok", f"{PROTO} describes it")
        assert "reflection" not in checks
        assert (await examined(capsys, address, "--proto", "/none", code=1))["files"][0] == "fail"


async def test_doctor_names_what_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(reflects(["b.T"], lambda _: None)) as address:
        status, text = (await examined(capsys, address))["refused"]
    assert status == "warn"
    assert text.startswith("1 would not be offered: b.T: ")


async def test_doctor_examines_tls(capsys: pytest.CaptureFixture[str], tmp_path: Path, weather: str) -> None:
    made = Certificates(tmp_path)
    async with serving(*weather_handlers(Weather()), credentials=made.server("127.0.0.1")) as address:
        assert "certificate good until" in (await examined(capsys, address, "--grpc-tls-ca", str(made.ca)))["tls"][1]
        text = (await examined(capsys, address, "--grpc-tls", code=1))["tls"][1]
        assert text.startswith("the service's certificate is not trusted: ")
        assert "--grpc-tls-ca FILE" in text
        # In plain to a port that wants TLS.
        status, text = (await examined(capsys, address, "--connect-timeout", "0.5", code=1))["answer"]
        assert status == "fail"
        assert text.endswith("; does it speak gRPC? And does it need TLS?")
    assert "does the service use TLS?" in (await examined(capsys, f"grpcs://{weather}", code=1))["tls"][1]


async def test_doctor_tells_another_server_from_a_service(capsys: pytest.CaptureFixture[str]) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        status, text = (await examined(capsys, f"{host}:{port}", "--connect-timeout", "0.5", code=1))["answer"]
    assert status == "fail"
    assert "does it speak gRPC?" in text


async def test_doctor_says_that_a_service_wants_to_know_its_caller(capsys: pytest.CaptureFixture[str]) -> None:
    async def refuse(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")

    async def refuse_stream(requests: Any, context: Any) -> AsyncIterator[Any]:
        await refuse(None, context)
        yield b""

    guarded = [
        grpc.method_handlers_generic_handler(
            "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(refuse)}
        ),
        grpc.method_handlers_generic_handler(
            V1, {"ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(refuse_stream)}
        ),
    ]
    async with serving(*guarded) as address:
        checks = await examined(capsys, address, code=1)
    assert checks["answer"][0] == "ok"
    assert checks["health"] == ("warn", "it does not admit this: UNAUTHENTICATED: who are you?; give it metadata")
    assert checks["reflection"] == ("fail", "it answers UNAUTHENTICATED: who are you?; give it a token as metadata")
