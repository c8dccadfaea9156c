"""How the arguments of a tool become the request of its method."""

from google.protobuf.descriptor import Descriptor

from grpc_tool_bridge.adapters.grpc.well_known_shapes import form_of
from grpc_tool_bridge.tools.spec_arguments import MAX_ARGUMENTS, MAX_NAME_CHARS

# The only argument of a method whose request is not given field by field, and of one that takes a stream.
REQUEST = "request"
REQUESTS = "requests"


def takes_request(descriptor: Descriptor) -> bool:
    """Whether a request is one argument, ``request``, and not an argument for each of its fields.

    So are the well-known types, whose form is no object, or an object of any keys, and messages that have more fields
    than a tool may have arguments.
    """
    fields = descriptor.fields
    return (
        bool(form_of(descriptor))
        or len(fields) > MAX_ARGUMENTS
        or any(len(field.name) > MAX_NAME_CHARS for field in fields)
    )
