"""The figures of encoding values.

Two ratios, each taken with its peer in the same round: nested containers against the standard library's JSON, and a
pandas frame against its Arrow IPC stream alone. Every round makes new values, and every answer is checked.
"""

import gc
import json
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.timing import Plan, Sample
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value

ROWS, COLUMNS = 1_000_000, 8


def nested(seed: int) -> dict[str, Any]:
    """Makes about 1 MB (as JSON) of dicts and lists."""
    dice = random.Random(seed)
    rows = [
        {
            "id": seed * 100_000 + number,
            "name": f"user {dice.randrange(10**9)}",
            "active": dice.random() < 0.5,
            "score": dice.random(),
            "tags": [f"tag{dice.randrange(1000)}" for _ in range(4)],
            "address": {
                "street": f"Street {dice.randrange(1000)}",
                "city": None,
                "position": [dice.random() for _ in range(2)],
            },
        }
        for number in range(4_800)
    ]
    return {"rows": rows, "total": len(rows)}


def frame(seed: int) -> pd.DataFrame:
    """Makes a frame of numeric columns, half of them integers."""
    dice = np.random.default_rng(seed)
    halves = (dice.random(ROWS), dice.integers(0, 2**40, ROWS))
    return pd.DataFrame({f"column{number}": halves[number % 2] + number for number in range(COLUMNS)})


def by_bridge(value: Any) -> Any:
    """Encodes and decodes with the bridge."""
    return deserialize_value(serialize_value(value))


def by_json(value: Any) -> Any:
    """Encodes and decodes with the standard library."""
    return json.loads(json.dumps(value))


def by_arrow(value: pd.DataFrame) -> pd.DataFrame:
    """Encodes and decodes with Arrow alone."""
    table = pa.Table.from_pandas(value)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    back: pd.DataFrame = pa.ipc.open_stream(sink.getvalue()).read_all().to_pandas()
    return back


def ratios(
    make: Callable[[int], Any], peer: Callable[[Any], Any], same: Callable[[Any, Any], bool], rounds: int
) -> list[float]:
    """Measures the bridge's way against a peer's.

    Args:
        make: Makes the value of a round.
        peer: The other way.
        same: Compares the decoded value with the original.
        rounds: How often both are measured; the order changes each time.

    Returns:
        The bridge's time divided by the peer's, for each round.
    """
    taken = []
    for seed in range(rounds):
        value = make(seed)
        seconds = {}
        for way in (by_bridge, peer) if seed % 2 else (peer, by_bridge):
            gc.collect()
            start = time.perf_counter()
            back = way(value)
            seconds[way] = time.perf_counter() - start
            if not same(value, back):
                raise AssertionError(f"{way.__name__} returned another value")
            del back
        taken.append(seconds[by_bridge] / seconds[peer])
    return taken


async def encoding(plan: Plan) -> dict[str, Sample]:
    """Measures both ratios; less is better."""
    return {
        "json": Sample(ratios(nested, by_json, lambda old, new: bool(old == new), plan.rounds)),
        "frame": Sample(ratios(frame, by_arrow, lambda old, new: bool(old.equals(new)), plan.rounds)),
    }
