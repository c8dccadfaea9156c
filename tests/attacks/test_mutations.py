"""Requests and frames changed at random: the hub stays up, blames the sender, and others' calls go on."""

import asyncio
import os
import random
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import grpc.aio
import pytest
from google.protobuf.message import DecodeError

from attacks.mutations import Mutator, frames, requests
from attacks.victims import PATIENCE, MakeVictim, others_go_on
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.transport.status import ERROR_KEY
from support.soak import examples

REQUESTS = examples(6_400)
LINKS = examples(400)
SEED = int(os.environ.get("FUZZ_SEED", "0")) or random.randrange(1, 2**32)
SESSION = "attacked"
AT_ONCE = 16
LINKED_AT_ONCE = 4
# A call that is changed may name any time-out, and a watch has no end; it is read for so long.
READ_SECONDS = 2.0
MAX_CHUNKS = 20

# No hub may take the sender's fault for its own.
OWN_FAULT = "InternalError"

# gRPC's own statuses, which carry no error of the bridge's.
DEADLINE_OR_CANCEL = {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}


@pytest.fixture
def seed(record_property: Any) -> int:
    """What the changes come from; FUZZ_SEED of the environment gives the same ones again."""
    record_property("FUZZ_SEED", SEED)
    print(f"FUZZ_SEED={SEED}")  # noqa: T201 - pytest shows it with a failure
    return SEED


@pytest.mark.seeded
async def test_requests_that_are_changed_at_random_are_the_senders_fault(attacked: MakeVictim, seed: int) -> None:
    hub = await attacked("attacks.fuzz_tools:TOOLS", max_sessions=100_000)
    channel = hub.channel()
    await hub.stub(SESSION)
    corpus = requests(SESSION)
    answered: dict[str, int] = {}

    async def attack(number: int) -> None:
        mutator = Mutator(seed + number)
        for _ in range(REQUESTS // AT_ONCE):
            method = mutator.choose(list(corpus))
            body = mutator.changed(mutator.choose(corpus[method]), corpus[method])
            fault = await _sent(channel, method, body)
            assert fault != OWN_FAULT, (method, body)
            answered[method] = answered.get(method, 0) + 1

    async with others_go_on(hub), asyncio.TaskGroup() as attackers:
        for number in range(AT_ONCE):
            attackers.create_task(attack(number))
    assert set(answered) == set(corpus)
    await hub.looks_unharmed(max_bytes=1 << 30)


async def _sent(channel: Any, method: str, body: bytes) -> str:
    """Sends a request as it is; returns the type of the error in its answer, or ""."""
    path = METHODS[method].path
    try:
        async with asyncio.timeout(PATIENCE):
            if not METHODS[method].response_streaming:
                answer = METHODS[method].response.FromString(await channel.unary_unary(path)(body, timeout=PATIENCE))
                return str(getattr(getattr(answer, "error", None), "type", ""))
            stream = channel.unary_stream(path)(body, timeout=READ_SECONDS)
            for _ in range(MAX_CHUNKS):
                if await stream.read() is grpc.aio.EOF:
                    break
            stream.cancel()
            return ""
    except grpc.aio.AioRpcError as error:
        trailer = dict(error.trailing_metadata() or ()).get(ERROR_KEY)
        if trailer is not None:
            return pb.ErrorInfo.FromString(trailer).type
        # gRPC's own, such as the deadline of a watch.
        return "" if error.code() in DEADLINE_OR_CANCEL else OWN_FAULT


@pytest.mark.seeded
async def test_frames_that_are_changed_at_random_end_their_own_link_only(attacked: MakeVictim, seed: int) -> None:
    hub = await attacked("attacks.fuzz_tools:TOOLS", max_sessions=100_000)
    await hub.stub(SESSION)

    async def attack(number: int) -> None:
        changed = Frames(seed + number)
        async with grpc.aio.insecure_channel(hub.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            for _ in range(LINKS // LINKED_AT_ONCE):
                await _attack_over_a_link(channel, changed)

    async with others_go_on(hub), asyncio.TaskGroup() as attackers:
        for number in range(LINKED_AT_ONCE):
            attackers.create_task(attack(number))
    await hub.looks_unharmed(max_bytes=1 << 30)


class Frames:
    """Frames that end a link, and those that go on with it: calls whose requests alone are changed."""

    def __init__(self, seed: int) -> None:
        self._mutator = Mutator(seed)
        self._frames = frames(SESSION)
        self._requests = requests(SESSION)
        self._number = -1
        # Of the calls of this link, by their numbers.
        self.methods: dict[int, str] = {}

    def begin(self) -> bytes:
        """Makes the first frame of a link."""
        self._number = -1
        self.methods = {}
        hello = pb.LinkHello(protocol=1, peer="fuzz", features=self._mutator.choose([[], ["agents"]]))
        return pb.LinkFrame(envelopes=[pb.Envelope(hello=hello)]).SerializeToString()

    def further(self) -> bytes:
        """Makes any other."""
        if not self._mutator.choose(range(20)):
            return self._mutator.changed(self._mutator.choose(self._frames), self._frames)
        method = self._mutator.choose(list(self._requests))
        payload = self._mutator.changed(self._mutator.choose(self._requests[method]), self._requests[method])
        self._number += 2
        self.methods[self._number] = method
        call = pb.LinkCall(method=method, payload=payload, timeout_ms=self._mutator.choose([0, 1, 500]))
        return pb.LinkFrame(envelopes=[pb.Envelope(id=self._number, call=call)]).SerializeToString()


async def _attack_over_a_link(channel: Any, changed: Frames) -> None:
    link = channel.stream_stream(METHODS["Link"].path)()
    begin = changed.begin()
    reading = asyncio.create_task(_faults_in(link, changed.methods))
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError):
        async with asyncio.timeout(PATIENCE):
            await link.write(begin)
            while not reading.done():
                await link.write(changed.further())
    link.cancel()
    async with asyncio.timeout(PATIENCE):
        assert not await reading


async def _faults_in(link: Any, methods: Mapping[int, str]) -> list[str]:
    """Reads a link to its end, and returns what the hub took for a fault of its own."""
    found = []
    with suppress(asyncio.CancelledError):
        try:
            while (frame := await link.read()) is not grpc.aio.EOF:
                for envelope in pb.LinkFrame.FromString(frame).envelopes:
                    errors = [envelope.end.error]
                    if envelope.HasField("reply") and envelope.id in methods:
                        errors.append(_error_in(envelope.reply, methods[envelope.id]))
                    found += [str(error) for error in errors if error.type == OWN_FAULT]
        except grpc.aio.AioRpcError as error:
            # gRPC ends a write that comes after the end of the stream with an internal error of this side; and this
            # side has cancelled a link that was still there at the end.
            own = {grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED}
            if "link was ended" not in str(error.details()) and error.code() not in own:
                found.append(str(error))
    return found


def _error_in(reply: bytes, method: str) -> Any:
    with suppress(DecodeError):  # a frame that was changed may have taken the number for another method
        return getattr(METHODS[method].response.FromString(reply), "error", pb.ErrorInfo())
    return pb.ErrorInfo()
