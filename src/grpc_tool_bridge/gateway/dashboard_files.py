"""The dashboard: a page and its modules, files of the package that a browser takes as they are."""

import gzip
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from grpc_tool_bridge.gateway.bodies import path_name
from grpc_tool_bridge.gateway.errors import HttpError

# Nothing from elsewhere, nothing inline, and no text can become markup or a script.
CONTENT_POLICY = (
    "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

_FOLDER = "dashboard"
_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Not of weight 0 (RFC 9110, 12.5.3).
_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)
_HEADERS: Mapping[str, str] = {
    # It may be kept, and is asked for again only if it has changed.
    "cache-control": "no-cache",
    "content-security-policy": CONTENT_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
    "vary": "accept-encoding",
}


class _File(NamedTuple):
    content: bytes
    packed: bytes
    tag: str
    media_type: str


class DashboardFiles:
    """The routes of ``/`` and of the files that it loads from ``/dashboard/``."""

    async def page(self, request: Request) -> Response:
        """Shows the dashboard: what goes on in the hub, in a browser."""
        return _response(request, _found()["index.html"])

    async def file(self, request: Request) -> Response:
        """Returns a file of the dashboard."""
        name = path_name(request, "file")
        found = _found().get(name)
        if found is None:
            raise HttpError(404, "RouteNotFound", f"the dashboard has no file {name!r:.80}")
        return _response(request, found)


def _response(request: Request, file: _File) -> Response:
    headers = {**_HEADERS, "etag": file.tag}
    if file.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = file.content
    if _GZIP.search(request.headers.get("accept-encoding", "")):
        content, headers["content-encoding"] = file.packed, "gzip"
    return Response(content, headers=headers, media_type=file.media_type)


@cache
def _found() -> Mapping[str, _File]:
    """Returns all files by their paths; they are read when the first one is asked for."""
    return dict(_read(files(__package__).joinpath(_FOLDER), ""))


def _read(folder: Traversable, prefix: str) -> list[tuple[str, _File]]:
    found: list[tuple[str, _File]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found.extend(_read(entry, f"{prefix}{entry.name}/"))
            continue
        media_type = _TYPES.get(entry.name[entry.name.rfind(".") :])
        if media_type is not None:
            content = entry.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found.append((f"{prefix}{entry.name}", _File(content, gzip.compress(content), tag, media_type)))
    return found
