"""Callers with a client certificate, whose chain and key TLS has verified."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from grpc_tool_bridge.auth.identity.revocations import Revocations, read_revocations
from grpc_tool_bridge.auth.identity.watched_file import WatchedFile
from grpc_tool_bridge.optional import missing
from grpc_tool_bridge.rpc.authentication import Principal, unauthenticated
from grpc_tool_bridge.rpc.bounds import MAX_NAME_CHARS

# Certificates that were read, since an RPC shows the one of its connection again and again.
MAX_READ = 10_000

_SPIFFE = "spiffe://"


@dataclass(frozen=True, slots=True)
class ReadCertificate:
    """What counts of a certificate.

    Attributes:
        principal: Whom it names.
        begins: When it becomes valid, in seconds since the epoch.
        ends: When it expires, likewise.
        issuer: The name of its authority, in DER.
        serial: Its number among those of the authority.
        fingerprint: The SHA-256 of all of it.
    """

    principal: Principal
    begins: float
    ends: float
    issuer: bytes
    serial: int
    fingerprint: bytes


class ClientCertificates:
    """Authenticates callers by the certificate of their connection.

    Args:
        revoked: The file with those that are revoked; None: there is none.

    Raises:
        ImportError: cryptography is not installed.
        ValueError: The file cannot be used.
        OSError: It cannot be read.
    """

    def __init__(self, revoked: Path | None) -> None:
        check_installed()
        self._revoked = None if revoked is None else WatchedFile(revoked, read_revocations, named="tls_crl")
        # By digest, the least recently used first.
        self._read: OrderedDict[bytes, ReadCertificate] = OrderedDict()

    def principal_of(self, certificate: bytes) -> Principal:
        """Returns whom a certificate in DER names.

        Raises:
            AccessError: It is revoked, out of its time, or not of a client, or it names nobody.
        """
        digest = hashlib.sha256(certificate).digest()
        found = self._read.get(digest)
        if found is None:
            found = self._read[digest] = read_certificate(certificate, digest)
            if len(self._read) > MAX_READ:
                self._read.popitem(last=False)
        else:
            self._read.move_to_end(digest)
        # TLS has looked at its time once: a link may be open for longer.
        now = time.time()
        name = found.principal.name
        if now >= found.ends:
            raise unauthenticated(f"the client certificate of {name} has expired; get a new one")
        if now < found.begins:
            raise unauthenticated(f"the client certificate of {name} is not valid yet; compare the clocks")
        revoked: Revocations | None = None if self._revoked is None else self._revoked.content()
        if revoked is not None and revoked.has(found.issuer, found.serial, found.fingerprint):
            raise unauthenticated(f"the client certificate of {name} was revoked; get a new one")
        return found.principal


def read_certificate(certificate: bytes, fingerprint: bytes) -> ReadCertificate:
    """Reads a certificate in DER.

    Raises:
        AccessError: It cannot be read, is not one of a client, or names nobody.
    """
    from cryptography import x509  # noqa: PLC0415 - an extra

    try:
        read = x509.load_der_x509_certificate(certificate)
        names = _names_of(read)
        usage = _usage_of(read)
    except ValueError:
        raise unauthenticated("the client certificate cannot be read") from None
    if usage and not usage & {"1.3.6.1.5.5.7.3.2", "2.5.29.37.0"}:
        raise unauthenticated("the certificate is not one of a client (extended key usage clientAuth)")
    claims = {
        **names,
        "subject": read.subject.rfc4514_string(),
        "serial": f"{read.serial_number:x}",
        "fingerprint": fingerprint.hex(),
    }
    ends = read.not_valid_after_utc.timestamp()
    principal = Principal(_name_in(names), claims=MappingProxyType(claims), method="certificate", expires_at=ends)
    begins = read.not_valid_before_utc.timestamp()
    return ReadCertificate(principal, begins, ends, read.issuer.public_bytes(), read.serial_number, fingerprint)


def _name_in(names: Mapping[str, Any]) -> str:
    """Returns the name of a caller: its SPIFFE id, else its first DNS name, else its first address of mail.

    The subject's common name counts for nothing: it is free text, which authorities check as little as they like.
    """
    spiffe = [uri for uri in names["uris"] if uri.startswith(_SPIFFE)]
    if len(spiffe) > 1:
        # As the SPIFFE X.509-SVID standard has it, 2.
        raise unauthenticated("the client certificate has several SPIFFE ids; it may have one")
    # A pattern names nobody.
    dns = [name for name in names["dns"] if "*" not in name]
    for name in (*spiffe, *dns, *names["emails"]):
        if 0 < len(name) <= MAX_NAME_CHARS and name.isprintable():
            return str(name)
    raise unauthenticated(
        "the client certificate names nobody: it needs a SPIFFE id, a DNS name or an address of mail as its subject "
        "alternative name; its common name does not count"
    )


def _names_of(certificate: Any) -> dict[str, tuple[str, ...]]:
    from cryptography import x509  # noqa: PLC0415 - an extra

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return {"uris": (), "dns": (), "emails": ()}
    return {
        "uris": tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
        "dns": tuple(names.get_values_for_type(x509.DNSName)),
        "emails": tuple(names.get_values_for_type(x509.RFC822Name)),
    }


def _usage_of(certificate: Any) -> set[str]:
    """Returns what a certificate may be used for, as object identifiers; empty: it does not say."""
    from cryptography import x509  # noqa: PLC0415 - an extra

    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return set()
    return {item.dotted_string for item in usage}


def check_installed() -> None:
    """Checks that certificates can be read here; raises ImportError."""
    try:
        import cryptography.x509  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise missing(error, "cryptography", extra="auth") from None
