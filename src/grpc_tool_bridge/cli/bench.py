"""``bench``: calls a hub for some time, and prints how long the calls took."""

from pathlib import Path

from grpc_tool_bridge.cli.bench_options import BenchOptions, cannot_write
from grpc_tool_bridge.cli.call import WordsArgument
from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.open_files import allow_open_files
from grpc_tool_bridge.cli.options import HubOptions


async def bench(hub: HubOptions, more: WordsArgument = None, *, options: BenchOptions) -> None:
    """Call a hub for some time, and print how long the calls took.

    Each client makes its next call when the previous one has ended; with --rate, calls are made at fixed times.
    """
    from grpc_tool_bridge.cli import bench_run

    await bench_run.run(hub, _words(more, options), options)


def check(*, more: list[str] | None, options: BenchOptions) -> None:
    """Checks the arguments that do not need the hub; raises ArgumentError."""
    if options.tool is None and _words(more, options):
        raise ArgumentError("arguments need --tool NAME, the tool that takes them")
    if options.out is not None:
        _check_writable(options.out)
    allow_open_files(options.clients)


def _words(more: list[str] | None, options: BenchOptions) -> list[str]:
    return [*(options.args or ()), *(more or ())]


def _check_writable(path: Path) -> None:
    """Fails before anything is measured; keeps an earlier result until there is another."""
    try:
        path.open("a").close()
    except OSError as error:
        raise ArgumentError(cannot_write(path, error)) from None
