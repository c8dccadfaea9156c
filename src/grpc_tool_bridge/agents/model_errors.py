"""What the reader of a run is told about an error of the model: its class and message, without API keys."""

import os
import re

from dspy.utils.exceptions import AdapterParseError, DSPyError, LMNotConfiguredError, is_retryable_lm_error

from grpc_tool_bridge.errors import ToolBridgeError, wire_text

_MAX_TEXT = 500
# API keys in the form of the providers.
_KEY_TEXT = re.compile(r"\b(?:sk|pk|rk|gsk|xai|key)[-_][\w*.-]{4,}|(?i:\bbearer\s+)\S+|\bAIza[\w-]{10,}")
# The user information of a URL.
_USER = re.compile(r"(?<=//)[^/\s@]+@")
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL")
_MIN_SECRET = 6
_KEY_NAME = re.compile(r"\b[A-Z][A-Z0-9_]*_(?:KEY|TOKEN)\b")
# The rest of a text is for programs that use DSPy directly, or names files.
_REST = re.compile(r"\n\n  To fix:|Traceback \(most recent call last\)")


def model_error(error: BaseException) -> ToolBridgeError | None:
    """Returns the error that the reader of a run gets for an error of the model; None for other errors.

    It has the class and the message, but neither keys nor prompts.
    """
    if isinstance(error, AdapterParseError):
        wanted = ", ".join(error.signature.output_fields)
        return answer_error(f"it needs the fields {wanted}; it was {shown(error.lm_response)!r}")
    if not isinstance(error, DSPyError):
        return None
    details = {"class": type(error).__name__}
    for name in ("model", "provider", "status", "retry_after"):
        value = getattr(error, name, None)
        if value is not None:
            details[name] = str(value)
    said = _REST.split(str(error), maxsplit=1)[0]
    text = f"{type(error).__name__}: {shown(said)}"
    keys = dict.fromkeys(_KEY_NAME.findall(said)) if isinstance(error, LMNotConfiguredError) else {}
    if keys:
        text = (
            f"the agent runtime has no key for {error.model or 'the model'}; its environment needs {' or '.join(keys)}"
        )
    return ToolBridgeError(
        text,
        error_type="ModelError",
        details=details,
        retryable=is_retryable_lm_error(error),
    )


def answer_error(why: str) -> ToolBridgeError:
    """Returns the error for an answer that could not be read."""
    return ToolBridgeError(f"the model's answer could not be read: {why}", error_type="ModelAnswerError")


def shown(text: str) -> str:
    """Clips a foreign text and removes keys from it, so that it can be shown."""
    for name, value in os.environ.items():
        if len(value) >= _MIN_SECRET and _SECRET_NAME.search(name.upper()):
            text = text.replace(value, "***")
    return wire_text(_USER.sub("***@", _KEY_TEXT.sub("***", text)), _MAX_TEXT)
