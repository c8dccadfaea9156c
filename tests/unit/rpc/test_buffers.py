"""Bytes in several buffers behave as the bytes that they make."""

import pytest

from grpc_tool_bridge.rpc.buffers import Buffers, joined, part_of, pieces_of

WHOLE = bytes(range(20))
BUFFERS = Buffers((WHOLE[:3], b"", memoryview(WHOLE)[3:4], WHOLE[4:11], memoryview(WHOLE)[11:]))


def test_they_are_as_long_as_what_they_make_and_equal_it() -> None:
    assert len(BUFFERS) == 20
    assert bytes(BUFFERS) == WHOLE
    assert BUFFERS == WHOLE
    assert Buffers((WHOLE,)) == BUFFERS
    assert hash(BUFFERS) == hash(Buffers((WHOLE,)))
    assert WHOLE[:-1] != BUFFERS
    assert BUFFERS != 20
    assert not len(Buffers(()))


def test_each_byte_and_each_slice_is_found() -> None:
    assert [BUFFERS[place] for place in range(20)] == list(WHOLE)
    for start in range(20):
        for end in range(start, 25):
            assert BUFFERS[start:end] == WHOLE[start:end]


@pytest.mark.parametrize("place", [-1, 20])
def test_a_byte_outside_is_an_index_error(place: int) -> None:
    with pytest.raises(IndexError, match="of 20"):
        _ = BUFFERS[place]


def test_parts_are_cut_without_a_copy() -> None:
    data = bytearray(b"abcdef")
    made = Buffers((b"12", memoryview(data)))
    part = made.cut(1, 5)
    assert bytes(part) == b"2abc"
    data[0] = ord("z")
    assert bytes(part) == b"2zbc"


def test_a_single_buffer_is_read_as_it_is() -> None:
    view = memoryview(WHOLE)
    assert Buffers((view,)).flat() is view
    assert BUFFERS.flat() is BUFFERS


def test_parts_and_pieces_are_alike_for_all_kinds() -> None:
    for payload in (WHOLE, BUFFERS):
        assert b"".join(pieces_of(payload, 2, 13)) == WHOLE[2:13]
        assert bytes(part_of(payload, 2, 13)) == WHOLE[2:13]
        assert joined(payload) == WHOLE
    assert pieces_of(WHOLE, 0, 20) == [WHOLE]
    assert joined(WHOLE) is WHOLE
