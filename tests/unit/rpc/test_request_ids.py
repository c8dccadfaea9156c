"""The ids of calls to which their callers gave none."""

from grpc_tool_bridge.rpc.request_ids import MAX_LINK_ID_CHARS, new_link_id, new_request_id, request_id_of


def test_both_ends_of_a_link_make_the_same_id_of_a_call() -> None:
    assert request_id_of("abc", 7) == request_id_of("abc", 7) == "abc-7"


def test_without_a_link_s_id_or_a_number_there_is_none() -> None:
    assert request_id_of("", 7) == request_id_of("abc", 0) == ""


def test_a_peer_s_link_id_is_cut() -> None:
    assert len(request_id_of("x" * 10_000, 1)) == MAX_LINK_ID_CHARS + len("-1")


def test_made_ids_differ() -> None:
    assert len({new_link_id(), new_link_id(), new_request_id(), new_request_id()}) == 4
