"""Every action by principal by edge, allowed and refused, as the model of the policy says.

One file of rules gives each principal one action and nothing else, besides "all", who has every action, "none", who has
none, and "denied", whom rules deny all that other rules allow. Each action is then tried over each edge, with something
that only this action gives, and the policy model itself says what is to be expected: at the hub that has the sessions,
and at another hub of its cluster.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, ToolBridgeError, ToolContext, tool
from grpc_tool_bridge.auth.guarded_hub import _UNGUARDED, GuardedHub
from grpc_tool_bridge.auth.policy.decisions import Decisions
from grpc_tool_bridge.auth.policy.model import Action
from grpc_tool_bridge.auth.policy.reading import parse_policy
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.session_access import SessionAccess
from grpc_tool_bridge.errors import AccessError, SessionNotFoundError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.context import takes_context
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.values.serialization import serialize_value
from support.nats_nodes import NatsNode, one_node
from support.patience import PATIENCE
from support.waiting import soon, until
from trust.hubs import told_apart

PRINCIPALS = (*(f"only-{action}" for action in Action), "all", "none", "denied", "owner")
EDGES = ("link", "rpc", "http")


def rules() -> str:
    """Returns the rules: who may what."""
    text = ""
    for action in Action:
        text += (
            f'[[rules]]\nname = "{action}"\nallow = ["{action}"]\nprincipals = ["only-{action}"]\nresources = ["*"]\n'
        )
    text += '[[rules]]\nname = "all"\nallow = ["*"]\nprincipals = ["all", "denied"]\nresources = ["*"]\n'
    owner = '[[rules]]\nname = "owner"\nallow = ["open", "call", "read", "write"]\n'
    text += owner + 'principals = ["owner"]\nresources = ["*"]\n'
    text += '[[rules]]\nname = "denied"\ndeny = ["*"]\nprincipals = ["denied"]\nresources = ["*"]\n'
    return text


@tool
async def add(a: int, b: int) -> int:
    return a + b


@tool
async def numbers(most: int) -> AsyncGenerator[int, None]:
    for number in range(most):
        yield number


@tool
async def wait(ctx: ToolContext) -> str:
    await asyncio.Event().wait()
    return "never"


@tool(approval="required")
async def wipe() -> str:
    return "wiped"


TOOLS = [add, numbers, wait, wipe]


@dataclass
class Stage:
    """A hub, and a session of each principal on it, which the hub has begun for it.

    Attributes:
        server: The hub.
        entry: The hub that clients are connected to: the same, or another one of its cluster.
        decisions: What their rules decide.
        bridges: By principal and edge, where one is used.
        http: By principal.
    """

    server: BridgeServer
    entry: BridgeServer
    decisions: Decisions
    stack: AsyncExitStack
    bridges: dict[tuple[str, str], ToolBridgeClient] = field(default_factory=dict)
    http: dict[str, httpx.AsyncClient] = field(default_factory=dict)

    async def client(self, principal: str, edge: str) -> ToolBridgeClient:
        """Returns a client of a principal, with no session."""
        key = principal, edge
        if key not in self.bridges:
            bridge = GRPCToolBridge(self.entry.address, transport="rpc" if edge == "rpc" else "link", token=principal)
            self.bridges[key] = bridge.client
            self.stack.push_async_callback(bridge.close)
        return self.bridges[key]

    async def call(self, principal: str, edge: str, method: str, request: Any) -> Any:
        """Makes a request of a principal; raises what the hub answers."""
        client = await self.client(principal, edge)
        await client.connect(PATIENCE)
        return await soon(client.call(method, request))

    def web(self, principal: str) -> httpx.AsyncClient:
        """Returns a client of a principal over HTTP."""
        if principal not in self.http:
            headers = {"authorization": f"Bearer {principal}"}
            made = httpx.AsyncClient(base_url=f"http://{self.entry.http_address}", headers=headers)
            self.http[principal] = made
            self.stack.push_async_callback(made.aclose)
        return self.http[principal]

    async def ask(self, principal: str, verb: str, path: str, body: Any = None) -> Any:
        """Makes a request of a principal over HTTP; raises if it is refused."""
        response = await soon(self.web(principal).request(verb, path, json=body))
        found = response.json() if response.content else {}
        if response.status_code >= 400:
            raise RefusedError(str(found))
        return found


class RefusedError(Exception):
    """HTTP has refused."""


@pytest.fixture(scope="module")
def node() -> Iterator[NatsNode]:
    with one_node() as started:
        yield started


@pytest.fixture(params=("one hub", "two hubs"))
async def stage(request: pytest.FixtureRequest, node: NatsNode, tmp_path: Path) -> AsyncGenerator[Stage, None]:
    patch = pytest.MonkeyPatch()
    told_apart(patch, {name: set() for name in PRINCIPALS})
    path = tmp_path / "policy.toml"
    path.write_text(rules())
    settings = Settings(token=SecretStr("any"), policy=path, shutdown_grace=0.0)
    cluster = f"{node.url}/t-{secrets.token_hex(4)}" if request.param == "two hubs" else None
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(
                BridgeServer(tools=TOOLS, settings=settings, http_address="127.0.0.1:0", store=cluster)
            )
            for _ in range(1 if cluster is None else 2)
        ]
        server, entry = servers[0], servers[-1]
        await until(lambda: all(_links_of(each) == len(servers) - 1 for each in servers))
        made = Stage(server, entry, Decisions(parse_policy(rules())), stack)
        # What most principals may not begin themselves.
        for name in PRINCIPALS:
            session = await server.hub.store.create_session(f"of-{name}")
            session.access = SessionAccess(name)
            await server.hub.store.set_encoded(f"of-{name}", "plan", serialize_value(1), create=True)
        yield made
    patch.undo()


def _links_of(server: BridgeServer) -> object:
    directory = server.hub.directory
    return 0 if directory is None else dict(directory.counts())["cluster_links"]


Probe = Callable[[Stage, str, str], Awaitable[bool]]


async def _allowed(work: Awaitable[Any], *, sees: Callable[[Any], bool] = lambda _: True) -> bool:
    """Returns whether the hub does something; whatever else it raises fails the test."""
    try:
        return sees(await work)
    except RefusedError as error:
        if not any(kind in str(error) for kind in ("PermissionDenied", "NotFound")):
            raise
    except ToolBridgeError as error:
        if error.error_type not in {"PermissionDenied", "ToolNotFound", "SessionNotFound", "AgentNotFound"}:
            raise
    return False


async def call(stage: Stage, who: str, edge: str) -> bool:
    if edge == "http":
        return await _allowed(stage.ask(who, "POST", f"/api/sessions/of-{who}/tools/add/execute", {"args": [1, 2]}))
    request = pb.ToolCallRequest(session_id=f"of-{who}", tool_id="add", args=map(serialize_value, (1, 2)))
    return await _allowed(stage.call(who, edge, "ExecuteTool", request))


async def stream(stage: Stage, who: str, edge: str) -> bool:
    if edge == "http":
        path = f"/api/sessions/of-{who}/tools/numbers/stream"
        response = await soon(stage.web(who).post(path, json={"args": [2]}))
        assert any(text in response.text for text in ("complete", "ToolNotFound", "PermissionDenied"))
        return bool("complete" in response.text)
    client = await stage.client(who, edge)
    await client.connect(PATIENCE)
    request = pb.ToolStreamRequest(session_id=f"of-{who}", tool_id="numbers", args=[serialize_value(2)])
    chunks = [chunk async for chunk in client.caller.transport.stub.StreamTool(request)]
    return bool(chunks[-1].WhichOneof("content") == "complete")


async def open_session(stage: Stage, who: str, edge: str) -> bool:
    if edge == "http":
        return await _allowed(stage.ask(who, "POST", "/api/sessions", {}))
    return await _allowed(stage.call(who, edge, "InitializeSession", pb.InitializeSessionRequest()))


async def share(stage: Stage, who: str, edge: str) -> bool:
    """Uses a session of another as if it were one's own."""
    if edge == "http":
        return await _allowed(stage.ask(who, "GET", "/api/sessions/of-owner"))
    return await _allowed(stage.call(who, edge, "GetSessionInfo", pb.GetSessionInfoRequest(session_id="of-owner")))


