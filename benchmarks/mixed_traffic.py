"""Requests of several kinds that follow one another on one link, in a fixed mix, for several hubs together."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.raw_link import RawLink, reply_of
from benchmarks.work import WrongAnswerError
from grpc_tool_bridge import serialize_value
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb

# Requests that are open at once on each link; fewer than a session may have.
WIDTH = 48
# Calls after which a link begins its mix anew.
_PERIOD = 60
# Sessions of each hub in a mix; several, since a session's writes wait for one another.
_SESSIONS = 4
_SUM = 5
_RESULT = serialize_value(_SUM).value
_PATIENCE = 60.0
_PAUSE = 0.05


@dataclass(frozen=True)
class Mix:
    """What the links of clients do.

    Attributes:
        away: Part of the requests whose session belongs to another hub than the one that gets them.
        far: Part of the calls whose tool is at another hub than their session.
        writes: Writes of variables for each call.
        calls: Whether there are calls; if not, all that is done is ``writes``.
        sessions: Sessions of each hub.
        links: Links to each hub that has clients.
        functions: Whether the tool is a function of every hub instead of one worker's.
    """

    away: float = 0.0
    far: float = 0.0
    writes: float = 0.0
    calls: bool = True
    sessions: int = _SESSIONS
    functions: bool = False
    links: int = 4


class Request(NamedTuple):
    """A request of a mix.

    Attributes:
        method: Its method.
        payload: It, serialized.
    """

    method: str
    payload: bytes


def session_of(hub: int, number: int) -> str:
    """Returns the id of a session of a hub, by their numbers."""
    return f"session-{hub}-{number}"


def tool_of(hub: int) -> str:
    """Returns the name of the tool that only a hub's worker offers."""
    return f"add_at_{hub}"


def requests_of(mix: Mix, hub: int, hubs: int, seed: int = 0) -> list[Request]:
    """Returns the requests of a link to one hub of several, in the order in which they are made.

    Args:
        mix: What they are.
        hub: The number of that hub.
        hubs: How many there are.
        seed: Of the order.
    """
    chance = random.Random(seed)
    away, far = (_some(chance, part if hubs > 1 else 0.0) for part in (mix.away, mix.far))
    written = _some(chance, mix.writes)
    found = []
    for number in range(_PERIOD):
        owner = (hub + 1 + number % (hubs - 1)) % hubs if away[number] else hub
        runner = (owner + 1 + number // 2 % (hubs - 1)) % hubs if far[number] else owner
        session = session_of(owner, number % mix.sessions)
        if mix.calls:
            tool = "add" if mix.functions else tool_of(runner)
            args = [serialize_value(value) for value in (2, _SUM - 2)]
            call = pb.ToolCallRequest(session_id=session, tool_id=tool, args=args)
            found.append(Request("ExecuteTool", call.SerializeToString()))
        if written[number]:
            write = pb.SetVariableRequest(
                session_id=session, variable_name=f"n{number}", create_if_missing=True, value=serialize_value(number)
            )
            found.append(Request("SetSessionVariable", write.SerializeToString()))
    return found


def _some(chance: random.Random, part: float) -> list[bool]:
    """Returns for each call of a period whether it is one of so many, in random order."""
    chosen = round(part * _PERIOD)
    found = [True] * chosen + [False] * (_PERIOD - chosen)
    chance.shuffle(found)
    return found


class MixedLoad:
    """The load of one link; see ``benchmarks.loads.Load``.

    Args:
        requests: What it does, again and again.

    Attributes:
        calls, writes: How many were answered.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        self.calls = self.writes = 0
        self._next = itertools.cycle(requests)
        self._open: dict[int, str] = {}

    @property
    def count(self) -> int:
        """How much was done."""
        return self.calls + self.writes

    async def begin(self, link: RawLink, session_id: str = "") -> None:
        """Makes the first requests, in sessions that are open."""
        del session_id
        for _ in range(WIDTH):
            self._send(link)

    def take(self, link: RawLink, envelope: pb.Envelope) -> None:
        """Checks an answer, and makes the next request."""
        method = self._open.pop(envelope.id)
        check_answer(method, reply_of(envelope))
        if method == "ExecuteTool":
            self.calls += 1
        else:
            self.writes += 1
        self._send(link)

    def _send(self, link: RawLink) -> None:
        request = next(self._next)
        self._open[link.call(*request)] = request.method


def check_answer(method: str, answer: bytes) -> None:
    """Fails if a request was not answered as it must be."""
    if method == "ExecuteTool":
        called = pb.ToolCallResponse.FromString(answer)
        if called.result.value != _RESULT:
            raise WrongAnswerError(f"a call was answered with {called}")
    elif not (status := pb.StatusResponse.FromString(answer)).success:
        raise WrongAnswerError(f"a variable was not set: {status}")


@contextlib.asynccontextmanager
async def traffic(addresses: Sequence[str], mix: Mix, entries: Sequence[int]) -> AsyncGenerator[list[MixedLoad], None]:
    """Opens the sessions of a mix, and keeps links busy at each of some hubs.

    Args:
        addresses: Of all hubs.
        mix: What the links do.
        entries: The numbers of the hubs that get links.

    Yields:
        The load of each link, once all of its requests succeed.

    Raises:
        WrongAnswerError: A request was refused, though it had succeeded before.
    """
    async with contextlib.AsyncExitStack() as opened:
        for hub, address in enumerate(addresses):
            link = await opened.enter_async_context(RawLink.open(address))
            for number in range(mix.sessions):
                opening = pb.InitializeSessionRequest(session_id=session_of(hub, number))
                await link.ask("InitializeSession", opening)
        links, loads = [], []
        for entry, number in itertools.product(entries, range(mix.links)):
            link = await opened.enter_async_context(RawLink.open(addresses[entry]))
            requests = requests_of(mix, entry, len(addresses), seed=number)
            await _until_all_succeed(link, requests)
            links.append(link)
            loads.append(MixedLoad(requests))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_keep_busy(link, load)) for link, load in zip(links, loads, strict=True)]
            yield loads
            for task in tasks:
                task.cancel()


async def _until_all_succeed(link: RawLink, requests: Sequence[Request]) -> None:
    """Makes each request until it succeeds: tools of another hub become known a moment after it has them."""
    async with asyncio.timeout(_PATIENCE):
        for request in requests:
            while True:
                link.call(*request)
                await link.flush()
                (answer,) = await link.receive()
                try:
                    check_answer(request.method, reply_of(answer))
                except WrongAnswerError:
                    await asyncio.sleep(_PAUSE)
                else:
                    break


async def _keep_busy(link: RawLink, load: MixedLoad) -> None:
    await load.begin(link)
    while True:
        await link.flush()
        for envelope in await link.receive():
            load.take(link, envelope)
