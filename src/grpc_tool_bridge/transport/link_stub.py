"""The generated stub's methods over a link."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from grpc_tool_bridge.link.envelopes import call_prefix
from grpc_tool_bridge.rpc.methods import METHODS, Method
from grpc_tool_bridge.transport.link_calls import LinkCall, LinkStreamCall, LinkUnaryCall

Metadata = Iterable[tuple[str, str | bytes]]


class Starter(Protocol):
    """What begins calls."""

    def start(self, call: LinkCall, request: Any, /) -> None:
        """Sends a call, now or when there is a link that takes it."""


class LinkStub:
    """Has every method of the generated stub, with gRPC's own semantics, and sends them over a link.

    A call that finds no link waits for one within its own time; ``wait_for_ready=False`` lets it fail at once. Of
    gRPC's other arguments ``timeout`` and ``metadata`` (of text) are taken; compression and credentials belong to the
    connection.

    Args:
        starter: What begins the calls.
    """

    def __init__(self, starter: Starter) -> None:
        for name, method in METHODS.items():
            if not method.request_streaming:
                kind = LinkStreamCall if method.response_streaming else LinkUnaryCall
                setattr(self, name, _LinkMethod(method, kind, starter))

    def is_replaced(self, name: str) -> bool:
        """Tells whether a method is no longer the stub's own."""
        return not isinstance(getattr(self, name), _LinkMethod)

    def give_way(self, stub: Any) -> None:
        """Lets another stub have the calls of those methods that are still this one's own."""
        for name in METHODS:
            if isinstance(getattr(self, name, None), _LinkMethod):
                setattr(self, name, getattr(stub, name))

    def __getattr__(self, name: str) -> Any:
        # For type checkers, which cannot see the methods.
        raise AttributeError(name)


class _LinkMethod:
    def __init__(self, method: Method, kind: type[LinkUnaryCall | LinkStreamCall], starter: Starter) -> None:
        self._method = method
        self._starter = starter
        self._prefix = call_prefix(method.name)
        self._make = kind

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: object = None,  # noqa: ARG002 - the signature is gRPC's
        wait_for_ready: bool | None = None,
        compression: object = None,  # noqa: ARG002 - likewise
    ) -> LinkUnaryCall | LinkStreamCall:
        """Begins the call."""
        if timeout is None and metadata is None:
            call = self._make(self._method, self._prefix)
        else:
            metadata = tuple(metadata or ())
            call = self._make(self._method, self._prefix_with(timeout, metadata))
            call.metadata = metadata
        if timeout is not None:
            call.limit(timeout)
        if wait_for_ready is False:
            call.waits = False
        self._starter.start(call, request)
        return call

    def _prefix_with(self, timeout: float | None, metadata: Metadata | None) -> bytes:
        if timeout is None and not metadata:
            return self._prefix
        sent: Mapping[str, str] = {key: _as_text(value) for key, value in metadata or ()}
        timeout_ms = 0 if timeout is None else min(max(1, math.ceil(timeout * 1000)), 2**32 - 1)
        return call_prefix(self._method.name, timeout_ms=timeout_ms, metadata=sent)


def _as_text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
