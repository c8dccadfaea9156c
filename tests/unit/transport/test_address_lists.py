"""Lists of addresses: how they are split, and what is refused."""

import pytest

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.transport.address_lists import MAX_ADDRESSES, pair_addresses, shown_addresses, split_addresses


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("a:1", ("a:1",)),
        ("a:1,b:2", ("a:1", "b:2")),
        ("a:1, b:2 ,[::1]:3", ("a:1", "b:2", "[::1]:3")),
        ("unix:/run/a%2Cb.sock,b:2", ("unix:/run/a%2Cb.sock", "b:2")),
        # gRPC's own lists of one hub.
        ("ipv4:127.0.0.1:1,127.0.0.2:2", ("ipv4:127.0.0.1:1,127.0.0.2:2",)),
        ("ipv6:[::1]:1,[::2]:2", ("ipv6:[::1]:1,[::2]:2",)),
    ],
)
def test_commas_separate_addresses(given: str, found: tuple[str, ...]) -> None:
    assert split_addresses(given) == found


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("a:1,", "an address is missing beside a comma; write HOST:PORT,HOST:PORT"),
        ("a:1,,b:2", "an address is missing beside a comma; write HOST:PORT,HOST:PORT"),
        ("a:1,b:2,a:1", "'a:1' is there twice; give each address once"),
        ("a:1,b", "'b' is not a valid address; write host:port, such as 127.0.0.1:50051 or [::1]:50051"),
        ("a:1,b:0", "'b:0' has port 0, which only a hub can listen at; write the hub's port"),
        (",".join(f"h:{port}" for port in range(1, MAX_ADDRESSES + 2)), "there are 101 addresses; give at most 100"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_with_what_is_wrong(given: str, why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        split_addresses(given)
    assert caught.value.message == why


@pytest.mark.parametrize("given", ["u:s3cr3t@a:1,b:2", "a:1,u:s3cr3t@b:2", "u:s3,cr3t@a:1", "a:1,https://u:s3cr3t@b"])
def test_a_refusal_shows_no_secret(given: str) -> None:
    with pytest.raises(ValidationError) as caught:
        split_addresses(given)
    assert "cr3t" not in caught.value.message


@pytest.mark.parametrize("given", [None, 5, b"a:1,b:2"])
def test_what_is_no_text_is_refused(given: object) -> None:
    with pytest.raises(ValidationError):
        split_addresses(given)


def test_addresses_of_links_go_with_the_hubs_in_their_order() -> None:
    assert pair_addresses("a:1,b:2", "a:7, b:8") == (("a:1", "a:7"), ("b:2", "b:8"))
    assert pair_addresses("a:1,b:2", None) == (("a:1", None), ("b:2", None))
    assert pair_addresses("a:1", "a:7") == (("a:1", "a:7"),)
    with pytest.raises(ValidationError) as caught:
        pair_addresses("a:1,b:2", "a:7")
    assert caught.value.message == (
        "link_address: there are 2 addresses, but 1 for links; give one for each, in the same order, or none"
    )


def test_a_long_list_is_shown_in_part() -> None:
    assert shown_addresses(("a:1", "b:2")) == "a:1, b:2"
    assert shown_addresses(tuple(f"h:{port}" for port in range(1, 9))) == "h:1, h:2, h:3, h:4, h:5 and 3 more"
