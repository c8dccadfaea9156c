"""The methods of gRPC services, as far as a tool needs them."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions, ServiceOptions
from google.protobuf.message import Message

from grpc_tool_bridge.adapters.grpc.bounds import one_line
from grpc_tool_bridge.adapters.grpc.descriptors import Descriptors
from grpc_tool_bridge.adapters.grpc.fields import json_names, message_class, takes_request
from grpc_tool_bridge.adapters.grpc.names import chosen, is_about_servers, tool_names, why_no_tool
from grpc_tool_bridge.adapters.grpc.reading import Readers
from grpc_tool_bridge.adapters.grpc.schemas import Schemas
from grpc_tool_bridge.adapters.grpc.types import Types
from grpc_tool_bridge.adapters.grpc.weights import MAX_VALUES, Weights
from grpc_tool_bridge.adapters.grpc.writing import Writers
from grpc_tool_bridge.adapters.naming import Naming
from grpc_tool_bridge.errors import wire_text
from grpc_tool_bridge.llm.mcp_names import ANNOTATIONS_KEY
from grpc_tool_bridge.llm.tool_marks import GRPC_METHOD_KEY, GRPC_SERVICE_KEY
from grpc_tool_bridge.tools.sources import Refusal

# Key of the metadata of a tool: the kind of its method.
KIND_KEY = "grpc.kind"

# By whether requests are streamed, and whether responses are.
KINDS = {
    (False, False): "unary",
    (False, True): "server streaming",
    (True, False): "client streaming",
    (True, True): "bidirectional streaming",
}

MAX_DESCRIPTION_CHARS = 65_536
MAX_REASON_CHARS = 500
_MAX_SHOWN_CHARS = 200

NOTHING: Mapping[str, str] = MappingProxyType({})

_SENTENCE = re.compile(r"(?<=[.!?])\s")


class Codecs:
    """What makes messages of data, data of messages, and schemas of types; each of these is compiled once a service.

    Args:
        descriptors: Those of the service.
    """

    def __init__(self, descriptors: Descriptors) -> None:
        self.readers = Readers(descriptors.pool)
        self.writers = Writers(descriptors.pool)
        self.weights = Weights(Types(descriptors.pool))
        self.schemas = Schemas(descriptors.pool, descriptors.comment_of)


class Method:
    """One method.

    Args:
        descriptor: Its descriptor.
        tool: The name of its tool.
        descriptors: All descriptors of its service.
        codecs: Those of its service.

    Attributes:
        descriptor: As given.
        tool: Likewise.
        full_name: ``package.Service.Method``.
        path: As it is called: ``/package.Service/Method``.
        takes_stream: Whether it takes a stream of requests.
        gives_stream: Whether it gives a stream of responses.
    """

    def __init__(self, descriptor: MethodDescriptor, tool: str, descriptors: Descriptors, codecs: Codecs) -> None:
        self.descriptor = descriptor
        self.tool = tool
        self.full_name: str = descriptor.full_name
        self.path = f"/{descriptor.containing_service.full_name}/{descriptor.name}"
        self.takes_stream: bool = descriptor.client_streaming
        self.gives_stream: bool = descriptor.server_streaming
        self._descriptors = descriptors
        self._codecs = codecs

    def __repr__(self) -> str:
        return f"<Method {self.full_name}>"

    def renew(self, newer: "Method") -> None:
        """Takes what describes it from a newer description that means the same, so that the older one is not kept.

        May be called from any thread while calls are made.
        """
        self.__dict__ = dict(newer.__dict__)

    @cached_property
    def options(self) -> MethodOptions:
        """What the service says of the method's effects."""
        # In the pool of the service they are of another class.
        options = MethodOptions()
        options.ParseFromString(self.descriptor.GetOptions().SerializeToString())
        return options

    @property
    def is_read_only(self) -> bool:
        """Whether it has no side effects."""
        return self.options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS

    @property
    def is_idempotent(self) -> bool:
        """Whether it may be repeated."""
        return self.options.idempotency_level in (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)

    @cached_property
    def is_deprecated(self) -> bool:
        """Whether the method or its service is deprecated."""
        service = ServiceOptions()
        service.ParseFromString(self.descriptor.containing_service.GetOptions().SerializeToString())
        return self.options.deprecated or service.deprecated

    @property
    def description(self) -> str:
        """The comment of the method, else the first sentence of that of its service."""
        comment = self._descriptors.comment_of(self.descriptor)
        if not comment:
            service = self._descriptors.comment_of(self.descriptor.containing_service)
            comment = _SENTENCE.split(service, maxsplit=1)[0]
        return wire_text(comment, MAX_DESCRIPTION_CHARS)

    def input_schema(self) -> dict[str, Any]:
        """Returns the schema of the tool's arguments."""
        schemas = self._codecs.schemas
        return (schemas.requests_of if self.takes_stream else schemas.arguments_of)(self.descriptor.input_type)

    @property
    def aliases(self) -> Mapping[str, str]:
        """Further names of arguments, by which they may be given, and their names: the JSON names of fields."""
        if self.takes_stream or takes_request(self.descriptor.input_type):
            return NOTHING
        return json_names(self.descriptor.input_type)

    def output_schema(self) -> dict[str, Any]:
        """Returns the schema of the tool's result, or of each value of its stream."""
        return self._codecs.schemas.result_of(self.descriptor.output_type)

    @cached_property
    def write(self) -> Callable[[Mapping[str, Any]], Message]:
        """Makes the request of the arguments of a call; raises ValidationError."""
        return self._codecs.writers.writer_of(self.descriptor.input_type, self.tool)

    @cached_property
    def write_all(self) -> Callable[[Mapping[str, Any]], list[Message]]:
        """Makes the requests of a stream of the arguments of a call; raises ValidationError."""
        return self._codecs.writers.requests_writer_of(self.descriptor.input_type, self.tool)

    @cached_property
    def serialize(self) -> Callable[[Message], bytes]:
        """Writes a request as bytes: the method of its class, since a field of it may have the name of the method."""
        serialize: Callable[[Message], bytes] = message_class(self.descriptor.input_type).SerializeToString
        return serialize

    @cached_property
    def read(self) -> Callable[[Message], Any]:
        """Makes plain data of a response; raises SerializationError."""
        return self._codecs.readers.reader_of(self.descriptor.output_type)

    @cached_property
    def parse(self) -> Callable[[bytes], Message]:
        """Parses a response; raises DecodeError."""
        parse: Callable[[bytes], Message] = message_class(self.descriptor.output_type).FromString
        return parse

    @cached_property
    def is_too_much(self) -> Callable[[bytes], bool]:
        """Whether the data of a response would have over ``MAX_VALUES`` values; raises DecodeError."""
        return self._codecs.weights.excess_of(self.descriptor.output_type, MAX_VALUES)

    def metadata(self, server: str) -> dict[str, str]:
        """Returns the metadata of the tool."""
        kind = KINDS[self.takes_stream, self.gives_stream]
        found = {GRPC_SERVICE_KEY: server, GRPC_METHOD_KEY: self.full_name, KIND_KEY: kind}
        if self.is_idempotent:
            hints = {"readOnlyHint": True} if self.is_read_only else {}
            found[ANNOTATIONS_KEY] = json.dumps({**hints, "idempotentHint": True})
        return found


