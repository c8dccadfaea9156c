"""JSON as people keep it in settings: VS Code's has comments, and commas after the last item."""

import json
import re
from typing import Any

from grpc_tool_bridge.errors import ValidationError

_TEXT = r'"(?:[^"\\\n]|\\.)*"'
_COMMENT = re.compile(rf"({_TEXT})|//[^\n]*|/\*.*?\*/", re.DOTALL)
_LAST_COMMA = re.compile(rf"({_TEXT})|,(?=\s*[}}\]])")


def read_config_json(data: bytes) -> Any:
    """Reads JSON, with comments and commas after the last item or without.

    Raises:
        ValidationError: It is not JSON; the text says where and why, and repeats no value, which may be secret.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValidationError("not valid JSON: it is not encoded in UTF-8") from None
    try:
        return json.loads(text)
    except RecursionError:
        raise ValidationError("not valid JSON: it is nested too deeply") from None
    except ValueError:
        plain = _LAST_COMMA.sub(r"\1", _COMMENT.sub(_blank, text))
    try:
        return json.loads(plain)
    except (ValueError, RecursionError) as error:
        raise ValidationError(f"not valid JSON{_why(error)}") from None


def _blank(match: re.Match[str]) -> str:
    """Removes a comment, and keeps its lines, which errors count."""
    return match[1] or "\n" * match[0].count("\n") or " "


def _why(error: Exception) -> str:
    if not isinstance(error, json.JSONDecodeError):
        return ""
    what = "write a backslash twice" if "escape" in error.msg else error.msg.lower()
    return f" (line {error.lineno}, column {error.colno}): {what}"
