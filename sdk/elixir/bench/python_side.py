"""The Python figures beside which those of the Elixir SDK stand, and calls of its worker by Python's client."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc.aio

from grpc_tool_bridge import GRPCToolBridge, ToolWorker

SECONDS = 1.0
ROUNDS = 5
METHOD = "/bare.Bare/Unary"


def say(name: str, figure: float) -> None:
    """Prints a figure."""
    print(json.dumps({"name": name, "figure": round(figure, 1)}), flush=True)


async def rate(call: Callable[[], Awaitable[object]], tasks: int, seconds: float = SECONDS) -> float:
    """Returns the calls per second of so many tasks."""
    calls, end, began = 0, time.monotonic() + seconds, time.monotonic()

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


async def best(measure: Callable[[], Awaitable[float]]) -> float:
    """Returns the highest figure of some rounds."""
    return max([await measure() for _ in range(ROUNDS)])


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


def python_add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


async def python_chunks(n: int) -> AsyncIterator[bytes]:
    """Yields n chunks of 64 KiB."""
    chunk = bytes(65_536)
    for _ in range(n):
        yield chunk


async def worker(address: str) -> None:
    """A Python worker with the same tools."""
    async with ToolWorker(address, tools=[python_add, python_chunks]) as serving:
        print("ready", flush=True)
        await serving.run()


async def measure(address: str) -> None:
    """Prints the figures."""
    with child("bare", address) as process:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{line_of(process)}") as channel:
            call = channel.unary_unary(METHOD)
            await rate(lambda: call(b"x"), 100, 0.5)
            say("bare grpc.aio, one at a time, us", 1e6 / await best(lambda: rate(lambda: call(b"x"), 1)))
            say("bare grpc.aio, 100 at once, calls/s", await best(lambda: rate(lambda: call(b"x"), 100)))
        process.terminate()
    with child("worker", address) as process:
        line_of(process)
        async with GRPCToolBridge(address) as bridge:
            await bridge.initialize()
            for name, prefix in (("elixir", "worker"), ("python", "python")):
                add, chunks = bridge.tools[f"{prefix}_add"], bridge.tools[f"{prefix}_chunks"]
                await rate(lambda add=add: add(1, 2), 100, 1.0)
                calls = await best(lambda add=add: rate(lambda: add(1, 2), 100))
                say(f"{name} worker by the python client, 100 at once, calls/s", calls)
                bytes_rate = await best(lambda chunks=chunks: stream_rate(chunks.stream(2_000)))
                say(f"{name} worker by the python client, 64 KiB stream, MB/s", bytes_rate)
        process.terminate()


def child(role: str, address: str) -> subprocess.Popen[str]:
    """Starts another process of this program."""
    return subprocess.Popen([sys.executable, __file__, address, role], stdout=subprocess.PIPE, text=True)


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