async def read(stage: Stage, who: str, edge: str) -> bool:
    if edge == "http":
        return await _allowed(stage.ask(who, "GET", f"/api/sessions/of-{who}/variables/plan"))
    request = pb.GetVariableRequest(session_id=f"of-{who}", variable_name="plan")
    return await _allowed(stage.call(who, edge, "GetSessionVariable", request))


async def write(stage: Stage, who: str, edge: str) -> bool:
    if edge == "http":
        return await _allowed(stage.ask(who, "PUT", f"/api/sessions/of-{who}/variables/other", {"value": 1}))
    request = pb.SetVariableRequest(
        session_id=f"of-{who}", variable_name="other", value=serialize_value(1), create_if_missing=True
    )
    return await _allowed(stage.call(who, edge, "SetSessionVariable", request))


async def metrics(stage: Stage, who: str, edge: str) -> bool:
    if edge == "http":
        response = await soon(stage.web(who).get("/metrics"))
        return bool(response.status_code == 200)
    return await _allowed(
        stage.call(who, edge, "GetMetrics", pb.GetMetricsRequest()), sees=lambda answer: bool(answer.metrics)
    )


async def calls(stage: Stage, who: str, edge: str) -> bool:
    """Sees the calls of another."""
    if edge == "http":
        return await _allowed(stage.ask(who, "GET", "/api/calls?session_id=of-owner"))
    return await _allowed(stage.call(who, edge, "ListCalls", pb.ListCallsRequest(session_id="of-owner")))


