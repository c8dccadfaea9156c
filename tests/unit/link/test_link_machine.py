"""Two links against each other, whatever they are given to do; and one against frames that nobody would send."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from grpc_tool_bridge.errors import ProtocolError
from grpc_tool_bridge.link import outbox as outbox_module
from grpc_tool_bridge.link import protocol as link_module
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
from grpc_tool_bridge.link.inbox import IncomingCall
from grpc_tool_bridge.link.outbox import OutgoingCall
from grpc_tool_bridge.link.protocol import Link
from grpc_tool_bridge.link.status import Code
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    Envelope,
    LinkCall,
    LinkCancel,
    LinkDrain,
    LinkEvent,
    LinkFrame,
    LinkHello,
    LinkStatus,
    Progress,
)
from support.soak import IS_SOAK, examples

pytestmark = pytest.mark.slow

# The same examples in every run of `make test`.
ROUNDS = settings(derandomize=not IS_SOAK, database=None, deadline=None, suppress_health_check=list(HealthCheck))
# To make a failure shorter takes minutes, which a test does not have: whoever looks into one adds Phase.shrink here.
MACHINE = settings(ROUNDS, phases=[Phase.generate])

# As parts of the limits: of what is small, of a fragment, of what may be in pieces.
SIZES: list[Callable[[], int]] = [
    lambda: 0,
    lambda: 1,
    lambda: outbox_module.SMALL_BYTES,
    lambda: outbox_module.SMALL_BYTES + 1,
    lambda: outbox_module.FRAGMENT_BYTES,
    lambda: outbox_module.FRAGMENT_BYTES + 1,
    lambda: 3 * outbox_module.FRAGMENT_BYTES + 1,
    lambda: min(outbox_module.REASSEMBLY_BYTES, 10 * outbox_module.FRAGMENT_BYTES),
]
sizes = st.sampled_from(SIZES)
windows = st.sampled_from([None, None, 1, 2, 500, 100_000])
sides = st.sampled_from([0, 1])
picks = st.integers(0, 100)

PONGS_AND_HEADERS = 200
MANY = 10_000
# Steps before everything is settled, or lost: what is half done needs some to come about.
LIFE = 20


class Call(OutgoingCall):
    """A call, and all that is known of it at both ends."""

    def __init__(self, request: bytes, window: int | None) -> None:
        super().__init__(call_prefix("Do", initial_credit=window or 0))
        if window is not None:
            self.open_window(window)
        self.request = request
        self.incoming: IncomingCall | None = None
        # What the peer gave, and what came of it.
        self.given: list[bytes] = []
        self.came: list[bytes] = []
        self.unread: deque[bytes] = deque()
        self.answer: bytes | int | None = None
        self.outcome: bytes | int | None = None
        self.told = 0
        self.news = 0
        self.cancelled = False
        self.lost = False

    @property
    def open(self) -> bool:
        return self.outcome is None and not self.cancelled and not self.lost

    def take_answer(self, outcome: bytes | int) -> None:
        assert not self.cancelled, "nothing comes of a cancelled call"
        assert self.outcome is None, "a call is answered once"
        if self.incoming is None:
            assert outcome == Code.RESOURCE_EXHAUSTED
        else:
            assert outcome == self.answer
            assert self.news == self.told, "what was told comes before the answer"
        if outcome == Code.OK:
            assert self.came == self.given
        self.outcome = outcome


class End:
    """One end, and the frames on their way from it."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.calls: list[Call] = []
        self.incoming: list[IncomingCall] = []
        self.by_incoming: dict[IncomingCall, Call] = {}
        self.frames: deque[bytes] = deque()
        self.pings: deque[int] = deque()

    def call(self, call: Call) -> None:
        self.calls.append(call)
        self.link.call(call, call.request)

    def send(self) -> None:
        frame = self.link.next_frame()
        largest = outbox_module.FRAME_BYTES + 2 * outbox_module.FRAGMENT_BYTES + PONGS_AND_HEADERS
        assert 0 < len(frame) <= largest
        self.frames.append(frame)

    def unanswered(self, *, streaming: bool | None = None) -> list[IncomingCall]:
        return [
            call
            for call in self.incoming
            if not call.answered and streaming in {None, self.by_incoming[call].streaming}
        ]

    def take(self, event: Event, caller: "End") -> None:
        match event:
            case CallReceived(call=incoming):
                (call,) = (one for one in caller.calls if one.id == incoming.id)
                assert call.incoming is None
                assert (incoming.method, incoming.payload) == ("Do", call.request)
                call.incoming = incoming
                self.incoming.append(incoming)
                self.by_incoming[incoming] = call
            case Cancelled(call=incoming, reason=reason):
                call = self.by_incoming[incoming]
                assert call.cancelled
                assert reason == "no longer"
                assert not incoming.answered
            case Replied(call=call, payload=payload):
                call.take_answer(payload)
            case Ended(call=call, status=status):
                call.take_answer(status.code)
            case MessageReceived(call=call, payload=payload):
                assert call.open
                call.came.append(payload)
                call.unread.append(payload)
            case EventReceived(call=call, event=news):
                assert call.open
                call.news += 1
                assert news.progress.current == call.news
            case PongReceived(number=number):
                assert number == self.pings.popleft()
            case HelloReceived() | Draining():
                pass

    def check(self) -> None:
        """Compares what the link counts with what there is."""
        link, outbox = self.link, self.link._outbox
        assert [call.id for call in link.calls.values()] == list(link.calls)
        active = set(link.calls.values())
        unsent = {call for call, _ in link.unsent()}
        assert active | unsent <= set(self.calls)
        assert link._open == len(active) + len(unsent)
        assert all(not call.given_up for call in unsent)
        for call in self.calls:
            if call.open:
                assert (call in active) + (call in unsent) == 1
            if call.outcome is not None:
                assert call not in active
            assert call.came == call.given[: len(call.came)]
            if call.streaming:
                # It takes no more than its window ahead, and what took it past that.
                *most, _ = (*map(len, call.unread), 0)
                assert sum(most[:-1]) < call.window
        assert link._inbox.bytes == sum(call.held for call in link.incoming.values())
        assert outbox.control_size == sum(map(len, outbox._control))
        assert outbox.size == sum(len(data) for _, data in outbox._small) + sum(lane.size for lane in outbox._lanes)
        lanes = [call._lane for call in link.incoming.values() if call._lane is not None and not call._lane.dropped]
        assert outbox.stalled == sum(lane.size for lane in lanes if not lane.listed)
        assert outbox._begun == sum(lane.begun for lane in outbox._lanes) <= outbox_module.REASSEMBLY_BYTES
        assert all(lane.ready() and lane.listed and not lane.dropped for lane in outbox._lanes)
        pieces = [*link._inbox.assembling.values(), *(call._parts for call in active if call._parts is not None)]
        assert link._inbox.assembled == sum(parts.size for parts in pieces) <= outbox_module.REASSEMBLY_BYTES
        assert link._inbox.pieces == sum(len(parts.pieces) for parts in pieces)

    def check_quiet(self) -> None:
        """Checks that nothing is kept once everything was answered."""
        link = self.link
        assert not link.has_output
        assert (link.calls, link.incoming, link._inbox.assembling, list(link.unsent())) == ({}, {}, {}, [])
        assert (link.waiting_bytes, link._outbox.stalled, link._open, link._inbox.bytes, link._inbox.assembled) == (
            0,
            0,
            0,
            0,
            0,
        )
        assert link._inbox.pieces == 0
        for call in self.calls:
            assert not call.open
            assert call._parts is None
            if call.streaming and call.outcome == Code.OK:
                assert call.came == call.given


