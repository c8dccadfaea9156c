"""Each call finds the request that its questions belong to."""

import asyncio
from typing import Any

from grpc_tool_bridge.gateway.mcp.answerers import RequestAnswerers, answered_by


async def test_calls_of_several_requests_find_their_own_answerers() -> None:
    answerers = RequestAnswerers()
    both = asyncio.Barrier(2)

    async def request(answerer: Any) -> tuple[Any, Any]:
        with answered_by(answerer):
            await both.wait()
            # A tool's own tasks belong to the request as well.
            return answerers.here(), await asyncio.create_task(nested())

    async def nested() -> Any:
        return answerers.here()

    one, other = object(), object()
    assert list(await asyncio.gather(request(one), request(other))) == [(one, one), (other, other)]


def test_nobody_answers_outside_and_where_the_client_cannot() -> None:
    answerers: Any = RequestAnswerers()
    outer: Any = object()
    assert answerers.here() is None
    with answered_by(outer):
        with answered_by(None):
            assert answerers.here() is None
        assert answerers.here() is outer
    assert answerers.here() is None
