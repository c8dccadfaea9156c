"""Runs every asynchronous test in another event loop: ``--loop uvloop``."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from grpc_tool_bridge.cli.event_loop import LoopChoice, loop_factory


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option."""
    parser.addoption(
        "--loop",
        choices=["asyncio", "uvloop"],
        default="asyncio",
        help="the event loop of asynchronous tests, and of what they run in their own process (default: asyncio)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Chooses the loop; that of asyncio is the default without further ado."""
    if config.getoption("--loop") != "asyncio":
        config.pluginmanager.register(_Loops(LoopChoice(config.getoption("--loop"))), "loops")


class _Loops:
    def __init__(self, choice: LoopChoice) -> None:
        self._choice = choice

    def pytest_asyncio_loop_factories(self) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
        factory, _ = loop_factory(self._choice)
        assert factory is not None
        return {self._choice.value: factory}


def tells_whether_it_is_idle() -> bool:
    """Returns whether the running loop is one of asyncio's, which says what it is about to run."""
    return hasattr(asyncio.get_running_loop(), "_ready")
