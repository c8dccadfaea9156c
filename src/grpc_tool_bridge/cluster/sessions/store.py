"""The durable store of hubs that share a cluster of NATS."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.bus.facts import EPOCH, SharedRevisions, make_once
from grpc_tool_bridge.cluster.journal import changes, pending
from grpc_tool_bridge.cluster.journal.chain import Chain, exists_error
from grpc_tool_bridge.cluster.journal.image import SessionImage
from grpc_tool_bridge.cluster.journal.pending import Beginning, PendingBeginning, PendingChange, PendingSet
from grpc_tool_bridge.cluster.members.lease import Lease
from grpc_tool_bridge.cluster.members.leases import Leases
from grpc_tool_bridge.cluster.sessions.owned import TAKEN_AT_ONCE, OnLost, OwnedSessions
from grpc_tool_bridge.cluster.sessions.places import Place
from grpc_tool_bridge.cluster.urls import NatsAddress, parse
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.commit_metrics import CommitMetrics
from grpc_tool_bridge.core.interfaces import ValueSealer
from grpc_tool_bridge.core.sealed import ValuePlace
from grpc_tool_bridge.core.sealing import StoreSealing
from grpc_tool_bridge.core.stored import CommitTimes, StoredCall, StoredRun, StoredSession, StoredState
from grpc_tool_bridge.core.variable import Change, Variable
from grpc_tool_bridge.core.writes import Settled, Write
from grpc_tool_bridge.errors import StoreError, ToolBridgeError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import CreateReActAgentRequest, ToolCallResponse


class NatsStore:
    """The durable store in NATS JetStream; see ``DurableStore``.

    Each session has one owner at a time, which is the hub that began or took it last. A store has the changes of its
    own sessions alone; it finds out where others are, and takes those whose hub is gone.

    Args:
        address: Where NATS is.
        adopt: Whether its hub stands alone: it then takes all sessions when it opens, and refuses to share them.
        info: What its lease tells of the hub: fields of ``HubRecord``.
        sealer: Seals values of secret variables; None: they are stored as they are.
    """

    def __init__(
        self,
        address: NatsAddress | str,
        *,
        adopt: bool = False,
        info: Mapping[str, Any] | None = None,
        sealer: ValueSealer | None = None,
    ) -> None:
        self._sealing = StoreSealing(sealer)
        self.address = parse(address) if isinstance(address, str) else address
        self._adopt = adopt
        self._tasks = TaskSet()
        self._bus: Bus | None = None
        self._owned: OwnedSessions | None = None
        self._revisions: SharedRevisions | None = None
        self._settings = Settings()
        self._metrics = CommitMetrics()
        self._told_lost: list[OnLost] = []
        self._on_failure: Callable[[], None] | None = None
        self._was_failing = False
        self._info = dict(info or {})

    def __repr__(self) -> str:
        return f"NatsStore({self.address.shown!r})"

    # ------------------------------------------------------------------------------------------------ its lifetime

    async def open(self, settings: Settings) -> StoredState:
        """See ``DurableStore``; without ``adopt``, there are no sessions until they are taken.

        Raises:
            StoreError: NATS cannot be used, or with ``adopt``, another hub serves.
            ValidationError: The address is not allowed.
        """
        if self._bus is not None:
            raise StoreError(f"{self!r} serves a hub already; make another one")
        self._settings = settings
        bus = self._bus = Bus(self.address, settings)
        try:
            await bus.open()
            self._revisions = SharedRevisions(bus, self._tasks)
            epoch = await make_once(bus, EPOCH, lambda: uuid.uuid4().hex)
            owned = OwnedSessions(bus, settings, self._info, self._sealing)
            owned.on_lost, self._metrics = self._told_lost, owned.metrics
            await owned.open()
            self._owned = owned
            sessions = await self._taken_all(owned) if self._adopt else []
            reserved = await (self._revisions.inherit() if self._adopt else self._revisions.read())
            revision = max([reserved, *(session.revision for session in sessions)])
        except BaseException:
            await self.aclose()
            raise
        owned.lease.watch(self._state_changed)
        ended = {session_id: why for session_id, (why, _) in owned.ended.items()}
        return StoredState(epoch, revision, sessions, ended)

    async def _taken_all(self, owned: OwnedSessions) -> list[StoredSession]:
        await owned.alone()
        ends = sorted([end async for end in owned.chain_ends()], key=lambda end: end.sequence)
        for end in ends:
            if end.ended is not None:
                owned.remember(end.session_id, end.ended, end.sequence)
        at_once = asyncio.Semaphore(TAKEN_AT_ONCE)

        async def take(session_id: str) -> StoredSession | None:
            async with at_once:
                return await self.take(session_id)

        found = await asyncio.gather(*(take(end.session_id) for end in ends if end.ended is None))
        sessions = [session for session in found if session is not None]
        return sorted(sessions, key=lambda session: (session.created_at, session.session_id))

    async def hand_over(self) -> None:
        """Stores what waits, and lets the other hubs take all sessions at once; nothing is stored from then on."""
        if self._owned is not None:
            await self._owned.hand_over()

    async def aclose(self) -> None:
        """See ``DurableStore``."""
        bus, owned, self._bus, self._owned = self._bus, self._owned, None, None
        if bus is None:
            return
        if self._revisions is not None:
            await self._revisions.idle()
        await self._tasks.aclose()
        try:
            if owned is not None:
                await owned.aclose()
        finally:
            await bus.aclose()

    def abandon(self) -> None:
        """See ``DurableStore``; the lease ends by itself."""
        self._bus, self._owned = None, None
        self._tasks.abandon()

    def _state_changed(self) -> None:
        if self.is_failing != self._was_failing:
            self._was_failing = self.is_failing
            if self._on_failure is not None:
                self._on_failure()

    # ---------------------------------------------------------------------------------- where sessions are served

    @property
    def bus(self) -> Bus:
        """The connection to NATS.

        Raises:
            StoreError: The store is not open.
        """
        if self._bus is None:
            raise closed_error()
        return self._bus

    @property
    def leases(self) -> Leases:
        """The leases of all hubs; raises as ``bus``."""
        return self._open().leases

    @property
    def lease(self) -> Lease:
        """That of this hub, which has another incarnation once it was lost. Raises as ``bus``."""
        return self._open().lease

    @property
    def fenced(self) -> int:
        """Writes that were refused because another hub had taken the session; raises as ``bus``."""
        return self._open().fenced

    def is_certain(self) -> bool:
        """Whether no other hub can have taken what this one owns."""
        return self._owned is not None and self._owned.lease.is_certain()

    def on_lost(self, told: OnLost) -> None:
        """Has ``told`` called in the loop with the ids of sessions that this hub no longer owns, and why."""
        self._told_lost.append(told)

    async def locate(self, session_id: str) -> Place:
        """Finds out where a session is.

        Raises:
            StoreError: NATS does not answer.
        """
        return await self._open().locate(session_id)

    async def take(self, session_id: str) -> StoredSession | None:
        """Takes a session whose hub is gone.

        Returns:
            The session; None if there is none, a hub has it, or another was faster.

        Raises:
            StoreError: NATS does not answer, or the session's chain is damaged.
        """
        owned, revisions = self._open(), self._revisions
        assert revisions is not None  # noqa: S101 - it is open
        chain = await owned.take(session_id)
        if chain is None:
            return None
        try:
            await revisions.read()
            stored = chain.image.to_stored()
        except BaseException:
            # Else this hub would own a session that it does not have, and nobody could take it.
            owned.forget(session_id)
            raise
        stored.above = max(stored.revision, revisions.reserved)
        return stored

    def forget(self, session_id: str) -> None:
        """Gives a session up without a word to ``on_lost``; its chain stays as it is."""
        if self._owned is not None:
            self._owned.forget(session_id)

    async def orphans(self) -> AsyncIterator[str]:
        """Yields the sessions whose hub is gone.

        Raises:
            StoreError: NATS does not answer.
        """
        async for session_id in self._open().orphans():
            yield session_id

    def _open(self) -> OwnedSessions:
        if self._owned is None:
            raise closed_error()
        return self._owned

    # ------------------------------------------------------------------------------------------------------ itself

    def watch_failure(self, changed: Callable[[], None]) -> None:
        """See ``DurableStore``."""
        self._on_failure = changed

    @property
    def failure(self) -> str:
        """See ``DurableStore``."""
        if self._owned is None or self._bus is None:
            return ""
        if not self._bus.is_connected:
            return "NATS is not reached; see whether its servers run, and the network between"
        if not self._owned.lease.is_certain():
            return "NATS does not store the lease of this hub; see whether its stream has a leader"
        return self._owned.appender.failure

    @property
    def is_shared(self) -> bool:
        """See ``DurableStore``."""
        return True

    @property
    def is_failing(self) -> bool:
        """See ``DurableStore``."""
        return self._owned is not None and not self._owned.lease.is_certain()

    def counts(self) -> dict[str, int | float | str]:
        """See ``DurableStore``."""
        metrics = self._metrics
        return {
            "store_commits": metrics.commits,
            "store_commit_seconds": metrics.seconds,
            "store_commit_most_seconds": metrics.most_seconds,
            "store_changes": metrics.changes,
            "store_failures": metrics.failures + metrics.refused,
            "store_waiting": self._owned.waiting if self._owned is not None else 0,
            "store_sessions_owned": len(self._owned) if self._owned is not None else 0,
        }

    def commit_times(self) -> CommitTimes:
        """See ``DurableStore``."""
        return self._metrics.times()

    def reserve_revisions(self, up_to: int) -> Write:
        """See ``DurableStore``."""
        if self._revisions is None or self._owned is None:
            return _refused(Write())
        self._owned.lease.set(reserved=up_to)
        return self._revisions.reserve(up_to)

    def _submit(self, session_id: str, change: PendingChange) -> Write:
        owned = self._owned
        chain = owned.chain(session_id) if owned is not None else None
        if chain is not None:
            return chain.submit(change)
        if owned is not None and change.is_moot and session_id in owned.ended:
            change.settle(None)
            return change
        if owned is None:
            return _refused(change)
        change.settle(StoreError(f"nothing was changed: this hub does not own session {session_id!r}; call again"))
        return change

    # ---------------------------------------------------------------------------------------------------- sessions

    def create_session(self, session: StoredSession, settled: Settled | None = None) -> Write:
        """See ``DurableStore``; an AlreadyExistsError where this hub or another has such a session."""
        message = changes.create(session)
        if self._owned is None:
            return _refused(PendingChange(message, settled=settled))
        if self._owned.chain(session.session_id) is not None:
            write = PendingChange(message, settled=settled)
            write.settle(exists_error(session.session_id))
            return write
        chain = self._owned.begin(session.session_id)
        begun = partial(self._begun, chain, settled)
        return chain.submit(PendingChange(message, partial(SessionImage.create, session=session), begun))

    def _begun(self, chain: Chain, settled: Settled | None, error: ToolBridgeError | None) -> None:
        if error is not None and self._owned is not None:
            self._owned.drop(chain)
        if settled is not None:
            settled(error)

    def end_session(self, session_id: str, why: str, settled: Settled | None = None) -> Write:
        """See ``DurableStore``."""
        return self._submit(session_id, PendingChange(changes.end(why, time.time()), settled=settled))

    # --------------------------------------------------------------------------------------------------- variables

    def set_variable(
        self, session_id: str, variable: Variable, *, previous: int, hides: bool, settled: Settled
    ) -> Write:
        """See ``DurableStore``."""
        value = variable.value
        if variable.secret or self._sealing.seals_all:
            place = ValuePlace(session_id, variable.name, variable.revision)
            value = self._sealing.seal(value, place, secret=variable.secret)
        return self._submit(session_id, PendingSet(variable, previous, value, settled, hides=hides))

    def delete_variable(self, session_id: str, change: Change, *, settled: Settled) -> Write:
        """See ``DurableStore``."""
        take = partial(SessionImage.delete_variable, change=change)
        return self._submit(session_id, PendingChange(changes.delete_variable(change), take, settled))

    async def changes_after(self, session_id: str, revision: int) -> list[Change] | None:
        """See ``DurableStore``."""
        chain = self._open().chain(session_id)
        return chain.image.changes_after(revision) if chain is not None else None

    # ------------------------------------------------------------------------------- calls with an idempotency key

    async def begin_call(self, session_id: str, key: str, used_for: bytes, *, again: bool) -> StoredCall | None:
        """See ``DurableStore``."""
        beginning = PendingBeginning(Beginning(key, used_for, again))
        await self._submit(session_id, beginning)
        return beginning.found

    def keep_answer(self, session_id: str, key: str, answer: ToolCallResponse, settled: Settled | None = None) -> Write:
        """See ``DurableStore``."""
        ends_at = time.time() + self._settings.answer_ttl

        def kept(error: ToolBridgeError | None) -> None:
            if error is not None:
                # What became of the call is not known to who takes the session, as long as its answer would be kept.
                self._submit(session_id, pending.given_up_call(key, ends_at))
            if settled is not None:
                settled(error)

        return self._submit(session_id, pending.kept_answer(key, answer.SerializeToString(), ends_at, kept))

    def free_call(self, session_id: str, key: str) -> Write:
        """See ``DurableStore``."""
        return self._submit(session_id, pending.freed_call(key))

    # --------------------------------------------------------------------------------------------- agents and runs

    def add_agent(
        self,
        session_id: str,
        agent_id: str,
        definition: CreateReActAgentRequest,
        *,
        settled: Settled | None = None,
    ) -> Write:
        """See ``DurableStore``."""
        take = partial(SessionImage.add_agent, agent_id=agent_id, definition=definition)
        change = PendingChange(changes.add_agent(agent_id, definition), take, settled, is_moot=True)
        return self._submit(session_id, change)

    def begin_run(self, session_id: str, run: StoredRun) -> Write:
        """See ``DurableStore``."""
        return self._submit(session_id, PendingChange(changes.begin_run(run), is_moot=True))

    def add_chunk(
        self, session_id: str, run_id: str, sequence: int, data: bytes, *, is_last: bool, settled: Settled | None = None
    ) -> Write:
        """See ``DurableStore``."""
        message = changes.add_chunk(run_id, sequence, data, is_last=is_last)
        take = partial(SessionImage.add_chunk, run_id=run_id, sequence=sequence, data=data, is_last=is_last)
        return self._submit(session_id, PendingChange(message, take, settled, is_moot=True))

    def drop_chunks(self, session_id: str, run_id: str, before: int) -> Write:
        """See ``DurableStore``."""
        return self._submit(session_id, PendingChange(changes.drop_chunks(run_id, before), is_owed=True))

    def drop_run(self, session_id: str, run_id: str) -> Write:
        """See ``DurableStore``."""
        return self._submit(session_id, PendingChange(changes.drop_run(run_id), is_owed=True))


def closed_error() -> ToolBridgeError:
    """Returns the error for what comes before the store is open, or after it was closed."""
    return StoreError("nothing was changed: the store is not open; its hub has not started, or ended")


def _refused(write: Write) -> Write:
    write.settle(closed_error())
    return write
