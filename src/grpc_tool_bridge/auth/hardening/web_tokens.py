"""JWTs: their keys, and how far they are trusted."""

from collections.abc import Iterator
from pathlib import Path

from grpc_tool_bridge.auth.hardening.deployment import Deployment, Finding, refused
from grpc_tool_bridge.auth.identity.jwks import read_keys
from grpc_tool_bridge.config.token_rules import is_url

MAX_LEEWAY_SECONDS = 60.0
# Claims that somebody else may have one day, or that users choose themselves.
_CHANGING = frozenset({"email", "name", "nickname", "preferred_username", "upn", "username"})
MAX_KEY_FILE_BYTES = 1024 * 1024


def web_tokens(hub: Deployment) -> Iterator[Finding]:
    """Checks the settings for JWTs."""
    settings = hub.settings
    keys = settings.jwt_keys
    if settings.jwt_issuer is None or keys is None:
        return
    found: list[Finding] = []
    if settings.jwt_leeway > MAX_LEEWAY_SECONDS:
        text = f"jwt_leeway is {settings.jwt_leeway:g} s, for which tokens are valid after their end"
        found.append(Finding("jwt", "warn", f"{text}; set it to {MAX_LEEWAY_SECONDS:g} or less, and clocks by NTP"))
    if settings.jwt_issuer.startswith("http://"):
        text = "jwt_issuer is an http:// URL, at which MCP clients would ask for tokens in plain"
        found.append(Finding("jwt", "warn", f"{text}; use an issuer with https://"))
    if keys.startswith("http://"):
        text = "jwt_keys is an http:// URL: every program of this machine that takes its port gives the keys"
        found.append(Finding("jwt", "warn", f"{text}; use https:// or a file"))
    if settings.jwt_name_claim in _CHANGING:
        text = f"jwt_name_claim is {settings.jwt_name_claim}, which may change or become somebody else's"
        found.append(Finding("jwt", "warn", f"{text}; use sub"))
    if not is_url(keys):
        found += _of_file(Path(keys), settings.jwt_algorithms)
    where = "a URL" if is_url(keys) else "a file"
    text = f"signed by {', '.join(settings.jwt_algorithms)}, with keys from {where}; issuer and audience are checked"
    yield from found or [Finding("jwt", "ok", text)]


def _of_file(path: Path, algorithms: tuple[str, ...]) -> Iterator[Finding]:
    try:
        with path.open("rb") as file:
            read_keys(file.read(MAX_KEY_FILE_BYTES), algorithms)
    except ImportError as error:
        yield refused("jwt", str(error))
    except ValueError as error:
        yield refused("jwt", f"jwt_keys {path}: {error}")
    except OSError as error:
        yield refused("jwt", f"jwt_keys {path}: {error.strerror or error}")
