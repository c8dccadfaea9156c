"""Questions that a tool asks its caller, and their answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from google.protobuf.struct_pb2 import Struct

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.errors.clipped_repr import clipped_repr
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.asks import check_answer_size, check_ask
from grpc_tool_bridge.tools.content_schemas import fitting_content, schema_text

Action = Literal["accept", "decline", "cancel"]

_ACTIONS = ("accept", "decline", "cancel")


@dataclass(frozen=True, slots=True)
class Question:
    """A question of a tool.

    Attributes:
        message: For a person to read.
        schema: JSON Schema of the requested content, an object of plain properties; None: only acceptance is asked
            for.
        tool_id: The tool that was called, which may have called the one that asks; empty for a batch and an agent's
            run, which call several.
    """

    message: str
    schema: dict[str, Any] | None = None
    tool_id: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a tool's question.

    Attributes:
        action: "accept", "decline", or "cancel" (neither accepted nor declined).
        content: The accepted content; otherwise empty.

    Raises:
        ValidationError: The action is unknown, or has content although it is not "accept".
    """

    action: Action
    content: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.action not in _ACTIONS:
            raise ValidationError(
                f"the answer's action must be 'accept', 'decline' or 'cancel', not {clipped_repr(self.action, 60)}"
            )
        if not isinstance(self.content, dict):
            raise ValidationError(f"the answer's content must be a dict, not {clipped_repr(self.content, 60)}")
        if self.content and self.action != "accept":
            raise ValidationError(f"an answer with the action {self.action!r} must not have content; omit it")

    @property
    def accepted(self) -> bool:
        """Whether the question was accepted."""
        return self.action == "accept"


def ask_of(message: str, schema: Mapping[str, Any] | None) -> pb.Ask:
    """Writes a question for the wire.

    Raises:
        ValidationError: It is too long, or the schema is not valid for a question.
    """
    question = pb.Ask(message=message, schema="" if schema is None else schema_text(schema))
    check_ask(question)
    return question


def plain_answer(answer: Answer, ask_id: str = "") -> pb.Answer:
    """Writes an answer, whose content fits its question, for the wire."""
    made = pb.Answer(id=ask_id, action=answer.action)
    if answer.content:
        made.content.update(answer.content)
    return made


def answer_of(given: Any, what: str, *, must: str = "must return") -> Answer:
    """Returns the answer that a program gives as an Answer, a dict, True, False or None.

    Raises:
        ValidationError: It is none of them; the text begins with ``what``, and says what it ``must``.
    """
    if isinstance(given, Answer):
        return given
    if given is None or given is False:
        return Answer("decline")
    if given is True:
        return Answer("accept")
    if isinstance(given, Mapping):
        return Answer("accept", dict(given))
    raise ValidationError(
        f"{what} {clipped_repr(given, 60)}; it {must} a dict (accept, with this content), True (accept), False or None "
        "(decline), or an Answer"
    )


def checked_answer(answer: pb.Answer, schema: Mapping[str, Any] | None) -> Answer:
    """Reads an answer as received, from any peer.

    Raises:
        ValidationError: It is not a valid answer, or its content does not fit the schema; the text says why.
    """
    check_answer_size(answer)
    if answer.action != "accept":
        # Any content that came with it is ignored.
        return Answer(cast("Action", answer.action))
    return Answer("accept", fitting_content(_plain_content(answer.content), schema))


def _plain_content(content: Struct) -> dict[str, Any]:
    return {name: _plain_value(value) for name, value in content.fields.items()}


def _plain_value(value: Any) -> Any:
    """Reads a plain value of a Struct, or a list of them; any other becomes something that fits no property."""
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        return [
            _plain_value(item) if item.WhichOneof("kind") != "list_value" else {} for item in value.list_value.values
        ]
    if kind in ("string_value", "number_value", "bool_value"):
        return getattr(value, kind)
    return {} if kind == "struct_value" else None
