"""Figures of whole commands, from the start of their process to its end."""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

from benchmarks.processes import running
from benchmarks.timing import Plan, Sample, Stretch, in_rounds
from benchmarks.work import WrongAnswerError

# What the installed script does.
_PROGRAM = "import sys; from grpc_tool_bridge.cli import main; sys.exit(main())"


async def version(plan: Plan) -> dict[str, Sample]:
    """``grpc-tool-bridge --version``, against a Python that does nothing."""
    return {"version": await _compared(plan, [_PROGRAM, "--version"], ["pass"], "grpc-tool-bridge ")}


async def call(plan: Plan) -> dict[str, Sample]:
    """``grpc-tool-bridge call add 2 3`` at a running hub, against a Python that imports grpc.aio."""
    async with running("hub") as hub:
        words = [_PROGRAM, "call", "add", "2", "3", "--address", hub.address]
        return {"call-process": await _compared(plan, words, ["import grpc.aio"], "5\n")}


async def _compared(plan: Plan, ours: Sequence[str], bare: Sequence[str], answer: str) -> Sample:
    with tempfile.TemporaryDirectory() as cache:
        # As installed: all is compiled, here in the round that does not count.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        stretches = {"ours": _runs(ours, answer, environment), "bare": _runs(bare, "", environment)}
        taken = await in_rounds(plan, stretches, turns=plan.amount(10, 5))
    medians = {name: [statistics.median(times) for times in rounds] for name, rounds in taken.items()}
    values = [one / other for one, other in zip(medians["ours"], medians["bare"], strict=True)]
    return Sample(values, {f"{name} ms": statistics.median(times) * 1000 for name, times in medians.items()})


def _runs(words: Sequence[str], answer: str, environment: Mapping[str, str]) -> Stretch:
    async def run() -> list[float]:
        start = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            *words,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate()
        took = time.perf_counter() - start
        if process.returncode or not printed.decode().startswith(answer):
            raise WrongAnswerError(f"a command printed {printed!r} and ended with {process.returncode}")
        return [took]

    return run
