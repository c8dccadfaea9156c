"""The client of the demo: calls tools of the hub and of workers, asks an agent, and shows what comes back."""

import asyncio
import os
import signal
import sys
import sysconfig
import textwrap
import time
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from grpc_tool_bridge import GRPCToolBridge, ToolExecutionError

SESSION = "demo"
# There are 22,044 primes below it; workers with a free slot count them in parts.
PRIMES_BELOW = 250_000
PRIMES = 22_044
PARTS = 50
# Characters of an agent's thoughts and observations that are printed.
LINE = 100
QUESTION = "What is (17 + 4) * 2?"
REPOSITORY = Path(__file__).parent.parent

console = Console(width=120, highlight=False, soft_wrap=True)


def title(text: str) -> None:
    """Prints the title of a part of the demo."""
    console.print(f"\n[bold]{text}[/bold]")


def show(frame: pd.DataFrame) -> None:
    """Prints a frame as a table."""
    table = Table(*[str(column) for column in frame.columns])
    for row in frame.itertuples(index=False):
        table.add_row(
            *[
                f"{cell:,}" if isinstance(cell, int) else f"{cell:.3g}" if isinstance(cell, float) else str(cell)
                for cell in row
            ]
        )
    console.print(table)


async def search(bridge: GRPCToolBridge) -> None:
    """A tool that returns: full-text search over the standard library's documentation."""
    title("1. search_docs: a call")
    for query, note in (("cancel a running task", ", its index of the library built"), ("heap queue algorithm", "")):
        began = time.perf_counter()
        hits = await bridge.tools["search_docs"](query, limit=3)
        console.print(f"search_docs({query!r}) took {(time.perf_counter() - began) * 1000:,.1f} ms{note}")
        for hit in hits:
            console.print(f"  {hit['name']}: {hit['summary']}", markup=False)


async def scan(bridge: GRPCToolBridge, what: str, path: Path, exclude: list[str]) -> pd.DataFrame:
    """A tool that yields: a row for each file as it is read, with progress on the way."""
    reports = 0

    def count(_: object) -> None:
        nonlocal reports
        reports += 1

    began = time.perf_counter()
    first = 0.0
    rows = []
    scan_tree = bridge.tools["scan_tree"].with_options(on_progress=count)
    async for row in scan_tree.stream(str(path), exclude=exclude):
        first = first or time.perf_counter() - began
        rows.append(row)
    took = time.perf_counter() - began
    console.print(
        f"scan_tree over {what}: {len(rows):,} rows in {took:.2f} s, the first after {first * 1000:.0f} ms, "
        f"{reports:,} reports of progress"
    )
    return pd.DataFrame(rows)


async def summarize(bridge: GRPCToolBridge, rows: pd.DataFrame) -> None:
    """Takes and returns a frame; the result goes into a variable that the watcher sees."""
    folders = rows.assign(folder=rows["path"].str.split("/").str[0])
    summary = await bridge.tools["summarize"](folders, by="folder")
    console.print(f"summarize got {len(folders):,} rows and returned a {type(summary).__name__}; its first rows:")
    show(summary.head(5))
    by_suffix = await bridge.tools["summarize"](rows)
    revision = await bridge.session_context.set_variable("summary", by_suffix)
    console.print(f"set variable 'summary', now at revision {revision}")


async def batch(bridge: GRPCToolBridge) -> None:
    """Many calls in one request, each answered in its place."""
    title("4. calculate: a batch of 50 calls in one request")
    expressions = [f"{number} ** 2 + sqrt({number})" for number in range(48)] + ["1 / 0", "2 ** 10"]
    began = time.perf_counter()
    results = await bridge.execute_batch([{"tool_id": "calculate", "args": [text]} for text in expressions])
    took = time.perf_counter() - began
    console.print(f"{len(results)} answers in {took * 1000:.1f} ms; the last three:")
    for text, result in list(zip(expressions, results, strict=True))[-3:]:
        console.print(f"  {text} -> {result!r}", markup=False)


async def fail(bridge: GRPCToolBridge) -> None:
    """A tool's error is complete: class, message, and the traceback in the hub's process."""
    title("5. a tool's error, complete")
    try:
        await bridge.tools["scan_tree"]("no/such/folder")
    except ToolExecutionError as error:
        console.print(f"{type(error).__name__}: {error}", markup=False)
        console.print("its traceback, from the hub's process:")
        console.print(error.remote_traceback.rstrip().replace(str(REPOSITORY), "."), markup=False, style="dim")
    try:
        await bridge.tools["calculate"](expression=2, precision=3)
    except ToolExecutionError as error:
        console.print(f"\nand wrong arguments, rejected before the tool runs:\n{error}", markup=False)


