"""The process that measures one set of figures: ``python -m benchmarks.measure NAME``.

It prints a line of JSON: the samples, or what is not installed.
"""

import argparse
import asyncio
import dataclasses
import json

from benchmarks.figures import chosen
from benchmarks.timing import NotInstalledError, Plan

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure a figure, and those that are measured with it.")
    parser.add_argument("name")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    (figure,) = chosen([options.name])

    async def run() -> dict[str, object]:
        """Measures, and gives each sample as plain data."""
        try:
            samples = await figure.measure(Plan(rounds=options.rounds, quick=options.quick))
        except NotInstalledError as error:
            return {"not installed": str(error)}
        return {"samples": {name: dataclasses.asdict(sample) for name, sample in samples.items()}}

    print(json.dumps(asyncio.run(run())))
