"""What an audit trail costs."""

import itertools
import tempfile
import time

from benchmarks.callers import Crowds, per_second, rates
from benchmarks.processes import link_bridge, running
from benchmarks.timing import Plan, Sample, ratios
from grpc_tool_bridge.auth.audit.chain import Chain
from grpc_tool_bridge.auth.audit.keys import AuditKeys
from grpc_tool_bridge.auth.audit.trail import AuditTrail
from grpc_tool_bridge.auth.audit.usual import UsualCall, UsualLines
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.values.call_bytes import arguments_of, read_names, request_head

BATCH = 250


async def hundred(plan: Plan) -> dict[str, Sample]:
    """100 calls at once over the link, with an audit trail against none."""
    calls = plan.amount(3_000, 1_500)
    with tempfile.TemporaryDirectory() as folder:
        async with (
            running("hub") as plain,
            running("hub", audit=folder) as audited,
            link_bridge(plain.address) as without,
            link_bridge(audited.address) as trailed,
        ):
            ways: Crowds = {
                "audited": (itertools.repeat(trailed.tools["add"]), calls),
                "not audited": (itertools.repeat(without.tools["add"]), calls),
            }
            taken = await rates(plan, ways, width=100)
    return {"audit-100": Sample(ratios(taken["audited"], taken["not audited"]), per_second(taken))}


class _Nowhere:
    """A sink that keeps nothing."""

    most_value_chars = 0


async def line(plan: Plan) -> dict[str, Sample]:
    """Nanoseconds of a line: in the event loop, and in the thread that makes and signs it."""
    keys = AuditKeys(bytes(32))
    trail = AuditTrail(_Nowhere(), keys, Settings())  # type: ignore[arg-type]  # it is never opened
    made: list[UsualCall] = []
    trail._put = made.append  # type: ignore[assignment]  # noqa: SLF001 - as above
    session = Session("0118aa985f3a446b864bdfdaa3bff4d0", {}, None)
    tool = RegisteredTool(ToolSpec(tool_id="add", name="add"), None, 0, Settings())
    data = request_head(session.id, tool.id) + (arguments_of((12, 30), {}) or b"")
    _, _, place = read_names(data)
    context = RequestContext(principal=Principal("reports-bot", method="token"), source="link ipv4:127.0.0.1:4711")
    chain, usual = Chain(keys), UsualLines(keys)
    in_loop: list[float] = []
    in_thread: list[float] = []
    for _ in range(plan.amount(200, 50)):
        made.clear()
        began = time.perf_counter_ns()
        for _ in range(BATCH):
            trail.ended_directly((context, session.id, tool, data, place), 12, b"")
        given = time.perf_counter_ns()
        chain.lines([usual.fields(call) for call in made])
        in_loop.append((given - began) / BATCH)
        in_thread.append((time.perf_counter_ns() - given) / BATCH)
    least = min(in_loop) + min(in_thread)
    return {"audit-line": Sample([least], {"loop, ns": min(in_loop), "thread, ns": min(in_thread)})}
