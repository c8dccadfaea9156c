"""The agents of sessions, and their runs.

A run is a call of the hub, so that the calls of its tools are nested calls.
"""

import asyncio
import hashlib
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any, cast
from weakref import WeakKeyDictionary

from google.protobuf.message import Message

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.agents.run_tokens import RunTokens
from grpc_tool_bridge.core.agents.runs import Run, RunMemory, RunReader
from grpc_tool_bridge.core.agents.runtimes import AgentRuntimes
from grpc_tool_bridge.core.calls import HubCall, session_ended
from grpc_tool_bridge.core.executor import Executor
from grpc_tool_bridge.core.infos import time_of
from grpc_tool_bridge.core.interfaces import DurableStore
from grpc_tool_bridge.core.limits import Permits
from grpc_tool_bridge.core.names import check_name, clip
from grpc_tool_bridge.core.payers import count_answer
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.core.stored import StoredRun, StoredSession
from grpc_tool_bridge.core.tool_views import ToolFilter
from grpc_tool_bridge.core.workers.pool import WorkerPool
from grpc_tool_bridge.errors import (
    CallCancelledError,
    ConflictError,
    MessageTooLargeError,
    NotFoundError,
    ProtocolError,
    ResourceExhaustedError,
    ToolBridgeError,
    ValidationError,
    error_info,
)
from grpc_tool_bridge.llm.agent_search import read_agent_tools
from grpc_tool_bridge.llm.tool_marks import is_for_models
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.bounds import check_request, shown
from grpc_tool_bridge.rpc.callers import drop_reserved
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext

# A signature with its instructions takes some kilobytes.
MAX_DEFINITION_BYTES = 256 * 1024


class Agent:
    """An agent of a session.

    Args:
        agent_id: Its id.
        definition: The request that created it.
        settings: The hub's settings.

    Attributes:
        id, definition: As given.
        tool: The tool that its runs are calls of.
    """

    __slots__ = ("definition", "id", "tool")

    def __init__(self, agent_id: str, definition: pb.CreateReActAgentRequest, settings: Settings) -> None:
        self.id = agent_id
        self.definition = definition
        self.tool = RegisteredTool(pb.ToolSpec(tool_id=agent_id, name=agent_id), None, 0, settings)
        # The default limits of tools do not apply to agents.
        self.tool.limiter = self.tool.rate = None


class SessionAgents:
    """The agents and runs of one session.

    Attributes:
        agents: Agents by id.
        unstored: The ids of those on their way into the durable store.
        runs: Runs by id, including ended ones that are kept.
    """

    __slots__ = ("agents", "runs", "unstored")

    def __init__(self) -> None:
        self.agents: dict[str, Agent] = {}
        self.unstored: set[str] = set()
        self.runs: dict[str, Run] = {}


