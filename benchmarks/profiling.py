"""Flame graphs of a hub and its client with 100 calls at once: ``python -m benchmarks.profiling``.

py-spy looks into both processes from outside, so that what is measured is what runs otherwise.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.flames import draw, read
from benchmarks.machine import in_words, machine
from benchmarks.processes import filling, running
from benchmarks.programs import PY_SPY, where

_PICTURES = Path(__file__).parents[1] / "docs" / "images"
_ENDS = ("hub", "client")
_WARM_UP_SECONDS = 1.0
# Beyond the time that is sampled.
_LIMIT_SECONDS = 60.0


async def profile(program: str, directory: Path, *, seconds: int, rate: int) -> dict[str, str]:
    """Samples the stacks of a hub and of a client of the package.

    Args:
        program: py-spy.
        directory: For what it writes.
        seconds: How long it samples.
        rate: Samples a second.

    Returns:
        What it has written, by end.

    Raises:
        RuntimeError: A process has failed; the error says how.
        TimeoutError: A process does not answer.
    """
    async with (
        asyncio.timeout(seconds + _LIMIT_SECONDS),
        running("hub") as hub,
        filling("client-calls", hub.address, sources=1) as client,
    ):
        await asyncio.sleep(_WARM_UP_SECONDS)
        paths = {end: directory / f"{end}.raw" for end in _ENDS}
        how = [program, "record", "--format", "raw", "--nolineno", "--duration", str(seconds), "--rate", str(rate)]
        both = zip(_ENDS, (hub, client), strict=True)
        await asyncio.gather(
            *(_sample(end, [*how, "--pid", str(one.pid), "--output", str(paths[end])]) for end, one in both)
        )
    return {end: path.read_text(encoding="utf-8") for end, path in paths.items()}


async def _sample(end: str, command: Sequence[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"py-spy could not look into the {end}: {said.decode(errors='replace').strip()}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Profiles and draws; returns 0, or 1 if that was not possible."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profiling", description="Draw where the time goes.")
    parser.add_argument("--seconds", type=int, default=10, help="how long to sample (10)")
    parser.add_argument("--rate", type=int, default=250, help="samples a second (250)")
    parser.add_argument("--out", type=Path, default=_PICTURES, metavar="DIR", help="for the pictures (docs/images)")
    options = parser.parse_args(arguments)
    if options.seconds < 1 or options.rate < 1:
        parser.error("--seconds and --rate are 1 or more")
    program = where(PY_SPY)
    if program is None:
        print(f"{PY_SPY} is not installed; make install installs it", file=sys.stderr)
        return 1
    try:
        with tempfile.TemporaryDirectory() as directory:
            found = asyncio.run(profile(program, Path(directory), seconds=options.seconds, rate=options.rate))
        roots = {end: read(stacks) for end, stacks in found.items()}
    except (RuntimeError, TimeoutError, ValueError) as error:
        print(f"nothing was drawn: {str(error) or 'a process did not answer'}", file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    about = machine()
    for end, root in roots.items():
        what = f"100 calls of add at once, on one machine: where the {end}'s event loop spends its time."
        notes = [
            f"{what} {root.samples:,} samples by py-spy; less than 0.4 % is left out.",
            in_words(about, peers=False),
        ]
        path = options.out / f"flame-{end}.svg"
        path.write_text(draw(root, f"What the {end} does", notes), encoding="utf-8")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
