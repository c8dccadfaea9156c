"""Equal arguments have the same bytes, whether they come as a plain request, as a message, or as a large one."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.auth.audit.arguments import Digest, empty_digest, pieces_of, plain_arguments
from grpc_tool_bridge.auth.audit.keys import AuditKeys
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest
from grpc_tool_bridge.rpc.buffers import Buffers
from grpc_tool_bridge.rpc.large_messages import read_large_call
from grpc_tool_bridge.values.call_bytes import arguments_of, read_names, request_head, request_tail

SCALARS = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=200) | st.binary(max_size=200)
TIMEOUTS = st.integers(0, 9_999_999)
NAMES = st.text(min_size=1, max_size=20)


@given(
    args=st.lists(SCALARS, max_size=4),
    kwargs=st.dictionaries(NAMES, SCALARS, max_size=4),
    timeout=st.integers(0, 9999999),
)
def test_each_way_gives_the_same_bytes(args: list[Any], kwargs: dict[str, Any], timeout: int) -> None:
    middle = arguments_of(args, kwargs)
    assert middle is not None
    data = request_head("session", "add") + middle + (request_tail(timeout) if timeout else b"")
    plain = plain_arguments(data, read_names(data)[2])
    message = ToolCallRequest.FromString(data)
    assert b"".join(pieces_of(message.args, message.kwargs)[0]) == plain
    only = ToolCallRequest(args=message.args, kwargs=message.kwargs)
    assert only.SerializeToString(deterministic=True) == plain
    large = read_large_call(Buffers((data[:7], data[7:])))
    if large is not None:
        assert b"".join(pieces_of(large.args, large.kwargs)[0]) == plain


@given(args=st.lists(SCALARS, max_size=3), kwargs=st.dictionaries(NAMES, SCALARS, min_size=2, max_size=4))
def test_the_order_of_names_does_not_count_and_every_value_does(args: list[Any], kwargs: dict[str, Any]) -> None:
    def plain(named: dict[str, Any]) -> bytes:
        return plain_arguments(request_head("s", "t") + (arguments_of(args, named) or b""), 6)

    assert plain(dict(reversed(kwargs.items()))) == plain(kwargs)
    name = next(iter(kwargs))
    assert plain({**kwargs, name: "another value, longer than any"}) != plain(kwargs)


def test_a_digest_is_made_once_and_depends_on_the_key() -> None:
    one, other = (Digest(empty_digest(AuditKeys(key * 32)), [b"a", b"b"], 2) for key in (b"k", b"l"))
    assert one.text() == one.text() != other.text()
