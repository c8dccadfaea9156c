"""Checks the arguments of a call against a tool's spec, without needing the types of the tool's language.

A call that is refused here never reaches a worker. The error text is the same as for one of the hub's own tools, since
a ``Binder`` writes it. It covers only the types known here. The worker checks a call that passes again, and in full.
"""

from collections.abc import Container, Mapping, Sequence
from types import NoneType

from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallItem, ToolCallRequest, ToolSpec, ToolStreamRequest
from grpc_tool_bridge.rpc.wireformat import TYPE_PREFIX
from grpc_tool_bridge.tools.binding import Binder
from grpc_tool_bridge.tools.checks import EVERYTHING, Check
from grpc_tool_bridge.tools.spec_arguments import UNREAD, check_arguments, read_arguments
from grpc_tool_bridge.values.scalars import READERS
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value

# Larger values, and more of them, are left to the worker, so that the hub stays responsive.
_MAX_READ_BYTES = 65_536
_MAX_READ = 1_000

# Which messages of google.protobuf hold values of only one type. (A Value may hold any.)
_MESSAGES: dict[type, tuple[str, ...]] = {
    int: ("Int64Value", "Int32Value", "UInt32Value", "UInt64Value"),
    float: ("DoubleValue", "FloatValue"),
    str: ("StringValue",),
    bool: ("BoolValue",),
    bytes: ("BytesValue",),
    NoneType: ("Value", "Empty"),
}
_VALUE = "google.protobuf.Value"
_NULL = serialize_value(None).value


class SpecCheck:
    """Checks the arguments of a call. It is compiled at the first call: of thousands of tools, few may ever be called.

    Raises:
        ValidationError: The spec's description of its arguments is not valid.
    """

    __slots__ = ("_binder", "_by_place", "_named", "_ordered", "_required", "_spec")

    def __init__(self, spec: ToolSpec) -> None:
        check_arguments(spec)
        self._spec = spec
        self._binder: Binder | None = None
        # Type URLs whose values pass unread, for the arguments that have any: by position; and by name, with
        # the position and whether it is required.
        self._by_place: tuple[tuple[int, Container[str]], ...] = ()
        self._named: dict[str, tuple[Container[str], int, bool]] = {}
        # The number of required arguments still missing when this many are given by position; None: not compiled.
        self._required: tuple[int, ...] | None = None
        self._ordered = False

    def _compile(self) -> tuple[int, ...]:
        self._required = (0,)
        arguments = read_arguments(self._spec)
        if arguments is None:
            return self._required
        self._binder = Binder(self._spec.name, arguments.signature, arguments.checks)
        self._required = self._binder.required
        self._ordered = arguments.ordered
        parameters = arguments.signature.parameters
        urls = {name: _urls(check) for name, check in arguments.checks.items()}
        by_place = list(enumerate(item.name for item in parameters if item.positional))
        self._by_place = tuple((place, urls[name]) for place, name in by_place if urls[name] is not EVERYTHING)
        places = {name: place for place, name in by_place}
        self._named = {
            item.name: (urls[item.name], places.get(item.name, len(places)), item.required)
            for item in parameters
            if not item.variadic
        }
        return self._required

    def __call__(self, request: ToolCallRequest | ToolStreamRequest | ToolCallItem) -> None:
        """Checks a call.

        Raises:
            ValidationError: Arguments are not valid; ``details`` has a text for each of them.
        """
        # Optimistic: nothing is decoded. Every call passes here, so nanoseconds count. (Indexing the messages takes
        # two thirds as long as iterating over them.)
        args = request.args
        given = len(args)
        required = self._required
        if required is None:
            required = self._compile()
        if given < len(required):
            for place, urls in self._by_place:
                if place < given and args[place].type_url not in urls:
                    break
            else:
                if self._are_fine(request.kwargs, required[given], given) if request.kwargs else not required[given]:
                    return
        self._judge(request)

    def passes(self, urls: Sequence[str], named_urls: Mapping[str, str]) -> bool:
        """Returns whether arguments of these types are fine unread; if not, a call has to be checked as a whole.

        Args:
            urls: The type URLs of the arguments by position.
            named_urls: Those of the arguments by name.
        """
        given = len(urls)
        required = self._required
        if required is None:
            required = self._compile()
        if given >= len(required):
            return False
        for place, accepted in self._by_place:
            if place < given and urls[place] not in accepted:
                return False
        missing, named = required[given], self._named
        for name, url in named_urls.items():
            found = named.get(name)
            if found is None or found[1] < given or url not in found[0]:
                return False
            missing -= found[2]
        return not missing

    def _are_fine(self, kwargs: Mapping[str, AnyMessage], missing: int, given: int) -> bool:
        named = self._named
        # Iterating over a map's items takes three times as long.
        for name in kwargs:
            found = named.get(name)
            if found is None or found[1] < given or kwargs[name].type_url not in found[0]:
                return False
            missing -= found[2]
        return not missing

    def _judge(self, request: ToolCallRequest | ToolStreamRequest | ToolCallItem) -> None:
        """Decodes what can be read here, and binds it as a tool of the hub would."""
        args, kwargs = request.args, request.kwargs
        if self._binder is None or (args and not self._ordered) or len(args) + len(kwargs) > _MAX_READ:
            return
        self._binder.bind(
            [_read(message) for message in args], {name: _read(message) for name, message in kwargs.items()}
        )


def _urls(check: Check) -> Container[str]:
    if check.accepts is EVERYTHING:
        return EVERYTHING
    names = [name for kind, names in _MESSAGES.items() if kind in check.accepts for name in names]
    return frozenset(f"{TYPE_PREFIX}google.protobuf.{name}" for name in names)


def _read(message: AnyMessage) -> object:
    """Reads a plain value; any other, even an invalid one, is left to the worker."""
    name = message.type_url.rpartition("/")[2]
    if name == _VALUE:
        return None if message.value == _NULL else UNREAD
    if name not in READERS or message.ByteSize() > _MAX_READ_BYTES:
        return UNREAD
    try:
        return deserialize_value(message)
    except SerializationError:
        return UNREAD