def methods_of(
    descriptors: Descriptors,
    naming: Naming,
    services: Iterable[str] | None = None,
    problems: Mapping[str, str] = NOTHING,
    *,
    most: int = 10_000,
) -> tuple[list[Method], list[Refusal]]:
    """Finds the methods that become tools.

    Args:
        descriptors: The descriptors.
        naming: Which ones, and as what.
        services: The services that there are; None: all that are described.
        problems: Why some of them could not be described.
        most: How many there may be; the others are refused.

    Returns:
        The methods, and what cannot be offered: services that are not described, and methods.
    """
    refused: list[Refusal] = []
    found: dict[str, MethodDescriptor] = {}
    for service in _services(descriptors, services, problems, refused):
        found.update({method.full_name: method for method in service.methods})
    names = chosen(naming, found)
    codecs = Codecs(descriptors)
    made: list[Method] = []
    taken: dict[str, str] = {}
    for full_name, tool in tool_names(naming, names).items():
        reason = why_no_tool(tool)
        if tool in taken:
            reason = f"{taken[tool]} of the same service is called {tool}, too"
        elif len(made) >= most:
            reason = f"the service has over {most:,} methods, which is the limit; choose some of them"
        if reason:
            refused.append(Refusal(full_name, reason))
            continue
        taken[tool] = full_name
        made.append(Method(found[full_name], tool, descriptors, codecs))
    return made, refused


def _services(
    descriptors: Descriptors, services: Iterable[str] | None, problems: Mapping[str, str], refused: list[Refusal]
) -> Iterable[ServiceDescriptor]:
    if services is None:
        refused += [
            Refusal(one_line(name, _MAX_SHOWN_CHARS), one_line(why, MAX_REASON_CHARS))
            for name, why in descriptors.problems.items()
        ]
        yield from descriptors.services()
        return
    for name in services:
        service = descriptors.service(name)
        if service is None:
            # Nobody has asked for what is about the server itself.
            if not is_about_servers(name):
                reason = problems.get(name) or descriptors.problem_of(name)
                refused.append(Refusal(one_line(name, _MAX_SHOWN_CHARS), one_line(reason, MAX_REASON_CHARS)))
        else:
            yield service
