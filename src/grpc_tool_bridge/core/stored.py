"""What a durable store has kept of a hub."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from grpc_tool_bridge.core.session_access import SessionAccess
from grpc_tool_bridge.core.variable import Variable
from grpc_tool_bridge.proto.dspex_bridge_pb2 import CreateReActAgentRequest, SessionConfig, ToolCallResponse


@dataclass(slots=True)
class StoredRun:
    """A run of an agent.

    Attributes:
        run_id, agent_id: The run and its agent.
        digest: Digest of what it has to do, to recognize a caller that attaches.
        started_at: Seconds since the epoch.
        first: Number of the first chunk that is kept.
        chunks: The serialized chunks from ``first`` on, each with whether it is the last; a run whose last chunk is not
            there was going on when its hub ended.
    """

    run_id: str
    agent_id: str
    digest: bytes
    started_at: float
    first: int = 0
    chunks: list[tuple[bytes, bool]] = field(default_factory=list)


@dataclass(slots=True)
class StoredSession:
    """A session with what belongs to it, except its history of changes and its kept answers, which are read when asked.

    Attributes:
        session_id, created_at, metadata, config: As when it was created; ``created_at`` in seconds since the epoch.
        variables: Its variables.
        revision: Revision of the last change of its variables; 0 if there was none.
        deleted_at: Revision of the last deletion of a variable; 0 if there was none.
        above: No change of the session may get a revision up to this one: an earlier owner may have given them.
        agents: The definitions of its agents, by id.
        runs: Its runs, the oldest first.
        access: To whom it belongs, and who else may use it; None: nobody in particular.
    """

    session_id: str
    created_at: float
    metadata: dict[str, str]
    config: SessionConfig | None = None
    variables: list[Variable] = field(default_factory=list)
    revision: int = 0
    deleted_at: int = 0
    agents: dict[str, CreateReActAgentRequest] = field(default_factory=dict)
    runs: list[StoredRun] = field(default_factory=list)
    above: int = 0
    access: SessionAccess | None = None


@dataclass(frozen=True, slots=True)
class StoredState:
    """What a hub begins with.

    Attributes:
        epoch: The epoch that all its revisions belong to.
        revision: No revision up to this one may be given again.
        sessions: The sessions, the oldest first.
        ended: Why sessions have ended, by id, the earliest first.
    """

    epoch: str
    revision: int
    sessions: Sequence[StoredSession]
    ended: dict[str, str]


@dataclass(frozen=True, slots=True)
class CommitTimes:
    """How long the commits of a store took.

    Attributes:
        within: How many took at most so many seconds, by ascending bounds; the last bound is infinite.
        seconds: All of them together.
    """

    within: Sequence[tuple[float, int]]
    seconds: float


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A call with an idempotency key that began before.

    Attributes:
        used_for: Digest of its request.
        answer: Its answer; None: its hub ended before there was one, and whether it had its effect is not known.
    """

    used_for: bytes
    answer: ToolCallResponse | None
