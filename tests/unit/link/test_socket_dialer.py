"""What the dialler's hello has."""

import pytest

from grpc_tool_bridge.link.socket_dialer import dial_local, hello_metadata
from grpc_tool_bridge.link.socket_places import UnusableError


@pytest.mark.parametrize(
    ("token", "address", "metadata"),
    [
        (None, None, {}),
        ("t", None, {"authorization": "Bearer t"}),
        (None, "127.0.0.1:1", {"address": "127.0.0.1:1"}),
        ("t", "127.0.0.1:1", {"authorization": "Bearer t", "address": "127.0.0.1:1"}),
    ],
)
def test_a_hello_has_the_token_and_the_address_as_far_as_there_are_any(
    token: str | None, address: str | None, metadata: dict[str, str]
) -> None:
    assert hello_metadata(token, address) == metadata


async def test_a_hub_without_a_local_socket_cannot_be_dialled() -> None:
    with pytest.raises(UnusableError, match=r"no hub has a local socket for 127\.0\.0\.1:1"):
        await dial_local("127.0.0.1:1", None)
