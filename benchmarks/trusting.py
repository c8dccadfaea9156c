"""What it costs that a hub knows its callers, and asks what each may do and use, and keeps a trail of it."""

import itertools
import tempfile
from pathlib import Path

from benchmarks.callers import Crowds, per_second, rates
from benchmarks.processes import link_bridge, running
from benchmarks.timing import Plan, Sample, ratios
from benchmarks.trust_files import prepare


async def hundred(plan: Plan) -> dict[str, Sample]:
    """100 calls at once over the link: with tokens, a policy, quotas and an audit trail against none of them."""
    calls = plan.amount(3_000, 1_500)
    with tempfile.TemporaryDirectory() as folder:
        token = prepare(Path(folder))
        async with (
            running("hub") as plain,
            running("hub", trust=folder) as guarded,
            link_bridge(plain.address) as without,
            link_bridge(guarded.address, token=token) as trusted,
        ):
            ways: Crowds = {
                "trusted": (itertools.repeat(trusted.tools["add"]), calls),
                "open to all": (itertools.repeat(without.tools["add"]), calls),
            }
            taken = await rates(plan, ways, width=100)
    return {"trust-100": Sample(ratios(taken["trusted"], taken["open to all"]), per_second(taken))}
