"""Calls of every shape, over every transport, through a network with every toxic: the invariants hold.

``make test`` runs each toxic in each direction over one of the transports; ``make soak`` over all, for longer.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from failure_modes.invariants import GRPC_ADDR
from failure_modes.networks import HTTP_ADDR, TROUBLES, Hub, Network, Trouble, are_idle
from failure_modes.shapes import OF_WORKERS, SHAPES, Shape
from grpc_tool_bridge.testing.toxiproxy.toxics import DIRECTIONS, Direction
from support.soak import IS_SOAK
from support.waiting import until

TRANSPORTS = ["link", "grpc", *(["http"] if HTTP_ADDR or not GRPC_ADDR else [])]

# Seconds that a network fails at most, and the calls that end meanwhile, after which it works again.
FAILING_SECONDS = 45.0 if IS_SOAK else 1.0
CALLS = 3


def cases() -> Iterator[Any]:
    """Lists toxics, directions and transports; those of ``make soak`` are marked, which are all in it."""
    turns = itertools.cycle(TRANSPORTS)
    for name, direction in itertools.product(TROUBLES, DIRECTIONS):
        if name == "down" and direction == "upstream":
            # It has none.
            continue
        chosen = next(turns)
        for transport in TRANSPORTS:
            marks = (pytest.mark.soak,) if IS_SOAK or transport != chosen else ()
            yield pytest.param(name, direction, transport, marks=marks, id=f"{name}-{direction}-{transport}")


def worker_cases() -> Iterator[Any]:
    """Lists toxics and directions of the way to the workers; a call crosses it in both."""
    for name, direction in itertools.product(TROUBLES, DIRECTIONS):
        if name != "down" or direction == "downstream":
            marks = (pytest.mark.soak,) if IS_SOAK or direction == "upstream" else ()
            yield pytest.param(name, direction, marks=marks, id=f"{name}-{direction}")


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    hub = Hub()
    try:
        await hub.start()
        yield hub
    finally:
        await hub.stop()


@pytest.mark.parametrize(("name", "direction", "transport"), [*cases()])
async def test_calls_through_a_failing_network(hub: Hub, name: str, direction: Direction, transport: str) -> None:
    callers = [await caller(hub, shape, transport, f"{name}-{direction}-{transport}-{shape}-") for shape in SHAPES]
    wrong = await asyncio.gather(*(weather(shape, network, TROUBLES[name], direction) for network, shape in callers))
    assert [text for texts in wrong for text in texts] == []


@pytest.mark.parametrize(("name", "direction"), [*worker_cases()])
async def test_calls_of_workers_behind_a_failing_network(hub: Hub, name: str, direction: Direction) -> None:
    callers = [await caller(hub, shape, "link", f"{name}-{direction}-worker-{shape}-") for shape in OF_WORKERS]
    shapes = [shape for _, shape in callers]
    assert await weather_all(shapes, hub.workers, TROUBLES[name], direction) == []


async def caller(hub: Hub, shape: str, transport: str, prefix: str) -> tuple[Network, Shape]:
    """Makes a caller and its network."""
    network, bridge, direct = await hub.bridges(transport, prefix)
    return network, SHAPES[shape](bridge, direct, prefix)


async def weather(shape: Shape, network: Network, trouble: Trouble, direction: Direction) -> list[str]:
    """Lets one caller's network fail and work again; returns what the invariants do not allow."""
    return await weather_all([shape], network, trouble, direction)


async def weather_all(shapes: list[Shape], network: Network, trouble: Trouble, direction: Direction) -> list[str]:
    """Likewise of several callers who share a network."""
    running = [asyncio.create_task(run(shape)) for shape in shapes]
    try:
        await all_have(shapes, lambda shape: shape.ledger.right >= 1, "for a first result")
        ended = {shape: shape.ledger.ended for shape in shapes}
        await network.fail(trouble, direction)
        try:
            async with asyncio.timeout(FAILING_SECONDS):
                await all_have(shapes, lambda shape: shape.ledger.ended >= ended[shape] + CALLS, "for calls to end")
        except TimeoutError:
            # Calls with a long deadline wait on.
            pass
        await network.mend()
        right = {shape: shape.ledger.right for shape in shapes}
        await all_have(shapes, lambda shape: shape.ledger.right > right[shape], "for a result after the failure")
    finally:
        for shape in shapes:
            shape.stop()
        await asyncio.gather(*running)
    wrong = [f"{type(shape).__name__}: {text}" for shape in shapes for text in await shape.check()]
    await are_idle(shape.direct for shape in shapes)
    return wrong


async def run(shape: Shape) -> None:
    await shape.prepare()
    await shape.run()


async def all_have(shapes: list[Shape], condition: Callable[[Shape], bool], what: str) -> None:
    """Waits until a condition holds for every caller, or one of them has found something wrong."""
    try:
        await until(lambda: all(map(condition, shapes)) or any(shape.ledger.wrong for shape in shapes), what)
    except AssertionError as error:
        late = [f"{type(shape).__name__}: {shape.ledger}" for shape in shapes if not condition(shape)]
        raise AssertionError(f"{error}: {late}") from None
