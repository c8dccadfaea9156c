"""Which MCP servers there are: a command, an address, or a file with ``mcpServers``.

They are named by local settings alone. Nothing of a configuration is ever read from a peer.
"""

import logging
import os
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

from grpc_tool_bridge.adapters import naming
from grpc_tool_bridge.adapters.mcp.config_json import read_config_json
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.errors.clipped_repr import clipped_repr
from grpc_tool_bridge.errors.near_names import did_you_mean, near_names

Kind = Literal["stdio", "http", "grpc"]

_log = logging.getLogger(__name__)

MAX_CONFIG_BYTES = 4 * 1024 * 1024
MAX_NAME_CHARS = 64

_NAMED = re.compile(r"([A-Za-z0-9_.-]{1,64})=(.+)", re.DOTALL)
_URL = re.compile(r"(?:https?|grpcs?)://", re.IGNORECASE)
_GRPC_SCHEMES = ("grpc://", "grpcs://")
_ANY_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# ``${NAME}`` and ``${env:NAME}``, with ``:-`` and a default if there is one.
_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
# What applications replace by something that they ask for, or have in their own settings.
_ASKED = re.compile(r"\$\{(?:input|config|command|prompt):[^}]*\}")
_PLACES = ("mcpServers", "servers")
_DRIVE = re.compile(r"\"?[A-Za-z]:\\")
_GRPC_KEY = re.compile(r"[0-9A-Za-z_.-]+")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Programs that run another one, which gives the server its name.
_RUNNERS = frozenset(
    {"npx", "uvx", "uv", "pipx", "bunx", "bun", "pnpm", "yarn", "npm", "node", "deno", "docker", "podman", "run",
     "exec", "tool", "dlx", "env", "python", "python3", "tsx", "ts-node"}
)  # fmt: skip
_AFFIXES = re.compile(r"^(?:mcp-server-|server-|mcp-)|(?:-mcp-server|-mcp|-server)$")
_KINDS: Mapping[str, Kind] = {
    "stdio": "stdio", "http": "http", "https": "http", "streamable-http": "http", "streamableHttp": "http",
    "streamable_http": "http", "grpc": "grpc",
}  # fmt: skip
_KEYS = frozenset({"command", "args", "env", "cwd", "url", "headers", "type", "disabled", "oauth"})
_OAUTH_KEYS = frozenset({"client_id", "client_secret", "scope", "issuer", "token_file", "port", "client_credentials"})


@dataclass(frozen=True, slots=True)
class OAuthOptions:
    """How tokens of a remote server are obtained.

    Attributes:
        token_file: Keeps the tokens, readable by the owner alone; None: they are forgotten when the process ends.
        client_id: The id of a client that is registered already; empty: it registers itself.
        client_secret: Its secret.
        issuer: The address of the authorization server that the client belongs to; needed for ``client_credentials``,
            so that its secret is sent nowhere else.
        scope: The requested scopes, separated by spaces; empty: what the server asks for.
        port: Port on loopback to which the browser is sent back; 0: any free port.
        client_credentials: Whether the client authorizes itself, without a person and a browser.
    """

    token_file: Path | None = None
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    issuer: str = ""
    scope: str = ""
    port: int = 0
    client_credentials: bool = False


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """One MCP server.

    Attributes:
        name: What texts and the pin file call it.
        kind: "stdio" for a command, "http" for an address, "grpc" for one of MCP over gRPC.
        command: The program and its arguments.
        env: Variables that the process gets in addition to a few that every program needs.
        cwd: Its working directory; None: this process's.
        url: The address.
        headers: Sent with each request.
        oauth: How tokens are obtained; None: there are none.
    """

    name: str
    kind: Kind
    command: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | None = None
    url: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    oauth: OAuthOptions | None = None

    @property
    def where(self) -> str:
        """The program, or the address without what may be secret in it."""
        return self.command[0] if self.kind == "stdio" else shown_url(self.url)


def config_of(
    source: str | os.PathLike[str] | Sequence[str],
    *,
    name: str | None = None,
    env: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    oauth: OAuthOptions | None = None,
) -> ServerConfig:
    """Reads one server.

    Args:
        source: A command line, which is split without a shell; a list of a program and its arguments; or an address. A
            text may begin with ``NAME=``.
        name: What to call it; default: a name that the command or the address suggests.
        env: As for ``ServerConfig``, as are the others.
        headers: Likewise.
        cwd: Likewise.
        oauth: Likewise.

    Raises:
        ValidationError: It is neither, or an option does not fit it.
    """
    if isinstance(source, str):
        given = _NAMED.fullmatch(source.strip())
        if given is not None:
            name, source = name or given[1], given[2]
        if _URL.match(source.strip()):
            _refuse_options("an address", env=env, cwd=cwd)
            return _remote(name, source.strip(), dict(headers or {}), oauth)
        if _ANY_URL.match(source.strip()):
            raise ValidationError(
                "the address of an MCP server begins with https:// or http://; of one over gRPC, with grpcs:// or grpc://"
            )
        if names_file(source):
            raise ValidationError(
                "a file with mcpServers is not a command; give it as --mcp-config, or to import_mcp_config"
            )
        command = _split(source)
    elif isinstance(source, os.PathLike):
        command = (os.fspath(source),)
    else:
        command = tuple(source)
    _refuse_options("a command", headers=headers, oauth=oauth)
    return _local(name, command, dict(env or {}), None if cwd is None else os.fspath(cwd))


def names_file(source: str) -> bool:
    """Returns whether a text is the path of a file with ``mcpServers``, and not a command."""
    path = source.strip()
    return path.endswith(".json") and (not re.search(r"\s", path) or _expanded(path).is_file())


def read_config_file(path: str | os.PathLike[str]) -> list[ServerConfig]:
    """Reads the servers of a file with ``mcpServers``, as Claude Desktop, Cursor and VS Code have it.

    ``${NAME}`` and ``${env:NAME}`` in it are replaced by variables of the environment. What is disabled is left out.
    Comments, and commas after the last item, are allowed. A key that is not known is named in the log, and ignored.

    Raises:
        ValidationError: It is no such file; the text says what is wrong, and never repeats a value.
        OSError: It cannot be read.
    """
    path = _expanded(path)
    with path.open("rb") as file:
        data = file.read(MAX_CONFIG_BYTES + 1)
    if len(data) > MAX_CONFIG_BYTES:
        raise ValidationError(f"{path}: over {MAX_CONFIG_BYTES:,} bytes; is it the right file?")
    try:
        whole = read_config_json(data)
    except ValidationError as error:
        raise ValidationError(f"{path}: {error.message}") from None
    servers = _servers_in(whole)
    if servers is None:
        hint = _meant(whole, _PLACES) if isinstance(whole, dict) else ""
        raise ValidationError(f'{path}: it needs an object "mcpServers" with a server by each name{hint}')
    found = []
    for name, entry in servers.items():
        try:
            config = _entry(name, entry)
        except ValidationError as error:
            raise ValidationError(f"{path}: server {clipped_repr(name, 70)}: {error.message}") from None
        if config is not None:
            found.append(config)
    return found


def _expanded(path: str | os.PathLike[str]) -> Path:
    """Finds the home, which a shell does not replace in quotes; another user's is left as it is."""
    return Path(path).expanduser() if os.fspath(path).startswith("~/") else Path(path)


def _servers_in(whole: Any) -> Mapping[str, Any] | None:
    if not isinstance(whole, dict):
        return None
    inner = whole.get("mcp")
    places = [*map(whole.get, _PLACES), inner.get("servers") if isinstance(inner, dict) else None]
    return next((place for place in places if isinstance(place, dict)), None)


def _entry(name: str, entry: Any) -> ServerConfig | None:
    if not isinstance(entry, dict):
        raise ValidationError("it must be an object with a command or a url")
    unknown = sorted(entry.keys() - _KEYS)
    if unknown:
        _log.warning("MCP server %s: these keys are not known here, and are ignored: %s", name, ", ".join(unknown))
    if entry.get("disabled") is True:
        return None
    kind = _kind_of(entry)
    if kind != "stdio":
        headers = _texts("headers", entry.get("headers"))
        return _remote(name, _filled(_text("url", entry.get("url"))), headers, _oauth(entry.get("oauth")))
    args = entry.get("args", [])
    if not isinstance(args, list):
        raise ValidationError('"args" must be a list of texts')
    command = (_filled(_text("command", entry.get("command"))), *(_filled(_text("args", item)) for item in args))
    cwd = entry.get("cwd")
    return _local(name, command, _texts("env", entry.get("env")), None if cwd is None else _filled(_text("cwd", cwd)))


def _kind_of(entry: Mapping[str, Any]) -> Kind:
    told = entry.get("type")
    if told is not None:
        if told == "sse":
            raise ValidationError(
                "servers of the type sse (of 2024) are not supported; use its streamable HTTP address"
            )
        if not isinstance(told, str) or told not in _KINDS:
            raise ValidationError(f"the type {clipped_repr(told, 40)} is unknown; it is stdio, http or grpc")
        kind = _KINDS[told]
        if (key := "command" if kind == "stdio" else "url") not in entry:
            raise ValidationError(f"a server of the type {told} needs {key!r}")
        return kind
    if "command" in entry and "url" in entry:
        raise ValidationError("it has both a command and a url; keep one of them")
    if "command" not in entry and "url" not in entry:
        raise ValidationError(f"it needs either a command or a url{_meant(entry, ('command', 'url'))}")
    return "http" if "url" in entry else "stdio"


def _meant(entry: Mapping[str, Any], keys: Collection[str]) -> str:
    """Returns a hint, if one of the keys is written in another way; else nothing."""
    for key in entry:
        if close := near_names(key, keys):
            return f"; did you mean {close[0]!r} instead of {clipped_repr(key, 60)}?"
    return ""


def _oauth(entry: Any) -> OAuthOptions | None:
    if entry is None or entry is False:
        return None
    if entry is True:
        return OAuthOptions()
    if not isinstance(entry, dict):
        raise ValidationError('"oauth" must be true, or an object')
    for key in entry:
        if key not in _OAUTH_KEYS:
            raise ValidationError(f'"oauth": {key!r} is unknown{did_you_mean(key, _OAUTH_KEYS, n=1)}')
    texts = {
        key: _filled(_text(key, entry[key]))
        for key in ("client_id", "client_secret", "scope", "issuer")
        if key in entry
    }
    file = entry.get("token_file")
    port = entry.get("port", 0)
    if type(port) is not int or not 0 <= port < 2**16:
        raise ValidationError('"oauth": "port" must be a number from 0 to 65535')
    return OAuthOptions(
        token_file=None if file is None else Path(_filled(_text("token_file", file))).expanduser(),
        port=port,
        client_credentials=entry.get("client_credentials") is True,
        **texts,
    )


def _local(name: str | None, command: tuple[str, ...], env: dict[str, str], cwd: str | None) -> ServerConfig:
    if not command or not command[0]:
        raise ValidationError("an MCP server needs a command, such as 'uvx mcp-server-time', or an address")
    for item in command:
        if "\0" in item:
            raise ValidationError("the program and its arguments must be texts without NUL characters")
    for key, value in env.items():
        if not key or set("=\0") & set(key) or "\0" in value:
            raise ValidationError(
                f"the variable {clipped_repr(key, 60)} of env needs a name without '=', and no NUL characters"
            )
    return ServerConfig(_fitting(name or _name_of_command(command)), "stdio", command=command, env=env, cwd=cwd)


def _remote(name: str | None, url: str, headers: dict[str, str], oauth: OAuthOptions | None) -> ServerConfig:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    kind: Kind = "grpc" if url.lower().startswith(_GRPC_SCHEMES) else "http"
    if kind == "grpc":
        _check_grpc(parts, port, headers, oauth)
    elif parts.scheme.lower() not in ("http", "https") or not host:
        raise ValidationError("the address of an MCP server must be https://HOST/PATH, or http://")
    for key, value in headers.items():
        if not _HEADER.fullmatch(key):
            raise ValidationError(f"{clipped_repr(key, 60)} is not the name of a header")
        if not all(" " <= sign <= "~" or sign == "\t" for sign in value):
            raise ValidationError(f"the value of the header {key} must be printable ASCII")
    suggested = (host or "").removeprefix("www.").removeprefix("mcp.") + (f"_{port}" if port else "")
    return ServerConfig(_fitting(name or suggested), kind, url=url, headers=headers, oauth=oauth)


