"""The changes of a session as messages of its chain."""

from collections.abc import Iterator
from typing import NamedTuple

from google.protobuf import any_pb2

from grpc_tool_bridge.core.stored import StoredRun, StoredSession
from grpc_tool_bridge.core.variable import Change, Variable
from grpc_tool_bridge.proto.dspex_bridge_journal_pb2 import (
    JournalAddAgent,
    JournalAddChunk,
    JournalBeginCall,
    JournalBeginRun,
    JournalChange,
    JournalCreate,
    JournalDelete,
    JournalDropChunks,
    JournalDropRun,
    JournalEnd,
    JournalFreeCall,
    JournalGiveUpCall,
    JournalKeepAnswer,
    JournalTake,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import CreateReActAgentRequest, InitializeSessionRequest


class KeptCall(NamedTuple):
    """A call with an idempotency key.

    Attributes:
        used_for: Digest of its request.
        ends_at: When it is forgotten, in seconds since the epoch; 0: it runs.
        answer: Its serialized answer; None: there is none.
    """

    used_for: bytes
    ends_at: float = 0.0
    answer: bytes | None = None

    def is_over(self, now: float) -> bool:
        """Whether it is no longer kept."""
        return 0 < self.ends_at <= now


def create(session: StoredSession, *, floor: int = 0, lost_delete: int = 0) -> JournalChange:
    """Returns the beginning of a session; ``floor`` and ``lost_delete`` as in ``SessionImage.create``."""
    request = InitializeSessionRequest(metadata=session.metadata, config=session.config)
    return JournalChange(
        create=JournalCreate(
            created_at=session.created_at, request=request, history_floor=floor, lost_delete=lost_delete
        )
    )


def end(why: str, at: float) -> JournalChange:
    """Returns the end of a session."""
    return JournalChange(end=JournalEnd(why=why, at=at))


def take(calls_end_at: float) -> JournalChange:
    """Returns that another hub serves the session from here on."""
    return JournalChange(take=JournalTake(calls_end_at=calls_end_at))


def set_variable(
    variable: Variable,
    previous: int,
    value: any_pb2.Any,
    *,
    hides: bool = False,
    secret: bool | None = None,
    forgotten: bool = False,
) -> JournalChange:
    """Returns the next state of a variable.

    Args:
        variable: The state.
        previous: Revision of the state that it replaces.
        value: Its value as it is to be stored.
        hides: Whether what it was before becomes secret, too.
        secret: That of the change, if it has become so since.
        forgotten: Whether the history does not have it.
    """
    change = JournalChange()
    # Set one by one, and only what is there: a constructor with all of them takes four times as long.
    found = change.set
    found.name = variable.name
    found.revision, found.previous = variable.revision, previous
    found.updated_at, found.created_at = variable.updated_at, variable.created_at
    found.type, found.size, found.held = variable.type, variable.size, variable.held
    found.value.CopyFrom(value)
    if variable.secret if secret is None else secret:
        found.secret = True
    if hides:
        found.hides = True
    if variable.created_by:
        found.created_by = variable.created_by
    if variable.tags:
        found.tags.update(variable.tags)
    if forgotten:
        found.forgotten = True
    return change


def delete_variable(change: Change) -> JournalChange:
    """Returns the end of a variable."""
    return JournalChange(
        delete=JournalDelete(
            name=change.name,
            revision=change.revision,
            previous=change.previous,
            at=change.timestamp,
            secret=change.secret,
        )
    )


def begin_call(key: str, used_for: bytes, ends_at: float = 0.0) -> JournalChange:
    """Returns that a call with a key begins; with ``ends_at``, that it did in an earlier life."""
    return JournalChange(begin_call=JournalBeginCall(key=key, used_for=used_for, ends_at=ends_at))


def keep_answer(key: str, answer: bytes, ends_at: float) -> JournalChange:
    """Returns the answer of a call."""
    return JournalChange(keep_answer=JournalKeepAnswer(key=key, answer=answer, ends_at=ends_at))


def give_up_call(key: str, ends_at: float) -> JournalChange:
    """Returns that it will not be known what became of a call."""
    return JournalChange(give_up_call=JournalGiveUpCall(key=key, ends_at=ends_at))


def free_call(key: str) -> JournalChange:
    """Returns that a key is free again."""
    return JournalChange(free_call=JournalFreeCall(key=key))


def kept_call(key: str, call: KeptCall) -> Iterator[JournalChange]:
    """Yields what makes a call what it is."""
    yield begin_call(key, call.used_for, 0.0 if call.answer is not None else call.ends_at)
    if call.answer is not None:
        yield keep_answer(key, call.answer, call.ends_at)


def add_agent(agent_id: str, definition: CreateReActAgentRequest) -> JournalChange:
    """Returns an agent."""
    return JournalChange(add_agent=JournalAddAgent(agent_id=agent_id, definition=definition))


def begin_run(run: StoredRun) -> JournalChange:
    """Returns a run without its chunks."""
    return JournalChange(
        begin_run=JournalBeginRun(
            run_id=run.run_id, agent_id=run.agent_id, digest=run.digest, started_at=run.started_at
        )
    )


def add_chunk(run_id: str, sequence: int, data: bytes, *, is_last: bool) -> JournalChange:
    """Returns the next chunk of a run."""
    return JournalChange(add_chunk=JournalAddChunk(run_id=run_id, sequence=sequence, data=data, is_last=is_last))


def drop_chunks(run_id: str, before: int) -> JournalChange:
    """Returns that the chunks of a run before one are forgotten."""
    return JournalChange(drop_chunks=JournalDropChunks(run_id=run_id, before=before))


def drop_run(run_id: str) -> JournalChange:
    """Returns that a run is forgotten."""
    return JournalChange(drop_run=JournalDropRun(run_id=run_id))
