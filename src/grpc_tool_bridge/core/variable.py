"""A variable at one revision, and one change of a variable."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from grpc_tool_bridge.proto.dspex_bridge_pb2 import VariableInfo, VariableMetadata

_TYPE_NAMES = {
    "google.protobuf.StringValue": "str",
    "google.protobuf.Int64Value": "int",
    "google.protobuf.DoubleValue": "float",
    "google.protobuf.BoolValue": "bool",
    "google.protobuf.BytesValue": "bytes",
    "google.protobuf.Value": "NoneType",
    "google.protobuf.ListValue": "list",
    "google.protobuf.Struct": "dict",
}


@dataclass(slots=True)
class Variable:
    """One variable at one revision. A change creates a new object, so that a list of variables stays consistent.

    Nothing changes one. It is not frozen since each write creates one, and that would take eight times as long.

    Attributes:
        value: The value, which the store does not inspect. It may be secret, so the repr does not show it.
        size: Bytes charged for the value.
        held: Bytes charged for the value and the metadata.
        created_at, updated_at: Seconds since the epoch.
        revision: The revision of the last change.
        secret: Whether listings, logs and dashboards hide its value; once set, it stays set until the variable is
            deleted.
    """

    name: str
    value: Any = field(repr=False)
    type: str
    size: int
    created_at: float
    updated_at: float
    revision: int
    held: int = 0
    created_by: str = ""
    secret: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)

    def metadata(self) -> VariableMetadata:
        """Returns the metadata as a message."""
        message = VariableMetadata()
        self._fill(message)
        return message

    def info(self) -> VariableInfo:
        """Returns the entry of a listing."""
        message = VariableInfo()
        self.describe(message)
        return message

    def describe(self, info: VariableInfo) -> None:
        """Fills in the entry of a listing."""
        info.name, info.type, info.size_bytes = self.name, self.type, self.size
        self._fill(info.metadata)

    def _fill(self, message: VariableMetadata) -> None:
        message.type, message.revision = self.type, self.revision
        message.created_by, message.secret = self.created_by, self.secret
        if self.tags:
            message.tags.update(self.tags)
        for stamp, seconds in ((message.created_at, self.created_at), (message.updated_at, self.updated_at)):
            micros = int(seconds * 1e6)
            stamp.seconds, stamp.nanos = micros // 1_000_000, micros % 1_000_000 * 1_000

    def has_tags(self, tags: Collection["WantedTag"]) -> bool:
        """Returns whether it has all of ``tags``."""
        own = self.tags
        return all(key in own and (value is None or own[key] == value) for key, value in tags)


# A key and a value; None: any value.
WantedTag = tuple[str, str | None]


def wanted_tag(text: str) -> WantedTag:
    """Parses a tag to search for, "key" or "key=value"."""
    key, equals, value = text.partition("=")
    return key, value if equals else None


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a variable, as a watch reports it.

    Attributes:
        operation: "set" (new), "update", "delete", or "reset": the current values follow as "set".
        timestamp: Seconds since the epoch.
        previous: The variable's previous revision; 0 if it is new.
        secret: Whether the variable is secret. Where it became secret later, this is true as well.
    """

    operation: str
    name: str
    value: Any = field(repr=False)
    revision: int
    timestamp: float
    size: int = 0
    previous: int = 0
    secret: bool = False


def type_name(type_url: str) -> str:
    """Returns the type name of an encoded value: its Python name, or the last part of its type URL."""
    full_name = type_url.rpartition("/")[2]
    return _TYPE_NAMES.get(full_name, full_name)
