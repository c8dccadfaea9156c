"""Calls that go on while the client asks its user (protocol 2026-07-28).

A server sends no requests in this protocol. A call whose tool asks something is answered with the questions and a
state; the tool goes on at the hub, and the client's next ``tools/call``, with the state and the answers, takes the call
up again.
"""

import asyncio
import hashlib
import json
import re
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequests,
    InputRequiredResult,
    InputResponses,
)

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.client.answering import checked_answer, question_of
from grpc_tool_bridge.errors import ProtocolError, ResourceExhaustedError, ValidationError
from grpc_tool_bridge.gateway.mcp.answerers import answered_by
from grpc_tool_bridge.gateway.mcp.asks import answer_of, form_of
from grpc_tool_bridge.gateway.mcp.call_events import CallEvents
from grpc_tool_bridge.gateway.mcp.results import WireResult, error_result
from grpc_tool_bridge.gateway.mcp.sessions import Context, SessionKey
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord, Progress
from grpc_tool_bridge.rpc.asks import MAX_OPEN_ASKS
from grpc_tool_bridge.tools.questions import Question

# Seconds that a call waits to be taken up again: as long as the SDK's own servers honour a state.
MAX_SECONDS = 600.0
# Calls that wait, of all sessions and of one.
MAX_CALLS = 1_000
MAX_SESSION_CALLS = 100

# A title that can be the key of its question.
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class EventTaker(Protocol):
    """Takes what a running tool tells."""

    def progress(self, event: Progress) -> None:
        """Takes an event."""

    def log(self, event: LogRecord) -> None:
        """Takes an event."""


# Makes a call, whose events the argument takes; None: nobody wants them.
Work = Callable[[EventTaker | None], Awaitable[WireResult]]


@dataclass(frozen=True, slots=True)
class CallOwner:
    """What a call belongs to; only a request of the same may take it up again.

    Attributes:
        session: The session of the bridge.
        principal: Who made the request; None: nobody in particular.
        name: The tool.
        arguments: A digest of its arguments.
    """

    session: SessionKey
    principal: object
    name: str
    arguments: bytes

    @classmethod
    def of(cls, context: Context, session: SessionKey, params: CallToolRequestParams) -> "CallOwner":
        """Returns the owner of a call."""
        principal = None if context.request is None else context.request.scope.get("principal")
        written = json.dumps(params.arguments or {}, sort_keys=True, separators=(",", ":"))
        return cls(session, principal, params.name, hashlib.sha256(written.encode()).digest())


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """A question that waits for its answer.

    Attributes:
        ask: As the tool asked it.
        question: The same, as it was read.
        give: Takes the answer.
        fail: Takes the error if it cannot be answered.
    """

    ask: pb.Ask
    question: Question
    give: Callable[[pb.Answer], None]
    fail: Callable[[BaseException], None]

    def answer(self, result: ElicitResult) -> None:
        """Takes a user's answer; one that does not fit ends the call."""
        try:
            answer = checked_answer(answer_of(result), self.question, self.ask.id)
        except ValidationError as error:
            self.fail(error)
        else:
            self.give(answer)


