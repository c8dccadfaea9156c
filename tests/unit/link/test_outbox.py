"""What waits to be sent, and the order in which it goes out."""

import itertools
from collections import Counter
from collections.abc import Iterable

import pytest

from grpc_tool_bridge.link.envelopes import PART_TAG, REPLY_TAG, payload_header, whole
from grpc_tool_bridge.link.outbox import FRAGMENT_BYTES, FRAME_BYTES, REASSEMBLY_BYTES, SMALL_BYTES, Lane, Outbox
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope, LinkCancel, LinkFrame
from grpc_tool_bridge.rpc.buffers import joined

MIB = 1024 * 1024
# Of the header of a payload here.
HEADER_BYTES = 20

# What went out: the id of who sent it, and the bytes; of control 0 and the number.
Sent = tuple[str, int, int]


class Letter:
    """Something with a payload to send."""

    def __init__(self, number: int) -> None:
        self.number = number

    def header(self, size: int) -> bytes:
        return payload_header(REPLY_TAG, self.number, size)

    def part_header(self, size: int) -> bytes:
        return payload_header(PART_TAG, self.number, size)


def ping(number: int) -> bytes:
    return whole(Envelope(ping=number))


def read(frame: bytes) -> list[Sent]:
    return [
        ("ping", 0, envelope.ping) if kind == "ping" else (kind or "", envelope.id, len(getattr(envelope, kind or "")))
        for envelope in LinkFrame.FromString(frame).envelopes
        for kind in [envelope.WhichOneof("kind")]
    ]


def frames(outbox: Outbox) -> Iterable[list[Sent]]:
    while outbox:
        frame = read(outbox.next_frame())
        assert frame, "a frame has something in it"
        yield frame


def everything(outbox: Outbox) -> list[Sent]:
    return list(itertools.chain.from_iterable(frames(outbox)))


def in_lane(outbox: Outbox, number: int, *sizes: int, credit: int | None = None) -> Lane:
    lane = Lane(credit)
    for size in sizes:
        outbox.add(lane, Letter(number), bytes(size))
    return lane


def assert_nothing_is_left(outbox: Outbox) -> None:
    assert not outbox
    assert (outbox.size, outbox.stalled, outbox.control_size, outbox._begun, outbox._next) == (0, 0, 0, 0, None)


# --------------------------------------------------------------------------------------------------------- order


def test_an_outbox_is_true_while_there_is_something_to_send() -> None:
    outbox = Outbox()
    assert not outbox
    for add in (
        lambda: outbox.add_control(ping(1)),
        lambda: outbox.add_small(Letter(1), b""),
        lambda: in_lane(outbox, 1, 0),
    ):
        add()
        assert outbox
        outbox.next_frame()
        assert_nothing_is_left(outbox)


def test_control_goes_first_and_then_small_payloads_in_their_order_and_then_the_lanes() -> None:
    outbox = Outbox()
    in_lane(outbox, 9, 100)
    outbox.add_small(Letter(3), b"abc")
    outbox.add_small(Letter(1), b"")
    outbox.add_control(ping(7))
    outbox.add_control(ping(8))
    assert read(outbox.next_frame()) == [
        ("ping", 0, 7),
        ("ping", 0, 8),
        ("reply", 3, 3),
        ("reply", 1, 0),
        ("reply", 9, 100),
    ]


def test_a_small_payload_overtakes_a_large_one_that_has_begun() -> None:
    outbox = Outbox()
    in_lane(outbox, 1, 9_000_000)
    assert read(outbox.next_frame()) == [("part", 1, FRAGMENT_BYTES)]
    outbox.add_small(Letter(2), b"quick")
    assert read(outbox.next_frame()) == [("reply", 2, 5), ("part", 1, FRAGMENT_BYTES)]


def test_control_overtakes_a_large_payload_that_has_begun() -> None:
    outbox = Outbox()
    in_lane(outbox, 1, 9_000_000)
    outbox.next_frame()
    outbox.add_control(ping(1))
    assert read(outbox.next_frame())[0] == ("ping", 0, 1)


def test_lanes_take_turns_of_one_fragment() -> None:
    outbox = Outbox()
    for number in (1, 2, 3):
        in_lane(outbox, number, 3 * FRAGMENT_BYTES)
    turns = [number for _, number, _ in everything(outbox)]
    assert turns == [1, 2, 3] * 3


