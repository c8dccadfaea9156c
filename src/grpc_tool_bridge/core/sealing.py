"""Seals the values of variables on their way into a durable store, and opens them on their way back."""

import logging

from google.protobuf.any_pb2 import Any

from grpc_tool_bridge.core.interfaces import ValueSealer
from grpc_tool_bridge.core.sealed import SEALED_TYPE, UnreadableValue, ValuePlace, missing_key

_log = logging.getLogger(__name__)


class StoreSealing:
    """What a store seals and opens values with.

    Args:
        sealer: Has the keys; None: there are none. Then values are stored as they are, and a log line says so for the
            first secret one.

    Attributes:
        sealer: As given.
        seals_all: Whether the values of all variables are sealed. Otherwise those of variables that are not secret need
            not be given to ``seal``.
    """

    __slots__ = ("_has_warned", "sealer", "seals_all")

    def __init__(self, sealer: ValueSealer | None = None) -> None:
        self.sealer = sealer
        self.seals_all = sealer is not None and sealer.seals_all
        self._has_warned = False

    def seal(self, value: Any | UnreadableValue, place: ValuePlace, *, secret: bool) -> Any:
        """Returns a value as the store is to keep it.

        Args:
            value: The value; one that could not be opened is stored as it was.
            place: Where it will be stored.
            secret: Whether its variable is secret.
        """
        if isinstance(value, UnreadableValue):
            return value.stored
        if self.sealer is not None:
            return self.sealer.seal(value, place, secret=secret) if secret or self.seals_all else value
        if secret and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "the values of secret variables are stored as they are, since there is no key to seal them with; set "
                "secrets_key_file to a file of grpc-tool-bridge secrets key"
            )
        return value

    def open(self, value: Any, place: ValuePlace, *, secret: bool) -> Any | UnreadableValue:
        """Returns a stored value as it was before it was sealed; arguments as for ``seal``."""
        if value.type_url != SEALED_TYPE:
            return value
        return missing_key(value) if self.sealer is None else self.sealer.open(value, place, secret=secret)
