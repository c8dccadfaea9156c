"""Certificates of clients, right and wrong in each way."""

import datetime as dt
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = dt.timedelta(days=1)


class Authority:
    """Issues certificates.

    Args:
        name: Its own.

    Attributes:
        cert: Its certificate.
    """

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self.cert = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def write(self, path: Path) -> Path:
        """Writes its certificate."""
        path.write_bytes(pem_of(self.cert))
        return path

    def issue(
        self,
        *names: x509.GeneralName,
        usage: Any = ExtendedKeyUsageOID.CLIENT_AUTH,
        begins: dt.timedelta = -DAY,
        ends: dt.timedelta = DAY,
    ) -> tuple[x509.Certificate, Any]:
        """Returns a certificate and its key; without names, its common name is ``root`` alone."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name("root"), self._name, key.public_key(), begins, ends)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return builder.sign(self._key, hashes.SHA256()), key

    def files(self, folder: Path, *names: x509.GeneralName, **how: Any) -> dict[str, Path]:
        """Issues a certificate; returns the PEM files ``cert`` and ``key``."""
        folder.mkdir(exist_ok=True, mode=0o700)
        cert, key = self.issue(*names, **how)
        found = {"cert": folder / "cert.pem", "key": folder / "key.pem"}
        found["cert"].write_bytes(pem_of(cert))
        found["key"].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        found["key"].chmod(0o600)
        return found

    def crl(self, *revoked: x509.Certificate) -> x509.CertificateRevocationList:
        """Returns the list of those that it has revoked."""
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateRevocationListBuilder(self._name, now, now + DAY)
        for cert in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(cert.serial_number).revocation_date(now).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self._key, hashes.SHA256())


@cache
def authority(name: str) -> Authority:
    """Returns the authority of a name."""
    return Authority(name)


def pem_of(item: Any) -> bytes:
    """Returns a certificate or a list as PEM."""
    found: bytes = item.public_bytes(serialization.Encoding.PEM)
    return found


def der_of(item: Any) -> bytes:
    """Returns a certificate or a list as DER."""
    found: bytes = item.public_bytes(serialization.Encoding.DER)
    return found


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Any, begins: dt.timedelta = -DAY, ends: dt.timedelta = DAY
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )
