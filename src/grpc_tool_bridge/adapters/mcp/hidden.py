"""Keeps what is secret about a remote server out of the log lines of the libraries that talk to it."""

import logging
from urllib.parse import urlsplit

from grpc_tool_bridge.adapters.mcp.config import ServerConfig

# They log addresses with all that is in them: a filter applies to the loggers that it is added to alone.
_LOGGERS = (
    "client",
    "httpcore2.connection",
    "httpcore2.http11",
    "httpcore2.http2",
    "httpcore2.proxy",
    "httpx2",
    "mcp.client.auth.extensions.client_credentials",
    "mcp.client.auth.oauth2",
    "mcp.client.auth.utils",
    "mcp.client.client",
    "mcp.client.streamable_http",
    "mcp.shared.jsonrpc_dispatcher",
)
# A shorter text is no secret, and would be replaced everywhere.
_MIN_CHARS = 4


class _Filter(logging.Filter):
    """Replaces secrets in records."""

    def __init__(self) -> None:
        super().__init__()
        self.secrets: dict[str, None] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Passes each record, without secrets."""
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - the handler reports what is wrong with it
            return True
        hidden = text
        for secret in self.secrets:
            hidden = hidden.replace(secret, "…")
        if hidden != text:
            record.msg, record.args = hidden, ()
        return True


_filter = _Filter()


def hide_secrets_of(config: ServerConfig) -> None:
    """Hides the headers of a server, and the query and the user in its address, from now on."""
    found = [*config.headers.values(), *(value.partition(" ")[2] for value in config.headers.values())]
    if config.kind == "http":
        parts = urlsplit(config.url)
        found += [parts.query, parts.fragment, parts.password or ""]
        if config.oauth is not None:
            found.append(config.oauth.client_secret)
    new = [text for text in found if len(text) >= _MIN_CHARS and text not in _filter.secrets]
    if not new:
        return
    # The longest first, so that a part of one does not stay.
    _filter.secrets = dict.fromkeys(sorted([*_filter.secrets, *new], key=len, reverse=True))
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_filter)