class WaitingCall:
    """A call whose tool may ask; an ``Answerer`` of its questions.

    Args:
        owner: What it belongs to.
        given: Answers that came with the call, by the keys of questions; each answers one question.
        wants_events: Whether the request that began it wants the events of the tool.

    Attributes:
        owner: As given.
        open: The questions without an answer, by key, in the order in which they were asked.
        events: Takes the events of the call for the request that waits for it; None: nobody takes them.
    """

    def __init__(self, owner: CallOwner, given: Mapping[str, ElicitResult], *, wants_events: bool) -> None:
        self.owner = owner
        self._wants_events = wants_events
        self.open: dict[str, OpenQuestion] = {}
        self.events: CallEvents | None = None
        self._given = dict(given)
        self._asked: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._result: WireResult | None = None
        self._error: Exception | None = None
        self._is_over = False

    def start(self, work: Work, tasks: TaskSet) -> None:
        """Starts the call, which goes on when the request that began it has been answered."""
        self._task = tasks.spawn(self._run(work), f"MCP call of {self.owner.name}")
        # It may be cancelled before its first step.
        self._task.add_done_callback(lambda _: self._end())

    def cancel(self) -> None:
        """Cancels the call, and its tool at the hub."""
        if self._task is not None:
            self._task.cancel()

    async def wait(self) -> WireResult | None:
        """Waits until the call is over, and returns its result; None: it asks something first.

        Raises:
            MCPError: The call failed with it, or was cancelled.
        """
        while not self._is_over and not self.open:
            self._changed.clear()
            await self._changed.wait()
        if not self._is_over:
            return None
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise MCPError(code=INTERNAL_ERROR, message=f"the call of {self.owner.name} was cancelled")
        return self._result

    def answer(self, responses: InputResponses) -> None:
        """Takes answers by the keys of questions; unknown keys are ignored, since their questions may be withdrawn.

        Raises:
            MCPError: A response is not one to an elicitation; nothing was answered.
        """
        answers = elicited(responses)
        for key, result in answers.items():
            asked = self.open.pop(key, None)
            if asked is not None:
                asked.answer(result)

    def requests(self) -> InputRequests:
        """Returns the open questions for the client, by key."""
        return {
            key: ElicitRequest(
                params=ElicitRequestFormParams(message=asked.question.message, requested_schema=form_of(asked.question))
            )
            for key, asked in self.open.items()
        }

    # ----------------------------------------------------------------------------------------------- its events

    def progress(self, event: Progress) -> None:
        """Takes an event of the tool; while no request waits for the call, nobody would read it."""
        if self.events is not None:
            self.events.progress(event)

    def log(self, event: LogRecord) -> None:
        """Takes an event of the tool, as ``progress`` does."""
        if self.events is not None:
            self.events.log(event)

    # -------------------------------------------------------------------------------------------- its questions

    def of(self, tool_id: str, fail: Callable[[BaseException], None]) -> "_Questions":
        """See ``Answerer``."""
        return _Questions(self, tool_id, fail)

    def ask(self, asked: OpenQuestion) -> str:
        """Adds a question, and returns its key."""
        key = self._key_of(asked.question)
        given = self._given.pop(key, None)
        if given is None:
            self.open[key] = asked
            self._changed.set()
        else:
            # The tool has not begun to wait.
            asyncio.get_running_loop().call_soon(asked.answer, given)
        return key

    def withdraw(self, key: str) -> None:
        """Forgets a question that the tool no longer waits for."""
        self.open.pop(key, None)

    def _key_of(self, question: Question) -> str:
        """Returns a key that no other question of the call has: an old answer must not answer a new question."""
        title = (question.schema or {}).get("title", "")
        name = title if isinstance(title, str) and _KEY.fullmatch(title) else "ask"
        self._asked[name] += 1
        count = self._asked[name]
        return name if count == 1 and name != "ask" else f"{name}-{count}"

    async def _run(self, work: Work) -> None:
        with answered_by(self):
            try:
                self._result = await work(self if self._wants_events else None)
            except Exception as error:  # noqa: BLE001 - it is raised where the result is waited for
                self._error = error

    def _end(self) -> None:
        self._is_over = True
        self.open.clear()
        self._changed.set()


class _Questions:
    """The questions of one call at the hub; an ``Answering``."""

    def __init__(self, call: WaitingCall, tool_id: str, fail: Callable[[BaseException], None]) -> None:
        self._call = call
        self._tool_id = tool_id
        self._fail = fail
        self._keys: set[str] = set()

    def take(self, ask: pb.Ask, give: Callable[[pb.Answer], None]) -> Callable[[], object]:
        """See ``Answering``."""
        if len(self._call.open) >= MAX_OPEN_ASKS:
            self._fail(ProtocolError(f"the hub asks more than {MAX_OPEN_ASKS} concurrent questions for one call"))
            return self.close
        try:
            question = question_of(ask, self._tool_id)
        except ProtocolError as error:
            self._fail(error)
            return self.close
        key = self._call.ask(OpenQuestion(ask, question, give, self._fail))
        self._keys.add(key)
        return partial(self._call.withdraw, key)

    def close(self) -> None:
        """See ``Answering``."""
        for key in self._keys:
            self._call.withdraw(key)


