"""Certificates that expire, are weak, or cannot be revoked."""

import datetime as dt
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from grpc_tool_bridge.auth.hardening.certificates import client_certificates, own_certificates
from support.client_certificates import authority, pem_of
from unit.auth.hardening.deployments import found, hub, texts

DAY = dt.timedelta(days=1)
NAME = x509.DNSName("hub.example")


def tls(folder: Path, **how: Any) -> dict[str, Any]:
    folder.chmod(0o700)
    files = authority("ours").files(folder, NAME, usage=None, **how)
    return {"tls_cert": files["cert"], "tls_key": files["key"]}


@pytest.mark.parametrize(
    ("begins", "ends", "status", "said"),
    [
        (-DAY, 90 * DAY, "ok", "is valid until"),
        (-DAY, 10 * DAY + dt.timedelta(hours=1), "warn", "expires in 10 days"),
        (-2 * DAY, -DAY, "fail", "has expired on"),
        (DAY, 90 * DAY, "fail", "is not valid before"),
    ],
)
def test_a_certificate_has_its_time(
    tmp_path: Path, begins: dt.timedelta, ends: dt.timedelta, status: str, said: str
) -> None:
    made = hub(tls(tmp_path, begins=begins, ends=ends), now=time.time())

    assert found(own_certificates, made) == [("tls_cert", status)]
    assert said in texts(own_certificates, made)


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP192R1())])
def test_a_weak_key_is_told(tmp_path: Path, key: Any) -> None:
    cert = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([])).issuer_name(x509.Name([]))
        .public_key(key.public_key()).serial_number(1)
        .not_valid_before(dt.datetime.now(dt.UTC) - DAY).not_valid_after(dt.datetime.now(dt.UTC) + 90 * DAY)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = tmp_path / "ca.pem"
    path.write_bytes(pem_of(cert))
    folder = tmp_path / "own"
    folder.mkdir()

    settings = {**tls(folder, ends=90 * DAY), "tls_client_ca": path, "tls_crl": "none"}
    assert ("tls_client_ca", "fail") in found(client_certificates, hub(settings, now=time.time()))


def test_files_that_the_hub_refuses_are_told(tmp_path: Path) -> None:
    files = tls(tmp_path, ends=90 * DAY)
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    files["tls_key"].write_bytes(other)

    assert "serve refuses to start" in texts(own_certificates, hub(files))
    assert "serve refuses to start" in texts(own_certificates, hub({**files, "tls_cert": tmp_path / "none"}))


def test_client_certificates_are_asked_for_and_can_be_revoked(tmp_path: Path) -> None:
    files = tls(tmp_path, ends=90 * DAY)
    clients = authority("clients")
    made = {**files, "tls_client_ca": clients.write(tmp_path / "clients.pem")}
    crl = tmp_path / "clients.crl"
    crl.write_bytes(pem_of(clients.crl()))
    now = time.time()

    def checked(at: float = now, **settings: Any) -> list[tuple[str, str]]:
        return [each for each in found(client_certificates, hub({**made, **settings}, now=at)) if each[1] != "ok"]

    assert found(client_certificates, hub()) == []
    assert found(client_certificates, hub(files)) == [("client_certificates", "ok")]
    assert ("tls_crl", "warn") in checked()
    assert ("client_certificates", "warn") in checked(tls_client_required=False)
    assert ("tls_crl", "warn") not in checked(tls_crl=crl)
    assert ("tls_crl", "warn") in checked(now + 30 * 86_400, tls_crl=crl)
    crl.write_text("not a list of anything")
    assert ("tls_crl", "fail") in checked(tls_crl=crl)
    crl.write_text("0a:0b\n")
    assert ("tls_crl", "warn") not in checked(tls_crl=crl)
