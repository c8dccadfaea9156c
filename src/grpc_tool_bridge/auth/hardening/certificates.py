"""Certificates: when they expire, how strong they are, and whose are asked for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grpc_tool_bridge.auth.hardening.deployment import Deployment, Finding, refused
from grpc_tool_bridge.auth.identity.revocations import read_revocations
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.transport.server_tls import TlsFiles

DAY = 86_400.0
SOON_SECONDS = 30 * DAY
MIN_RSA_BITS = 2_048
MIN_CURVE_BITS = 224
_WEAK_HASHES = frozenset({"md5", "sha1"})


def own_certificates(hub: Deployment) -> Iterator[Finding]:
    """Checks the certificates of the hub, for its callers and for NATS."""
    settings = hub.settings
    files = TlsFiles.of(settings)
    if files is not None:
        try:
            files.check()
        except (ValidationError, OSError) as error:
            yield refused("tls_cert", str(error))
            return
    for name, path in (("tls_cert", settings.tls_cert), ("nats_tls_cert", settings.nats_tls_cert)):
        if path is not None:
            yield from _of_file(hub, name, path, first_only=True)


def client_certificates(hub: Deployment) -> Iterator[Finding]:
    """Checks whether callers are asked for certificates, and whether one can be revoked."""
    settings = hub.settings
    if settings.tls_cert is None:
        return
    if settings.tls_client_ca is None:
        text = "not asked for: a token that leaks can be used from any machine; tls_client_ca asks for them"
        yield Finding("client_certificates", "ok", text)
        return
    if not settings.tls_client_required:
        text = "tls_client_required is off: gRPC asks for none, and a token alone is enough"
        yield Finding("client_certificates", "warn", f"{text}; switch it on if no browser needs it")
    yield from _of_file(hub, "tls_client_ca", settings.tls_client_ca, first_only=False)
    if settings.tls_crl is None:
        text = "none: the certificate of a caller that was robbed is good until it expires"
        yield Finding("tls_crl", "warn", f"{text}; set tls_crl")
        return
    try:
        read_revocations(settings.tls_crl)
    except ValueError as error:
        yield refused("tls_crl", str(error))
    except OSError as error:
        yield refused("tls_crl", f"{settings.tls_crl}: {error.strerror or error}")
    else:
        late = _late_list(settings.tls_crl, hub.now)
        if late:
            text = f"{settings.tls_crl} was to be replaced on {late}: what was revoked since is not in it"
            yield Finding("tls_crl", "warn", f"{text}; fetch it again, and do so by itself")


def _of_file(hub: Deployment, name: str, path: Path, *, first_only: bool) -> Iterator[Finding]:
    try:
        from cryptography import x509  # noqa: PLC0415 - an extra

        read = x509.load_pem_x509_certificates(path.read_bytes())
    except ImportError:
        yield Finding(name, "warn", f"{path} was not looked at: it needs grpc-tool-bridge[auth]")
        return
    except (ValueError, OSError) as error:
        yield refused(name, f"{path} has no certificates in PEM form: {error}")
        return
    found = [each for number, cert in enumerate(read) if not (first_only and number) for each in _of(hub, name, cert)]
    ends = min(cert.not_valid_after_utc for cert in (read[:1] if first_only else read))
    yield from found or [Finding(name, "ok", f"{path} is valid until {ends:%Y-%m-%d}")]


def _of(hub: Deployment, name: str, cert: Any) -> Iterator[Finding]:
    ends, begins = cert.not_valid_after_utc, cert.not_valid_before_utc
    what = cert.subject.rfc4514_string() or "the certificate"
    if ends.timestamp() <= hub.now:
        yield Finding(name, "fail", f"{what} has expired on {ends:%Y-%m-%d}; replace the file: the hub reads it again")
    elif begins.timestamp() > hub.now:
        yield Finding(name, "fail", f"{what} is not valid before {begins:%Y-%m-%d %H:%M} UTC; compare the clocks")
    elif ends.timestamp() - hub.now < SOON_SECONDS:
        days = int((ends.timestamp() - hub.now) // DAY)
        text = f"{what} expires in {days} day{'' if days == 1 else 's'}, on {ends:%Y-%m-%d}"
        yield Finding(name, "warn", f"{text}; let it be renewed by itself")
    weak = _weakness(cert)
    if weak:
        yield Finding(name, "fail", f"{what} {weak}; make another one")


def _weakness(cert: Any) -> str:
    """Returns why a certificate can be forged; empty: nothing says that it can."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415 - an extra

    key, hashed = cert.public_key(), cert.signature_hash_algorithm
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        return f"has an RSA key of {key.key_size} bits, and {MIN_RSA_BITS} are the least"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < MIN_CURVE_BITS:
        return f"has a key on the curve {key.curve.name}, which is too short"
    if hashed is not None and hashed.name in _WEAK_HASHES and cert.issuer != cert.subject:
        return f"is signed with {hashed.name.upper()}"
    return ""


def _late_list(path: Path, now: float) -> str:
    """Returns when a CRL was to be replaced, if that is over; empty: it is not, or it is no CRL."""
    from cryptography import x509  # noqa: PLC0415 - an extra

    data = path.read_bytes()
    try:
        found = x509.load_pem_x509_crl(data) if data.lstrip().startswith(b"-----") else x509.load_der_x509_crl(data)
    except ValueError:
        return ""
    update = found.next_update_utc
    return f"{update:%Y-%m-%d}" if update is not None and update.timestamp() < now else ""
