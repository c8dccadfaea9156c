"""The options of ``worker``."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.parameters import Option
from grpc_tool_bridge.cli.serving_options import ServingOptions
from grpc_tool_bridge.cli.settings import setting
from grpc_tool_bridge.config.argument_checks import MAX_SECONDS, MOST
from grpc_tool_bridge.config.defaults import DEFAULT_CAPACITY
from grpc_tool_bridge.worker.lifetime import MAX_BYTES

_aging = partial(Option, panel="Replacing the process")

_JITTER = 0.1


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(ServingOptions):
    """The options of ``worker``: those of any process that runs tools, and the worker's identity."""

    session: Annotated[
        str | None,
        Option(
            "--session",
            metavar="ID",
            help="Offer the tools to this session only, and create it if it does not exist. Without it every session "
            "has them.",
            complete="session",
        ),
    ] = None
    worker_id: Annotated[
        str | None,
        Option(
            "--worker-id",
            metavar="ID",
            help="The worker's id. A second worker with the same id replaces the first. Generated if not given.",
        ),
    ] = None
    capacity: Annotated[
        int,
        Option("--capacity", min=1, metavar="N", help="Concurrent calls; more go to other workers, or wait."),
    ] = DEFAULT_CAPACITY
    reload: Annotated[
        bool, Option("--reload", help="Restart when a Python file beside or below the sources changes.")
    ] = False
    max_calls: Annotated[
        int,
        _aging("--max-calls", min=0, max=MOST, metavar="N", help="Replace the process after so many calls; 0: never."),
    ] = 0
    max_age: Annotated[
        float,
        _aging("--max-age", min=0.0, max=MAX_SECONDS, metavar="SECONDS", help="Replace it after this time; 0: never."),
    ] = 0.0
    max_memory: Annotated[
        int,
        _aging(
            "--max-memory",
            min=0,
            max=MAX_BYTES,
            metavar="BYTES",
            help="Replace it when it and its processes hold more memory; 0: never. Linux only.",
        ),
    ] = 0
    jitter: Annotated[
        float,
        _aging(
            "--jitter",
            min=0.0,
            max=1.0,
            metavar="PART",
            help="By which part, at most, --max-calls and --max-age are less at random, so that not all workers are "
            "replaced at once.",
        ),
    ] = _JITTER
    max_processes: Annotated[int | None, setting("max_processes")] = None

    @property
    def ages(self) -> bool:
        """Whether the process is replaced when it is old."""
        return bool(self.max_calls or self.max_age or self.max_memory)

    def check(self) -> None:
        """Checks that the options that replace the process fit together."""
        if self.jitter != _JITTER and not (self.max_calls or self.max_age):
            raise ArgumentError("--jitter: for --max-calls and --max-age only; give one of them, too")
        if self.reload and self.ages:
            raise ArgumentError("--reload and --max-calls, --max-age or --max-memory exclude each other; omit --reload")
        super().check()
