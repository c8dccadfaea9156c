"""Removes secrets from what is recorded, before it is written.

A secret is found by its name (an argument, a key, a variable), by its form (a bearer token, a private key), or because
it was a secret before: its value is then removed wherever it appears, such as in errors and prompts.
"""

import base64
import json
import re
from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from fnmatch import translate
from pathlib import Path
from typing import Any
from urllib.parse import quote

REDACTED = "[redacted]"

# Shorter values would remove common words from every text.
MIN_SECRET_CHARS = 4
# More would make every text slow to search, so the recording ends.
MAX_SECRETS = 1_000
_MAX_FORMS = 5 * MAX_SECRETS
# Characters of a text, for each known secret, up to which it is searched from its start: for a short text, or many
# secrets, that is faster than to look for each secret.
_SCANNED_CHARS = 8

# Parts of a name: "accessToken", "access-token" and "ACCESS_TOKEN" are "access" and "token".
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRET_PARTS = frozenset({"token", "secret", "secrets", "auth", "pwd", "credentials"})
_SECRET_WORDS = re.compile(
    "password|passwd|passphrase|apikey|authorization|credential|privatekey|accesskey|secretkey|bearer|cookie"
)
# Each begins where a word begins and has a bound, so that no text takes quadratic time.
_FORMS = (
    (re.compile(r"(?i)\b(bearer|basic)( {1,3})[a-z0-9._~+/=-]{8,}"), rf"\1\2{REDACTED}"),
    (
        re.compile(
            r"(?i)((?:password|passwd|passphrase|secret|api[_-]?key|token|authorization)"
            r"\\?[\"']?\s{0,3}[:=]\s{0,3}\\?[\"']?)(?!\[redacted|bearer|basic)[^\s\"',;&}\\]{4,}"
        ),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"(://)[^/\s@\"']{1,200}@"), rf"\1{REDACTED}@"),
    (
        re.compile(
            r"(?<![\w-])(?:(?:sk|pk|rk)-[\w-]{16,}|gh[pousr]_\w{20,}|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}"
            r"|gtbk1\.[0-9a-f]{12}\.[\w-]{20,}|eyJ[\w-]{5,4096}\.[\w-]{2,4096}\.[\w-]{2,4096})"
        ),
        REDACTED,
    ),
    (
        re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^-]{0,16384}(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?"),
        REDACTED,
    ),
)


class TooManySecretsError(Exception):
    """More different secrets were seen than can be searched for."""


class KnownTexts:
    """Texts that are to be removed from others; the longest first, so that no part of one is left."""

    def __init__(self) -> None:
        self._texts: set[str] = set()
        self._longest_first: list[str] = []
        # By their first characters.
        self._by_start: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def __contains__(self, text: str) -> bool:
        return text in self._texts

    def add(self, text: str) -> None:
        """Adds a text of at least MIN_SECRET_CHARS characters."""
        if text in self._texts:
            return
        self._texts.add(text)
        insort(self._longest_first, text, key=_by_length)
        insort(self._by_start.setdefault(text[:MIN_SECRET_CHARS], []), text, key=_by_length)

    def removed_from(self, text: str) -> str:
        """Returns a text without them."""
        if len(text) <= _SCANNED_CHARS * len(self._texts):
            return self._scanned(text)
        for known in self._longest_first:
            if known in text:
                text = text.replace(known, REDACTED)
        return text

    def _scanned(self, text: str) -> str:
        parts: list[str] = []
        kept = at = 0
        while at <= len(text) - MIN_SECRET_CHARS:
            for known in self._by_start.get(text[at : at + MIN_SECRET_CHARS], ()):
                if text.startswith(known, at):
                    parts += [text[kept:at], REDACTED]
                    kept = at = at + len(known)
                    break
            else:
                at += 1
        return "".join([*parts, text[kept:]]) if parts else text


def _by_length(text: str) -> tuple[int, str]:
    return -len(text), text