def _check_grpc(parts: SplitResult, port: int | None, headers: Mapping[str, str], oauth: OAuthOptions | None) -> None:
    """Refuses what an address of MCP over gRPC cannot have."""
    is_plain = parts.path in ("", "/") and not parts.query and not parts.fragment and "@" not in parts.netloc
    if not parts.hostname or not port or not is_plain:
        raise ValidationError("the address of MCP over gRPC must be grpcs://HOST:PORT, or grpc://HOST:PORT without TLS")
    _refuse_options("an address of gRPC; give a token as a header", oauth=oauth)
    for key in headers:
        if key.lower().startswith("grpc-") or key.lower().endswith("-bin") or not _GRPC_KEY.fullmatch(key):
            raise ValidationError(f"the header {clipped_repr(key, 60)} cannot be metadata of gRPC")


def _name_of_command(command: Sequence[str]) -> str:
    """Guesses a short name: ``npx -y @scope/server-files@1.2 /tmp`` is called ``files``."""
    words = [word for word in command if not word.startswith("-")]
    chosen = next((word for word in words if Path(word).name.lower() not in _RUNNERS), words[0] if words else "mcp")
    base = re.sub(r"(?<=.)@[^/]*$", "", chosen).rstrip("/").rpartition("/")[2]
    base = re.sub(r"\.(?:py|js|mjs|cjs|ts|exe|sh)$", "", base)
    base = re.sub(r"[=<>~!\[].*$", "", base)
    short = _AFFIXES.sub("", base.replace("_", "-")) if _AFFIXES.search(base.replace("_", "-")) else base
    return short or base or "mcp"


def _fitting(name: str) -> str:
    """Makes a name that can begin the name of a tool.

    It has no dots: tools of a server "a" may be called "b.c", and must not be taken for those of a server "a.b".
    """
    made = re.sub(r"[^A-Za-z0-9_-]", "_", name.strip("."))[:MAX_NAME_CHARS]
    if not made:
        raise ValidationError(f"an MCP server cannot be called {clipped_repr(name, 60)}")
    return made


def _split(line: str) -> tuple[str, ...]:
    if _DRIVE.match(line.strip()):
        raise ValidationError("a backslash has its meaning in a shell; write the path of the program with /")
    try:
        return tuple(shlex.split(line))
    except ValueError as error:
        raise ValidationError(f"the command of an MCP server cannot be split: {error}") from None


def _refuse_options(what: str, **options: Any) -> None:
    given = [key for key, value in options.items() if value]
    if given:
        raise ValidationError(f"{' and '.join(given)}: not for {what}")


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValidationError(f'"{key}" must be a text')
    return value


def _texts(key: str, value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ValidationError(f'"{key}" must be an object of texts')
    return {name: _filled(item) for name, item in value.items()}


def _filled(text: str) -> str:
    """Replaces the variables of the environment in a text."""

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1], match[2])
        if found is None:
            raise ValidationError(
                f"the environment variable {match[1]} is not set; set it, or write ${{{match[1]}:-default}}"
            )
        return found

    if asked := _ASKED.search(text):
        raise ValidationError(
            f"only an application can fill in {asked[0][:60]}; write ${{env:NAME}}, and set that variable"
        )

    return _VARIABLE.sub(value, text)


def shown_url(url: str) -> str:
    """Returns an address without user, query and fragment, which may be secret."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    except ValueError:
        return "an address that is not valid"
    return f"{parts.scheme}://{host}{port}{parts.path}"


def distinct(configs: Iterable[ServerConfig]) -> list[ServerConfig]:
    """Checks that no two servers have the same name.

    Raises:
        ValidationError: Two of them have; the text says how to name one.
    """
    return naming.distinct(configs, "MCP servers", "--mcp 'NAME=command'")
