"""Which event loop a process that serves runs in."""

import logging
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.parameters import Option

if TYPE_CHECKING:
    import asyncio

_log = logging.getLogger(__name__)


class LoopChoice(StrEnum):
    """Which event loop is taken; ``auto``: uvloop where it is installed."""

    AUTO = "auto"
    ASYNCIO = "asyncio"
    UVLOOP = "uvloop"


LoopOption = Annotated[
    LoopChoice,
    Option(
        "--loop",
        envvar="TOOL_BRIDGE_LOOP",
        help="The event loop; auto: uvloop if it is installed (the extra uvloop), else asyncio's own.",
    ),
]


def run_in_loop(work: Coroutine[Any, Any, int], choice: LoopChoice) -> int:
    """Runs a coroutine in a new event loop of the chosen kind; returns its result.

    Raises:
        ArgumentError: uvloop was chosen and is not installed.
    """
    import asyncio

    try:
        factory, name = loop_factory(choice)
    except BaseException:
        work.close()
        raise
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.get_loop()
        _log.debug("the event loop is %s", name)
        return runner.run(work)


def loop_factory(choice: LoopChoice) -> "tuple[Callable[[], asyncio.AbstractEventLoop] | None, str]":
    """Returns what makes loops of the chosen kind, None for asyncio's own, and what they are called.

    Raises:
        ArgumentError: uvloop was chosen and is not installed.
    """
    if choice is not LoopChoice.ASYNCIO:
        try:
            import uvloop
        except ImportError as error:
            if choice is LoopChoice.UVLOOP:
                from grpc_tool_bridge.optional import missing

                raise ArgumentError(f"--loop uvloop: {missing(error, 'uvloop', extra='uvloop')}") from None
        else:
            return uvloop.new_event_loop, f"uvloop {uvloop.__version__}"
    return None, "asyncio's own"
