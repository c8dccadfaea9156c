"""No sequence of requests gives a principal what its rules, and who owns the sessions, do not give it."""

import asyncio
import fnmatch
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grpc_tool_bridge.auth.guarding import Guarding
from grpc_tool_bridge.auth.policy.decisions import Decisions
from grpc_tool_bridge.auth.policy.model import Action, Policy, Rule
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.session_access import DEFAULT_RIGHTS, RIGHTS
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.tools.tool import tool
from grpc_tool_bridge.values.serialization import serialize_value

PEOPLE = {
    name: Principal(name, groups)
    for name, groups in (("ana", frozenset({"team"})), ("bob", frozenset({"team", "ops"})), ("eve", frozenset[str]()))
}
SESSIONS = ("one", "two")
TOOLS = ("tell", "tell_more", "hush")
NAMES = ("plan", "plan_b", "key")
_DECIDED = (Action.CALL, Action.STREAM, Action.OPEN, Action.SHARE, Action.READ, Action.WRITE)


@tool
async def tell() -> str:
    return "told"


@tool
async def tell_more() -> str:
    return "told more"


@tool
async def hush() -> str:
    return "hushed"


class Given:
    """Rules that are there already, as ``PolicyFile`` has them."""

    on_change: Any = None

    def __init__(self, policy: Policy) -> None:
        self.decisions = Decisions(policy)


@dataclass
class Model:
    """What is to be expected, by the plainest reading of the rules.

    Attributes:
        rules: All of them.
        owners: Of the sessions.
        shares: By session, who may what there: (is a group, name) and the rights.
        written: The variables that are there.
    """

    rules: list[Rule]
    owners: dict[str, str] = field(default_factory=dict)
    shares: dict[str, dict[tuple[bool, str], frozenset[str]]] = field(default_factory=dict)
    written: set[tuple[str, str]] = field(default_factory=set)

    def matching(self, who: str, action: Action, resource: str) -> list[Rule]:
        person = PEOPLE[who]
        return [
            rule
            for rule in self.rules
            if action in rule.actions
            and (any(fnmatch.fnmatchcase(who, glob) for glob in rule.principals) or rule.groups & person.groups)
            and any(fnmatch.fnmatchcase(resource, glob) for glob in rule.resources)
        ]

    def may(self, who: str, action: Action, resource: str) -> bool:
        found = self.matching(who, action, resource)
        return bool(found) and all(rule.allows for rule in found)

    def denied(self, who: str, action: Action, resource: str) -> bool:
        return any(not rule.allows for rule in self.matching(who, action, resource))

    def owns(self, who: str, session: str) -> bool:
        return session in self.owners and (self.owners[session] == who or self.may(who, Action.SHARE, session))

    def has(self, who: str, session: str, right: str) -> bool:
        """Whether somebody has a right in a session; an empty right: any."""
        if session not in self.owners:
            return False
        if self.owns(who, session):
            return True
        if self.denied(who, Action.SHARE, session):
            return False
        person = PEOPLE[who]
        rights: frozenset[str] = frozenset()
        for (is_group, name), given_rights in self.shares[session].items():
            if name in person.groups if is_group else name == who:
                rights |= given_rights
        return right in rights if right else bool(rights)


