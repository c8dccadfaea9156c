"""A message of the stream, and the answers of JetStream that hold one."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nats.aio.msg import Msg

from grpc_tool_bridge.errors import StoreError

EXPECTED_LAST = "Nats-Expected-Last-Subject-Sequence"
# Of the sender: it recognises by it what it has sent. Not Nats-Msg-Id, which costs the server a table of all of them:
# a message that expects what comes before it cannot be stored twice.
MESSAGE_ID = "Bridge-Id"
# Only the newest message of the subject stays.
ROLLUP = {"Nats-Rollup": "sub"}

_DIGITS = re.compile("[0-9]{1,20}")

_SEQUENCE = "Nats-Sequence"
_SUBJECT = "Nats-Subject"


def keep_for(seconds: float) -> dict[str, str]:
    """Returns the header of a message that the server deletes after a time, of a second at least."""
    return {"Nats-TTL": f"{max(1, round(seconds))}s"}


@dataclass(frozen=True, slots=True)
class Message:
    """A message that is stored.

    Attributes:
        subject: Its subject.
        sequence: Its number in the stream.
        data: Its payload.
        headers: Its headers.
    """

    subject: str
    sequence: int
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def previous(self) -> int | None:
        """The sequence of the message before it on its subject, if its sender stated that; 0: it was the first."""
        expected = self.headers.get(EXPECTED_LAST, "")
        # The server takes what is no number for none.
        return int(expected) if _DIGITS.fullmatch(expected) else None

    @property
    def message_id(self) -> str | None:
        """The id that its sender gave it."""
        return self.headers.get(MESSAGE_ID)


def from_direct(message: Msg) -> Message:
    """Reads the answer to a direct get.

    Raises:
        StoreError: It has no subject or sequence: whoever sent what is stored gave it headers that cannot be read.
    """
    headers = {str(name): value for name, value in (message.headers or {}).items()}
    try:
        return Message(headers[_SUBJECT], int(headers[_SEQUENCE]), message.data, headers)
    except (KeyError, ValueError):
        raise StoreError("a message in NATS has headers that cannot be read: no hub has sent it") from None


def from_api(found: Mapping[str, Any]) -> Message:
    """Reads the answer to a get through the stream's leader."""
    headers: dict[str, str] = {}
    for line in base64.b64decode(found.get("hdrs", "")).decode("utf-8", "replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip()] = value.strip()
    return Message(found["subject"], found["seq"], base64.b64decode(found.get("data", "")), headers)


def from_watch(message: Msg) -> Message:
    """Reads a message that a consumer delivered, whose reply subject tells where it stands in the stream."""
    headers = {str(name): value for name, value in (message.headers or {}).items()}
    return Message(message.subject, message.metadata.sequence.stream, message.data, headers)


def encoded(request: Mapping[str, Any]) -> bytes:
    """Returns a request to the API of JetStream."""
    return json.dumps(request).encode()
