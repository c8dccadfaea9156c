"""``replay``: a server that answers as a recording says, or a test made of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from grpc_tool_bridge.cli.failures import ArgumentError, CommandError, file_error, say_warning
from grpc_tool_bridge.cli.options import ReadyJsonOption, check_address
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Argument, Option
from grpc_tool_bridge.cli.streams import require_stdout
from grpc_tool_bridge.config.defaults import DEFAULT_ADDRESS

if TYPE_CHECKING:
    from grpc_tool_bridge.testing.mock_server import MockBridgeServer

# Texts of a summary at the end.
_MAX_SHOWN = 10


def replay(
    file: Annotated[Path, Argument(metavar="FILE", help="A recording of serve --record.")],
    *,
    address: Annotated[
        str,
        Option(
            "--address",
            metavar="HOST:PORT",
            envvar="TOOL_BRIDGE_ADDRESS",
            help="Loopback address to listen on; port 0 picks a free port.",
        ),
    ] = DEFAULT_ADDRESS,
    in_time: Annotated[
        bool, Option("--in-time", help="Take as long for each answer as it took; else answer at once.")
    ] = False,
    speed: Annotated[float, Option("--speed", metavar="FACTOR", help="With --in-time: so many times faster.")] = 1.0,
    make_test: Annotated[
        Path | None,
        Option("--make-test", metavar="TEST.py", help="Write a pytest module that makes the recorded calls, and exit."),
    ] = None,
    tools: Annotated[
        list[str] | None,
        Option(
            "--tools",
            metavar="SOURCE",
            help="With --make-test: the test makes the calls to a hub with these tools, and compares the answers. "
            "Repeatable.",
        ),
    ] = None,
    as_json: ReadyJsonOption = False,
) -> int:
    """Serve a recording without a hub, tools or a model, until Ctrl-C or SIGTERM; or make a test of it.

    Each recorded call is answered once. Any other fails with RecordingMismatch, and says what differs.
    """
    from grpc_tool_bridge.cli import interrupts

    interrupts.loaded()
    if make_test is not None:
        if as_json:
            raise ArgumentError("--json: not with --make-test, which writes a test and serves nothing")
        _make_test(file, make_test, tools or [])
        return 0
    if tools:
        raise ArgumentError("--tools: with --make-test only; a recording is served without tools")
    _check_address(address)
    if speed != 1.0 and not in_time:
        raise ArgumentError("--speed: with --in-time only; without it, answers come at once")
    import asyncio

    server = _server(file, address, in_time=in_time, speed=speed)
    if as_json:
        require_stdout()
    code = asyncio.run(_serve(server, file, address, as_json=as_json))
    for text in [*server.mismatches, *(f"not played: {text}" for text in server.unplayed[:_MAX_SHOWN])]:
        say_warning(text)
    return code


def _check_address(address: str) -> None:
    from grpc_tool_bridge.transport.addresses import is_loopback

    check_address(address, listening=True)
    if address.startswith("unix:"):
        raise ArgumentError("--address: a recording is served at HOST:PORT, not at a unix socket")
    if not is_loopback(address):
        raise ArgumentError(f"--address: {address} is not a loopback address; anyone may call a recording's server")


def _server(file: Path, address: str, *, in_time: bool, speed: float) -> "MockBridgeServer":
    from grpc_tool_bridge.testing.mock_server import MockBridgeServer

    try:
        return MockBridgeServer.from_recording(file, address=address, in_time=in_time, speed=speed)
    except OSError as error:
        raise file_error(error, file) from None
    except ValueError as error:
        raise ArgumentError(str(error)) from None


async def _serve(server: "MockBridgeServer", file: Path, address: str, *, as_json: bool) -> int:
    import asyncio
    import os
    import signal

    from grpc_tool_bridge.cli.consoles import console
    from grpc_tool_bridge.cli.signals import ending_signals, exit_code

    with ending_signals() as signals:
        try:
            server.start()
        except RuntimeError:
            # gRPC does not tell why.
            raise CommandError(
                f"cannot listen at {address}: it is in use or not this machine's; choose another --address"
            ) from None
        try:
            if as_json:
                print_json({"address": server.address, "recording": str(file), "pid": os.getpid()})
            else:
                console().print(f"The recording {file} is served at {server.address}\nPress Ctrl-C to stop")
            return exit_code(signal.Signals(await signals.get()))
        finally:
            await asyncio.to_thread(server.stop)


def _make_test(file: Path, target: Path, tools: list[str]) -> None:
    from grpc_tool_bridge.cli.consoles import console
    from grpc_tool_bridge.cli.tool_sources import load_tools
    from grpc_tool_bridge.testing.recording.made_tests import write_test

    # Fails now if the test could not import them.
    load_tools(tools)
    try:
        count = write_test(file, target, tools)
    except FileExistsError:
        raise ArgumentError(f"--make-test: {target} is there already; name another file, or remove it") from None
    except OSError as error:
        if error.filename == str(target):
            raise ArgumentError(f"--make-test: cannot write {target}: {error.strerror or error}") from None
        raise file_error(error, error.filename or file) from None
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    console().print(f"{target} makes {count} recorded calls; run it with pytest {target}")
