"""The Python peers of the benchmark: measures what a line of stdin names, and prints the figure.

``bare 100``: calls per second of a bare gRPC method, 100 at once. ``call TOOL``: of a tool, 100 at once.
``stream TOOL``: megabytes per second of 64 KiB chunks. ``end .``: ends.
"""

import asyncio
import contextlib
import functools
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import grpc.aio

from grpc_tool_bridge import GRPCToolBridge, ToolWorker

SECONDS = 1.0
CHUNKS = 2_000
METHOD = "/bare.Bare/Unary"


async def rate(call: Callable[[], Awaitable[object]], tasks: int) -> float:
    """Returns the calls per second of so many tasks."""
    calls, began = 0, time.monotonic()
    end = began + SECONDS

    async def repeat() -> None:
        nonlocal calls
        while time.monotonic() < end:
            await call()
            calls += 1

    await asyncio.gather(*(repeat() for _ in range(tasks)))
    return calls / (time.monotonic() - began)


async def stream_rate(chunks: AsyncIterator[bytes]) -> float:
    """Returns the megabytes per second of a stream."""
    began = time.monotonic()
    size = 0
    async for chunk in chunks:
        size += len(chunk)
    return size / (time.monotonic() - began) / 1e6


async def bare_server() -> None:
    """Serves one unary method, and prints its port."""

    async def unary(request: bytes, _: object) -> bytes:
        return request

    server = grpc.aio.server()
    handlers = {"Unary": grpc.unary_unary_rpc_method_handler(unary)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare.Bare", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


async def python_add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


async def python_chunks(n: int) -> AsyncIterator[bytes]:
    """Yields n chunks of 64 KiB."""
    chunk = bytes(65_536)
    for _ in range(n):
        yield chunk


async def worker(address: str) -> None:
    """A Python worker with the same tools as Elixir's."""
    async with ToolWorker(address, tools=[python_add, python_chunks]) as serving:
        print("ready", flush=True)
        await serving.run()


async def measure(address: str) -> None:
    """Measures what stdin asks for, until it ends."""
    with child("bare", address) as bare, child("worker", address) as python:
        port = line_of(bare)
        line_of(python)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, GRPCToolBridge(address) as bridge:
            await bridge.initialize()
            unary = channel.unary_unary(METHOD)
            print("ready", flush=True)
            for line in sys.stdin:
                kind, name = line.split()
                if kind == "end":
                    break
                if kind == "bare":
                    figure = await rate(lambda: unary(b"x"), int(name))
                else:
                    tool = bridge.client.tool(name)
                    if kind == "call":
                        figure = await rate(functools.partial(tool, 1, 2), 100)
                    else:
                        figure = await stream_rate(tool.stream(CHUNKS))
                print(figure, flush=True)
    print("ended", flush=True)


@contextlib.contextmanager
def child(role: str, address: str) -> Iterator[subprocess.Popen[str]]:
    """Runs another process of this program."""
    with subprocess.Popen([sys.executable, __file__, address, role], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def line_of(process: subprocess.Popen[str]) -> str:
    """Returns the next line that a process prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def main() -> None:
    """Runs a role: ``measure`` unless another one is named."""
    address, role = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "measure"
    runs = {"measure": measure, "worker": worker, "bare": lambda _: bare_server()}
    asyncio.run(runs[role](address))


if __name__ == "__main__":
    main()
