"""Callers with client certificates, over each way into a hub that has TLS."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolBridgeError
from grpc_tool_bridge.auth.identity import watched_file
from grpc_tool_bridge.link import renewal
from grpc_tool_bridge.transport import server_tls
from integration.identity_edges import LET_IN, TLS_EDGES, attempt, principals
from support.certificates import certificate_files
from support.client_certificates import DAY, Authority, authority, der_of, pem_of
from support.waiting import soon, until

SPIFFE = x509.UniformResourceIdentifier("spiffe://example.org/reports")
DNS = x509.DNSName("bot.example.org")
MAIL = x509.RFC822Name("ann@example.org")


async def echo(value: Any) -> Any:
    return value


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at each time."""
    monkeypatch.setattr(watched_file, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(server_tls, "LOOK_SECONDS", 0.0)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    found = certificate_files(tmp_path)
    found["key"].chmod(0o600)
    found["clients"] = authority("clients").write(tmp_path / "clients.pem")
    found["crl"] = tmp_path / "crl"
    found["crl"].write_bytes(b"")
    return found


def hub_of(files: dict[str, Path], **more: Any) -> BridgeServer:
    settings: dict[str, Any] = {
        "tls_cert": files["cert"],
        "tls_key": files["key"],
        "tls_client_ca": files["clients"],
        "tls_crl": files["crl"],
        "link_address": "127.0.0.1:0",
        "shutdown_grace": 0,
        **more,
    }
    return BridgeServer(tools=[echo], http_address="127.0.0.1:0", settings=Settings(**settings))


@pytest.fixture
async def server(files: dict[str, Path]) -> AsyncIterator[BridgeServer]:
    async with hub_of(files) as server:
        yield server


def client(files: dict[str, Path], issuer: Authority, *names: x509.GeneralName, **how: Any) -> dict[str, Path]:
    folder = files["ca"].parent / "client"
    return {"ca": files["ca"], **issuer.files(folder, *names, **how)}


@pytest.mark.parametrize("edge", TLS_EDGES)
async def test_a_certificate_says_who_its_caller_is(
    server: BridgeServer, files: dict[str, Path], edge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for names, expected in (
        ([DNS, MAIL, SPIFFE], SPIFFE.value),
        ([MAIL, x509.DNSName("*.example.org"), DNS], DNS.value),
        ([MAIL], MAIL.value),
    ):
        with principals(monkeypatch) as found:
            assert await attempt(server, edge, files=client(files, authority("clients"), *names)) == LET_IN
        assert {(item.name, item.method) for item in found} == {(expected, "certificate")}


@pytest.mark.parametrize("edge", TLS_EDGES)
@pytest.mark.parametrize(
    "wrong",
    ["none", "other authority", "expired", "not valid yet", "of a server", "no name", "several", "pattern"],
)
async def test_a_certificate_that_is_wrong_lets_nobody_in(
    server: BridgeServer, files: dict[str, Path], edge: str, wrong: str
) -> None:
    ours = authority("clients")
    shown = {
        "none": lambda: {"ca": files["ca"]},
        "other authority": lambda: client(files, authority("others"), SPIFFE),
        "expired": lambda: client(files, ours, SPIFFE, begins=-2 * DAY, ends=-DAY),
        "not valid yet": lambda: client(files, ours, SPIFFE, begins=DAY, ends=2 * DAY),
        "of a server": lambda: client(files, ours, SPIFFE, usage=ExtendedKeyUsageOID.SERVER_AUTH),
        "no name": lambda: client(files, ours),
        "several": lambda: client(files, ours, SPIFFE, x509.UniformResourceIdentifier("spiffe://b/c")),
        "pattern": lambda: client(files, ours, x509.DNSName("*.example.org")),
    }[wrong]()
    found = await attempt(server, edge, files=shown)
    kind = "Unauthenticated" if wrong in ("no name", "several", "pattern") else "UNAVAILABLE"
    assert found.partition(":")[0] == kind, found


@pytest.mark.parametrize("edge", TLS_EDGES)
@pytest.mark.parametrize("form", ["pem", "der", "serial", "fingerprint"])
async def test_a_revoked_certificate_lets_nobody_in(
    server: BridgeServer, files: dict[str, Path], edge: str, form: str
) -> None:
    shown = client(files, authority("clients"), SPIFFE)
    assert await attempt(server, edge, files=shown) == LET_IN
    revoke(files, shown, form)
    assert "was revoked" in await attempt(server, edge, files=shown)
    assert await attempt(server, edge, files=client(files, authority("clients"), SPIFFE)) == LET_IN


def revoke(files: dict[str, Path], shown: dict[str, Path], form: str) -> None:
    cert = x509.load_pem_x509_certificate(shown["cert"].read_bytes())
    listed = authority("clients").crl(cert)
    text = {
        "pem": pem_of(listed),
        "der": der_of(listed),
        "serial": f"# gone\n{cert.serial_number:X}  # reports\n".encode(),
        "fingerprint": cert.fingerprint(hashes.SHA256()).hex(":").encode(),
    }[form]
    files["crl"].write_bytes(text)


@pytest.mark.parametrize("edge", ["link", "tcp"])
async def test_a_link_ends_soon_after_its_certificate_was_revoked(
    files: dict[str, Path], edge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(renewal, "DRAIN_SECONDS", 0.02)
    shown = client(files, authority("clients"), SPIFFE)
    options: dict[str, Any] = {"tls_ca": files["ca"], "tls_cert": shown["cert"], "tls_key": shown["key"]}
    async with hub_of(files) as server:
        if edge == "tcp":
            options["link_address"] = server.link_address
        async with GRPCToolBridge(server.address, **options) as bridge:
            await soon(bridge.initialize())
            revoke(files, shown, "pem")
            await until(lambda: not len(server._server._links))
            with pytest.raises(ToolBridgeError, match="was revoked"):
                await soon(_call_on_and_on(bridge))


async def _call_on_and_on(bridge: GRPCToolBridge) -> None:
    while True:
        await bridge.tools["echo"](1)


@pytest.mark.parametrize("edge", TLS_EDGES)
async def test_certificates_and_authorities_are_replaced_while_the_hub_serves(
    server: BridgeServer, files: dict[str, Path], edge: str
) -> None:
    before = client(files, authority("clients"), SPIFFE)
    assert await attempt(server, edge, files=before) == LET_IN
    (files["ca"].parent / "new").mkdir()
    renewed = certificate_files(files["ca"].parent / "new")
    renewed["key"].chmod(0o600)
    replace(renewed["cert"], files["cert"])
    # The key is not there yet.
    assert await attempt(server, edge, files=before) == LET_IN
    replace(renewed["key"], files["key"])
    authority("others").write(files["clients"])
    after = {"ca": renewed["ca"], **authority("others").files(files["ca"].parent / "other", DNS)}
    assert await attempt(server, edge, files=after) == LET_IN
    assert (await attempt(server, edge, files={**before, "ca": renewed["ca"]})).startswith("UNAVAILABLE")


def replace(new: Path, old: Path) -> None:
    os.replace(new, old)  # noqa: PTH105 - as a tool for certificates does


@pytest.mark.parametrize("edge", TLS_EDGES)
async def test_where_no_certificate_is_required_a_token_will_do(files: dict[str, Path], edge: str) -> None:
    async with hub_of(files, tls_client_required=False, token="word") as server:
        assert await attempt(server, edge, "word", files={"ca": files["ca"]}) == LET_IN
        assert (await attempt(server, edge, files={"ca": files["ca"]})).startswith("Unauthenticated")
        found = await attempt(server, edge, files=client(files, authority("clients"), SPIFFE))
        # gRPC asks for none that is not required.
        assert found.partition(":")[0] == ("Unauthenticated" if edge in ("rpc", "link") else LET_IN)


@pytest.mark.parametrize("edge", TLS_EDGES)
async def test_a_token_says_who_a_caller_is_that_shows_a_certificate_too(
    files: dict[str, Path], edge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hub_of(files, token="word") as server:
        shown = client(files, authority("clients"), SPIFFE)
        with principals(monkeypatch) as found:
            assert await attempt(server, edge, "word", files=shown) == LET_IN
        assert {item.name for item in found} == {"token"}
        assert await attempt(server, edge, "wrong", files=shown) == "Unauthenticated: the token is wrong"
