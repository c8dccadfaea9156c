"""The files that say which certificates are revoked."""

from pathlib import Path

import pytest

from grpc_tool_bridge.auth.identity.revocations import Revocations, read_revocations
from support.client_certificates import authority, der_of, pem_of


def pem(text: str) -> bytes:
    return f"-----BEGIN X509 CRL-----\n{text}\n-----END X509 CRL-----\n".encode()


def read(folder: Path, data: bytes) -> Revocations:
    path = folder / "crl"
    path.write_bytes(data)
    return read_revocations(path)


def test_a_crl_counts_for_its_own_authority_alone(tmp_path: Path) -> None:
    ours, others = authority("clients"), authority("others")
    cert, _ = ours.issue()
    for data in (pem_of(ours.crl(cert)), der_of(ours.crl(cert)), pem_of(others.crl()) + pem_of(ours.crl(cert))):
        found = read(tmp_path, data)
        assert found.has(cert.issuer.public_bytes(), cert.serial_number, b"")
        assert not found.has(others.cert.subject.public_bytes(), cert.serial_number, b"")
        assert not found.has(cert.issuer.public_bytes(), cert.serial_number + 1, b"")


def test_lines_are_serial_numbers_and_fingerprints(tmp_path: Path) -> None:
    found = read(tmp_path, b"# a list\n\n0x0A\n  ff:01 # gone\n" + b"AB" * 32 + b"\n")
    assert (set(found.serials), set(found.fingerprints)) == ({10, 0xFF01}, {b"\xab" * 32})
    assert read(tmp_path, b"") == Revocations()
    assert found.has(b"any", 10, b"")
    assert found.has(b"any", 1, b"\xab" * 32)


@pytest.mark.parametrize("data", [b"reports-bot\n", b"\x30\x82", pem("AAAA")])
def test_another_file_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ValueError, match="tls_crl"):
        read(tmp_path, data)