def test_a_lane_that_comes_later_has_its_turn_after_one_fragment_of_each_other() -> None:
    outbox = Outbox()
    in_lane(outbox, 1, 50 * FRAGMENT_BYTES)
    in_lane(outbox, 2, 50 * FRAGMENT_BYTES)
    outbox.next_frame()
    in_lane(outbox, 3, 1000)
    assert ("reply", 3, 1000) in everything(outbox)[:3]


def test_a_flood_of_small_payloads_leaves_the_lanes_a_turn_in_each_frame() -> None:
    outbox = Outbox()
    in_lane(outbox, 1, 3 * FRAGMENT_BYTES)
    for _ in range(200):
        outbox.add_small(Letter(2), bytes(SMALL_BYTES))
    for _ in range(3):
        assert Counter(number for _, number, _ in read(outbox.next_frame())) == {2: FRAME_BYTES // SMALL_BYTES, 1: 1}


def test_payloads_wait_until_all_control_is_out() -> None:
    # A call's event among them must not come after its answer.
    outbox = Outbox()
    in_lane(outbox, 1, 100)
    outbox.add_small(Letter(2), b"x")
    for number in range(FRAME_BYTES // 4):
        outbox.add_control(ping(number + 128))
    kinds = [kind for kind, _, _ in everything(outbox)]
    assert kinds == sorted(kinds, key=lambda kind: kind != "ping")


# -------------------------------------------------------------------------------------------------------- pieces


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (0, [0]),
        (FRAGMENT_BYTES, [FRAGMENT_BYTES]),
        (FRAGMENT_BYTES + 1, [FRAGMENT_BYTES, 1]),
        (2 * FRAGMENT_BYTES, [FRAGMENT_BYTES] * 2),
    ],
)
def test_a_payload_longer_than_a_fragment_goes_in_parts_and_the_last_is_itself(size: int, pieces: list[int]) -> None:
    outbox = Outbox()
    in_lane(outbox, 1, size)
    *parts, last = everything(outbox)
    assert [kind for kind, _, _ in parts] == ["part"] * (len(pieces) - 1)
    assert last[0] == "reply"
    assert [length for _, _, length in (*parts, last)] == pieces
    assert_nothing_is_left(outbox)


def test_pieces_make_the_payload_again() -> None:
    outbox = Outbox()
    payload = b"".join(number.to_bytes(4) for number in range(100_000))
    outbox.add(Lane(), Letter(1), payload)
    pieces = []
    while outbox:
        pieces += [one.part or one.reply for one in LinkFrame.FromString(outbox.next_frame()).envelopes]
    assert b"".join(pieces) == payload


def test_payloads_of_one_lane_go_in_order_and_whole() -> None:
    outbox = Outbox()
    sizes = [5, 300_000, 0, 1, FRAGMENT_BYTES, FRAGMENT_BYTES + 1, 70_000, 70_000]
    in_lane(outbox, 1, *sizes)
    sent, size = [], 0
    for kind, _, length in everything(outbox):
        size += length
        if kind == "reply":
            sent.append(size)
            size = 0
    assert sent == sizes


