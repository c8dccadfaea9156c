"""What ``shell`` does: connects, and runs a prompt whose awaits run in the event loop of the bridge.

The loop runs in a thread of its own, so that the bridge goes on while somebody thinks at the prompt.
"""

import asyncio
import builtins
import importlib.util
import inspect
import sys
import traceback
import types
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any

from grpc_tool_bridge.aio.portal import LoopCall, Portal
from grpc_tool_bridge.cli import interrupts, prompts
from grpc_tool_bridge.cli.answers import answers_for
from grpc_tool_bridge.cli.connection import address_of, first_answer, make_bridge
from grpc_tool_bridge.cli.exit_codes import FAILED
from grpc_tool_bridge.cli.failures import one_line, visible
from grpc_tool_bridge.cli.options import HubOptions
from grpc_tool_bridge.cli.shell_tools import ShellTools
from grpc_tool_bridge.client.bridge import GRPCToolBridge

_SHOWN_TOOLS = 8


def run(hub: HubOptions, session_id: str | None, *, plain: bool) -> int:
    """Runs the prompt until its end; returns the exit code.

    Raises:
        CommandError: The hub cannot be reached, or refuses access.
    """
    interrupts.loaded()
    portal = Portal()
    loop = LoopRunner(portal.loop)
    try:
        bridge = loop.run(_open(hub, session_id))
        try:
            names = {"bridge": bridge, "tools": ShellTools(bridge.tools), "asyncio": asyncio}
            if not sys.stdin.isatty():
                return _run_program(sys.stdin.read(), names, loop)
            _prompt(names, loop, _banner(bridge), plain=plain)
            return 0
        finally:
            loop.run(bridge.close())
    finally:
        portal.close()


class LoopRunner:
    """Runs coroutines in the event loop of another thread.

    Args:
        loop: The event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs one to its end and returns its result; Ctrl-C cancels it.

        Raises:
            KeyboardInterrupt: It was cancelled, and that has ended it.
        """
        call = LoopCall(self._loop, lambda: work)
        try:
            return call.future.result()
        except KeyboardInterrupt:
            if call.withdraw():
                work.close()
                raise
            # Another Ctrl-C stops waiting for its end.
            try:
                return call.future.result()
            except CancelledError:
                raise KeyboardInterrupt from None


async def _open(hub: HubOptions, session_id: str | None) -> GRPCToolBridge:
    bridge = make_bridge(
        hub, transport="link", keep_session=session_id is not None, follow_tools=True, on_ask=answers_for(())
    )
    try:
        async with first_answer(hub, bridge.client.where):
            await bridge.initialize(session_id, connect_timeout=hub.connect_timeout)
    except BaseException:
        await bridge.close()
        raise
    return bridge


def _banner(bridge: GRPCToolBridge) -> str:
    names = sorted(bridge.tools)
    shown = ", ".join(names[:_SHOWN_TOOLS]) + (", …" if len(names) > _SHOWN_TOOLS else "")
    count = "1 tool" if len(names) == 1 else f"{len(names):,} tools"
    example = next((name for name in names if name.isidentifier()), "name")
    head = one_line(f"Hub {address_of(bridge)}, session {bridge.session_id}, {count}{': ' if names else ''}{shown}")
    return f"{head}\nbridge and tools are ready: await tools.{visible(example)}(…)"


def _prompt(names: dict[str, Any], loop: LoopRunner, banner: str, *, plain: bool) -> None:
    if plain or importlib.util.find_spec("IPython") is None:
        prompts.run_plain(names, loop.run, banner)
    else:
        prompts.run_ipython(names, loop.run, banner)


def _run_program(text: str, names: dict[str, Any], loop: LoopRunner) -> int:
    """Runs a program that may have ``await`` outside functions; returns its exit code."""
    try:
        code = compile(text, "<stdin>", "exec", flags=prompts.AWAIT_FLAG)
        result = types.FunctionType(code, {**names, "__name__": "__main__", "__builtins__": builtins})()
        if inspect.iscoroutine(result):
            loop.run(result)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the program raises is its end
        prompts.trim(error, "<stdin>")
        sys.stderr.write(visible("".join(traceback.format_exception(error))))
        return FAILED
    return 0