class World:
    """A guarded hub and what is expected of it."""

    def __init__(self, rules: list[Rule]) -> None:
        self.hub = Hub(tools=[tell, tell_more, hush])
        policy: Any = Given(Policy(tuple(rules)))
        self.front = Guarding(self.hub, policy, None).front
        self.model = Model(rules)

    async def ask(self, who: str, attribute: str, request: Any) -> Any:
        """Makes a request; returns the answer, or None if it was refused or what it names is not there."""
        try:
            answer = await getattr(self.front, attribute)(request, RequestContext(principal=PEOPLE[who]))
        except ToolBridgeError:
            return None
        return None if answer.DESCRIPTOR.fields_by_name.get("error") and answer.HasField("error") else answer

    async def open(self, who: str, session: str, *_: Any) -> None:
        model = self.model
        is_new = session not in model.owners
        expected = model.may(who, Action.OPEN, session) if is_new else model.has(who, session, "")
        answer = await self.ask(who, "initialize_session", pb.InitializeSessionRequest(session_id=session))
        assert (answer is not None) is expected
        if answer is not None and is_new:
            model.owners[session], model.shares[session] = who, {}
        if answer is not None:
            self.check_tools(who, session, answer.tools)

    def check_tools(self, who: str, session: str, specs: Any) -> None:
        model = self.model
        expected = {
            name
            for name in TOOLS
            for action in (Action.CALL, Action.STREAM)
            if model.has(who, session, action) and model.may(who, action, name)
        }
        assert {spec.name for spec in specs} == expected

    async def end(self, who: str, session: str, *_: Any) -> None:
        expected = self.model.owns(who, session)
        answer = await self.ask(who, "cleanup_session", pb.CleanupSessionRequest(session_id=session, force=True))
        assert (answer is not None) is expected
        if expected:
            del self.model.owners[session]
            self.model.written = {(of, name) for of, name in self.model.written if of != session}

    async def share(self, who: str, session: str, name: str, other: str, right: str) -> None:
        expected = self.model.owns(who, session) and not self.model.denied(who, Action.SHARE, session)
        is_group = other == "team"
        share = pb.SessionShare(rights=[right] if right else [])
        setattr(share, "group" if is_group else "principal", other)
        answer = await self.ask(who, "share_session", pb.ShareSessionRequest(session_id=session, share=share))
        assert (answer is not None) is expected
        if expected:
            self.model.shares[session][is_group, other] = frozenset([right] if right else DEFAULT_RIGHTS)

    async def unshare(self, who: str, session: str, name: str, other: str, right: str) -> None:
        model, is_group = self.model, other == "team"
        may = model.owns(who, session) and not model.denied(who, Action.SHARE, session)
        expected = may and (is_group, other) in model.shares[session]
        request = pb.UnshareSessionRequest(session_id=session, **{"group" if is_group else "principal": other})
        assert (await self.ask(who, "unshare_session", request) is not None) is expected
        if expected:
            del model.shares[session][is_group, other]

    async def call(self, who: str, session: str, name: str, other: str, right: str) -> None:
        of = TOOLS[NAMES.index(name)]
        expected = self.model.has(who, session, "call") and self.model.may(who, Action.CALL, of)
        for key in ("", "a-key"):
            request = pb.ToolCallRequest(session_id=session, tool_id=of, idempotency_key=key and f"{key}-{of}-{who}")
            assert (await self.ask(who, "execute_tool", request) is not None) is expected
        batch = pb.BatchToolCallRequest(session_id=session, items=[pb.ToolCallItem(tool_id=of)])
        answer = await self.ask(who, "batch_execute_tools", batch)
        assert (answer is not None and answer.results[0].success) is expected

    async def write(self, who: str, session: str, name: str, *_: Any) -> None:
        expected = self.model.has(who, session, "write") and self.model.may(who, Action.WRITE, name)
        request = pb.SetVariableRequest(
            session_id=session, variable_name=name, value=serialize_value(1), create_if_missing=True
        )
        assert (await self.ask(who, "set_session_variable", request) is not None) is expected
        if expected:
            self.model.written.add((session, name))

    async def read(self, who: str, session: str, name: str, *_: Any) -> None:
        model = self.model
        has = model.has(who, session, "read")
        request = pb.GetVariableRequest(session_id=session, variable_name=name)
        answer = await self.ask(who, "get_session_variable", request)
        assert (answer is not None) is (has and model.may(who, Action.READ, name))
        assert answer is None or answer.exists is ((session, name) in model.written)
        listed = await self.ask(who, "list_session_variables", pb.ListVariablesRequest(session_id=session))
        assert (listed is not None) is has
        if listed is not None:
            expected = {of for where, of in model.written if where == session and model.may(who, Action.READ, of)}
            assert {info.name for info in listed.variables} == expected

    async def look(self, who: str, session: str, *_: Any) -> None:
        expected = self.model.has(who, session, "")
        info = await self.ask(who, "get_session_info", pb.GetSessionInfoRequest(session_id=session))
        assert (info is not None) is expected
        page = await self.ask(who, "get_session_tools", pb.GetSessionToolsRequest(session_id=session))
        assert (page is not None) is expected
        if page is not None:
            self.check_tools(who, session, page.tools)
        beat = await self.ask(who, "heartbeat", pb.HeartbeatRequest(session_id=session))
        assert beat.session_valid is expected
        sessions = await self.ask(who, "list_sessions", pb.ListSessionsRequest())
        shown = {row.session_id for row in sessions.sessions}
        assert shown == {of for of in self.model.owners if self.model.has(who, of, "")}