async def cancel(stage: Stage, who: str, edge: str) -> bool:
    """Cancels a call of another."""
    hub = stage.server.hub
    request = pb.ToolCallRequest(session_id="of-owner", tool_id="wait")
    running = asyncio.ensure_future(hub.execute_tool(request))
    session: Any = hub.store.peek("of-owner")
    await until(lambda: bool(session.calls))
    (waiting,) = session.calls
    call_id = hub.admission.ids.of(waiting)
    try:
        if edge == "http":
            return await _allowed(stage.ask(who, "DELETE", f"/api/calls/{call_id}"))
        return await _allowed(stage.call(who, edge, "CancelCall", pb.CancelCallRequest(call_id=call_id)))
    finally:
        running.cancel()
        await asyncio.wait([running])


async def approve(stage: Stage, who: str, edge: str) -> bool:
    """Denies a call of another, which a hub does for who may grant it."""
    hub = stage.server.hub
    waiting = asyncio.ensure_future(hub.execute_tool(pb.ToolCallRequest(session_id="of-owner", tool_id="wipe")))
    listed: Any = None
    while not listed:
        await asyncio.sleep(0)
        listed = (await hub.list_approvals(pb.ListApprovalsRequest())).approvals
    (approval,) = listed
    try:
        if edge == "http":
            seen = (await stage.ask(who, "GET", "/api/approvals"))["approvals"]
            body = {"digest": approval.digest, "grant": False}
            did = await _allowed(stage.ask(who, "POST", f"/api/approvals/{approval.approval_id}", body))
        else:
            seen = (await stage.call(who, edge, "ListApprovals", pb.ListApprovalsRequest())).approvals
            asked = pb.DecideApprovalRequest(approval_id=approval.approval_id, digest=approval.digest)
            did = await _allowed(stage.call(who, edge, "DecideApproval", asked))
        assert bool(seen) is did, "who may decide sees it, and nobody else"
        return did
    finally:
        waiting.cancel()
        await asyncio.wait([waiting])


async def administer(stage: Stage, who: str, edge: str) -> bool:
    if edge == "http":
        return await _allowed(stage.ask(who, "GET", "/api/workers"))
    return await _allowed(stage.call(who, edge, "ListWorkers", pb.ListWorkersRequest()))


async def run(stage: Stage, who: str, edge: str) -> bool:
    """Creates an agent: without a runtime, who may gets as far as being told that there is none."""
    try:
        if edge == "http":
            await stage.ask(who, "POST", f"/api/sessions/of-{who}/agents", {"signature": "question -> answer"})
        else:
            request = pb.CreateReActAgentRequest(session_id=f"of-{who}", signature="question -> answer")
            await stage.call(who, edge, "CreateReActAgent", request)
    except (RefusedError, ToolBridgeError) as error:
        kind = getattr(error, "error_type", str(error))
        if "PermissionDenied" not in kind and "Unavailable" not in kind:
            raise
        return "Unavailable" in kind
    return True


