"""What a request says: its JSON, its query, its headers."""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request

from grpc_tool_bridge.aio.timeouts import ExpiredError, within
from grpc_tool_bridge.errors import MessageTooLargeError, ValidationError
from grpc_tool_bridge.gateway.errors import HttpError
from grpc_tool_bridge.rpc.bounds import MAX_NAME_CHARS
from grpc_tool_bridge.rpc.nodes import SLOW_BYTES
from grpc_tool_bridge.values.offload import in_reader
from grpc_tool_bridge.values.tagged_json import loads
from grpc_tool_bridge.values.text import is_text

MAX_TIMEOUT_MS = 2**31 - 1
# Entries of a list of which only the first are told.
DEFAULT_LIMIT = 100
MAX_LIMIT = 1_000

MAX_COUNT = 2**31 - 1
MAX_REVISION = 2**63 - 1

_JSON = "application/json"
_TYPES: Mapping[type, str] = {
    str: "a string", bool: "true or false", list: "an array", dict: "an object",
}  # fmt: skip

# How a lone surrogate would be written, which no message can hold.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

_FLAGS: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False}


def path_name(request: Request, name: str) -> str:
    """Returns a part of the path, decoded: a name may have a slash in it."""
    return unquote(request.path_params[name])


async def read_json(request: Request, limit: int, seconds: float) -> Any:
    """Reads the body.

    Args:
        request: The request.
        limit: Bytes that it may have.
        seconds: Time that it may take to arrive.

    Raises:
        HttpError: It is not declared to be JSON, or does not arrive in time.
        MessageTooLargeError: It is over the limit.
        ResourceExhaustedError: The hub has no room for it.
        ValidationError: It is not JSON.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != _JSON:
        raise HttpError(
            415, "UnsupportedMediaType", f"the body must be {_JSON}; it is {declared or 'not declared'!r:.80}"
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HttpError(415, "UnsupportedMediaType", "the body must not be compressed")
    try:
        body = await within(_received(request, limit), seconds)
    except ExpiredError:
        raise HttpError(408, "TimeoutError", f"the body did not arrive within {seconds:g} s") from None
    except ClientDisconnect:
        raise HttpError(499, "Cancelled", "the client has gone") from None
    if not body:
        return {}
    try:
        text = body.decode()
        return await in_reader(lambda: _loaded(text)) if len(body) > SLOW_BYTES else _loaded(text)
    except ValueError as error:
        raise ValidationError(f"the body is not JSON: {error}") from None


async def _received(request: Request, limit: int) -> bytearray:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise MessageTooLargeError.of("the body", len(body), limit)
        # What is read of it takes as much again.
        request.scope["held"].resize(2 * len(body))
    return body


def _loaded(text: str) -> Any:
    if _SURROGATE.search(text):
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    return loads(text)


def fields_of(body: Any, **types: type) -> dict[str, Any]:
    """Checks a body: an object with some of these fields; returns those that it has and are not null.

    Raises:
        ValidationError: It is something else, or has other fields; the text names them.
    """
    if not isinstance(body, dict):
        raise ValidationError(f"the body must be an object with {_listed(types)}")
    unknown = sorted(body.keys() - types.keys())
    if unknown:
        raise ValidationError(f"the body has {', '.join(unknown)!r:.200}; it takes {_listed(types)}")
    given = {name: value for name, value in body.items() if value is not None}
    for name, value in given.items():
        wanted = types[name]
        if wanted is int:
            given[name] = _integer(name, value)
        elif not isinstance(value, wanted):
            raise ValidationError(f"{name} must be {_TYPES[wanted]}")
        # Values in their tagged form may be what JSON itself cannot have.
        elif isinstance(value, dict) and not all(map(_is_text, value)):
            raise ValidationError(f"the names in {name} must be strings without lone surrogates")
        elif isinstance(value, str) and not is_text(value):
            raise ValidationError(f"{name} must have no lone surrogates")
    return given


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and is_text(value)


def _integer(name: str, value: Any) -> int:
    # To JSON, 3.0 is an integer.
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if not isinstance(number, int) or isinstance(number, bool):
        raise ValidationError(f"{name} must be an integer")
    if not -MAX_COUNT <= number <= MAX_COUNT:
        raise ValidationError(f"{name} must be from {-MAX_COUNT:,} to {MAX_COUNT:,}, not {number:.6g}")
    return number


def index_of(given: Mapping[str, Any], position: int) -> int:
    """Returns ``index`` of an item; ``position`` if it is missing.

    Raises:
        ValidationError: It is less than 0.
    """
    index: int = given.get("index", position)
    if index < 0:
        raise ValidationError(f"index must be from 0 to {MAX_COUNT:,}, not {index:,}")
    return index


def timeout_of(given: Mapping[str, Any]) -> int:
    """Returns ``timeout_ms``; 0: the hub's default.

    Raises:
        ValidationError: It is not one that can be set.
    """
    timeout: int = given.get("timeout_ms", 0)
    if not 0 <= timeout <= MAX_TIMEOUT_MS:
        raise ValidationError(f"timeout_ms must be 0 (the default) to {MAX_TIMEOUT_MS:,}, not {timeout}")
    return timeout


def whole_number(text: str, limit: int) -> int | None:
    """Reads a whole number from 0 to ``limit``; None if it is not one."""
    # Longer ones are over any limit, and int() refuses very long ones.
    if not text.isdecimal() or len(text) > len(str(limit)):
        return None
    number = int(text)
    return number if number <= limit else None


def count_of(request: Request, name: str) -> int:
    """Returns a count in the query; 0 if it is missing.

    Raises:
        ValidationError: It is no number from 0 to ``MAX_COUNT``.
    """
    text = request.query_params.get(name, "0")
    count = whole_number(text, MAX_COUNT)
    if count is None:
        raise ValidationError(f"{name} must be a number from 0 to {MAX_COUNT:,}, not {text!r:.60}")
    return count


def limit_of(request: Request) -> int:
    """Returns ``?limit=``, how many entries a list has at most; ``DEFAULT_LIMIT`` if it is missing or 0.

    Raises:
        ValidationError: It is no number from 0 to ``MAX_LIMIT``.
    """
    limit = count_of(request, "limit") or DEFAULT_LIMIT
    if limit > MAX_LIMIT:
        raise ValidationError(f"limit must be 0 (the default, {DEFAULT_LIMIT}) to {MAX_LIMIT:,}, not {limit:,}")
    return limit


def flag_of(request: Request, name: str, *, default: bool = False) -> bool:
    """Returns a flag in the query.

    Raises:
        ValidationError: It is neither true nor false.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if text.lower() not in _FLAGS:
        raise ValidationError(f"{name} must be true or false, not {text!r:.60}")
    return _FLAGS[text.lower()]


def name_of(request: Request, name: str) -> str:
    """Returns a name, an id or the beginning of one in the query; empty if it is missing.

    Raises:
        ValidationError: It is longer than any name.
    """
    text = request.query_params.get(name, "")
    if len(text) > MAX_NAME_CHARS:
        raise ValidationError(f"{name} has {len(text):,} characters; names have at most {MAX_NAME_CHARS}")
    return text


def texts_of(name: str, given: Mapping[str, Any]) -> dict[str, str]:
    """Checks that an object has strings alone.

    Raises:
        ValidationError: It has something else.
    """
    for value in given.values():
        if not _is_text(value):
            raise ValidationError(f"the values of {name} must be strings without lone surrogates")
    return dict(given)


def names_of(request: Request, name: str) -> list[str]:
    """Returns the names in the query that are separated by commas; none if it is missing."""
    return [item for item in request.query_params.get(name, "").split(",") if item]


def _listed(types: Mapping[str, type]) -> str:
    return ", ".join(types) if types else "no fields"