def test_many_messages_of_a_lane_go_in_one_turn_up_to_a_fragment() -> None:
    outbox = Outbox()
    in_lane(outbox, 1, *[FRAGMENT_BYTES // 4] * 6)
    in_lane(outbox, 2, 10)
    assert [number for _, number, _ in everything(outbox)] == [1, 1, 1, 1, 2, 1, 1]


# -------------------------------------------------------------------------------------------------------- frames


@pytest.mark.parametrize("size", [0, 1, 100, SMALL_BYTES])
def test_a_frame_of_small_payloads_is_bounded_however_small_they_are(size: int) -> None:
    outbox = Outbox()
    count = 2 * FRAME_BYTES // (size + 4)
    for number in range(count):
        outbox.add_small(Letter(number + 1), bytes(size))
    sizes = []
    while outbox:
        sizes.append(len(outbox.next_frame()))
    assert len(sizes) > 1
    assert max(sizes) < FRAME_BYTES + SMALL_BYTES + HEADER_BYTES
    assert_nothing_is_left(outbox)


def test_long_headers_count_on_a_frame() -> None:
    class Wordy(Letter):
        def header(self, size: int) -> bytes:
            return whole(Envelope(id=1, cancel=LinkCancel(reason="x" * 8_000)))

    outbox = Outbox()
    for number in range(100):
        outbox.add_small(Wordy(number), b"")
    assert len(outbox.next_frame()) < FRAME_BYTES + 9_000


@pytest.mark.parametrize("size", [0, 1, 70_000, FRAGMENT_BYTES, 10 * FRAGMENT_BYTES])
def test_a_frame_of_lanes_is_bounded(size: int) -> None:
    outbox = Outbox()
    count = 1 + 3 * FRAME_BYTES // (size + HEADER_BYTES)
    for number in range(1, 4):
        in_lane(outbox, number, *[size] * count)
    while outbox:
        # The last turn may be as long as two fragments, where the last message took it past one.
        assert len(outbox.next_frame()) < FRAME_BYTES + 2 * FRAGMENT_BYTES + HEADER_BYTES
    assert_nothing_is_left(outbox)


def test_a_frame_of_control_is_bounded() -> None:
    outbox = Outbox()
    envelope = whole(Envelope(id=1, cancel=LinkCancel(reason="x" * 1_000)))
    for _ in range(1_000):
        outbox.add_control(envelope)
    assert outbox.control_size == 1_000 * len(envelope)
    sizes = []
    while outbox:
        sizes.append(len(outbox.next_frame()))
        assert outbox.control_size == 1_000 * len(envelope) - sum(sizes)
    assert max(sizes) < FRAME_BYTES + len(envelope)


# -------------------------------------------------------------------------------------------------------- credit


def test_a_lane_without_credit_waits_and_is_counted_as_stalled() -> None:
    outbox = Outbox()
    lane = in_lane(outbox, 1, 100, credit=0)
    assert not outbox
    assert (outbox.size, outbox.stalled, lane.size) == (0, 100, 100)
    lane.credit = 1
    outbox.schedule(lane)
    assert (outbox.size, outbox.stalled) == (100, 0)
    assert everything(outbox) == [("reply", 1, 100)]
    assert lane.credit == -99
    assert_nothing_is_left(outbox)


def test_what_waits_for_credit_is_counted_as_stalled_once_the_lane_has_used_up_its_own() -> None:
    outbox = Outbox()
    lane = in_lane(outbox, 1, 60, 60, 60, credit=100)
    assert outbox.size == 180
    assert everything(outbox) == [("reply", 1, 60)] * 2
    assert (outbox.size, outbox.stalled) == (0, 60)
    outbox.add(lane, Letter(1), bytes(10))
    assert (outbox.size, outbox.stalled) == (0, 70)


def test_a_message_begins_while_credit_is_above_nothing_and_goes_out_whole() -> None:
    outbox = Outbox()
    lane = in_lane(outbox, 1, 3 * FRAGMENT_BYTES, 1, credit=1)
    assert everything(outbox) == [
        ("part", 1, FRAGMENT_BYTES),
        ("part", 1, FRAGMENT_BYTES),
        ("reply", 1, FRAGMENT_BYTES),
    ]
    assert lane.credit == 1 - 3 * FRAGMENT_BYTES
    assert not lane.is_empty()


def test_an_empty_message_waits_for_credit_too() -> None:
    outbox = Outbox()
    lane = in_lane(outbox, 1, 0, credit=0)
    assert not outbox
    lane.credit = 1
    outbox.schedule(lane)
    assert everything(outbox) == [("reply", 1, 0)]


def test_a_lane_without_credit_leaves_the_others_their_turns() -> None:
    outbox = Outbox()
    in_lane(outbox, 1, FRAGMENT_BYTES, FRAGMENT_BYTES, credit=1)
    in_lane(outbox, 2, FRAGMENT_BYTES, FRAGMENT_BYTES, credit=MIB)
    assert [number for _, number, _ in everything(outbox)] == [1, 2, 2]


def test_a_lane_is_given_its_turns_once() -> None:
    outbox = Outbox()
    lane = in_lane(outbox, 1, FRAGMENT_BYTES, FRAGMENT_BYTES)
    outbox.schedule(lane)
    in_lane(outbox, 2, FRAGMENT_BYTES)
    assert [number for _, number, _ in everything(outbox)] == [1, 2, 1]


# ----------------------------------------------------------------------------------------------- the lane's end


def test_the_last_control_of_a_lane_follows_its_payloads_at_once() -> None:
    outbox = Outbox()
    told: list[str] = []
    lane = in_lane(outbox, 1, 10, 20, credit=30)
    lane.last = ping(9)
    lane.on_empty = lambda: told.append("empty")
    assert read(outbox.next_frame()) == [("reply", 1, 10), ("reply", 1, 20), ("ping", 0, 9)]
    assert lane.is_empty()
    assert told == ["empty"]
    assert_nothing_is_left(outbox)


def test_the_last_control_of_a_lane_waits_for_payloads_that_wait_for_credit() -> None:
    outbox = Outbox()
    told: list[str] = []
    lane = in_lane(outbox, 1, 10, 20, credit=5)
    lane.last = ping(9)
    lane.on_empty = lambda: told.append("empty")
    assert everything(outbox) == [("reply", 1, 10)]
    assert told == []
    lane.credit = 1
    outbox.schedule(lane)
    assert everything(outbox) == [("reply", 1, 20), ("ping", 0, 9)]
    assert told == ["empty"]


def test_a_lane_tells_when_there_is_room_after_each_turn() -> None:
    outbox = Outbox()
    left: list[int] = []
    lane = in_lane(outbox, 1, FRAGMENT_BYTES, FRAGMENT_BYTES, 5)
    lane.on_room = lambda: left.append(lane.size)
    everything(outbox)
    assert left == [FRAGMENT_BYTES + 5, 5, 0]


def test_a_lane_may_be_filled_again_by_whoever_hears_that_there_is_room() -> None:
    outbox = Outbox()
    more = [30, 20]
    lane = in_lane(outbox, 1, 10)
    lane.on_room = lambda: outbox.add(lane, Letter(1), bytes(more.pop())) if more else None
    assert everything(outbox) == [("reply", 1, 10), ("reply", 1, 20), ("reply", 1, 30)]
    assert_nothing_is_left(outbox)


# ---------------------------------------------------------------------------------------------------- forgetting


def test_a_dropped_lane_sends_nothing_more_and_counts_for_nothing() -> None:
    outbox = Outbox()
    lane = in_lane(outbox, 1, 5 * FRAGMENT_BYTES)
    in_lane(outbox, 2, 7)
    outbox.next_frame()
    outbox.drop(lane)
    assert everything(outbox) == []
    outbox.drop(lane)
    assert_nothing_is_left(outbox)


def test_a_lane_dropped_before_its_turn_leaves_the_others_theirs() -> None:
    outbox = Outbox()
    lane = in_lane(outbox, 1, 5)
    in_lane(outbox, 2, 7)
    outbox.drop(lane)
    assert everything(outbox) == [("reply", 2, 7)]
    assert_nothing_is_left(outbox)


def test_a_lane_dropped_while_it_waits_for_credit_is_not_given_turns_by_credit() -> None:
    outbox = Outbox()
    lane = in_lane(outbox, 1, 5, credit=0)
    outbox.drop(lane)
    lane.credit = 100
    outbox.schedule(lane)
    assert_nothing_is_left(outbox)


def test_a_small_payload_is_taken_back_alone() -> None:
    outbox = Outbox()
    letters = [Letter(number) for number in (1, 2, 3)]
    for letter in letters:
        outbox.add_small(letter, b"same")
    assert outbox.remove_small(letters[1])
    assert not outbox.remove_small(letters[1])
    assert outbox.size == 8
    assert [number for _, number, _ in everything(outbox)] == [1, 3]
    assert not outbox.remove_small(letters[0])
    assert_nothing_is_left(outbox)


def test_unsent_is_what_waits_and_of_which_nothing_went_out() -> None:
    outbox = Outbox()
    outbox.add_control(ping(1))
    outbox.add_small(Letter(1), b"one")
    in_lane(outbox, 2, 3 * FRAGMENT_BYTES, 4)
    in_lane(outbox, 3, 3 * FRAGMENT_BYTES)
    in_lane(outbox, 4, 5)
    waiting = [(1, 3), (2, 3 * FRAGMENT_BYTES), (2, 4), (3, 3 * FRAGMENT_BYTES), (4, 5)]
    assert [(sending.number, len(data)) for sending, data in unsent(outbox)] == waiting
    outbox.next_frame()
    # The small one has gone, and the first two lanes have had a turn.
    assert sorted((sending.number, len(data)) for sending, data in unsent(outbox)) == [(2, 4), (4, 5)]


def unsent(outbox: Outbox) -> list[tuple[Letter, bytes]]:
    return [(sending, joined(data)) for sending, data in outbox.unsent() if isinstance(sending, Letter)]


# ---------------------------------------------------------------------------------------------------- reassembly


def begun_and_unfinished(sent: Iterable[Sent], sizes: dict[int, int]) -> Iterable[int]:
    """Yields after each envelope what the peer has to keep room for."""
    begun: dict[int, int] = {}
    for kind, number, _ in sent:
        if kind == "part":
            begun[number] = sizes[number]
        else:
            begun.pop(number, None)
        yield sum(begun.values())


def test_payloads_begin_only_where_the_peer_has_room_for_all_of_them() -> None:
    outbox = Outbox()
    sizes = {1: 30 * MIB, 2: 30 * MIB, 3: 30 * MIB, 4: 4 * MIB, 5: REASSEMBLY_BYTES}
    for number, size in sizes.items():
        in_lane(outbox, number, size)
    sent = everything(outbox)
    assert max(begun_and_unfinished(sent, sizes)) <= REASSEMBLY_BYTES
    assert Counter({number: sum(length for _, one, length in sent if one == number) for number in sizes}) == sizes
    assert_nothing_is_left(outbox)


@pytest.mark.parametrize("first", [0, 10, FRAGMENT_BYTES + 1])
def test_a_large_payload_behind_another_of_its_lane_begins_only_where_there_is_room(first: int) -> None:
    outbox = Outbox()
    in_lane(outbox, 1, 40 * MIB)
    outbox.next_frame()
    in_lane(outbox, 2, first, 40 * MIB)
    order = [number for kind, number, length in everything(outbox) if length > 2]
    last_of_the_first = len(order) - 1 - order[::-1].index(1)
    assert order[last_of_the_first + 1 :] == [2] * (40 * MIB // FRAGMENT_BYTES)


def test_a_payload_that_needs_no_pieces_passes_those_that_wait_for_room() -> None:
    outbox = Outbox()
    in_lane(outbox, 1, 40 * MIB)
    in_lane(outbox, 2, 40 * MIB)
    outbox.next_frame()
    in_lane(outbox, 3, FRAGMENT_BYTES)
    assert ("reply", 3, FRAGMENT_BYTES) in read(outbox.next_frame()) + read(outbox.next_frame())


def test_a_payload_that_waits_for_room_is_not_passed_by_others_for_ever() -> None:
    outbox = Outbox()
    in_lane(outbox, 1, 8 * MIB)
    outbox.next_frame()
    in_lane(outbox, 2, 60 * MIB)
    begun: list[int] = []
    # Without a turn of its own it would wait until no more of these come.
    for number in range(3, 100):
        in_lane(outbox, number, 2 * MIB)
        for _ in range(8):
            begun += [one for kind, one, _ in read(outbox.next_frame()) if one not in begun]
        if 2 in begun:
            break
    assert begun[:2] == [1, 2]


def test_a_payload_that_waited_for_room_and_was_dropped_holds_up_nothing() -> None:
    outbox = Outbox()
    in_lane(outbox, 1, 40 * MIB)
    waiting = in_lane(outbox, 2, 40 * MIB)
    outbox.next_frame()
    in_lane(outbox, 3, 2 * FRAGMENT_BYTES)
    assert [number for _, number, _ in read(outbox.next_frame())] == [1]
    outbox.drop(waiting)
    assert 3 in [number for _, number, _ in read(outbox.next_frame())]


def test_a_payload_dropped_half_sent_leaves_its_room_to_the_next() -> None:
    outbox = Outbox()
    first = in_lane(outbox, 1, 40 * MIB)
    outbox.next_frame()
    in_lane(outbox, 2, 40 * MIB)
    outbox.drop(first)
    assert read(outbox.next_frame()) == [("part", 2, FRAGMENT_BYTES)]
