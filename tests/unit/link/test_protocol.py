"""The rules of a link, at each of its ends."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from grpc_tool_bridge.errors import MessageTooLargeError, ProtocolError, ResourceExhaustedError
from grpc_tool_bridge.link import protocol as link_module
from grpc_tool_bridge.link.asks import LinkAsker
from grpc_tool_bridge.link.envelopes import call_prefix
from grpc_tool_bridge.link.events import (
    CallReceived,
    Cancelled,
    Draining,
    Ended,
    Event,
    EventReceived,
    HelloReceived,
    MessageReceived,
    PongReceived,
    Replied,
)
from grpc_tool_bridge.link.inbox import MAX_PIECES, MAX_REMEMBERED, IncomingCall
from grpc_tool_bridge.link.outbox import (
    FRAGMENT_BYTES,
    FRAME_BYTES,
    INITIAL_CREDIT,
    LANE_BYTES,
    REASSEMBLY_BYTES,
    SMALL_BYTES,
    STALLED_BYTES,
    OutgoingCall,
)
from grpc_tool_bridge.link.protocol import HIGH_WATER_BYTES, PROTOCOL, Link
from grpc_tool_bridge.link.status import Code
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    Answer,
    Ask,
    Envelope,
    LinkCall,
    LinkCancel,
    LinkEvent,
    LinkFrame,
    LinkHello,
    LinkStatus,
    LogRecord,
    Progress,
)
from grpc_tool_bridge.rpc.asks import ASK_FEATURE
from grpc_tool_bridge.rpc.buffers import joined

PREFIX = call_prefix("Do")
KIB = 1024
MIB = 1024 * KIB
LARGE = 3 * FRAGMENT_BYTES + 5
PAGE = bytes(64 * KIB)


def frame(*envelopes: Envelope) -> bytes:
    return LinkFrame(envelopes=envelopes).SerializeToString()


def read(data: bytes) -> list[Envelope]:
    return list(LinkFrame.FromString(data).envelopes)


def output(link: Link) -> list[Envelope]:
    """Takes everything that may be sent."""
    envelopes: list[Envelope] = []
    while link.has_output:
        envelopes += read(link.next_frame())
    return envelopes


def kinds(envelopes: Iterable[Envelope]) -> list[tuple[int, str | None]]:
    return [(envelope.id, envelope.WhichOneof("kind")) for envelope in envelopes]


def hello(*, protocol: int = PROTOCOL, capacity: int = 0) -> Envelope:
    return Envelope(hello=LinkHello(protocol=protocol, peer="the other", capacity=capacity))


def ungreeted(*, dialer: bool = True, capacity: int = 0, **options: Any) -> Link:
    return Link(dialer=dialer, hello=LinkHello(peer="one", capacity=capacity), **options)


def alone(*, dialer: bool = True, capacity: int = 0, peer_capacity: int = 0, **options: Any) -> Link:
    """A link whose peer is this test."""
    link = ungreeted(dialer=dialer, capacity=capacity, **options)
    output(link)
    link.receive(frame(hello(capacity=peer_capacity)))
    return link


def carry(source: Link, target: Link) -> list[Event]:
    """Brings everything that one end has to send to the other."""
    events: list[Event] = []
    while source.has_output:
        events += target.receive(source.next_frame())
    return events


def pair(*, capacity: int = 0, **options: Any) -> tuple[Link, Link]:
    """A dialer and a hub that have greeted each other."""
    dialer, hub = ungreeted(), ungreeted(dialer=False, capacity=capacity, **options)
    carry(dialer, hub)
    carry(hub, dialer)
    return dialer, hub


def made(link: Link, payload: bytes = b"in", *, window: int | None = None, prefix: bytes = PREFIX) -> OutgoingCall:
    """Makes a call; a stream where it has a window."""
    call = OutgoingCall(prefix)
    if window is not None:
        call.open_window(window)
        call.prefix = call_prefix("Do", initial_credit=window)
    link.call(call, payload)
    return call


def came(events: Iterable[Event]) -> IncomingCall:
    (event,) = events
    assert isinstance(event, CallReceived)
    return event.call


def called(dialer: Link, hub: Link, payload: bytes = b"in", **options: Any) -> tuple[OutgoingCall, IncomingCall]:
    """Makes a call that has come to the hub."""
    call = made(dialer, payload, **options)
    return call, came(carry(dialer, hub))


def ended(code: int, message: str = "") -> LinkStatus:
    return LinkStatus(code=code, message=message)


def chunks(events: Iterable[Event]) -> list[bytes]:
    return [joined(event.payload) for event in events if isinstance(event, MessageReceived)]


def assert_quiet(*links: Link) -> None:
    """Checks that nothing of any call is kept, or counted."""
    for link in links:
        outbox = link._outbox
        assert not link.has_output
        assert (link.calls, link.incoming, link._inbox.assembling) == ({}, {}, {})
        assert (outbox.size, outbox.stalled, outbox.control_size, outbox._begun, outbox._next) == (0, 0, 0, 0, None)
        assert (link._open, link._inbox.bytes, link._inbox.assembled, link._inbox.pieces) == (0, 0, 0, 0)
        assert link.waiting_bytes == 0
        assert link.writable


# ------------------------------------------------------------------------------------------------------ greeting


@pytest.mark.parametrize("dialer", [True, False])
def test_the_first_envelope_of_each_side_is_its_hello(dialer: bool) -> None:
    link = Link(dialer=dialer, hello=LinkHello(protocol=99, peer="me", features=["x"], capacity=7))
    made(link)
    first = output(link)[0]
    assert first == Envelope(hello=LinkHello(protocol=PROTOCOL, peer="me", features=["x"], capacity=7))


def test_the_peer_is_known_by_its_hello() -> None:
    link = ungreeted()
    assert link.peer is None
    (event,) = link.receive(frame(hello(capacity=3)))
    assert isinstance(event, HelloReceived)
    assert link.peer == event.hello == LinkHello(protocol=1, peer="the other", capacity=3)


@pytest.mark.parametrize(
    ("envelope", "kind"),
    [
        (Envelope(ping=1), "ping"),
        (Envelope(id=2, call=LinkCall(method="Do")), "call"),
        (Envelope(id=1, reply=b""), "reply"),
    ],
)
def test_anything_before_the_hello_ends_the_link(envelope: Envelope, kind: str) -> None:
    with pytest.raises(ProtocolError, match=f"the first envelope is '{kind}'; it must be the peer's hello"):
        ungreeted().receive(frame(envelope, hello()))


def test_a_second_hello_ends_the_link() -> None:
    with pytest.raises(ProtocolError, match="a second hello came"):
        alone().receive(frame(hello()))


@pytest.mark.parametrize("version", [0, 2])
def test_another_version_of_the_protocol_ends_the_link_and_both_are_named(version: int) -> None:
    with pytest.raises(ProtocolError, match=f"the peer speaks version {version} of the link's protocol; this is 1"):
        ungreeted().receive(frame(hello(protocol=version)))


# ----------------------------------------------------------------------------------------------------- numbering


@pytest.mark.parametrize(("dialer", "numbers"), [(True, [1, 3, 5]), (False, [2, 4, 6])])
def test_the_dialer_numbers_its_calls_odd_and_the_hub_even(dialer: bool, numbers: list[int]) -> None:
    link = alone(dialer=dialer)
    made(link)
    made(link, bytes(20 * KIB))
    made(link)
    assert sorted(envelope.id for envelope in output(link)) == numbers


def test_numbers_rise_in_the_order_in_which_calls_begin_to_be_sent() -> None:
    link = alone()
    large, small = made(link, bytes(LARGE)), made(link)
    assert (large.id, small.id) == (0, 0)
    envelopes = output(link)
    assert (small.id, large.id) == (1, 3)
    assert kinds(envelopes) == [(1, "call"), (3, "part"), (3, "part"), (3, "part"), (3, "call")]


def test_a_number_is_not_used_again_and_not_for_a_call_that_was_never_sent() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub)
    hub.reply(incoming, b"")
    carry(hub, dialer)
    dialer.cancel(made(dialer))
    second, _ = called(dialer, hub)
    assert (call.id, second.id) == (1, 3)


@pytest.mark.parametrize("number", [0, 1, 2, 4])
def test_a_call_with_a_number_that_does_not_rise_or_is_of_the_other_side_ends_the_link(number: int) -> None:
    link = alone()
    link.receive(frame(Envelope(id=4, call=LinkCall())))
    expected = f"a call came with the number {number}; the peer's last one was 4, and numbers rise"
    with pytest.raises(ProtocolError, match=expected):
        link.receive(frame(Envelope(id=number, call=LinkCall())))
    with pytest.raises(ProtocolError, match=expected):
        link.receive(frame(Envelope(id=number, call=LinkCall())))


@pytest.mark.parametrize("number", [0, 2])
def test_a_first_call_with_a_number_of_the_other_side_ends_the_link(number: int) -> None:
    with pytest.raises(ProtocolError, match=f"a call came with the number {number}; the peer's last one was 0"):
        alone(dialer=False).receive(frame(Envelope(id=number, call=LinkCall())))


# --------------------------------------------------------------------------------------------------- unary calls


@pytest.mark.parametrize("size", [0, 1, SMALL_BYTES, SMALL_BYTES + 1, FRAGMENT_BYTES, FRAGMENT_BYTES + 1, LARGE])
def test_a_call_and_its_reply_arrive_as_they_were_given(size: int) -> None:
    dialer, hub = pair()
    request, answer = bytes([1]) * size, bytes([2]) * size
    prefix = call_prefix("Do", timeout_ms=70, metadata={"k": "v"})
    call, incoming = called(dialer, hub, request, prefix=prefix)
    assert (incoming.method, incoming.payload, incoming.timeout_ms, incoming.metadata) == (
        "Do",
        request,
        70,
        {"k": "v"},
    )
    assert (incoming.id, dialer.calls, hub.incoming) == (1, {1: call}, {1: incoming})
    hub.reply(incoming, answer)
    assert incoming.answered
    assert carry(hub, dialer) == [Replied(call, answer)]
    assert_quiet(dialer, hub)


def test_both_ends_call_each_other_at_once() -> None:
    dialer, hub = pair()
    ours, theirs = made(dialer, b"a"), made(hub, b"b")
    at_hub, at_dialer = came(carry(dialer, hub)), came(carry(hub, dialer))
    hub.reply(at_hub, b"A")
    dialer.reply(at_dialer, b"B")
    assert carry(hub, dialer) == [Replied(ours, b"A")]
    assert carry(dialer, hub) == [Replied(theirs, b"B")]
    assert_quiet(dialer, hub)


def test_a_call_without_metadata_has_none() -> None:
    assert called(*pair())[1].metadata == {}


def test_a_call_that_fails_ends_with_its_status() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub)
    hub.end(incoming, ended(5, "no such thing"))
    assert carry(hub, dialer) == [Ended(call, ended(5, "no such thing"))]
    assert_quiet(dialer, hub)


def test_only_the_first_answer_that_is_given_is_sent() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub)
    hub.reply(incoming, b"first")
    hub.reply(incoming, b"second")
    hub.end(incoming, ended(13))
    hub.chunk(incoming, b"third")
    hub.tell(incoming, LinkEvent())
    assert carry(hub, dialer) == [Replied(call, b"first")]
    assert_quiet(dialer, hub)


def test_a_request_is_forgotten_once_its_answer_was_given() -> None:
    dialer, hub = pair()
    _, incoming = called(dialer, hub, bytes(1000))
    hub.end(incoming, ended(13))
    assert incoming.payload == b""


def test_answers_past_the_limit_of_those_that_wait_are_refused_and_still_owed() -> None:
    dialer, hub = pair(max_answer_bytes=2 * LARGE)
    calls = [called(dialer, hub) for _ in range(3)]
    hub.reply(calls[0][1], bytes(LARGE))
    with pytest.raises(ResourceExhaustedError, match="read them"):
        hub.reply(calls[1][1], bytes(LARGE + 1))
    # A small one is taken, and so is a large one where nothing else waits.
    hub.reply(calls[2][1], b"small")
    carry(hub, dialer)
    hub.reply(calls[1][1], bytes(3 * LARGE))
    answers = [event for event in carry(hub, dialer) if isinstance(event, Replied)]
    assert [len(answer.payload) for answer in answers] == [3 * LARGE]
    assert_quiet(dialer, hub)


def test_a_large_answer_counts_as_active_until_all_of_it_was_sent() -> None:
    dialer, hub = pair()
    _, incoming = called(dialer, hub)
    hub.reply(incoming, bytes(LARGE))
    hub.next_frame()
    assert hub.incoming == {1: incoming}
    output(hub)
    assert hub.incoming == {}


# ------------------------------------------------------------------------------------------------ parts and size


@pytest.mark.parametrize("size", [FRAGMENT_BYTES + 1, 2 * FRAGMENT_BYTES, LARGE])
def test_a_large_payload_goes_in_parts_under_its_id_and_the_last_piece_is_itself(size: int) -> None:
    link = alone()
    payload = bytes(range(256)) * (size // 256 + 1)
    made(link, payload)
    *parts, last = output(link)
    assert {kind for _, kind in kinds(parts)} == {"part"}
    assert {one.id for one in (*parts, last)} == {1}
    assert b"".join((*(one.part for one in parts), last.call.payload)) == payload
    assert last.call.method == "Do"


def test_pieces_of_several_calls_and_answers_come_mixed_and_make_each_its_own() -> None:
    dialer, hub = pair()
    requests = {number: bytes([number]) * (LARGE + number) for number in range(1, 5)}
    calls = {number: made(dialer, payload) for number, payload in requests.items()}
    incoming = [event.call for event in carry(dialer, hub) if isinstance(event, CallReceived)]
    assert sorted(joined(call.payload) for call in incoming) == sorted(requests.values())
    back = made(hub, b"b" * LARGE)
    for one in incoming:
        hub.reply(one, joined(one.payload) * 2)
    events = carry(hub, dialer)
    assert came(event for event in events if isinstance(event, CallReceived)).payload == b"b" * LARGE
    answers = {event.call: event.payload for event in events if isinstance(event, Replied)}
    assert answers == {calls[number]: requests[number] * 2 for number in requests}
    hub.cancel(back)
    carry(hub, dialer)
    assert hub.calls == {2: back}


@pytest.mark.parametrize("who", ["call", "reply", "chunk"])
def test_a_payload_of_more_than_64_mib_is_refused_before_it_is_sent(who: str) -> None:
    dialer, hub = pair()
    payload = bytes(REASSEMBLY_BYTES + 1)
    call, incoming = called(dialer, hub, window=0)
    give = {
        "call": lambda: dialer.call(OutgoingCall(PREFIX), payload),
        "reply": lambda: hub.reply(incoming, payload),
        "chunk": lambda: hub.chunk(incoming, payload),
    }
    with pytest.raises(MessageTooLargeError, match=r"takes 67,108,865 bytes, the limit is 67,108,864"):
        give[who]()
    hub.end(incoming, ended(Code.RESOURCE_EXHAUSTED))
    assert carry(hub, dialer) == [Ended(call, ended(Code.RESOURCE_EXHAUSTED))]
    assert_quiet(dialer, hub)


def test_a_payload_of_64_mib_arrives() -> None:
    dialer, hub = pair()
    _, incoming = called(dialer, hub, bytes(REASSEMBLY_BYTES))
    assert len(incoming.payload) == REASSEMBLY_BYTES


def test_the_sender_never_has_more_than_64_mib_in_pieces() -> None:
    dialer, hub = pair()
    count = 0
    for size in (40, 40, 30, 24, 64):
        made(dialer, bytes(size * MIB))
    while dialer.has_output:
        count += len(hub.receive(dialer.next_frame()))
        assert hub._inbox.assembled <= REASSEMBLY_BYTES
    # The peer takes so many bytes of requests; what it refused was none of the sender's fault.
    assert count + len(output(hub)) == 5


@pytest.mark.parametrize("first", [b"", b"small"])
def test_a_stream_whose_large_message_follows_a_small_one_keeps_to_the_64_mib_too(first: bytes) -> None:
    dialer, hub = pair()
    streams = [called(dialer, hub, window=8)[1] for _ in range(2)]
    for one in streams:
        if first:
            hub.chunk(one, first)
        hub.chunk(one, b"")
        hub.chunk(one, bytes(40 * MIB))
    assert sorted(map(len, chunks(carry(hub, dialer)))) == sorted([len(first), 0, 40 * MIB] * 2)[-(6 if first else 4) :]


@pytest.mark.parametrize("numbers", [(1, 1), (1, 3)])
def test_more_than_64_mib_in_pieces_end_the_link(numbers: tuple[int, int]) -> None:
    hub = alone(dialer=False)
    for number in numbers:
        hub.receive(frame(Envelope(id=number, part=bytes(REASSEMBLY_BYTES // 2))))
    with pytest.raises(ProtocolError, match=r"pieces of more than 67,108,864 bytes came before they made a whole"):
        hub.receive(frame(Envelope(id=numbers[-1], part=b"x")))


@pytest.mark.parametrize("step", [0, 2])
def test_pieces_without_end_that_are_next_to_nothing_end_the_link(step: int) -> None:
    hub = alone(dialer=False)
    hub.receive(frame(*(Envelope(id=1 + number * step, part=b"") for number in range(MAX_PIECES))))
    with pytest.raises(ProtocolError, match="more than 65,536 pieces came before they made a whole"):
        hub.receive(frame(Envelope(id=1 + MAX_PIECES * step, part=b"")))


def test_pieces_of_an_answer_are_counted_with_those_of_calls() -> None:
    dialer = alone()
    made(dialer)
    output(dialer)
    dialer.receive(frame(Envelope(id=1, part=bytes(REASSEMBLY_BYTES)), Envelope(id=2, part=b"")))
    with pytest.raises(ProtocolError, match="pieces of more than"):
        dialer.receive(frame(Envelope(id=2, part=b"x")))


def test_a_large_answer_that_was_taken_and_is_cancelled_afterwards_is_not_forgotten_twice() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub)
    hub.reply(incoming, bytes(LARGE))
    carry(hub, dialer)
    dialer.cancel(call)
    assert_quiet(dialer, hub)


# ------------------------------------------------------------------------------------------------------ fairness


def test_a_small_call_overtakes_a_payload_of_9_mb() -> None:
    dialer, hub = pair()
    made(dialer, bytes(9_000_000))
    hub.receive(dialer.next_frame())
    made(dialer, b"quick")
    assert came(hub.receive(dialer.next_frame())).payload == b"quick"


def test_a_small_reply_overtakes_a_payload_of_9_mb() -> None:
    dialer, hub = pair()
    _, first = called(dialer, hub)
    second_call, second = called(dialer, hub)
    hub.reply(first, bytes(9_000_000))
    dialer.receive(hub.next_frame())
    hub.reply(second, b"quick")
    assert dialer.receive(hub.next_frame()) == [Replied(second_call, b"quick")]


def test_large_payloads_take_turns() -> None:
    link = alone()
    for _ in range(3):
        made(link, bytes(3 * FRAGMENT_BYTES))
    assert [envelope.id for envelope in output(link)] == [1, 3, 5] * 3


def test_a_stream_that_sends_much_holds_up_another_for_no_more_than_a_frame() -> None:
    dialer, hub = pair()
    _, busy = called(dialer, hub, window=100 * MIB)
    call, quiet = called(dialer, hub, window=1000)
    for _ in range(100):
        hub.chunk(busy, bytes(100 * KIB))
    dialer.receive(hub.next_frame())
    hub.chunk(quiet, b"here")
    assert MessageReceived(call, b"here") in dialer.receive(hub.next_frame())


def test_control_overtakes_what_waits() -> None:
    dialer, hub = pair()
    call, _ = called(dialer, hub)
    made(dialer, bytes(9_000_000))
    made(dialer)
    dialer.cancel(call)
    dialer.ping()
    assert kinds(read(dialer.next_frame()))[:2] == [(1, "cancel"), (0, "ping")]


def test_a_frame_is_bounded_whatever_waits() -> None:
    dialer, hub = pair()
    wordy = call_prefix("Do", metadata={"token": "x" * 5_000})
    streams = [called(dialer, hub, window=MIB)[1] for _ in range(5)]
    for number, stream in enumerate(streams * 40):
        hub.chunk(stream, bytes(number * 997 % FRAGMENT_BYTES))
        hub.tell(stream, LinkEvent(progress=Progress(message="m" * 3_000)))
        made(hub, b"", prefix=wordy)
        made(hub, bytes(number * 1_999))
    bound = FRAME_BYTES + 2 * FRAGMENT_BYTES + 10 * KIB
    while hub.has_output:
        data = hub.next_frame()
        assert 0 < len(data) < bound
        dialer.receive(data)


# ---------------------------------------------------------------------------------------------- streams, credit


def test_a_stream_arrives_in_order_and_ends_after_its_last_message() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub, window=100 * MIB)
    payloads = [bytes([number]) * size for number, size in enumerate([0, 5, LARGE, 1, FRAGMENT_BYTES, 0, 70_000])]
    for payload in payloads:
        hub.chunk(incoming, payload)
    hub.end(incoming, ended(Code.OK))
    assert carry(hub, dialer) == [
        *(MessageReceived(call, payload) for payload in payloads),
        Ended(call, ended(Code.OK)),
    ]
    assert_quiet(dialer, hub)


def test_a_stream_may_end_at_once_or_later_or_with_an_error() -> None:
    dialer, hub = pair()
    empty, at_once = called(dialer, hub, window=10)
    hub.end(at_once, ended(Code.OK))
    assert carry(hub, dialer) == [Ended(empty, ended(Code.OK))]
    broken, later = called(dialer, hub, window=10)
    hub.chunk(later, b"x")
    assert carry(hub, dialer) == [MessageReceived(broken, b"x")]
    hub.end(later, ended(13, "why"))
    assert carry(hub, dialer) == [Ended(broken, ended(13, "why"))]
    assert_quiet(dialer, hub)


def test_nothing_is_sent_of_a_stream_after_its_end_was_given() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub, window=10)
    hub.end(incoming, ended(Code.OK))
    hub.chunk(incoming, b"late")
    hub.end(incoming, ended(13))
    assert carry(hub, dialer) == [Ended(call, ended(Code.OK))]


def test_the_window_of_a_stream_is_1_mib_unless_the_call_says_otherwise() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub)
    call.open_window(0)
    assert call.window == INITIAL_CREDIT == MIB
    for _ in range(20):
        hub.chunk(incoming, bytes(100_000))
    # The eleventh begins with 48,576 left.
    assert len(chunks(carry(hub, dialer))) == 11


@pytest.mark.parametrize(("window", "size", "count"), [(1, 1, 1), (10, 4, 3), (8, 4, 2), (1, LARGE, 1), (5, 0, 9)])
def test_a_message_begins_while_there_is_credit_and_the_others_wait(window: int, size: int, count: int) -> None:
    dialer, hub = pair()
    _, incoming = called(dialer, hub, window=window)
    for _ in range(9):
        hub.chunk(incoming, bytes(size))
    assert chunks(carry(hub, dialer)) == [bytes(size)] * count


def test_credit_sets_a_waiting_stream_free() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub, window=4)
    for number in range(5):
        hub.chunk(incoming, bytes([number]) * 4)
    for number in range(5):
        assert carry(hub, dialer) == [MessageReceived(call, bytes([number]) * 4)]
        dialer.grant(call, 4)
        carry(dialer, hub)


def test_credit_that_comes_before_the_first_message_counts() -> None:
    dialer, hub = pair()
    _, incoming = called(dialer, hub, window=4)
    hub.receive(frame(Envelope(id=1, credit=4)))
    for _ in range(3):
        hub.chunk(incoming, b"1234")
    assert kinds(output(hub)) == [(1, "chunk")] * 2


def test_the_peer_hears_of_what_was_used_once_it_is_half_a_window() -> None:
    dialer, hub = pair()
    call, _ = called(dialer, hub, window=100)
    dialer.grant(call, 49)
    assert not dialer.has_output
    dialer.grant(call, 1)
    assert output(dialer) == [Envelope(id=1, credit=50)]
    dialer.grant(call, 30)
    assert not dialer.has_output
    dialer.grant(call, 90)
    assert output(dialer) == [Envelope(id=1, credit=120)]


@pytest.mark.parametrize("window", [1, 7, 1000, MIB])
@pytest.mark.parametrize("size", [0, 1, 3, 500, 1000, 200_000])
def test_a_stream_that_is_read_never_stalls(window: int, size: int) -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub, window=window)
    for _ in range(20):
        hub.chunk(incoming, bytes(size))
    hub.end(incoming, ended(Code.OK))
    events: list[Event] = []
    while hub.has_output:
        for event in carry(hub, dialer):
            events.append(event)
            if isinstance(event, MessageReceived):
                dialer.grant(call, len(event.payload))
        carry(dialer, hub)
    assert events == [MessageReceived(call, bytes(size))] * 20 + [Ended(call, ended(Code.OK))]
    assert_quiet(dialer, hub)


def test_a_grant_for_a_call_that_is_over_or_given_up_says_nothing() -> None:
    dialer, hub = pair()
    over, incoming = called(dialer, hub, window=10)
    hub.end(incoming, ended(Code.OK))
    carry(hub, dialer)
    given_up, _ = called(dialer, hub, window=10)
    dialer.cancel(given_up)
    output(dialer)
    dialer.grant(over, 10)
    dialer.grant(given_up, 10)
    assert not dialer.has_output


@pytest.mark.parametrize("kind", ["chunk", "part"])
def test_a_message_beyond_the_credit_ends_the_link(kind: str) -> None:
    dialer = alone()
    made(dialer, window=10)
    output(dialer)
    dialer.receive(frame(Envelope(id=1, chunk=b"123456789"), Envelope(id=1, part=b"a"), Envelope(id=1, chunk=b"b")))
    with pytest.raises(ProtocolError, match="the peer sent more of the stream 1 than it was granted"):
        dialer.receive(frame(Envelope(id=1, chunk=b"") if kind == "chunk" else Envelope(id=1, part=b"")))


def test_credit_that_was_granted_may_be_used() -> None:
    dialer = alone()
    call = made(dialer, window=10)
    output(dialer)
    dialer.receive(frame(Envelope(id=1, chunk=bytes(10))))
    dialer.grant(call, 5)
    assert chunks(dialer.receive(frame(Envelope(id=1, chunk=b"x")))) == [b"x"]


def test_credit_for_a_call_that_has_no_stream_changes_nothing() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub)
    hub.reply(incoming, bytes(LARGE))
    hub.receive(frame(Envelope(id=1, credit=5)))
    assert carry(hub, dialer) == [Replied(call, bytes(LARGE))]
    assert hub.receive(frame(Envelope(id=1, credit=5))) == []


@pytest.mark.parametrize("number", [0, 2, 3])
def test_credit_for_a_call_that_the_peer_never_made_ends_the_link(number: int) -> None:
    hub = alone(dialer=False)
    hub.receive(frame(Envelope(id=1, call=LinkCall())))
    with pytest.raises(ProtocolError, match=f"a credit came for the call {number}, which the peer never made"):
        hub.receive(frame(Envelope(id=number, credit=5)))


def test_a_stream_has_room_until_so_much_waits_and_is_told_when_some_was_sent() -> None:
    dialer, hub = pair()
    _, incoming = called(dialer, hub, window=1)
    told: list[str] = []
    assert hub.has_room(incoming, lambda: told.append("early"))
    hub.chunk(incoming, b"x")
    carry(hub, dialer)
    hub.chunk(incoming, bytes(LANE_BYTES - 1))
    assert hub.has_room(incoming)
    hub.chunk(incoming, b"x")
    assert not hub.has_room(incoming, lambda: told.append("room"))
    assert not hub.has_output
    hub.receive(frame(Envelope(id=1, credit=1)))
    assert told == []
    hub.next_frame()
    # Once for each of the two turns that the frame had room for.
    assert told == ["room", "room"]
    assert hub.has_room(incoming)


def test_streams_whose_readers_stall_hold_up_no_other_calls() -> None:
    dialer, hub = pair()
    for _ in range(10):
        _, stalled = called(dialer, hub, window=1)
        while hub.has_room(stalled):
            hub.chunk(stalled, bytes(64 * KIB))
    carry(hub, dialer)
    assert not hub.has_output
    assert hub.waiting_bytes == 0
    assert hub.writable
    assert hub.takes_calls


def test_streams_whose_readers_stall_hold_only_so_much_together_and_one_message_each() -> None:
    dialer, hub = pair()
    calls = []
    for _ in range(STALLED_BYTES // LANE_BYTES + 20):
        call, stalled = called(dialer, hub, window=1)
        calls.append((call, stalled))
        hub.chunk(stalled, b"x")
        carry(hub, dialer)
        while hub.has_room(stalled):
            hub.chunk(stalled, PAGE)
    assert hub._outbox.stalled == STALLED_BYTES + 20 * len(PAGE)
    # Once others are gone there is room again.
    for call, stalled in calls[:-1]:
        dialer.cancel(call)
        hub.end(stalled, ended(Code.OK))
    assert not hub.has_room(calls[-2][1])
    carry(dialer, hub)
    assert hub.has_room(calls[-1][1])


# ------------------------------------------------------------------------------------------------------- cancels


@pytest.mark.parametrize("size", [2, 20 * KIB, LARGE])
def test_a_call_cancelled_before_it_was_sent_is_never_heard_of(size: int) -> None:
    dialer, hub = pair()
    other = made(dialer, bytes(size))
    call = made(dialer, bytes(size))
    dialer.cancel(call, "why")
    dialer.cancel(call, "again")
    assert came(carry(dialer, hub)).id == other.id == 1
    assert (call.id, call.given_up, dialer._open) == (0, True, 1)


def test_a_call_cancelled_half_sent_is_forgotten_by_the_peer_and_ended() -> None:
    dialer, hub = pair()
    call = made(dialer, bytes(10 * LARGE))
    hub.receive(dialer.next_frame())
    dialer.cancel(call)
    assert dialer.calls == {1: call}
    assert dialer.waiting_bytes == 0
    assert carry(dialer, hub) == []
    assert kinds(output(hub)) == [(1, "end")]
    dialer.receive(frame(Envelope(id=1, end=ended(Code.CANCELLED))))
    assert_quiet(dialer, hub)


def test_a_cancelled_call_counts_as_active_until_its_end_comes() -> None:
    dialer, hub = pair(capacity=1)
    call, incoming = called(dialer, hub)
    dialer.cancel(call, "no longer needed")
    assert carry(dialer, hub) == [Cancelled(incoming, "no longer needed")]
    assert incoming.cancelled
    assert (dialer.calls, hub.incoming, dialer.room) == ({1: call}, {1: incoming}, 0)
    hub.end(incoming, ended(Code.CANCELLED))
    assert carry(hub, dialer) == []
    assert dialer.room == 1
    assert_quiet(dialer, hub)


def test_a_second_cancel_is_heard_once() -> None:
    dialer, hub = pair()
    called(dialer, hub)
    cancel = frame(Envelope(id=1, cancel=LinkCancel()))
    assert len(hub.receive(cancel)) == 1
    assert hub.receive(cancel) == []


@pytest.mark.parametrize("size", [2, LARGE])
def test_a_cancel_that_crosses_the_answer_brings_nothing_and_leaves_nothing(size: int) -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub)
    hub.reply(incoming, bytes(size))
    frames = []
    while hub.has_output:
        frames.append(hub.next_frame())
    dialer.cancel(call)
    assert carry(dialer, hub) == []
    assert [dialer.receive(data) for data in frames] == [[]] * len(frames)
    assert carry(hub, dialer) == []
    assert_quiet(dialer, hub)


def test_an_answer_that_was_given_to_a_cancelled_call_nevertheless_ends_it() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub)
    dialer.cancel(call)
    carry(dialer, hub)
    hub.reply(incoming, b"too late")
    assert carry(hub, dialer) == []
    assert_quiet(dialer, hub)


def test_a_cancel_while_the_answer_comes_in_pieces_stops_the_rest_and_forgets_them() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub)
    hub.reply(incoming, bytes(10 * LARGE))
    dialer.receive(hub.next_frame())
    on_its_way = hub.next_frame()
    assert dialer._inbox.assembled == FRAGMENT_BYTES
    dialer.cancel(call)
    assert (dialer._inbox.assembled, dialer._inbox.pieces) == (0, 0)
    assert dialer.receive(on_its_way) == []
    assert carry(dialer, hub) == []
    # Nobody runs it any more: the link itself gives the end.
    assert kinds(read(hub.next_frame())) == [(1, "end")]
    dialer.receive(frame(Envelope(id=1, end=ended(Code.CANCELLED))))
    assert_quiet(dialer, hub)


def test_a_cancelled_stream_sends_nothing_more_and_wakes_whoever_waits_for_room() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub, window=1)
    woken: list[bool] = []
    for _ in range(10):
        hub.chunk(incoming, bytes(LANE_BYTES))
    assert not hub.has_room(incoming, lambda: woken.append(True))
    dialer.cancel(call)
    assert carry(dialer, hub) == [Cancelled(incoming, "")]
    assert woken == [True]
    assert hub.has_room(incoming)
    hub.chunk(incoming, b"more")
    hub.tell(incoming, LinkEvent())
    assert not hub.has_output
    hub.end(incoming, ended(Code.CANCELLED))
    assert carry(hub, dialer) == []
    assert_quiet(dialer, hub)


def test_a_stream_cancelled_before_its_first_message_sends_none() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub, window=10)
    dialer.cancel(call)
    carry(dialer, hub)
    hub.chunk(incoming, b"one")
    assert not hub.has_output


def test_messages_on_their_way_to_a_cancelled_stream_are_dropped() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub, window=10 * MIB)
    hub.chunk(incoming, b"one")
    hub.tell(incoming, LinkEvent())
    hub.chunk(incoming, bytes(LARGE))
    dialer.cancel(call)
    assert carry(hub, dialer) == []
    assert carry(dialer, hub) == [Cancelled(incoming, "")]
    hub.end(incoming, ended(Code.OK))
    assert carry(hub, dialer) == []
    assert_quiet(dialer, hub)


def test_a_cancelled_stream_whose_end_waits_for_credit_is_ended_by_the_link() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub, window=1)
    hub.chunk(incoming, b"12")
    hub.chunk(incoming, b"34")
    hub.end(incoming, ended(Code.OK))
    assert chunks(carry(hub, dialer)) == [b"12"]
    dialer.cancel(call)
    assert carry(dialer, hub) == []
    (envelope,) = output(hub)
    assert (envelope.id, envelope.end.code) == (1, Code.CANCELLED)
    dialer.receive(frame(envelope))
    assert_quiet(dialer, hub)


def test_the_end_of_a_stream_that_waits_for_credit_comes_with_the_credit() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub, window=1)
    hub.chunk(incoming, b"12")
    hub.chunk(incoming, b"34")
    hub.end(incoming, ended(Code.OK))
    carry(hub, dialer)
    assert hub.incoming == {1: incoming}
    dialer.grant(call, 2)
    carry(dialer, hub)
    assert carry(hub, dialer) == [MessageReceived(call, b"34"), Ended(call, ended(Code.OK))]
    assert_quiet(dialer, hub)


def test_a_cancel_for_a_call_that_was_answered_is_passed_over() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub)
    hub.reply(incoming, b"")
    carry(hub, dialer)
    dialer.cancel(call)
    assert not dialer.has_output
    assert hub.receive(frame(Envelope(id=1, cancel=LinkCancel()))) == []
    assert not hub.has_output


@pytest.mark.parametrize("number", [0, 2, 3])
@pytest.mark.parametrize("calls", [0, 1])
def test_a_cancel_for_a_call_that_the_peer_never_made_ends_the_link(number: int, calls: int) -> None:
    hub = alone(dialer=False)
    if calls:
        hub.receive(frame(Envelope(id=1, call=LinkCall())))
    with pytest.raises(ProtocolError, match=f"a cancel came for the call {number}, which the peer never made"):
        hub.receive(frame(Envelope(id=number, cancel=LinkCancel())))


def test_a_cancel_for_no_call_ends_the_dialer_too() -> None:
    with pytest.raises(ProtocolError, match="a cancel came for the call 0, which the peer never made"):
        alone().receive(frame(Envelope(cancel=LinkCancel())))


def test_a_cancel_goes_before_what_takes_the_room_of_the_call() -> None:
    dialer, hub = pair()
    streams = [called(dialer, hub)[0] for _ in range(20)]
    first = made(dialer, bytes(60 * MIB))
    while first._lane is not None and first._lane.size > MIB:
        hub.receive(dialer.next_frame())
    for one in streams:
        dialer.cancel(one, "x" * 20_000)
    dialer.cancel(first)
    made(dialer, bytes(60 * MIB))
    events = carry(dialer, hub)
    assert sum(isinstance(event, Cancelled) for event in events) == 20
    assert sum(isinstance(event, CallReceived) for event in events) == 1


# ------------------------------------------------------------------------------------------- answers, never asked


ANSWERS = [
    (Envelope(reply=b""), "reply"),
    (Envelope(chunk=b""), "chunk"),
    (Envelope(end=LinkStatus()), "end"),
    (Envelope(part=b""), "part"),
    (Envelope(event=LinkEvent()), "event"),
]


def to_call(number: int, envelope: Envelope) -> bytes:
    copy = Envelope(id=number)
    copy.MergeFrom(envelope)
    return frame(copy)


@pytest.mark.parametrize(("answer", "kind"), ANSWERS)
@pytest.mark.parametrize("dialer", [True, False])
@pytest.mark.parametrize("step", [2, 100])
def test_an_answer_to_a_call_that_was_never_made_ends_the_link(
    answer: Envelope, kind: str, dialer: bool, step: int
) -> None:
    link = alone(dialer=dialer)
    call = made(link)
    output(link)
    with pytest.raises(ProtocolError, match=f"a {kind} came for the call {call.id + step}, which was never made"):
        link.receive(to_call(call.id + step, answer))


@pytest.mark.parametrize(("answer", "kind"), [one for one in ANSWERS if one[1] != "part"])
@pytest.mark.parametrize("number", [0, 2])
def test_an_answer_under_a_number_of_the_other_side_ends_the_link(answer: Envelope, kind: str, number: int) -> None:
    link = alone()
    made(link)
    output(link)
    with pytest.raises(ProtocolError, match=f"a {kind} came for the call {number}, which was never made"):
        link.receive(to_call(number, answer))


@pytest.mark.parametrize(("answer", "kind"), ANSWERS)
def test_an_answer_to_no_call_ends_the_link_of_the_hub(answer: Envelope, kind: str) -> None:
    with pytest.raises(ProtocolError, match=f"a {kind} came for the call 0, which was never made"):
        alone(dialer=False).receive(to_call(0, answer))


@pytest.mark.parametrize("dialer", [True, False])
def test_a_piece_for_no_call_ends_the_link(dialer: bool) -> None:
    with pytest.raises(ProtocolError, match=r"came (for the call|with the number) 0"):
        alone(dialer=dialer).receive(frame(Envelope(part=b"x")))


@pytest.mark.parametrize(("answer", "kind"), ANSWERS)
@pytest.mark.parametrize("first", [Envelope(reply=b""), Envelope(end=ended(13))])
def test_a_second_answer_ends_the_link(answer: Envelope, kind: str, first: Envelope) -> None:
    link = alone()
    made(link)
    output(link)
    link.receive(to_call(1, first))
    with pytest.raises(ProtocolError, match=f"a {kind} came for the call 1, which was answered before"):
        link.receive(to_call(1, answer))


def crossed(link: Link) -> OutgoingCall:
    """A call that was cancelled while its reply was on its way."""
    call = made(link)
    output(link)
    link.cancel(call)
    assert link.receive(frame(Envelope(id=call.id, reply=b"late"))) == []
    output(link)
    return call


@pytest.mark.parametrize(("answer", "kind"), ANSWERS)
def test_after_a_reply_that_crossed_its_cancel_one_end_may_come_and_nothing_else(answer: Envelope, kind: str) -> None:
    link = alone()
    crossed(link)
    if kind != "end":
        with pytest.raises(ProtocolError, match=f"a {kind} came for the call 1, which was answered before"):
            link.receive(to_call(1, answer))
    assert link.receive(frame(Envelope(id=1, end=ended(Code.CANCELLED)))) == []
    with pytest.raises(ProtocolError, match=f"a {kind} came for the call 1, which was answered before"):
        link.receive(to_call(1, answer))


def test_of_calls_that_crossed_their_cancel_only_so_many_are_remembered() -> None:
    link = alone()
    calls = [crossed(link) for _ in range(MAX_REMEMBERED + 1)]
    assert link.receive(frame(*(Envelope(id=call.id, end=LinkStatus()) for call in calls[1:]))) == []
    assert_quiet(link)
    with pytest.raises(ProtocolError, match="the call 1, which was answered before"):
        link.receive(frame(Envelope(id=1, end=LinkStatus())))


@pytest.mark.parametrize(
    ("answer", "kind", "window"),
    [
        (*one, window)
        for one in ANSWERS
        for window in (None, 5)
        if (one[1], window) not in {("reply", 5), ("chunk", None)}
    ],
)
def test_answers_to_a_cancelled_call_are_dropped(answer: Envelope, kind: str, window: int | None) -> None:
    link = alone()
    call = made(link, window=window)
    output(link)
    link.cancel(call)
    assert link.receive(to_call(1, answer)) == []
    assert (link._inbox.assembled, link._inbox.pieces, call._parts) == (0, 0, None)
    assert link.calls == ({} if kind in {"reply", "end"} else {1: call})


# ----------------------------------------------------------------------------------------------------- breaches


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x05\x08\x01", b"\xff" * 20, frame(hello())[:-1]])
def test_a_frame_that_cannot_be_read_ends_the_link(data: bytes) -> None:
    with pytest.raises(ProtocolError, match=f"a frame of {len(data)} bytes cannot be read: "):
        alone().receive(data)


@pytest.mark.parametrize("data", [b"\x0a\x02\x08\x07", b"\x0a\x05\x08\x07\xa2\x06\x00"])
def test_an_envelope_with_nothing_in_it_that_is_known_ends_the_link(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="an envelope of the call 7 has nothing in it that is known here"):
        alone().receive(data)


def test_a_frame_with_nothing_in_it_says_nothing() -> None:
    assert alone().receive(b"") == []


def test_a_reply_to_a_stream_ends_the_link() -> None:
    link = alone()
    call = made(link, window=5)
    output(link)
    with pytest.raises(ProtocolError, match="the call 1 is a stream, but a reply came"):
        link.receive(frame(Envelope(id=1, reply=b"")))
    assert link.calls == {1: call}


def test_a_chunk_for_a_unary_call_ends_the_link() -> None:
    link = alone()
    call = made(link)
    output(link)
    with pytest.raises(ProtocolError, match="the call 1 is not a stream, but a chunk came"):
        link.receive(frame(Envelope(id=1, chunk=b"")))
    assert link.calls == {1: call}


def test_a_unary_call_that_ends_well_without_a_reply_ends_the_link() -> None:
    link = alone()
    call = made(link)
    output(link)
    with pytest.raises(ProtocolError, match="the call 1 ended successfully, but without its reply"):
        link.receive(frame(Envelope(id=1, end=ended(Code.OK))))
    assert link.calls == {1: call}


@pytest.mark.parametrize("breach", [Envelope(), hello(), Envelope(id=99, reply=b"")])
def test_answers_in_the_frame_that_breaks_the_protocol_leave_their_calls_lost_and_not_forgotten(
    breach: Envelope,
) -> None:
    link = alone()
    replied, failed, stream, other = made(link), made(link), made(link, window=5), made(link)
    output(link)
    data = frame(
        Envelope(id=1, reply=b"r"),
        Envelope(id=3, end=ended(13)),
        Envelope(id=5, chunk=b"c"),
        Envelope(id=5, end=ended(Code.OK)),
        breach,
    )
    with pytest.raises(ProtocolError):
        link.receive(data)
    assert link.calls == {1: replied, 3: failed, 5: stream, 7: other}


def test_the_end_of_a_call_that_is_still_being_sent_stops_the_rest_of_it() -> None:
    link = alone()
    call = made(link, bytes(10 * LARGE))
    link.next_frame()
    assert link.receive(frame(Envelope(id=1, end=ended(Code.RESOURCE_EXHAUSTED)))) == [
        Ended(call, ended(Code.RESOURCE_EXHAUSTED))
    ]
    assert_quiet(link)


def test_the_end_of_a_call_whose_answer_came_in_pieces_forgets_them() -> None:
    link = alone()
    call = made(link)
    output(link)
    events = link.receive(frame(Envelope(id=1, part=b"half"), Envelope(id=1, end=ended(13))))
    assert events == [Ended(call, ended(13))]
    assert_quiet(link)


# ------------------------------------------------------------------------------------------------------- limits


def test_calls_beyond_the_capacity_are_refused_and_the_others_live_on() -> None:
    dialer, hub = pair(capacity=2)
    calls = [made(dialer) for _ in range(4)]
    taken = [event.call for event in carry(dialer, hub) if isinstance(event, CallReceived)]
    assert [call.id for call in taken] == [1, 3]
    refused = [event for event in carry(hub, dialer) if isinstance(event, Ended)]
    assert [event.call for event in refused] == calls[2:]
    for event in refused:
        assert event.status.code == Code.RESOURCE_EXHAUSTED
        assert event.status.message == "the link takes 2 concurrent calls; call again when some were answered"
        assert event.status.error.details["retry_after"] == "0.1"
    hub.reply(taken[0], b"A")
    assert carry(hub, dialer) == [Replied(calls[0], b"A")]
    called(dialer, hub)
    assert len(hub.incoming) == 2


def test_requests_beyond_so_many_bytes_are_refused_and_the_others_live_on() -> None:
    dialer, hub = pair(max_incoming_bytes=1000)
    first, second, third = (made(dialer, bytes(size)) for size in (600, 500, 400))
    one, two = (event.call for event in carry(dialer, hub) if isinstance(event, CallReceived))
    assert (one.id, two.id) == (first.id, third.id)
    (refusal,) = carry(hub, dialer)
    assert isinstance(refusal, Ended)
    assert refusal.call is second
    assert refusal.status.code == Code.RESOURCE_EXHAUSTED
    assert "the link takes 1,000 bytes of requests at once" in refusal.status.message
    hub.reply(one, b"")
    hub.end(two, ended(13))
    assert len(carry(hub, dialer)) == 2
    assert_quiet(dialer, hub)
    called(dialer, hub, bytes(1000))


def test_a_cancelled_call_keeps_its_place_at_the_peer_until_it_has_ended() -> None:
    dialer, hub = pair(capacity=1)
    call, incoming = called(dialer, hub)
    dialer.cancel(call)
    carry(dialer, hub)
    made(dialer)
    assert carry(dialer, hub) == []
    hub.end(incoming, ended(Code.CANCELLED))
    carry(hub, dialer)
    called(dialer, hub)


def test_room_is_what_the_peer_takes_less_what_it_has() -> None:
    link = alone(peer_capacity=3)
    assert link.room == 3
    first, second = made(link), made(link, bytes(20 * KIB))
    assert link.room == 1
    link.cancel(first)
    link.cancel(second)
    assert link.room == 3
    for _ in range(3):
        made(link)
    assert link.room == 0
    assert not link.takes_calls
    output(link)
    link.receive(frame(Envelope(id=1, reply=b""), Envelope(id=3, end=ended(13))))
    assert link.room == 2
    assert link.takes_calls


def test_a_peer_that_names_no_capacity_takes_any_number() -> None:
    link = alone(peer_capacity=0)
    for _ in range(100):
        made(link)
    assert link.room > 1_000_000


def test_a_link_takes_no_calls_before_the_peer_greeted() -> None:
    link = ungreeted()
    assert link.room == 0
    assert not link.takes_calls


@pytest.mark.parametrize("size", [SMALL_BYTES, 300 * KIB])
def test_a_link_is_not_writable_while_so_much_waits(size: int) -> None:
    dialer, hub = pair()
    while dialer.waiting_bytes < HIGH_WATER_BYTES:
        assert dialer.writable
        assert dialer.takes_calls
        made(dialer, bytes(size))
    assert not dialer.writable
    assert not dialer.takes_calls
    assert len(dialer.unsent()) == HIGH_WATER_BYTES // size + (HIGH_WATER_BYTES % size > 0)
    carry(dialer, hub)
    assert dialer.writable
    assert dialer.takes_calls


def test_a_link_is_not_writable_while_so_much_control_waits() -> None:
    dialer, hub = pair()
    incoming = [called(dialer, hub)[1] for _ in range(20)]
    for one in incoming:
        hub.end(one, ended(13, "m" * (HIGH_WATER_BYTES // 20)))
    assert not hub.writable
    hub.next_frame()
    assert hub.writable


# ---------------------------------------------------------------------------------------- the link's own control


def test_a_ping_is_answered_with_its_number() -> None:
    dialer, hub = pair()
    assert [dialer.ping(), dialer.ping(), hub.ping()] == [1, 2, 1]
    assert carry(dialer, hub) == []
    assert carry(hub, dialer) == [PongReceived(1), PongReceived(2)]
    assert carry(dialer, hub) == [PongReceived(1)]
    assert_quiet(dialer, hub)


@pytest.mark.parametrize("number", [0, 2**64 - 1])
def test_any_number_of_a_ping_comes_back(number: int) -> None:
    link = alone()
    link.receive(frame(Envelope(ping=number)))
    assert output(link) == [Envelope(pong=number)]


def test_a_link_that_drains_takes_no_new_calls_and_finishes_the_others() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub)
    hub.drain(1500)
    assert carry(hub, dialer) == [Draining(1500)]
    assert dialer.draining
    assert not hub.draining
    assert (dialer.room, dialer.takes_calls) == (0, False)
    assert hub.takes_calls
    hub.reply(incoming, b"still")
    assert carry(hub, dialer) == [Replied(call, b"still")]


def test_a_call_that_crosses_the_drain_is_taken() -> None:
    dialer, hub = pair()
    hub.drain(0)
    made(dialer)
    came(carry(dialer, hub))


@pytest.mark.parametrize("size", [3, LARGE])
def test_what_is_told_of_a_call_comes_before_its_answer(size: int) -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub)
    news = [
        LinkEvent(progress=Progress(current=1, total=2, message="half")),
        LinkEvent(log=LogRecord(level="info", message="m" * 5_000)),
    ] * 100
    for event in news:
        hub.tell(incoming, event)
    hub.reply(incoming, bytes(size))
    hub.tell(incoming, news[0])
    assert carry(hub, dialer) == [*(EventReceived(call, event) for event in news), Replied(call, bytes(size))]
    assert_quiet(dialer, hub)


def test_nothing_is_told_of_a_cancelled_call() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub)
    hub.tell(incoming, LinkEvent())
    dialer.cancel(call)
    assert carry(hub, dialer) == []
    carry(dialer, hub)
    hub.tell(incoming, LinkEvent())
    assert not hub.has_output


def test_what_the_peer_says_is_copied_out_of_the_frame() -> None:
    dialer, hub = pair()
    call, incoming = called(dialer, hub)
    status = ended(13, "first")
    hub.end(incoming, status)
    status.message = "changed"
    (event,) = carry(hub, dialer)
    assert event == Ended(call, ended(13, "first"))


# --------------------------------------------------------------------------------------- a peer that never reads


def test_a_peer_that_asks_on_and_never_reads_ends_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "MAX_CONTROL_BYTES", 10_000)
    link = alone()
    flood = frame(*(Envelope(ping=2**40) for _ in range(200)))
    while link._outbox.control_size < 9_000:
        link.receive(flood)
    with pytest.raises(ProtocolError, match="the peer keeps sending without reading the answers"):
        link.receive(flood)


def test_a_peer_that_asks_much_and_reads_is_answered_all_of_it() -> None:
    link = alone()
    flood = frame(*(Envelope(ping=number) for number in range(1000)))
    for _ in range(5):
        link.receive(flood)
        assert [one.pong for one in output(link)] == list(range(1000))


# ------------------------------------------------------------------------------------------------- a lost link


def test_what_was_not_sent_is_told_with_its_payload_and_what_was_begun_is_lost() -> None:
    dialer, _ = pair()
    begun = made(dialer, bytes(LARGE))
    dialer.next_frame()
    large, small = made(dialer, bytes(LARGE + 1)), made(dialer, b"small")
    cancelled = [made(dialer), made(dialer, bytes(LARGE))]
    for call in cancelled:
        dialer.cancel(call)
    incoming = IncomingCall(2, "Do", b"", 0, {}, 10)
    dialer.reply(incoming, b"an answer")
    dialer.chunk(IncomingCall(4, "Do", b"", 0, {}, 10), b"a message")
    assert sorted(dialer.unsent(), key=lambda entry: len(entry[1])) == [(small, b"small"), (large, bytes(LARGE + 1))]
    assert dialer.calls == {1: begun}


def test_a_call_that_a_lost_link_did_not_send_is_made_over_the_next() -> None:
    old, _ = pair()
    small, large = made(old, b"s"), made(old, bytes(LARGE))
    dialer, hub = pair()
    made(dialer, b"first")
    for call, payload in old.unsent():
        dialer.call(call, payload)
    calls = [event.call for event in carry(dialer, hub) if isinstance(event, CallReceived)]
    assert [(call.id, len(call.payload)) for call in calls] == [(1, 5), (small.id, 1), (large.id, LARGE)]


def test_all_that_was_sent_and_not_answered_is_lost_with_the_link() -> None:
    dialer, _ = pair()
    calls = [made(dialer) for _ in range(3)]
    dialer.next_frame()
    assert dialer.calls == {call.id: call for call in calls}
    assert dialer.unsent() == []


@pytest.mark.parametrize("window", [None, 0])
def test_a_call_that_was_refused_for_its_size_may_be_cancelled_and_counts_for_nothing(window: int | None) -> None:
    link = alone()
    call = OutgoingCall(PREFIX)
    if window is not None:
        call.open_window(window)
    with pytest.raises(MessageTooLargeError):
        link.call(call, bytes(REASSEMBLY_BYTES + 1))
    link.cancel(call)
    assert link.open_calls == 0
    assert not link.awaits_answers
    assert not link.has_output


@pytest.mark.parametrize(
    "metadata", [{str(number): "" for number in range(65)}, {"key": "x" * 8_190}], ids=["entries", "characters"]
)
def test_a_call_with_too_much_metadata_is_refused_and_keeps_none_of_it(metadata: dict[str, str]) -> None:
    hub = ungreeted(dialer=False)
    output(hub)
    hub.receive(frame(hello()))
    events = hub.receive(frame(Envelope(id=1, call=LinkCall(method="Do", metadata=metadata))))
    assert not events
    (end,) = output(hub)
    assert (end.end.code, end.end.error.type) == (Code.INVALID_ARGUMENT, "ValidationError")
    assert "at most 64 entries and 8,192 characters" in end.end.message
    fine = LinkCall(method="Do", metadata={"key": "x" * 8_000})
    (called,) = hub.receive(frame(Envelope(id=3, call=fine)))
    assert isinstance(called, CallReceived)
    assert called.call.metadata == fine.metadata


def test_of_a_method_whose_name_is_too_long_little_is_kept() -> None:
    hub = ungreeted(dialer=False)
    hub.receive(frame(hello()))
    (called,) = hub.receive(frame(Envelope(id=1, call=LinkCall(method="x" * 100_000))))
    assert isinstance(called, CallReceived)
    assert len(called.call.method) == link_module.MAX_METHOD_CHARS


# --------------------------------------------------------------------------------------------------- questions


def asking(*, features: Sequence[str] = (ASK_FEATURE,), can_answer: bool = False) -> tuple[Link, Link, Any, Any]:
    """A call that has come to the hub and is not answered, of a dialer with these features."""
    dialer = Link(dialer=True, hello=LinkHello(features=features))
    hub = ungreeted(dialer=False)
    carry(dialer, hub)
    carry(hub, dialer)
    call, incoming = called(dialer, hub)
    call.can_answer = can_answer
    return dialer, hub, call, incoming


@pytest.mark.parametrize(("features", "can_answer"), [((ASK_FEATURE,), False), ((), True)])
def test_a_question_comes_to_the_caller_and_its_answer_to_whoever_serves_the_call(
    features: Sequence[str], can_answer: bool
) -> None:
    dialer, hub, call, incoming = asking(features=features, can_answer=can_answer)
    incoming.asker = LinkAsker(lambda ask: hub.tell(incoming, LinkEvent(ask=ask)))
    ask, answer = LinkEvent(ask=Ask(id="1", message="?")), LinkEvent(answer=Answer(id="1", action="accept"))
    hub.tell(incoming, ask)
    assert carry(hub, dialer) == [EventReceived(call, ask)]
    dialer.tell(call, answer)
    assert carry(dialer, hub) == [EventReceived(incoming, answer)]


def test_a_question_to_a_caller_that_cannot_answer_ends_the_link() -> None:
    dialer, hub, _, incoming = asking(features=())
    hub.tell(incoming, LinkEvent(ask=Ask(id="1")))
    with pytest.raises(ProtocolError, match="a question came for the call 1, whose caller cannot answer"):
        carry(hub, dialer)


def test_an_answer_to_a_call_that_asks_nothing_is_dropped() -> None:
    dialer, hub, call, _ = asking()
    dialer.tell(call, LinkEvent(answer=Answer(id="1")))
    assert not carry(dialer, hub)


def test_an_answer_to_a_call_that_is_over_is_dropped() -> None:
    dialer, hub, call, incoming = asking()
    hub.reply(incoming, b"out")
    dialer.tell(call, LinkEvent(answer=Answer(id="1")))
    assert not carry(dialer, hub)
    carry(hub, dialer)
    assert not dialer.is_under_way(call)
    dialer.tell(call, LinkEvent(answer=Answer(id="1")))
    assert_quiet(dialer, hub)


def test_an_answer_to_a_call_of_which_only_pieces_have_come_is_dropped() -> None:
    hub = alone(dialer=False)
    hub.receive(frame(Envelope(id=1, part=b"x")))
    assert not hub.receive(frame(Envelope(id=1, event=LinkEvent(answer=Answer(id="1")))))


@pytest.mark.parametrize("number", [0, 2, 3, 2**64 - 1])
def test_an_answer_to_a_call_that_the_peer_never_made_ends_the_link(number: int) -> None:
    _, hub, _, _ = asking()
    with pytest.raises(ProtocolError, match=f"a answer came for the call {number}, which the peer never made"):
        hub.receive(frame(Envelope(id=number, event=LinkEvent(answer=Answer(id="1")))))


@pytest.mark.parametrize("event", [LinkEvent(), LinkEvent(log=LogRecord()), LinkEvent(ask=Ask(id="1"))])
def test_a_caller_may_tell_nothing_but_answers(event: LinkEvent) -> None:
    _, hub, _, _ = asking()
    with pytest.raises(ProtocolError, match="a event came for the call 1, which was never made"):
        hub.receive(frame(Envelope(id=1, event=event)))


def test_a_question_of_a_call_that_was_given_up_is_dropped() -> None:
    dialer, hub, call, incoming = asking()
    hub.tell(incoming, LinkEvent(ask=Ask(id="1")))
    dialer.cancel(call)
    assert not carry(hub, dialer)
    carry(dialer, hub)
    hub.tell(incoming, LinkEvent(ask=Ask(id="2")))
    assert not hub.has_output


def test_what_waits_as_control_is_counted() -> None:
    _, hub, _, incoming = asking()
    assert hub.control_bytes == 0
    hub.tell(incoming, LinkEvent(ask=Ask(id="1", message="x" * 1_000)))
    assert hub.control_bytes > 1_000
