"""A variable of a session without its value, as it stands in a list."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from google.protobuf.timestamp_pb2 import Timestamp

from grpc_tool_bridge.errors import ProtocolError, SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import VariableInfo, VariableMetadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable of a session, without its value; ``list_variables`` returns them.

    Attributes:
        name: 1 to 256 printable characters.
        type: What the writer has called its type; by default the Python type of the value, such as "float".
        size: Bytes of the encoded value.
        revision: The revision of its last change; revisions rise throughout the session.
        tags: As the last writer that gave some has set them; empty by default.
        secret: Whether its value is hidden from listings, logs and dashboards.
        created: When it was created, in UTC; None if the hub did not say.
        updated: When it was last changed, in UTC; None if the hub did not say.
        created_by: Who created it, if a writer has said so; empty by default.
    """

    name: str
    type: str
    size: int
    revision: int
    tags: Mapping[str, str]
    secret: bool
    created: datetime | None
    updated: datetime | None
    created_by: str

    @classmethod
    def of(cls, info: VariableInfo) -> Self:
        """Reads a variable as it comes over the wire.

        Raises:
            ProtocolError: A time is none.
        """
        metadata = info.metadata
        try:
            created = metadata.created_at.ToDatetime(UTC) if metadata.HasField("created_at") else None
            updated = metadata.updated_at.ToDatetime(UTC) if metadata.HasField("updated_at") else None
        except (ValueError, OverflowError) as error:
            raise ProtocolError(f"variable {info.name!r:.80} in a list has an invalid time: {error}") from None
        return cls(
            name=info.name,
            type=info.type,
            size=info.size_bytes,
            revision=metadata.revision,
            tags=dict(metadata.tags),
            secret=metadata.secret,
            created=created,
            updated=updated,
            created_by=metadata.created_by,
        )

    @property
    def size_bytes(self) -> int:
        """The same as ``size``, as it is called on the wire."""
        return self.size

    @property
    def metadata(self) -> VariableMetadata:
        """The same facts as a message of the wire, such as ``set_variable`` takes."""
        made = VariableMetadata(
            type=self.type,
            created_by=self.created_by,
            tags=self.tags,
            revision=self.revision,
            secret=self.secret,
        )
        for name, moment in (("created_at", self.created), ("updated_at", self.updated)):
            if moment is not None:
                stamp = Timestamp()
                stamp.FromDatetime(moment)
                getattr(made, name).CopyFrom(stamp)
        return made

    def message(self) -> VariableInfo:
        """Writes it as it goes over the wire."""
        return VariableInfo(name=self.name, type=self.type, size_bytes=self.size, metadata=self.metadata)


def unreadable_secret(name: str, error: SerializationError) -> SerializationError:
    """Returns the error for a secret variable whose value is not one of its type: without a piece of the value."""
    text = f"the value of the secret variable {name!r:.80} is not one of its type; set it anew"
    return SerializationError(text, error_type=error.error_type)
