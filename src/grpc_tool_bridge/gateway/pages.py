"""Pages for people: HTML of the package, which loads nothing from elsewhere and runs no scripts but its own."""

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files

from starlette.responses import Response

_HEADERS: Mapping[str, str] = {
    # After a log-out nothing of it is left in the browser.
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
}


class Page:
    """A page; it is read when it is first shown.

    Args:
        name: Its file, beside this module.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._read: tuple[str, Mapping[str, str]] | None = None

    def response(self, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """Returns the response that shows it, with further headers."""
        if self._read is None:
            text = files(__package__).joinpath(self._name).read_text(encoding="utf-8")
            self._read = text, {**_HEADERS, "content-security-policy": content_policy(text)}
        text, own = self._read
        return Response(text, status, {**own, **(headers or {})}, media_type="text/html")


def content_policy(page: str) -> str:
    """Returns a content security policy that allows only the page's own scripts and styles, and calls to its origin."""
    inline = "; ".join(f"{tag}-src {' '.join(_hashes(page, tag))}" for tag in ("script", "style"))
    rest = "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    return f"default-src 'none'; {inline}; {rest}; require-trusted-types-for 'script'; trusted-types 'none'"


def _hashes(page: str, tag: str) -> list[str]:
    parts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" for part in parts]