_KINDS = ("open", "open", "end", "share", "unshare", "call", "write", "read", "look")
_STEP = st.tuples(
    st.sampled_from(_KINDS),
    st.sampled_from(sorted(PEOPLE)),
    st.sampled_from(SESSIONS),
    st.sampled_from(NAMES),
    st.sampled_from([*sorted(PEOPLE), "team"]),
    st.sampled_from(["", *RIGHTS]),
)
_GLOBS = st.sampled_from(["*", "one", "t*", "tell", "*_more", "plan*", "pl?n", "key", "new", "*e*", "hush"])
_RULE = st.builds(
    lambda number, allows, people, groups, actions, resources: Rule(
        f"rule {number}", allows, people, groups, actions, resources
    ),
    st.integers(),
    st.sampled_from([True, True, True, False]),
    st.frozensets(st.sampled_from(["*", *sorted(PEOPLE), "?na"]), max_size=2),
    st.frozensets(st.sampled_from(["team", "ops"]), max_size=1),
    st.frozensets(st.sampled_from(_DECIDED), min_size=1, max_size=4),
    st.frozensets(_GLOBS, min_size=1, max_size=3),
)
_RULES = st.lists(_RULE, max_size=8, unique_by=lambda rule: rule.name)
_USUAL = frozenset({Action.CALL, Action.STREAM, Action.OPEN, Action.READ, Action.WRITE})
# Without any of them little is ever allowed.
_BASES = (
    (),
    (Rule("opens", True, frozenset({"*"}), frozenset(), frozenset({Action.OPEN}), frozenset({"*"})),),
    (Rule("all", True, frozenset({"*"}), frozenset(), _USUAL, frozenset({"*"})),),
    (
        Rule("all", True, frozenset({"ana"}), frozenset(), _USUAL, frozenset({"*"})),
        Rule("some", True, frozenset({"*"}), frozenset(), _USUAL - {Action.CALL, Action.READ}, frozenset({"*"})),
    ),
)
# What goes before most sequences, so that there is something to use, of somebody else.
_BEGIN = [
    ("open", "ana", "one", "plan", "bob", ""),
    ("share", "ana", "one", "plan", "bob", ""),
    ("write", "ana", "one", "key", "bob", ""),
    *(("call", "ana", "one", name, "bob", "") for name in NAMES),
]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    base=st.sampled_from(_BASES),
    rules=_RULES,
    begin=st.sampled_from([_BEGIN, _BEGIN, []]),
    steps=st.lists(_STEP, min_size=1, max_size=20),
)
def test_no_sequence_of_requests_gives_more_or_less_than_the_rules(
    base: tuple[Rule, ...], rules: list[Rule], begin: list[Any], steps: list[Any]
) -> None:
    async def play() -> None:
        world = World([*base, *rules])
        for kind, *rest in (*begin, *steps):
            await getattr(world, kind)(*rest)
        await world.hub.aclose()

    asyncio.run(play())
