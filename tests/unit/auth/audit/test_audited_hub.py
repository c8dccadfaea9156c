from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from grpc_tool_bridge.auth.audit.audited_hub import MAX_NAMED, METHODS, AuditedHub
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import AccessError, StoreError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.context import RequestContext

ADA = RequestContext(principal=Principal("ada"), source="link x")


class Trail:
    refuses = False

    def __init__(self) -> None:
        self.lines: list[tuple[Any, ...]] = []

    def refusal(self) -> StoreError:
        return StoreError("the trail cannot be written")

    def decision(self, principal: Any, action: str, resource: str, **how: Any) -> None:
        self.lines.append((principal.name, action, resource, how["allowed"], how["session_id"]))


class Refusing:
    """Refuses to read, and to write."""

    async def get_session_variable(self, request: Any) -> Any:
        raise AccessError("you may not read")

    async def set_session_variable(self, request: Any) -> pb.StatusResponse:
        return pb.StatusResponse(error=pb.ErrorInfo(type="PermissionDenied", message="you may not write"))

    async def watch_session_variables(self, request: Any) -> AsyncGenerator[Any, None]:
        raise AccessError("you may not watch")
        yield


def audited(hub: Any) -> tuple[AuditedHub, Trail]:
    trail = Trail()
    return AuditedHub(hub, trail), trail  # type: ignore[arg-type] # what it needs


async def test_each_method_that_changes_or_tells_something_has_a_line() -> None:
    hub, trail = audited(Hub())
    opened = await hub.initialize_session(pb.InitializeSessionRequest(), ADA)
    session = opened.session_id
    await hub.set_session_variable(pb.SetVariableRequest(session_id=session, variable_name="x"), ADA)
    await hub.list_session_variables(pb.ListVariablesRequest(session_id=session, prefix="a"), ADA)
    await hub.get_metrics(pb.GetMetricsRequest(), ADA)
    await hub.cleanup_session(pb.CleanupSessionRequest(session_id=session), ADA)
    assert trail.lines == [
        ("ada", "open", session, True, session),
        ("ada", "write", "x", True, session),
        ("ada", "read", "a*", True, session),
        ("ada", "metrics", "*", True, ""),
        ("ada", "end", session, True, session),
    ]
    assert hub.settings is hub.hub.settings


async def test_what_is_refused_has_a_line_that_says_so() -> None:
    hub, trail = audited(Refusing())
    with pytest.raises(AccessError):
        await hub.get_session_variable(pb.GetVariableRequest(session_id="s", variable_name="x"), ADA)
    answer = await hub.set_session_variable(pb.SetVariableRequest(session_id="s", variable_name="x"), ADA)
    assert answer.error.type == "PermissionDenied"
    with pytest.raises(AccessError):
        async with aclosing(hub.watch_session_variables(pb.WatchVariablesRequest(session_id="s"), ADA)) as watch:
            await anext(watch)
    assert trail.lines == [
        ("ada", "read", "x", False, "s"),
        ("ada", "write", "x", False, "s"),
        ("ada", "read", "*", False, "s"),
    ]


async def test_nothing_is_done_while_the_trail_must_be_written_and_cannot_be() -> None:
    hub, trail = audited(Hub())
    trail.refuses = True
    opened = await hub.initialize_session(pb.InitializeSessionRequest(session_id="s"), ADA)
    assert "cannot be written" in opened.error.message
    assert "s" not in hub.store
    with pytest.raises(StoreError):
        await hub.get_metrics(pb.GetMetricsRequest(), ADA)


def test_many_tools_of_one_registration_are_counted() -> None:
    request = pb.RegisterToolsRequest(tools=[pb.ToolSpec(name=f"t{number}") for number in range(MAX_NAMED + 5)])
    assert METHODS["register_tools"].resource(request).endswith(f"t{MAX_NAMED - 1} and 5 more")
