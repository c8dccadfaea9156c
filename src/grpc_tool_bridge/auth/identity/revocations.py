"""Client certificates that are revoked, as a file lists them."""

import re
from dataclasses import dataclass
from pathlib import Path

MAX_FILE_BYTES = 64 * 1024 * 1024

_PEM = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
_FINGERPRINT_DIGITS = 64
# A sequence that is longer than 127 bytes; a text has no such second byte.
_DER = re.compile(rb"\x30[\x80-\xff]")


@dataclass(frozen=True, slots=True)
class Revocations:
    """What is revoked.

    Attributes:
        listed: Serial numbers by the authority that a CRL is of, by its name in DER.
        serials: Serial numbers of whatever authority.
        fingerprints: SHA-256 of whole certificates.
    """

    listed: frozenset[tuple[bytes, int]] = frozenset()
    serials: frozenset[int] = frozenset()
    fingerprints: frozenset[bytes] = frozenset()

    def has(self, issuer: bytes, serial: int, fingerprint: bytes) -> bool:
        """Returns whether a certificate is revoked."""
        return (issuer, serial) in self.listed or serial in self.serials or fingerprint in self.fingerprints


def read_revocations(path: Path) -> Revocations:
    """Reads a file of CRLs, in PEM or DER, or of a serial number or SHA-256 fingerprint in each line, in hexadecimal.

    The file is trusted as the other settings are: signatures of CRLs are not checked, and one that is out of date
    counts.

    Raises:
        ValueError: The file has another form.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"tls_crl {path} has over {MAX_FILE_BYTES} bytes")
    found = _PEM.findall(data)
    if found or _DER.match(data):
        return _of_lists(found, data, path)
    serials, fingerprints = set(), set()
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
        text = line.partition("#")[0].strip().replace(":", "").lower().removeprefix("0x")
        if not text:
            continue
        if not re.fullmatch("[0-9a-f]{1,64}", text):
            raise ValueError(f"tls_crl {path}, line {number} is neither a serial number nor a SHA-256 in hexadecimal")
        if len(text) == _FINGERPRINT_DIGITS:
            fingerprints.add(bytes.fromhex(text))
        else:
            serials.add(int(text, 16))
    return Revocations(serials=frozenset(serials), fingerprints=frozenset(fingerprints))


def _of_lists(found: list[bytes], data: bytes, path: Path) -> Revocations:
    from cryptography import x509  # noqa: PLC0415 - an extra

    try:
        lists = [x509.load_pem_x509_crl(text) for text in found] or [x509.load_der_x509_crl(data)]
        return Revocations(
            frozenset((each.issuer.public_bytes(), item.serial_number) for each in lists for item in each)
        )
    except ValueError as error:
        raise ValueError(f"tls_crl {path} cannot be read as a CRL: {error}") from None