class Agents:
    """All agents of a hub.

    Args:
        store: The sessions.
        registry: The tools.
        workers: The workers, some of which are agent runtimes.
        executor: Admits runs, as it does other calls.
    """

    def __init__(self, store: SessionStore, registry: ToolRegistry, workers: WorkerPool, executor: Executor) -> None:
        self._store = store
        self._settings = store.settings
        self._registry = registry
        self._runtimes = AgentRuntimes(workers)
        self._executor = executor
        self._memory = RunMemory(self._settings.max_agent_run_bytes, store.memory)
        self._durable: DurableStore | None = None
        self._tasks = TaskSet()
        # Called with the id of a session whose agents have changed.
        self._watchers: list[Callable[[str], None]] = []
        # Only of sessions that have agents or runs.
        self._of: WeakKeyDictionary[Session, SessionAgents] = WeakKeyDictionary()

    def of(self, session: Session) -> SessionAgents:
        """Returns the agents and runs of a session."""
        return self._of.setdefault(session, SessionAgents())

    def restore(self, sessions: Iterable[StoredSession], durable: DurableStore) -> None:
        """Takes over the agents and runs that a durable store has kept; runs that were going on end with an error.

        Args:
            sessions: What the store has kept.
            durable: Keeps all further changes.
        """
        self._durable = durable
        for stored in sessions:
            if stored.agents or stored.runs:
                session = self._store.peek(stored.session_id)
                self.of(session).agents.update(
                    (agent_id, Agent(agent_id, definition, self._settings))
                    for agent_id, definition in stored.agents.items()
                )
                for run in stored.runs:
                    self._add_run(session, run).restore(run.first, run.chunks)

    def definitions(self, session_id: str) -> dict[str, pb.CreateReActAgentRequest]:
        """Returns the agents of a session by id, as they were created; empty if there is no such session."""
        session = self._store.find_open(session_id)
        state = None if session is None else self._of.get(session)
        return {} if state is None else {agent.id: agent.definition for agent in state.agents.values()}

    def watch(self, changed: Callable[[str], None]) -> None:
        """Calls ``changed`` with the id of a session after each change of its agents."""
        self._watchers.append(changed)

    @property
    def available(self) -> bool:
        """Whether an agent runtime is connected."""
        return self._runtimes.available

    @property
    def active(self) -> int:
        """Runs that are under way."""
        return len(self._tasks)

    def runs(self) -> Iterator[Run]:
        """Yields the runs of all sessions, including ended ones that are kept; they may change meanwhile."""
        for state in list(self._of.values()):
            yield from list(state.runs.values())

    def agents(self, wanted: Session | None = None) -> Iterator[tuple[Session, Agent, int]]:
        """Yields each agent of one session, or of all, with how many of its runs are under way."""
        for session in list(self._of) if wanted is None else [wanted]:
            state = self._of.get(session)
            if state is not None and state.agents:
                running = Counter(run.agent_id for run in state.runs.values() if not run.over)
                for agent in list(state.agents.values()):
                    yield session, agent, running[agent.id]

    def counts(self) -> dict[Session, tuple[int, int]]:
        """Returns how many agents and how many runs each session has that has any; kept runs count, too."""
        return {session: (len(state.agents), len(state.runs)) for session, state in list(self._of.items())}

    @property
    def held_bytes(self) -> int:
        """Bytes of the kept chunks of all runs."""
        return self._memory.held

    def follow_models(self, report: Callable[[HubCall, pb.LogRecord], None]) -> None:
        """Calls ``report`` with a run and the report of each request to its model, as ``MODEL_LOGGER`` says."""
        self._runtimes.on_model = report

    async def aclose(self) -> None:
        """Cancels every run; what a durable store has of them stays there."""
        # A task that is cancelled before its first step would never end its run's readers.
        await asyncio.sleep(0)
        await self._tasks.aclose()
        for run in list(self.runs()):
            await run.settled()
            run.close()

    def session_ended(self, session: Session, error: ToolBridgeError) -> None:
        """Ends the runs of a session that has ended."""
        state = self._of.pop(session, None)
        for run in list(state.runs.values()) if state is not None else ():
            # With its session, the durable store forgets it. What is on its way there is given up, even if it is the
            # last chunk; then there is something left to cancel.
            run.close()
            run.cancel(session_ended(error))
        if state is not None and state.agents:
            self._note_change(session)

    def _note_change(self, session: Session) -> None:
        for changed in self._watchers:
            changed(session.id)

    # ------------------------------------------------------------------------------------------------- creating

    async def create(
        self,
        request: pb.CreateReActAgentRequest,
        context: RequestContext = LOCAL,
        only: ToolFilter | None = None,
    ) -> pb.CreateReActAgentResponse:
        """Creates an agent after a runtime has checked it. The same definition always has the same id.

        Args:
            request: What it is to be.
            context: The context of the request.
            only: Which tools its creator sees; None: all.

        Raises:
            UnavailableError: No agent runtime is connected.
            NotFoundError: The session does not see one of the tools.
            ValidationError: A part of the definition, such as its signature or model, is not valid.
            ResourceExhaustedError: The session has too many agents, or all runtimes are busy.
        """
        check_request(request)
        session = self._executor.admission.require_session(request.session_id)
        size = request.ByteSize()
        if size > MAX_DEFINITION_BYTES:
            raise MessageTooLargeError.of("the definition of an agent", size, MAX_DEFINITION_BYTES)
        if request.max_iters < 0:
            raise ValidationError(f"max_iters must be 0 (the default) or more, not {request.max_iters}")
        names, tool_count = self._tools_of(session, request, only)
        definition = pb.CreateReActAgentRequest()
        definition.CopyFrom(request)
        del definition.tool_names[:]
        definition.tool_names.extend(names)
        agent_id = f"agent-{_digest(definition).hex()[:16]}"
        self._check_room(session, agent_id)
        agent = Agent(agent_id, definition, self._settings)
        response = await self._checked(session, agent, context)
        if session.ended is not None:
            raise session_ended(session.ended)
        # Other agents may have been created meanwhile.
        self._check_room(session, agent_id)
        await self._add(session, agent)
        return pb.CreateReActAgentResponse(agent_id=agent_id, tool_count=tool_count, capabilities=response.capabilities)

    def _tools_of(
        self, session: Session, request: pb.CreateReActAgentRequest, only: ToolFilter | None
    ) -> tuple[list[str], int]:
        """Returns the names of an agent's definition, and how many tools it may call now, or at most if it searches."""
        seen = self._registry.by_name(session)
        by_name = {tool.name: tool for tool in (seen if only is None else only.of(seen)).values()}
        if not request.tool_names:
            return [], sum(is_for_models(tool.spec) for tool in by_name.values())
        chosen = read_agent_tools(request.tool_names, {*by_name, *(tool.id for tool in by_name.values())})
        named = {name: by_name.get(name) or self._find(session, name, only) for name in chosen.names}
        # A tool may be named by its id.
        names = dict.fromkeys(named[name].name if name in named else name for name in request.tool_names)
        # Only the runtime reads the patterns of a search: those of a hostile client may take long to match.
        return list(names), len(by_name if chosen.patterns is not None else names)

    def _find(self, session: Session, tool_id: str, only: ToolFilter | None) -> RegisteredTool:
        """Returns a tool that an agent names by its id; raises NotFoundError."""
        if only is None:
            return self._registry.find(session, tool_id)
        tool = self._store.tool_of(session, tool_id)
        if tool is None or not only.sees(tool.name):
            raise self._registry.not_found(session, tool_id, only.sees)
        return tool

    def _check_room(self, session: Session, agent_id: str) -> None:
        known = self.of(session).agents.keys() | self.of(session).unstored
        if agent_id not in known and len(known) >= self._settings.max_session_agents:
            raise ResourceExhaustedError(
                f"session {session.id!r} has {len(known)} agents, which is its limit (max_session_agents)"
            )

    async def _add(self, session: Session, agent: Agent) -> None:
        """Adds an agent to its session, once it is stored, unless it is there already."""
        state = self.of(session)
        if agent.id in state.agents:
            return
        if self._durable is None:
            self._added(session, agent, None)
            return
        state.unstored.add(agent.id)
        settled = partial(self._added, session, agent)
        await self._durable.add_agent(session.id, agent.id, agent.definition, settled=settled)

    def _added(self, session: Session, agent: Agent, error: ToolBridgeError | None) -> None:
        """Lets a session have an agent that is stored, or need not be; if its caller has gone meanwhile, too."""
        state = self._of.get(session)
        if state is None:
            # It has ended.
            return
        state.unstored.discard(agent.id)
        if error is None and agent.id not in state.agents:
            state.agents[agent.id] = agent
            self._note_change(session)

    async def _checked(self, session: Session, agent: Agent, context: RequestContext) -> pb.CreateReActAgentResponse:
        """Has a runtime check an agent."""
        admission = self._executor.admission
        # Neither the caller's deadline nor what it may ask is the check's.
        own = RequestContext(principal=context.principal, via=context.via, peer=context.peer, source=context.source)
        call = admission.open(session, agent.tool, own)
        ok = False
        try:
            response: pb.CreateReActAgentResponse = await call.step(self._runtimes.tell(call, agent.definition))
            ok = True
        except BaseException as failure:
            # The call knows what ended it early, such as the end of its session.
            cause = call.convert() if not isinstance(failure, Exception) else None
            if cause is not None:
                raise cause from None
            raise
        finally:
            admission.end(call, (), ok=ok, outcome=None if ok else sys.exc_info()[1])
        return response

    # -------------------------------------------------------------------------------------------------- running

    def execute(self, request: pb.ExecuteAgentRequest, context: RequestContext = LOCAL) -> RunReader:
        """Starts a run or attaches to one; returns a reader of its chunks from ``from_sequence`` on.

        Args:
            request: The run to start or to attach to.
            context: If it has the payload, the chunks are bytes.

        Raises (when it is read):
            NotFoundError: There is no such agent or run.
            ConflictError: The run with this id has another agent or input.
            ValidationError: The request is not valid, there is no such chunk, or it was evicted.
            ResourceExhaustedError: The session has too many runs.
        """
        opened: list[Run] = []
        as_bytes, context.payload = bool(context.payload), b""

        async def chunks() -> AsyncGenerator[Any, None]:
            run = self._attach_or_start(request, context)
            opened.append(run)
            async with aclosing(run.read(request.from_sequence, steps=request.stream)) as made:
                async for data in made:
                    yield data if as_bytes else pb.AgentExecutionChunk.FromString(data)

        def cancel() -> None:
            # A reader that only observes the run must not cancel it.
            for run in opened if _names_work(request) else ():
                run.cancel(CallCancelledError("the run was cancelled by its caller"))

        return RunReader(chunks(), cancel, named=bool(request.run_id))

    def cancel(self, request: pb.CancelAgentRunRequest) -> str:
        """Cancels a run; returns a text that says so, or that it was over.

        Raises:
            NotFoundError: There is no such run.
        """
        session = self._store.find(request.session_id)
        run = self.of(session).runs.get(request.run_id)
        if run is None:
            raise _no_run(session, request.run_id)
        if run.ended:
            return f"run {run.run_id!r} was over already"
        run.cancel(CallCancelledError("the run was cancelled by its caller"))
        return f"run {run.run_id!r} is cancelled"

    def _attach_or_start(self, request: pb.ExecuteAgentRequest, context: RequestContext) -> Run:
        try:
            check_request(request)
            drop_reserved(request.context)
            return self._attach(request) or self._start(request, context)
        except ToolBridgeError as error:
            self._executor.admission.refused(
                request, context, clip(request.session_id), clip(request.run_id), error_info(error), logs=False
            )
            raise

    def _attach(self, request: pb.ExecuteAgentRequest) -> Run | None:
        if not request.run_id:
            if request.from_sequence:
                raise ValidationError("from_sequence says where to resume a run; it needs the run_id")
            return None
        session = self._store.find(request.session_id)
        run = self.of(session).runs.get(request.run_id)
        names_work = _names_work(request)
        if run is None:
            if request.from_sequence or not names_work:
                # Its caller has seen a part of the run, so it must not start again.
                raise _no_run(session, request.run_id)
            return None
        if names_work and _asked(request) != run.digest:
            raise ConflictError(
                f"run {run.run_id!r} has another agent or input; attach with the same, or choose another run_id",
                error_type="IdempotencyConflict",
            )
        return run

    def _start(self, request: pb.ExecuteAgentRequest, context: RequestContext) -> Run:
        executor, settings = self._executor, self._settings
        if context.parent is not None:
            session = self._store.find(request.session_id)
        else:
            session = executor.admission.require_session(request.session_id)
        agent = self.of(session).agents.get(request.agent_id)
        if agent is None:
            raise NotFoundError(
                f"session {session.id!r} has no agent {shown(request.agent_id)}; create it first",
                error_type="AgentNotFound",
            )
        executor.check_size("the input of an agent", context.size or request.ByteSize())
        if request.run_id:
            # Every chunk carries it.
            check_name(request.run_id, "a run id")
        self._make_room(session, self.of(session).runs)
        timeout_ms = request.timeout_ms or int(settings.agent_timeout * 1000)
        call = executor.admission.make(session, agent.tool, context, timeout_ms=timeout_ms)
        tokens = RunTokens(executor.admission.payers.quota_of_call(call))
        call.run_id = call.request_id = request.run_id or uuid.uuid4().hex
        executor.admission.enter(call, context, request=request)
        run = self._add_run(session, StoredRun(call.run_id, agent.id, _asked(request), time_of(call.opened_at)), call)
        run.begin()
        self._tasks.spawn(self._drive(run, call, agent, request, tokens), f"run {run.run_id}")
        return run

    def _add_run(self, session: Session, stored: StoredRun, call: HubCall | None = None) -> Run:
        """Adds a run to its session: one that begins, or one that a durable store has kept."""
        runs, settings = self.of(session).runs, self._settings
        run = runs[stored.run_id] = Run(
            stored.run_id,
            stored.agent_id,
            session.id,
            call,
            started_at=stored.started_at,
            digest=stored.digest,
            max_bytes=settings.agent_run_bytes,
            memory=self._memory,
            ttl=settings.agent_run_ttl,
            on_evicted=lambda evicted: _drop(runs, evicted),
            durable=self._durable,
        )
        return run

    def _make_room(self, session: Session, runs: dict[str, Run]) -> None:
        # An earlier life of the hub may have had a higher limit.
        while len(runs) >= self._settings.max_session_runs:
            evictable = next((run for run in runs.values() if run.is_evictable), None)
            if evictable is None:
                raise ResourceExhaustedError(
                    f"session {session.id!r} has {len(runs)} runs, which is its limit (max_session_runs); "
                    "read or cancel some first",
                    details={"retry_after": "1"},
                )
            evictable.evict()

    async def _drive(
        self, run: Run, call: HubCall, agent: Agent, request: pb.ExecuteAgentRequest, tokens: RunTokens
    ) -> None:
        """Executes the run on a runtime, and keeps its chunks."""
        executor = self._executor
        error = error_info(ProtocolError("the agent runtime ended the run without a result or an error"))
        permits: Permits = ()
        try:
            call.check()
            permits = await executor.admission.acquire(call)
            if run.writer is not None:
                # Otherwise, who comes back with its id after a crash could begin it a second time.
                await call.step(run.writer.begun())
            asked = pb.ExecuteAgentRequest()
            asked.CopyFrom(request)
            # Readers that attach later may want the steps, even if this one does not.
            asked.run_id, asked.from_sequence, asked.stream, asked.timeout_ms = run.run_id, 0, True, 0
            async with aclosing(self._runtimes.run(call, agent.definition, asked)) as chunks:
                while not run.ended:
                    try:
                        data = await call.step(cast("Any", chunks.__anext__()))
                    except StopAsyncIteration:
                        break
                    executor.check_size("a chunk of an agent's run", len(data))
                    run.put(data)
                    tokens.note(data)
                    count_answer(call.quota, data, time.monotonic())
                    if run.is_ahead:
                        await call.step(run.room())
                    if not run.ended:
                        call.check()
            await run.settled()
            if not run.ended:
                # Its session may have ended meanwhile, and with it what was on its way.
                call.check()
        except Exception as failure:  # noqa: BLE001 - every failure ends the run with an error
            error = executor.error_of(failure)
        except BaseException:
            # The run was cancelled, or the hub is shutting down.
            error = error_info(call.convert() or CallCancelledError("the run was cancelled: the hub is shutting down"))
            if call.cancelled_from_outside():
                raise
        finally:
            outcome = pb.ErrorInfo(type=run.error_type) if run.over else error
            executor.admission.end(call, permits, ok=run.succeeded, streamed=True, outcome=outcome)
            run.fail(error)


def _names_work(request: pb.ExecuteAgentRequest) -> bool:
    """Returns whether a request names an agent and its input, rather than only a run to attach to."""
    return bool(request.agent_id) and request.HasField("input")


def _asked(request: pb.ExecuteAgentRequest) -> bytes:
    """Returns a digest of what a run has to do."""
    return _digest(pb.ExecuteAgentRequest(agent_id=request.agent_id, input=request.input, context=request.context))


def _digest(message: Message) -> bytes:
    return hashlib.sha256(message.SerializeToString(deterministic=True)).digest()


def _drop(runs: dict[str, Run], run: Run) -> None:
    if runs.get(run.run_id) is run:
        del runs[run.run_id]


def _no_run(session: Session, run_id: str) -> NotFoundError:
    return NotFoundError(
        f"session {session.id!r} has no run {shown(run_id)}: it was never started, or was evicted",
        error_type="AgentNotFound",
    )
