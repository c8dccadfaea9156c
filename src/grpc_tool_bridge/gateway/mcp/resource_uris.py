"""Addresses of session variables as resources.

A variable is ``variable:///`` and its name, percent-encoded. One whose name is itself a URI with an authority, such as
``docs://readme``, has that address instead, so that an application chooses the addresses of what it publishes.
"""

import re
from urllib.parse import quote, unquote

SCHEME = "variable"
PREFIX = f"{SCHEME}:///"
TEMPLATE = f"{PREFIX}{{name}}"

# ``scheme://`` and what may follow it (RFC 3986). Without the slashes, ``user:42`` would be an address.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")


def uri_of(name: str) -> str:
    """Returns the address of a variable."""
    return name if _is_own(name) else PREFIX + quote(name, safe="")


def name_of(uri: str) -> str | None:
    """Returns the name of the variable at an address; None: no variable can have the address."""
    if not uri.startswith(PREFIX):
        return uri if _is_own(uri) else None
    try:
        return unquote(uri.removeprefix(PREFIX), errors="strict") or None
    except UnicodeDecodeError:
        return None


def _is_own(name: str) -> bool:
    return _URI.fullmatch(name) is not None and name.partition(":")[0].lower() != SCHEME