async def compute(bridge: GRPCToolBridge, worker_pid: int) -> None:
    """A tool of two workers, one of which is lost while it works."""
    title("6. count_primes: a tool of two workers, in processes, and the loss of one of them")
    count_primes = bridge.tools["count_primes"]
    step = PRIMES_BELOW // PARTS
    for loses_one in (False, True):
        began = time.perf_counter()
        calls = [asyncio.ensure_future(count_primes(part * step, (part + 1) * step)) for part in range(PARTS)]
        if loses_one:
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            os.kill(worker_pid, signal.SIGKILL)
        primes = sum(await asyncio.gather(*calls))
        took = time.perf_counter() - began
        note = f"; worker {worker_pid} was killed meanwhile, and no call was lost" if loses_one else ""
        console.print(f"{primes:,} primes below {PRIMES_BELOW:,}, in {PARTS} concurrent calls, in {took:.2f} s{note}")
        if primes != PRIMES:
            raise AssertionError(f"there are {PRIMES:,}")


async def ask_an_agent(bridge: GRPCToolBridge) -> None:
    """A model that calls the tools until it can answer; a client that attaches to the run later misses nothing."""
    title("7. an agent: what it thinks, does and sees, as it happens")
    agent_id = await bridge.create_react_agent("Question -> Answer", tool_names=["calculate", "search_docs"])
    console.print(f"agent {agent_id} is asked: {QUESTION}")
    began = time.perf_counter()
    asked = {"agent_id": agent_id, "input": {"question": QUESTION}, "run_id": "demo-run"}
    chunks = []
    async for chunk in bridge.execute_agent_streaming(asked):
        chunks.append(chunk)
        took = (time.perf_counter() - began) * 1000
        console.print(f"  {took:7,.0f} ms  {chunk['sequence']}  {describe(chunk)}", markup=False)
    again = [chunk async for chunk in bridge.execute_agent_streaming({"run_id": "demo-run", "from_sequence": 3})]
    console.print(f"attached to the run again from chunk 3: {', '.join(chunk['type'] for chunk in again)}")
    if again != chunks[3:]:
        raise AssertionError("a run that has ended must read the same")


def describe(chunk: dict[str, Any]) -> str:
    """Writes a chunk of a run on a line."""
    match chunk["type"]:
        case "thought":
            said = chunk["text"]
        case "action":
            said = (
                f"{chunk['tool_name']}({', '.join(f'{name}={value!r}' for name, value in chunk['tool_input'].items())})"
            )
        case "observation":
            said = str(chunk["output"])
        case _:
            said = f"{chunk['final_answer']}, {chunk['stop_reason']} after {chunk['total_steps']} steps"
    return f"{chunk['type']:<12}{textwrap.shorten(said, LINE, placeholder='…')}"


async def call_other_languages(bridge: GRPCToolBridge) -> None:
    """Tools of workers in other languages, where those are built."""
    there = [name for name in ("count_words", "slugify") if name in bridge.tools]
    if not there:
        return
    title("8. tools in other languages")
    for name in there:
        text = "The quick fox and the lazy dog"
        console.print(f"{name}({text!r}) -> {await bridge.tools[name](text)!r}", markup=False)


async def main(address: str, worker_pid: int) -> None:
    """Runs the parts of the demo."""
    console.print(f"process {os.getpid()} connects to the hub at {address}")
    async with GRPCToolBridge(address, keep_session=True) as bridge:
        await bridge.initialize(SESSION)
        await search(bridge)
        title("2. scan_tree: a stream, and 3. summarize: a DataFrame there and back")
        await summarize(bridge, await scan(bridge, "this repository", REPOSITORY, []))
        library = Path(sysconfig.get_path("stdlib"))
        await summarize(bridge, await scan(bridge, "Python's standard library", library, ["site-packages"]))
        await batch(bridge)
        await fail(bridge)
        await compute(bridge, worker_pid)
        await ask_an_agent(bridge)
        await call_other_languages(bridge)
        metrics = await bridge.client.get_metrics("tool.*")
        counts = {name.removeprefix("tool."): value.integer_value for name, value in sorted(metrics.items())}
        title("metrics of the hub")
        console.print(", ".join(f"{name} {count:,}" for name, count in counts.items() if count))
        await bridge.session_context.delete_variable("summary")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
