"""Middleware: functions around each call of a tool, at a hub, at a worker or at a client.

::

    async def timed(call: ToolCall, call_next: CallNext) -> Any:
        began = time.monotonic()
        try:
            return await call_next(call)
        finally:
            log.info("%s took %.3f s", call.tool, time.monotonic() - began)

The first of a list is the outermost. A chain is built once.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import FunctionType
from typing import Any, Literal

from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.config.argument_checks import (
    check_named,
    check_positional,
    check_texts_by_name,
    list_of,
    refuse_plain,
    refuse_type,
)
from grpc_tool_bridge.errors import ProtocolError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.rpc.authentication import Principal

CallKind = Literal["call", "stream", "batch", "nested", "agent"]

_A_MIDDLEWARE = "an async function that is called with (call, call_next)"
_MIDDLEWARE = "a list of async functions that are called with (call, call_next)"


class ToolCall:
    """A call of a tool, as middleware sees it.

    What middleware changes in ``args``, ``kwargs`` and ``metadata`` before ``call_next(call)`` is what the tool gets.
    At the hub, ``call_next`` may be called again when the one before has ended, but not while it runs.

    Attributes:
        tool: The tool's name.
        spec: The tool's spec; not to be changed.
        session_id: The session that the call belongs to.
        request_id: The id of the call, as in logs and in ``ToolContext.request_id``.
        parent_id: The ``request_id`` of the call whose tool or agent makes this one; empty for a call from outside, and
            at a client or a worker.
        metadata: The metadata of the call, which the tool finds in ``ToolContext.metadata``; with that of its session
            at the hub and at a worker.
        timeout: Seconds that the whole call may take; at a client, those of each ``call_next``.
        kind: Where the call comes from: "call", "stream" or "batch" (an item of one) from outside; "nested", if another
            tool makes it, and "agent", if an agent does. A worker is not told of batches and agents: for it, they are
            "call" and "nested".
        is_stream: Whether ``call_next`` returns an async iterator, and the middleware has to return one.
        idempotency_key: Calls with this key and the same arguments run once in a session; empty: no key.
        side: "hub", "worker" or "client".
        principal: On whose behalf the call is made, as ``ToolContext.principal``; None at a client.
        via: How it came from the principal, as ``ToolContext.via``.
    """

    def __init__(
        self,
        *,
        spec: ToolSpec,
        session_id: str,
        request_id: str,
        metadata: Mapping[str, str],
        timeout: float,
        kind: CallKind,
        is_stream: bool,
        side: Literal["hub", "worker", "client"],
        idempotency_key: str = "",
        parent_id: str = "",
        principal: Principal | None = None,
        via: tuple[str, ...] = (),
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.tool: str = spec.name
        self.spec = spec
        self.session_id = session_id
        self.request_id = request_id
        self.parent_id = parent_id
        self.metadata = dict(metadata)
        self.timeout = timeout
        self.kind = kind
        self.is_stream = is_stream
        self.idempotency_key = idempotency_key
        self.side = side
        self.principal = principal
        self.via = via
        self._args = list(args)
        self._kwargs = dict(kwargs or {})

    @property
    def args(self) -> list[Any]:
        """The arguments by position. At the hub and at a worker they are decoded when they are first read.

        Raises:
            SerializationError: They cannot be decoded.
        """
        return self._args

    @args.setter
    def args(self, args: Iterable[Any]) -> None:
        self._set_args(args)

    @property
    def kwargs(self) -> dict[str, Any]:
        """The arguments by name, as ``args``."""
        return self._kwargs

    @kwargs.setter
    def kwargs(self, kwargs: Mapping[str, Any]) -> None:
        self._set_kwargs(kwargs)

    def _set_args(self, args: Any) -> None:
        check_positional("call.args", args)
        self._args = list(args)

    def _set_kwargs(self, kwargs: Any) -> None:
        check_named("call.kwargs", kwargs)
        self._kwargs = dict(kwargs)

    def check_changes(self) -> None:
        """Checks what middleware may have changed; raises ArgumentTypeError or ValidationError."""
        check_texts_by_name("call.metadata", self.metadata)
        check_named("call.kwargs", self._kwargs)

    async def read_arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Returns ``args`` and ``kwargs``; decodes large ones in a thread, so that other calls go on meanwhile."""
        return self.args, self.kwargs

    async def proceed(self) -> Any:
        """Makes the call, inside of all middleware. Called by the bridge."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<ToolCall {self.tool} of {self.session_id!r}, {self.kind}, request {self.request_id}>"


class EncodedValue:
    """A result that this process cannot decode, such as one of a codec that it does not have; it can only be returned.

    Args:
        encoded: The value, as the tool's process encoded it.

    Attributes:
        encoded: As given.
        type_url: Its type.
    """

    __slots__ = ("encoded", "type_url")

    def __init__(self, encoded: AnyMessage) -> None:
        self.encoded = encoded
        self.type_url: str = encoded.type_url

    def __repr__(self) -> str:
        return f"<EncodedValue {self.type_url}>"


CallNext = Callable[[ToolCall], Awaitable[Any]]
Middleware = Callable[[ToolCall, CallNext], Awaitable[Any]]


def chain_of(middleware: Iterable[Middleware]) -> CallNext | None:
    """Returns the chain of middleware around ``ToolCall.proceed``; None without any.

    Raises:
        ValidationError: One is not an async function.
    """
    chain: CallNext = _proceed
    found = list_of("middleware", middleware, _MIDDLEWARE)
    for place in range(len(found) - 1, -1, -1):
        _check(place, found[place])
        chain = _around(found[place], chain)
    return chain if found else None


def checked_iterator(call: ToolCall, result: Any) -> AsyncIterator[Any]:
    """Returns the iterator in the result of a stream's chain.

    Raises:
        ProtocolError: It is none.
    """
    if hasattr(type(result), "__aiter__"):
        iterator: AsyncIterator[Any] = aiter(result)
        return iterator
    raise ProtocolError(
        f"middleware answered a stream of {call.tool} with {type(result).__name__}; where call.is_stream is set, "
        "return what call_next returns, or another async iterator"
    )


async def _proceed(call: ToolCall) -> Any:
    return await call.proceed()


def _around(middleware: Middleware, inner: CallNext) -> CallNext:
    return lambda call: middleware(call, inner)


def _check(place: int, middleware: Any) -> None:
    what = f"middleware[{place}]"
    refuse_plain(what, middleware, _A_MIDDLEWARE)
    if not callable(middleware):
        refuse_type(what, middleware, _A_MIDDLEWARE)
    if isinstance(middleware, type):
        raise ValidationError(f"{what} is the class {middleware.__name__}; give an object of it")
    is_plain = isinstance(middleware, FunctionType) and not inspect.iscoroutinefunction(middleware)
    if is_plain and not hasattr(middleware, "__wrapped__"):
        raise ValidationError(f"{what}: {middleware.__name__} must be an async function: async def(call, call_next)")
    try:
        signature = inspect.signature(middleware)
    except (ValueError, TypeError):
        # Made in C, or with a signature of its own: nothing is known of what it takes.
        return
    try:
        signature.bind(None, None)
    except TypeError:
        name = getattr(middleware, "__name__", type(middleware).__name__)
        given = ", ".join(signature.parameters)
        raise ValidationError(
            f"{what}: {name}({given}) is called with two arguments; declare it as async def {name}(call, call_next)"
        ) from None
