"""The fields of a log record, as text on its line and as an attribute for other formats.

A record that is made with ``extra=log_extra(…)`` has ``event``, its message without the fields, and ``fields``, which
``--log-format json`` writes as a part of the object.
"""

import json
from collections.abc import Mapping
from typing import Any

# Of one field, on a line.
MAX_FIELD_CHARS = 1_000

_PUNCTUATION = frozenset("_-.:/@+")


def log_extra(event: str, fields: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Returns the attributes of a record: its message without the fields, the fields, and ``more``."""
    return {"event": event, "fields": dict(fields), **more}


def fields_text(fields: Mapping[str, Any]) -> str:
    """Writes fields as ``name=value``, separated by spaces, on one line.

    A value that is not a plain word is quoted like a text in JSON, so that no text can pass for another field or line.
    """
    return " ".join(f"{_quoted(name)}={_quoted(value)}" for name, value in fields.items())


def _quoted(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    if len(text) > MAX_FIELD_CHARS:
        text = f"{text[: MAX_FIELD_CHARS - 1]}…"
    if text and all(char.isalnum() or char in _PUNCTUATION for char in text):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())
