"""Tokens: the one for all, and those of callers by name."""

from collections import Counter
from collections.abc import Iterator, Sequence

from grpc_tool_bridge.auth.hardening.deployment import Deployment, Finding, refused
from grpc_tool_bridge.auth.identity.tokens_file import StaticToken, read_tokens
from grpc_tool_bridge.config.secret_files import read_token

DAY = 86_400.0
# Of one token for all: who can try tokens tries every shorter one.
MIN_TOKEN_CHARS = 24
# A token that is this old has been copied to places that nobody remembers.
OLD_SECONDS = 365 * DAY
SOON_SECONDS = 14 * DAY
# Two valid tokens of one name are for the time in which one replaces the other.
ROTATION_SECONDS = 14 * DAY

MAX_NAMED = 5


def shared_token(hub: Deployment) -> Iterator[Finding]:
    """Checks the token for all."""
    settings = hub.settings
    if settings.token is None and settings.token_file is None:
        return
    given = None if settings.token is None else settings.token.get_secret_value()
    try:
        token = read_token(given, settings.token_file, warn=lambda _: None)
    except ValueError as error:
        yield refused("token", str(error))
        return
    except OSError as error:
        yield refused("token", f"token_file {settings.token_file}: {error.strerror or error}")
        return
    if token is not None and len(token) < MIN_TOKEN_CHARS:
        text = f"it has fewer than {MIN_TOKEN_CHARS} characters, so it can be guessed"
        yield Finding("token", "fail", f"{text}; openssl rand -hex 32 makes one")
    if settings.token is not None:
        text = "it is in the environment or in the settings, where tools of this process can read it"
        yield Finding("token", "warn", f"{text}; write it to a file, and set token_file")
    elif token is not None and len(token) >= MIN_TOKEN_CHARS:
        yield Finding("token", "ok", "it is in a file of its own, and long")


def named_tokens(hub: Deployment) -> Iterator[Finding]:
    """Checks the tokens of callers by name."""
    path = hub.settings.tokens_file
    if path is None:
        return
    try:
        tokens = read_tokens(path).values()
    except ValueError as error:
        yield refused("tokens", str(error))
        return
    except OSError as error:
        yield refused("tokens", f"tokens_file {path}: {error.strerror or error}")
        return
    valid = [token for token in tokens if token.state(hub.now) == "valid"]
    found = list(_of_tokens(valid, hub.now))
    if not valid:
        text = f"{path} has no valid token; grpc-tool-bridge token new NAME makes one"
        found.append(Finding("tokens", "warn", text))
    yield from found or [Finding("tokens", "ok", f"{_count(len(valid))} by name; all expire, and none is old")]


def _of_tokens(valid: Sequence[StaticToken], now: float) -> Iterator[Finding]:
    endless = [token for token in valid if token.expires is None]
    if endless:
        text = f"{_count(len(endless))} never expire: {_named(endless)}"
        yield Finding("tokens", "warn", f"{text}; make others with --expires 90d, and revoke these")
    old = [token for token in valid if now - token.created > OLD_SECONDS]
    if old:
        text = f"{_count(len(old))} are over a year old: {_named(old)}"
        yield Finding("tokens", "warn", f"{text}; make others, and revoke these")
    soon = [token for token in valid if token.expires is not None and token.expires - now < SOON_SECONDS]
    last = Counter(token.name for token in valid)
    soon = [token for token in soon if last[token.name] == 1]
    if soon:
        text = f"{_count(len(soon))} expire within {SOON_SECONDS / DAY:g} days and are not replaced: {_named(soon)}"
        yield Finding("tokens", "warn", f"{text}; make others")
    newest = {name: max(token.created for token in valid if token.name == name) for name in last if last[name] > 1}
    both = sorted(name for name, created in newest.items() if now - created > ROTATION_SECONDS)
    if both:
        text = f"two are valid for over {ROTATION_SECONDS / DAY:g} days for {_listed(both)}"
        yield Finding("tokens", "warn", f"{text}; revoke the old ones: grpc-tool-bridge token revoke ID")


def _count(number: int) -> str:
    return f"{number:,} token{'' if number == 1 else 's'}"


def _named(tokens: Sequence[StaticToken]) -> str:
    return _listed([f"{token.name} ({token.id})" for token in tokens])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
