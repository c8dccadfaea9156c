"""Names by which browsers know a hub and the pages that may call it."""

import re

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_HOST = re.compile(r"[a-z0-9._-]+")
# A browser leaves these out.
_DEFAULT_PORTS = (("http://", ":80"), ("https://", ":443"))


def origins(given: tuple[str, ...]) -> tuple[str, ...]:
    """Returns origins as a browser sends them.

    Raises:
        ValueError: One of them is none, and would never match.
    """
    return tuple(_origin(text) for text in given)


def host_names(given: tuple[str, ...]) -> tuple[str, ...]:
    """Returns names of hosts in lower case.

    Raises:
        ValueError: One of them is none, and would never match.
    """
    for text in given:
        if not _HOST.fullmatch(text.lower()):
            raise ValueError(f"{text!r:.80} is not a host name; write it without scheme and port, such as hub.example")
    return tuple(text.lower() for text in given)


def _origin(text: str) -> str:
    plain = text.lower().removesuffix("/")
    if not _ORIGIN.fullmatch(plain):
        raise ValueError(
            f"{text!r:.80} is not an origin; write scheme://host or scheme://host:port, such as "
            "https://tools.example.com"
        )
    for scheme, port in _DEFAULT_PORTS:
        if plain.startswith(scheme):
            return plain.removesuffix(port)
    return plain
