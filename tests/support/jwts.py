"""JWTs, and the keys of their issuer."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER = "https://issuer.example"
AUDIENCE = "https://hub.example"


@cache
def private_key(name: str) -> Any:
    """Returns the private key of a name, such as ``rsa``, ``rsa-2``, ``rsa-short``, ``ec`` or ``ed``."""
    if name.startswith("rsa"):
        return rsa.generate_private_key(65_537, 1_024 if name == "rsa-short" else 2_048)
    return ec.generate_private_key(ec.SECP256R1()) if name.startswith("ec") else ed25519.Ed25519PrivateKey.generate()


ALGORITHMS = {"rsa": "RS256", "ec": "ES256", "ed": "EdDSA"}


def jwk_of(name: str, **more: Any) -> dict[str, Any]:
    """Returns the public key of a name, which is its ``kid``."""
    kind = {"rsa": "RSAAlgorithm", "ec": "ECAlgorithm", "ed": "OKPAlgorithm"}[name.partition("-")[0]]
    public = private_key(name).public_key()
    found: dict[str, Any] = getattr(jwt.algorithms, kind).to_jwk(public, as_dict=True)
    return {**found, "kid": name, "use": "sig", **more}


def jwks_of(*names: str) -> bytes:
    """Returns a set of public keys."""
    return json.dumps({"keys": [jwk_of(name) for name in names]}).encode()


def token_of(
    name: str = "rsa", algorithm: str = "", *, kid: str | None = None, header: Any = None, **claims: Any
) -> str:
    """Returns a valid token that is signed with a key; a claim that is None is left out."""
    now = int(time.time())
    given = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "groups": ["analysts"], "exp": now + 600, **claims}
    kept = {key: value for key, value in given.items() if value is not None}
    headers = {"kid": name if kid is None else kid, **(header or {})}
    signed = algorithm or ALGORITHMS[name.partition("-")[0]]
    return jwt.encode(kept, private_key(name), algorithm=signed, headers=headers)


def part(value: Any) -> str:
    """Returns a part of a token, as it is written."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class KeyServer:
    """Serves a set of keys at a URL of this machine.

    Attributes:
        body: The set.
        url: Where it is.
        asked: How often it was asked for.
        status: What it answers with.
    """

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.asked = 0
        self.status = 200
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served.asked += 1
                self.send_response(served.status)
                if served.status == 302:
                    self.send_header("location", "/elsewhere")
                    served.status = 200
                self.send_header("content-length", str(len(served.body)))
                self.end_headers()
                self.wfile.write(served.body)

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/keys"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @classmethod
    @contextmanager
    def serving(cls, body: bytes) -> "Iterator[KeyServer]":
        """Serves until the context ends."""
        made = cls(body)
        made._thread.start()
        try:
            yield made
        finally:
            made._server.shutdown()
            made._thread.join()
            made._server.server_close()