class LinkMachine(RuleBasedStateMachine):
    """Two ends that keep to the protocol, over a line that delivers in order and late, and breaks."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = count(1)
        self.age = 0
        self.ends: tuple[End, End] = self.connected(0, 0)

    def connected(self, capacity: int, most_bytes: int) -> tuple[End, End]:
        options: dict[str, Any] = {"max_incoming_bytes": most_bytes} if most_bytes else {}
        self.options = (capacity, most_bytes)
        return (
            End(Link(dialer=True, hello=LinkHello(peer="dialer"), **options)),
            End(Link(dialer=False, hello=LinkHello(peer="hub", capacity=capacity), **options)),
        )

    def payload(self, size: Callable[[], int]) -> bytes:
        return Random(next(self.numbers)).randbytes(size())

    @initialize(capacity=st.sampled_from([0, 0, 3]), most=st.sampled_from([0, 0, 5]))
    def connect(self, capacity: int, most: int) -> None:
        self.ends = self.connected(capacity, most * outbox_module.FRAGMENT_BYTES)

    # ---------------------------------------------------------------------------------------------- calls

    @rule(side=sides, size=sizes, window=windows, number=st.sampled_from([1, 1, 3, 40]))
    def call(self, side: int, size: Callable[[], int], window: int | None, number: int) -> None:
        for _ in range(number):
            self.ends[side].call(Call(self.payload(size), window))

    @rule(side=sides, size=sizes, window=windows)
    def call_through(self, side: int, size: Callable[[], int], window: int | None) -> None:
        self.call(side, size, window, 1)
        self.carry(side)
        self.carry(1 - side)

    @rule(side=sides, pick=st.integers(0, 2), sends=st.integers(1, 3), delivers=st.integers(0, 3))
    def begin_large(self, side: int, pick: int, sends: int, delivers: int) -> None:
        """Leaves a large call half sent, which may be half of it or most of it."""
        self.call(side, SIZES[-1 - pick], None, 2)
        self.send(side, sends)
        for _ in range(delivers):
            self.deliver_one(side)

    @precondition(lambda self: any(end.calls for end in self.ends))
    @rule(side=sides, pick=picks)
    def cancel(self, side: int, pick: int) -> None:
        end = self.ends[side] if self.ends[side].calls else self.ends[1 - side]
        call = end.calls[-1 - pick % len(end.calls)]
        call.cancelled = call.cancelled or call.outcome is None
        end.link.cancel(call, "no longer")
        call.unread.clear()

    # -------------------------------------------------------------------------------------------- answers

    def unanswered(self, side: int, pick: int, *, streaming: bool | None = None) -> tuple[End, IncomingCall] | None:
        for end in (self.ends[side], self.ends[1 - side]):
            if calls := end.unanswered(streaming=streaming):
                return end, calls[pick % len(calls)]
        return None

    @precondition(lambda self: self.unanswered(0, 0, streaming=False))
    @rule(side=sides, pick=picks, size=sizes, sends=st.integers(0, 2))
    def reply(self, side: int, pick: int, size: Callable[[], int], sends: int) -> None:
        end, incoming = self.unanswered(side, pick, streaming=False) or self.never()
        payload = self.payload(size)
        end.by_incoming[incoming].answer = payload
        end.link.reply(incoming, payload)
        self.send(self.ends.index(end), sends)

    @precondition(lambda self: self.unanswered(0, 0, streaming=True))
    @rule(side=sides, pick=picks, some=st.lists(sizes, min_size=1, max_size=6), sends=st.integers(0, 2))
    def stream(self, side: int, pick: int, some: list[Callable[[], int]], sends: int) -> None:
        end, incoming = self.unanswered(side, pick, streaming=True) or self.never()
        for size in some:
            payload = self.payload(size)
            if not incoming.cancelled:
                end.by_incoming[incoming].given.append(payload)
            end.link.chunk(incoming, payload)
        self.send(self.ends.index(end), sends)

    @precondition(lambda self: self.unanswered(0, 0))
    @rule(side=sides, pick=picks, fails=st.booleans())
    def end(self, side: int, pick: int, fails: bool) -> None:
        end, incoming = self.unanswered(side, pick) or self.never()
        call = end.by_incoming[incoming]
        call.answer = Code.OK if call.streaming and not fails else 13
        end.link.end(incoming, LinkStatus(code=call.answer))

    @precondition(lambda self: self.unanswered(0, 0))
    @rule(side=sides, pick=picks, number=st.sampled_from([1, 2, 30]))
    def tell(self, side: int, pick: int, number: int) -> None:
        end, incoming = self.unanswered(side, pick) or self.never()
        call = end.by_incoming[incoming]
        for _ in range(number):
            if not incoming.cancelled:
                call.told += 1
            end.link.tell(incoming, LinkEvent(progress=Progress(current=call.told)))

    @precondition(lambda self: any(call.unread for end in self.ends for call in end.calls))
    @rule(pick=picks, number=st.integers(1, 8))
    def read(self, pick: int, number: int) -> None:
        readers = [(end, call) for end in self.ends for call in end.calls if call.unread]
        end, call = readers[pick % len(readers)]
        for _ in range(min(number, len(call.unread))):
            end.link.grant(call, len(call.unread.popleft()))

    # ------------------------------------------------------------------------------------------- the link

    @rule(side=sides, drains=st.booleans())
    def ping_or_drain(self, side: int, drains: bool) -> None:
        end = self.ends[side]
        if drains:
            end.link.drain(100)
        else:
            end.pings.append(end.link.ping())

    @precondition(lambda self: any(end.link.has_output for end in self.ends))
    @rule(side=sides, number=st.integers(1, 4))
    def send(self, side: int, number: int) -> None:
        end = self.ends[side]
        for _ in range(number):
            if end.link.has_output:
                end.send()

    @precondition(lambda self: any(end.frames for end in self.ends))
    @rule(side=sides, number=st.integers(1, 4))
    def deliver(self, side: int, number: int) -> None:
        side = side if self.ends[side].frames else 1 - side
        for _ in range(number):
            self.deliver_one(side)

    def deliver_one(self, side: int) -> None:
        source, target = self.ends[side], self.ends[1 - side]
        if source.frames:
            for event in target.link.receive(source.frames.popleft()):
                target.take(event, source)

    @precondition(lambda self: any(end.frames or end.link.has_output for end in self.ends))
    @rule(side=sides)
    def carry(self, side: int) -> None:
        """Brings everything from one end to the other."""
        end = self.ends[side]
        while end.frames or end.link.has_output:
            if end.link.has_output:
                end.send()
            self.deliver_one(side)

    @precondition(lambda self: self.age > LIFE)
    @rule()
    def settle(self) -> None:
        """Everything is sent, read and answered; then nothing may be left."""
        self.age = 0
        for _ in range(MANY):
            self.carry(0)
            self.carry(1)
            for call in (call for end in self.ends for call in end.calls if call.unread):
                self.read_all(call)
            while self.unanswered(0, 0):
                self.end(0, 0, fails=False)
            if not any(end.link.has_output for end in self.ends):
                break
        for end in self.ends:
            end.check_quiet()
            assert not end.pings

    def read_all(self, call: Call) -> None:
        (end,) = (end for end in self.ends if call in end.calls)
        while call.unread:
            end.link.grant(call, len(call.unread.popleft()))

    @precondition(lambda self: self.age > LIFE)
    @rule(again=st.booleans())
    def lose(self, again: bool) -> None:
        """The line breaks; what was not sent is given to the next link, as a client does."""
        self.age = 0
        for end in self.ends:
            end.check()
        old, self.ends = self.ends, self.connected(*self.options)
        for before, after in zip(old, self.ends, strict=True):
            unsent = before.link.unsent()
            lost = before.link.calls.values()
            for call in before.calls:
                if call.open:
                    assert (call in lost) + (call in [one for one, _ in unsent]) == 1
                call.lost = True
            for call, payload in unsent:
                assert payload == call.request
                if again:
                    call.lost = False
                    after.call(call)

    def never(self) -> Any:
        raise AssertionError("the precondition said that there is one")

    @invariant()
    def counts_are_right(self) -> None:
        self.age += 1
        for end in self.ends:
            end.check()

    def teardown(self) -> None:
        self.settle()


@pytest.mark.seeded
def test_two_links_that_keep_to_the_protocol_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # Small limits: each is reached within a few steps.
    for module in (link_module, outbox_module):
        monkeypatch.setattr(module, "SMALL_BYTES", 20)
    monkeypatch.setattr(outbox_module, "REASSEMBLY_BYTES", 1_000)
    monkeypatch.setattr(outbox_module, "FRAGMENT_BYTES", 100)
    monkeypatch.setattr(outbox_module, "FRAME_BYTES", 200)
    run_state_machine_as_test(
        LinkMachine, settings=settings(MACHINE, max_examples=examples(300), stateful_step_count=50)
    )


@pytest.mark.seeded
def test_two_links_that_keep_to_the_protocol_lose_nothing_at_full_size() -> None:
    run_state_machine_as_test(
        LinkMachine, settings=settings(MACHINE, max_examples=examples(30), stateful_step_count=40)
    )


# ------------------------------------------------------------------------------------- frames that nobody sends


numbers = st.integers(0, 9) | st.sampled_from([2**31, 2**63, 2**64 - 1])
payloads = st.binary(max_size=5) | st.sampled_from([bytes(200_000)])
kinds: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"reply": payloads}),
    st.fixed_dictionaries({"chunk": payloads}),
    st.fixed_dictionaries({"part": payloads}),
    st.fixed_dictionaries({"end": st.builds(LinkStatus, code=st.integers(-1, 20))}),
    st.fixed_dictionaries({"cancel": st.just(LinkCancel(reason="r"))}),
    st.fixed_dictionaries({"credit": st.integers(0, 2**32 - 1)}),
    st.fixed_dictionaries({"ping": numbers}),
    st.fixed_dictionaries({"pong": numbers}),
    st.fixed_dictionaries({"hello": st.builds(LinkHello, protocol=st.integers(0, 2))}),
    st.fixed_dictionaries({"drain": st.just(LinkDrain(grace_ms=5))}),
    st.fixed_dictionaries({"event": st.just(LinkEvent(progress=Progress(current=1)))}),
    st.fixed_dictionaries(
        {
            "call": st.builds(
                LinkCall,
                method=st.sampled_from(["Do", ""]),
                payload=payloads,
                metadata=st.sampled_from([{}, {"k": "v"}]),
                initial_credit=st.sampled_from([0, 1, 2**32 - 1]),
            )
        }
    ),
    st.just({}),
)
envelopes = st.builds(lambda number, kind: Envelope(id=number, **kind), numbers, kinds)
frames = st.lists(envelopes, max_size=4).map(lambda some: LinkFrame(envelopes=some).SerializeToString())


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A frame of which some bytes are others, missing, or there twice."""
    frame = bytearray(draw(frames)[:1_000])
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(frame)))
        frame[start : start + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(frame)


def busy(*, dialer: bool) -> tuple[Link, list[Call]]:
    """A link in the midst of its work."""
    link = Link(dialer=dialer, hello=LinkHello(capacity=3), max_incoming_bytes=400_000)
    link.receive(LinkFrame(envelopes=[Envelope(hello=LinkHello(protocol=1))]).SerializeToString())
    calls = [Call(b"in", None), Call(b"in", 3), Call(b"in", None), Call(bytes(400_000), None), Call(b"in", 3)]
    for call in calls[:4]:
        link.call(call, call.request)
    link.next_frame()
    link.cancel(calls[2])
    link.call(calls[4], b"in")
    return link, calls


def answered(link: Link, events: Iterable[Event]) -> Iterator[Any]:
    """Does with events what a peer would; yields the calls that came to their end."""
    for event in events:
        if isinstance(event, CallReceived):
            link.chunk(event.call, bytes(10))
            link.chunk(event.call, bytes(200_000))
        elif isinstance(event, Cancelled):
            link.end(event.call, LinkStatus(code=Code.CANCELLED))
        elif isinstance(event, MessageReceived):
            link.grant(event.call, len(event.payload))
        elif isinstance(event, Replied | Ended):
            yield event.call


@settings(ROUNDS, max_examples=examples(600))
@given(st.booleans(), st.lists(frames | mutated() | st.binary(max_size=30), min_size=1, max_size=8))
def test_whatever_comes_is_taken_or_breaks_the_protocol_and_no_call_is_forgotten(
    dialer: bool, some: list[bytes]
) -> None:
    link, calls = busy(dialer=dialer)
    over: set[Any] = set()
    with suppress(ProtocolError):
        for frame in some:
            over.update(answered(link, link.receive(frame)))
            if link.has_output:
                assert link.next_frame()
    waiting = [*link.calls.values(), *(call for call, _ in link.unsent())]
    for call in calls:
        assert waiting.count(call) <= 1
        if not call.given_up:
            assert (call in waiting) != (call in over)
    assert link._inbox.assembled >= 0
    assert link._inbox.bytes == sum(call.held for call in link.incoming.values())
