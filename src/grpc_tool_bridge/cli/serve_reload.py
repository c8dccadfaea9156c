"""``serve --reload``: a hub whose tools run in a worker of its own, which restarts when their files change.

The hub itself goes on, and with it its sessions, its connections and the calls that wait. Until the next worker has
imported its tools, the previous one serves.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from enum import Enum
from typing import Any, get_args

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.parameters import Option
from grpc_tool_bridge.cli.reload import Reloader, SourceFiles
from grpc_tool_bridge.cli.serve_options import ServeOptions
from grpc_tool_bridge.cli.serving_options import ServingOptions
from grpc_tool_bridge.cli.tool_sources import check_file, split_source
from grpc_tool_bridge.cli.worker_process import WorkerProcess
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.server import BridgeServer

# The options that are the hub's own business; the worker gets all others.
_OF_THE_HUB = frozenset(
    {"as_json", "middleware", "mcp", "mcp_config", "pin", "agents", "agent_model", "agent_api_base"}
)
# Hosts that listen everywhere, and where the hub is found then.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - where a hub listens is read here, not set


def files_to_watch(sources: Sequence[str], lifespans: Sequence[str], settings: Settings) -> SourceFiles:
    """Finds the files of the tools and of the lifespans.

    Raises:
        ArgumentError: There are none, a source names neither a module nor a file, or the hub uses TLS.
    """
    if not sources:
        raise ArgumentError("--reload loads the tools of --tools again; name some with --tools SOURCE")
    if settings.tls_cert is not None:
        raise ArgumentError("--reload is for development, without TLS; leave out --tls-cert or --reload")
    for source in sources:
        check_file(f"--tools {source}", split_source(source)[0])
    for source in lifespans:
        check_file(f"--lifespan {source}", split_source(source)[0])
    return SourceFiles.of([*sources, *lifespans])


class HubReloader(Reloader):
    """Runs the tools of a hub in workers, one after the other; made by ``beside``.

    Attributes:
        ready: Called once, when the first worker serves or has failed; the hub waits for a change then.
    """

    ready: Callable[[], None]
    _is_ready = False

    @classmethod
    def beside(
        cls,
        server: BridgeServer,
        files: SourceFiles,
        sources: Sequence[str],
        options: ServeOptions,
        *,
        ready: Callable[[], None],
    ) -> "HubReloader":
        """Makes one for a hub that listens.

        Args:
            server: The hub.
            files: The files to watch.
            sources: Where the tools are.
            options: Those of ``serve``.
            ready: See the class.
        """
        words = ["worker", *worker_words(options), "--address", _address_of(server.address), "--", *sources]
        made = cls(words, files, worker_id=None, grace=server.settings.shutdown_grace, announces=False)
        made.ready = ready
        return made

    async def _advance(self, told: "asyncio.Future[int]") -> None:
        await super()._advance(told)
        if self._next is None and self._serving is None and not told.done():
            self._tell_ready()

    async def _hand_over(self, worker: WorkerProcess, told: "asyncio.Future[int]") -> None:
        await super()._hand_over(worker, told)
        if self._is_ready or told.done():
            return
        serving = asyncio.ensure_future(worker.line.serving.wait())
        events: list[asyncio.Future[Any]] = [serving, worker.ended, told]
        try:
            await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
        finally:
            serving.cancel()
        if worker.line.serving.is_set():
            self._tell_ready()

    def _tell_ready(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self.ready()


def worker_words(options: ServeOptions) -> list[str]:
    """Returns the options of ``serve`` that its worker is given too, as words."""
    words: list[str] = []
    if options.token_file is not None:
        words += ["--token-file", str(options.token_file)]
    for item in fields(ServingOptions):
        value = getattr(options, item.name)
        default = None if item.default is MISSING else item.default
        if item.name not in _OF_THE_HUB and value != default:
            words += _option_words(item.name, item.type, value)
    return words


def _option_words(name: str, annotation: Any, value: Any) -> list[str]:
    _, declared = get_args(annotation)
    flags = (declared.flags if isinstance(declared, Option) else None) or f"--{name.replace('_', '-')}"
    yes, _, no = flags.partition("/")
    flag = yes.split(", ")[-1]
    if isinstance(value, bool):
        return [flag] if value else [no] if no else []
    values = value if isinstance(value, list) else [value]
    return [word for each in values for word in (flag, str(each.value if isinstance(each, Enum) else each))]


def _address_of(address: str) -> str:
    """Returns where a hub is reached that listens at an address."""
    host, colon, port = address.rpartition(":")
    return f"{_EVERYWHERE[host]}:{port}" if colon and host in _EVERYWHERE else address