class Redactor:
    """Decides what is secret, and removes it.

    Args:
        names: Further names whose values are secret, besides those such as ``password`` and ``api_key``. Case is
            ignored; ``*`` and ``?`` match as in file names.
        patterns: Further regular expressions; what they match in any text is removed.
        function: Called with each text that is recorded; returns it without what is secret.

    Raises:
        ValueError: A pattern is not a regular expression.
    """

    def __init__(
        self,
        names: Iterable[str] = (),
        *,
        patterns: Iterable[str] = (),
        function: Callable[[str], str] | None = None,
    ) -> None:
        own = [translate(name.lower()) for name in names]
        self._names = re.compile("|".join(own)) if own else None
        try:
            self._forms = (*_FORMS, *((re.compile(pattern), REDACTED) for pattern in patterns))
        except re.error as error:
            raise ValueError(f"a pattern to redact is not a regular expression: {error}") from None
        self._function = function
        self._known = KnownTexts()

    def is_secret(self, name: str) -> bool:
        """Returns whether the values of a name are secret."""
        if self._names is not None and self._names.fullmatch(name.lower()):
            return True
        parts = [part.lower() for part in _PARTS.findall(name)]
        return not _SECRET_PARTS.isdisjoint(parts) or _SECRET_WORDS.search("".join(parts)) is not None

    def json(self, value: Any, *, secret: bool = False) -> Any:
        """Returns a value, as JSON, without what is secret.

        Args:
            value: What ``json.dumps`` takes.
            secret: Whether all of it is secret.
        """
        if secret:
            self.remember(value)
            return REDACTED if value is not None else None
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.json(item) for item in value]
        if not isinstance(value, dict):
            return REDACTED if type(value) in (int, float) and str(value) in self._known else value
        if value.keys() == {"$type", "value"}:
            return {"$type": value["$type"], "value": self._tagged(value["$type"], value["value"])}
        return {self.text(key): self.json(item, secret=self.is_secret(key)) for key, item in value.items()}

    def _tagged(self, kind: Any, value: Any) -> Any:
        """Returns the content of a tagged value without what is secret in its pairs or columns."""
        if kind == "dict" and isinstance(value, list):
            return [
                [self.json(key), self.json(item, secret=isinstance(key, str) and self.is_secret(key))]
                for key, item in value
            ]
        if isinstance(value, dict) and {"columns", "rows"} <= value.keys():
            hidden = [isinstance(name, str) and self.is_secret(name) for name in value["columns"]]
            rows = [
                [self.json(cell, secret=secret) for cell, secret in zip(row, hidden, strict=False)]
                for row in value["rows"]
            ]
            return {**self.json({key: item for key, item in value.items() if key != "rows"}), "rows": rows}
        return self.json(value)

    def text(self, text: str, *, forms: bool = True) -> str:
        """Returns a text without the secrets that are known and, if ``forms``, without what looks like one."""
        if self._function is not None:
            text = self._function(text)
        text = self._known.removed_from(text)
        if forms:
            for pattern, replacement in self._forms:
                text = pattern.sub(replacement, text)
        return text

    def remember(self, value: Any) -> None:
        """Removes a value, and each text in it, from everything that follows.

        Raises:
            TooManySecretsError: There are too many.
        """
        if isinstance(value, list):
            for item in value:
                self.remember(item)
        elif isinstance(value, dict):
            if value.get("$type") == "bytes" and isinstance(value.get("value"), str):
                self._remember(base64.b64decode(value["value"]).decode("utf-8", "replace"))
            for name, item in value.items():
                if name != "$type":
                    self.remember(item)
        elif isinstance(value, str):
            self._remember(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self._remember(str(value))

    def _remember(self, secret: str) -> None:
        if len(secret) < MIN_SECRET_CHARS or secret in REDACTED:
            return
        data = secret.encode("utf-8", "surrogatepass")
        # As it is written in a header, in an error, in JSON, and in an address.
        for form in (
            secret,
            base64.b64encode(data).decode(),
            repr(secret)[1:-1],
            json.dumps(secret)[1:-1],
            quote(data),
        ):
            self._known.add(form)
        if len(self._known) > _MAX_FORMS:
            raise TooManySecretsError(f"more than {MAX_SECRETS:,} different secrets were recorded; redact fewer names")

    @property
    def known(self) -> int:
        """Number of the secrets that are known, in all their forms."""
        return len(self._known)


def secrets_in(environment: Mapping[str, str], redactor: Redactor) -> None:
    """Makes the secrets of a process's environment known: API keys that end in an error or a prompt."""
    for name, value in environment.items():
        # A path is not one: "PWD" is where the process was started.
        if len(value) >= 2 * MIN_SECRET_CHARS and redactor.is_secret(name) and not Path(value).is_absolute():
            redactor.remember(value)