async def register(stage: Stage, who: str, edge: str) -> bool:
    """Registers a tool; only a link can."""
    spec = pb.ToolSpec(name=f"of_{who}".replace("-", "_"), tool_id=f"of_{who}".replace("-", "_"))
    return await _allowed(stage.call(who, edge, "RegisterTools", pb.RegisterToolsRequest(tools=[spec])))


PROBES: dict[Action, Probe] = {
    Action.CALL: call,
    Action.STREAM: stream,
    Action.REGISTER: register,
    Action.OPEN: open_session,
    Action.SHARE: share,
    Action.READ: read,
    Action.WRITE: write,
    Action.RUN: run,
    Action.METRICS: metrics,
    Action.CALLS: calls,
    Action.CANCEL: cancel,
    Action.APPROVE: approve,
    Action.ADMINISTER: administer,
}


def test_there_is_a_probe_for_each_action() -> None:
    assert set(PROBES) == set(Action)


# Owning a session gives these without a rule of their own, and so does a rule that shares it.
_AS_OWNER = {Action.SHARE, Action.CALLS, Action.CANCEL}


# Only a link carries a worker.
_TRIED = [(action, edge) for action in Action for edge in EDGES if action is not Action.REGISTER or edge == "link"]


@pytest.mark.parametrize(("action", "edge"), _TRIED)
async def test_each_principal_does_what_its_rules_allow_and_nothing_else(
    stage: Stage, action: Action, edge: str
) -> None:
    # Over links and RPCs each principal has a connection of its own, which takes longest to open.
    others = (f"only-{list(Action)[list(Action).index(action) - 1]}", "all", "none", "denied", "owner")
    for who in PRINCIPALS if edge == "http" else (f"only-{action}", *others):
        principal = Principal(who, method="token")
        expected = stage.decisions.decide(principal, action, "anything").allowed
        if action in _AS_OWNER:
            # The session is the owner's, and who may share it is as good as that.
            expected = expected or who == "owner" or stage.decisions.decide(principal, Action.SHARE, "x").allowed
        did = await PROBES[action](stage, who, edge)
        assert did is expected, f"{who} {'did' if did else 'could not'} {action} over {edge}"


async def test_nothing_is_left_open(stage: Stage) -> None:
    """Every method of the services is guarded, or is one whose calls are decided elsewhere."""
    assert stage.server._guarding is not None
    front = stage.server._guarding.front
    assert isinstance(front, GuardedHub)
    for method in METHODS.values():
        if method.name == "Link" or method.attribute in _UNGUARDED:
            continue
        assert takes_context(getattr(front, method.attribute)), method.name
        assert getattr(front, method.attribute) != getattr(front.hub, method.attribute, None), method.name


async def test_a_session_that_is_hidden_looks_as_one_that_is_nowhere(stage: Stage) -> None:
    for method, make in (("ListCalls", pb.ListCallsRequest), ("ListRuns", pb.ListRunsRequest)):
        texts = []
        for session_id in ("of-owner", "nowhere"):
            with pytest.raises(AccessError) as caught:
                await stage.call("none", "link", method, make(session_id=session_id))
            texts.append(caught.value.message.replace(session_id, ""))
        assert texts[0] == texts[1]
        with pytest.raises(SessionNotFoundError):
            await stage.call("only-calls", "link", method, make(session_id="nowhere"))


async def test_what_is_streamed_to_a_principal_that_sees_nothing_is_nothing(stage: Stage) -> None:
    """A watch of events tells who may not see others' calls of none of them."""
    hub: Any = stage.server._guarding
    seen: list[Any] = []
    context = type("Context", (), {"principal": Principal("none", method="token"), "parent": None})()

    async def watch() -> None:
        async with aclosing(hub.front.watch_events(pb.WatchEventsRequest(), context)) as events:
            seen.append(await anext(events))

    watching = asyncio.ensure_future(watch())
    await until(lambda: bool(stage.server.hub.event_watches()))
    request = pb.ToolCallRequest(session_id="of-owner", tool_id="add", args=map(serialize_value, (1, 2)))
    assert (await stage.server.hub.execute_tool(request)).success
    own = pb.ToolCallRequest(session_id="of-none", tool_id="add", args=map(serialize_value, (1, 2)))
    assert (await stage.server.hub.execute_tool(own)).success
    await until(lambda: bool(seen))
    watching.cancel()
    await asyncio.wait([watching])
    assert {event.call.session_id for event in seen} == {"of-none"}
