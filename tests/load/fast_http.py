"""What the users of ``locustfile.py`` need of locust's FastHttpUser, and it lacks.

A response has ``iter_lines``, as that of ``requests`` has, and statistics are by route: without it, each session would
have rows of its own.
"""

import re
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from locust.contrib.fasthttp import FastHttpSession, FastResponse

_SESSION = re.compile(r"(?<=/sessions/)[^/]+")
_TOOL = re.compile(r"(?<=/tools/)[^/]+(?=/execute)")


def iter_lines(response: FastResponse) -> Iterator[bytes]:
    """Reads the lines of a response as they arrive, and leaves when the reader does."""
    try:
        rest = b""
        for data in _parts(response):
            *lines, rest = (rest + data).split(b"\n")
            yield from lines
        if rest:
            yield rest
    finally:
        response.release()


def _parts(response: Any) -> Iterator[bytes]:
    yield from response.iter_content(decode_content=False)


def by_route(request: Callable[..., Any]) -> Callable[..., Any]:
    """Names each request by its route."""

    @wraps(request)
    def named(session: FastHttpSession, method: str, url: str, name: str | None = None, **options: Any) -> Any:
        return request(session, method, url, name=name or route_of(url), **options)

    return named


def route_of(url: str) -> str:
    """Returns the route that a path belongs to."""
    return _TOOL.sub("{tool}", _SESSION.sub("{sid}", url))


FastResponse.iter_lines = iter_lines  # type: ignore[attr-defined]  # it is what is added
FastHttpSession.request = by_route(FastHttpSession.request)  # type: ignore[method-assign]  # locust has no hook for names
