"""Arguments and results as JSON, without secrets, for the lines of those who ask for them."""

import json
from collections.abc import Sequence
from typing import Any

from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.values.redaction import REDACTED, Redactor, TooManySecretsError
from grpc_tool_bridge.values.serialization import deserialize_value
from grpc_tool_bridge.values.tagged_json import to_json


class AuditedValues:
    """Writes values.

    Args:
        names: As for ``Redactor``.
        patterns: Likewise.
        most_chars: Longer ones are left out.
    """

    def __init__(self, names: Sequence[str], patterns: Sequence[str], most_chars: int) -> None:
        self._names = names
        self._patterns = patterns
        self._most_chars = most_chars
        self._redactor = self._new()

    def _new(self) -> Redactor:
        return Redactor(self._names, patterns=self._patterns)

    def arguments(self, request: Any, spec: ToolSpec | None) -> str:
        """Returns the field of the arguments of a request, after a comma; empty if it has none.

        Args:
            request: The request, or what stands for it.
            spec: The tool's, for the names of arguments by position; None: not known.
        """
        if not hasattr(request, "kwargs") or not hasattr(request, "args"):
            return ""
        size = sum(len(value.value) for value in (*request.args, *request.kwargs.values()))
        if size > self._most_chars:
            return f',"arguments_left_out":{size}'
        names = [argument.name for argument in spec.arguments] if spec is not None else []
        redactor = self._redactor
        try:
            args = [
                redactor.json(_plain(value), secret=_is_secret(redactor, names, place))
                for place, value in enumerate(request.args)
            ]
            kwargs = {name: _plain(value) for name, value in request.kwargs.items()}
            written = {"args": args, "kwargs": redactor.json(kwargs)}
        except TooManySecretsError:
            return self._renew("arguments")
        return self._field("arguments", written)

    def inputs(self, inputs: Any) -> str:
        """Returns the field of the inputs of an agent's run, which are JSON already."""
        try:
            return self._field("arguments", {"kwargs": self._redactor.json(inputs)})
        except TooManySecretsError:
            return self._renew("arguments")

    def result(self, result: Any) -> str:
        """Returns the field of the result of a call, an Any; empty if there is none or it is large."""
        if result is None:
            return ""
        if len(result.value) > self._most_chars:
            return f',"result_left_out":{len(result.value)}'
        try:
            return self._field("result", self._redactor.json(_plain(result)))
        except TooManySecretsError:
            return self._renew("result")

    def _renew(self, name: str) -> str:
        """Forgets the secrets that were seen, of which there are too many, and tells nothing of this value."""
        self._redactor = self._new()
        return f',"{name}":"{REDACTED}"'

    def _field(self, name: str, value: Any) -> str:
        text = json.dumps(value, separators=(",", ":"))
        if len(text) > self._most_chars:
            return f',"{name}_left_out":{len(text)}'
        return f',"{name}":{text}'


def _is_secret(redactor: Redactor, names: list[str], place: int) -> bool:
    # All that have no name of their own have the last one's.
    return bool(names) and redactor.is_secret(names[min(place, len(names) - 1)])


def _plain(value: Any) -> Any:
    try:
        return to_json(deserialize_value(value))
    except (ToolBridgeError, ValueError, RecursionError):
        return {"$type": value.type_url, "value": None}