class WaitingCalls:
    """The calls that wait to be taken up again, by their states.

    Args:
        tasks: Owner of the calls.
        seconds: How long a call waits.
        most: Calls that wait, of all sessions.
        most_of_session: The same, of one session.
    """

    def __init__(
        self,
        tasks: TaskSet,
        *,
        seconds: float = MAX_SECONDS,
        most: int = MAX_CALLS,
        most_of_session: int = MAX_SESSION_CALLS,
    ) -> None:
        self._tasks = tasks
        self._seconds = seconds
        self._most = most
        self._most_of_session = most_of_session
        self._parked: dict[str, tuple[WaitingCall, asyncio.TimerHandle]] = {}
        self._counts: Counter[SessionKey] = Counter()

    def __len__(self) -> int:
        return len(self._parked)

    async def run(
        self, context: Context, session: SessionKey, params: CallToolRequestParams, work: Work
    ) -> WireResult | InputRequiredResult:
        """Makes a call, or takes one up again, until it is over or asks something.

        Args:
            context: Of the request; events of the call go to it. A call that was begun without events has none later.
            session: Whose call it is.
            params: Of the request.
            work: Makes the call.

        Raises:
            MCPError: The state is not one of a call that waits, or a response is not one to an elicitation.
        """
        owner, responses = CallOwner.of(context, session, params), params.input_responses or {}
        events = CallEvents.of(context)
        if params.request_state is not None:
            call = self._take(params.request_state, owner, responses)
        else:
            call = WaitingCall(owner, elicited(responses), wants_events=events is not None)
            call.start(work, self._tasks)
        try:
            return await self._attend(call, events)
        except asyncio.CancelledError:
            call.cancel()
            raise

    def end_session(self, session: SessionKey) -> None:
        """Cancels the calls of a session that wait."""
        for state, (call, _) in list(self._parked.items()):
            if call.owner.session == session:
                self._drop(state)

    def aclose(self) -> None:
        """Cancels all calls that wait."""
        for state in list(self._parked):
            self._drop(state)

    async def _attend(self, call: WaitingCall, events: CallEvents | None) -> WireResult | InputRequiredResult:
        if events is None:
            result = await call.wait()
        else:
            async with events:
                call.events = events
                try:
                    result = await call.wait()
                finally:
                    call.events = None
        if result is not None:
            return result
        session = call.owner.session
        if len(self._parked) >= self._most or self._counts[session] >= self._most_of_session:
            call.cancel()
            return error_result(call.owner.name, self._too_many(session))
        requests = call.requests()
        return InputRequiredResult(input_requests=requests, request_state=self._park(call, session))

    def _park(self, call: WaitingCall, session: SessionKey) -> str:
        """Keeps a call until it is taken up again; returns its new state."""
        state = secrets.token_urlsafe(32)
        timer = asyncio.get_running_loop().call_later(self._seconds, self._drop, state)
        self._parked[state] = (call, timer)
        self._counts[session] += 1
        return state

    def _take(self, state: str, owner: CallOwner, responses: InputResponses) -> WaitingCall:
        call = self._parked[state][0] if state in self._parked else None
        if call is None or call.owner != owner:
            raise MCPError(
                code=INVALID_PARAMS,
                message="the requestState is not one of a call of this tool with these arguments that waits for its "
                f"answers: it was used before, or waited for more than {self._seconds:g} s; make the call again "
                "without it",
            )
        call.answer(responses)
        self._forget(state)
        return call

    def _drop(self, state: str) -> None:
        self._forget(state).cancel()

    def _forget(self, state: str) -> WaitingCall:
        call, timer = self._parked.pop(state)
        timer.cancel()
        session = call.owner.session
        self._counts[session] -= 1
        if not self._counts[session]:
            del self._counts[session]
        return call

    def _too_many(self, session: SessionKey) -> ResourceExhaustedError:
        return ResourceExhaustedError(
            f"{self._counts[session]:,} calls of this session, and {len(self._parked):,} in all, wait for their users "
            "to answer, which is the limit; take some of them up first"
        )


def elicited(responses: InputResponses) -> dict[str, ElicitResult]:
    """Returns the answers of a user, by the keys of their questions.

    Raises:
        MCPError: A response is of another kind.
    """
    answers: dict[str, ElicitResult] = {}
    for key, response in responses.items():
        if not isinstance(response, ElicitResult):
            raise MCPError(
                code=INVALID_PARAMS, message=f"inputResponses: {key!r:.80} is not a result of elicitation/create"
            )
        answers[key] = response
    return answers
