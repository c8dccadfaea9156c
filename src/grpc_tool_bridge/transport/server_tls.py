"""The TLS of a hub, whose files are read again when they have changed: certificates are replaced while it serves."""

import logging
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import grpc

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.config.secret_files import check_secret_file
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.errors.throttled_log import ThrottledLog

# How often the files are looked at, at most; only when a connection is made.
LOOK_SECONDS = 1.0

T = TypeVar("T")

_log = logging.getLogger(__name__)
_throttled = ThrottledLog(_log)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files of a hub's TLS.

    Attributes:
        cert: Its certificate and chain.
        key: The private key.
        client_ca: The authorities of client certificates; None: none are asked for.
        requires_client: Whether a connection without one is refused.
    """

    cert: Path
    key: Path
    client_ca: Path | None = None
    requires_client: bool = True

    @classmethod
    def of(cls, settings: Settings) -> "TlsFiles | None":
        """Returns those of the settings; None: there is no TLS."""
        if settings.tls_cert is None or settings.tls_key is None:
            return None
        return cls(settings.tls_cert, settings.tls_key, settings.tls_client_ca, settings.tls_client_required)

    def check(self) -> None:
        """Checks the files.

        Raises:
            ValidationError: They cannot be used, or others can read the private key.
            OSError: One of them cannot be read.
        """
        for path in (self.cert, self.client_ca):
            if path is not None:
                # OpenSSL would not say which file is missing.
                path.open("rb").close()
        try:
            with self.key.open("rb") as file:
                check_secret_file(file, self.key, "tls_key")
        except ValueError as error:
            raise ValidationError(str(error)) from None
        self._context()

    def server_credentials(self) -> Any:
        """Returns the credentials of a gRPC server. Errors are as for ``check``.

        gRPC cannot ask for a certificate without requiring it: if none is required, it asks for none.
        """
        self.check()
        current = _Renewed(self, self._grpc_configuration)

        def fetch() -> Any:
            # None: as before.
            return current.changed()

        required = self.client_ca is not None and self.requires_client
        return grpc.dynamic_ssl_server_credentials(current.value, fetch, required)

    def context(self) -> ssl.SSLContext:
        """Returns the context of a server of sockets. Errors are as for ``check``."""
        self.check()
        current = _Renewed(self, self._context)
        first = current.value

        def choose(connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
            # It is called with each handshake, with a server's name or without.
            current.changed()
            if current.value is not first:
                connection.context = current.value

        first.sni_callback = choose
        return first

    def _grpc_configuration(self) -> Any:
        self._context()
        pair = (self.key.read_bytes(), self.cert.read_bytes())
        authorities = None if self.client_ca is None else self.client_ca.read_bytes()
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=authorities)

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.cert, self.key, password="")
        except ssl.SSLError as error:
            raise ValidationError(
                f"tls_cert {self.cert} and tls_key {self.key} cannot be used ({error.reason or error}): they are PEM "
                "files, a certificate chain and its own private key without a password"
            ) from None
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except ssl.SSLError as error:
                raise ValidationError(
                    f"tls_client_ca {self.client_ca} cannot be used ({error.reason or error}): it is a PEM file with "
                    "certificates of authorities"
                ) from None
            context.verify_mode = ssl.CERT_REQUIRED if self.requires_client else ssl.CERT_OPTIONAL
            # A session that is resumed is not verified again, though its authority may not be trusted any more.
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0
        return context

    def identity(self) -> tuple[tuple[int, int, int], ...]:
        """Returns what changes with the files; raises OSError."""
        files = [self.cert, self.key, *([] if self.client_ca is None else [self.client_ca])]
        found = [path.stat() for path in files]
        return tuple((each.st_ino, each.st_mtime_ns, each.st_size) for each in found)


class _Renewed(Generic[T]):
    """What is made of the files; made again when they have changed. gRPC asks from threads of its own.

    Args:
        files: The files.
        make: Makes it; raises ValidationError or OSError.

    Attributes:
        value: What was made last.
    """

    def __init__(self, files: TlsFiles, make: Callable[[], T]) -> None:
        self._files = files
        self._make = make
        self._lock = threading.Lock()
        self._seen = files.identity()
        self._looked = time.monotonic()
        self.value = make()

    def changed(self) -> T | None:
        """Looks at the files; returns what was made of them if they have changed, else None."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked < LOOK_SECONDS:
                return None
            self._looked = now
            try:
                seen = self._files.identity()
                if seen == self._seen:
                    return None
                # A certificate and its key are two files: until both are there, the old ones serve.
                made = self._make()
            except (OSError, ValidationError) as error:
                _throttled.warning("the files of TLS cannot be read again, and the old ones stay in use: %s", error)
                return None
            self._seen, self.value = seen, made
        _log.info("the files of TLS have changed and were read again")
        return made
