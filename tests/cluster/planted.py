"""Faults that a hub can have on purpose, which the checks of histories must find."""

from collections.abc import Callable, Mapping
from typing import Any

from grpc_tool_bridge.cluster.sessions.store import NatsStore
from grpc_tool_bridge.core.writes import Write

# Of so many variables that a forgetful hub sets, one is not stored.
_FORGETS = 5


def _answer_stale_reads() -> None:
    """A hub goes on with its sessions although another has taken them."""
    NatsStore.is_certain = lambda self: True  # type: ignore[method-assign]
    NatsStore.on_lost = lambda *_: None  # type: ignore[method-assign]


def _forget_writes() -> None:
    """A hub acknowledges variables that it does not store."""
    set_variable, sets = NatsStore.set_variable, 0

    def forget(self: NatsStore, *args: Any, settled: Any, **options: Any) -> Write:
        nonlocal sets
        sets += 1
        if sets % _FORGETS:
            return set_variable(self, *args, settled=settled, **options)
        write = Write(settled)
        write.settle(None)
        return write

    NatsStore.set_variable = forget  # type: ignore[method-assign]


def _repeat_effects() -> None:
    """A hub knows no key of before."""

    async def begin(*_: object, **__: object) -> None:
        return None

    NatsStore.begin_call = begin  # type: ignore[method-assign]


FAULTS: Mapping[str, Callable[[], None]] = {
    "answers stale reads": _answer_stale_reads,
    "forgets writes": _forget_writes,
    "repeats effects": _repeat_effects,
}


def plant(name: str) -> None:
    """Puts a fault into this process; empty: none."""
    if name:
        FAULTS[name]()
