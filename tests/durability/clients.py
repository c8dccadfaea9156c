"""Clients that do at random what a durable store has to keep, and note what they were told."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from durability.history import OK, REFUSED, UNKNOWN, History, Operation
from grpc_tool_bridge import (
    NotFoundError,
    ToolBridge,
    ToolBridgeError,
    ToolCommunicationError,
    UnavailableError,
)
from grpc_tool_bridge.client.variables import VariableChange
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb

NAMES = ("a", "b", "c")


def refusal(error: ToolBridgeError) -> dict[str, Any] | None:
    """Returns what a client learns from an error about the state of the hub; None: it does not even know whether the
    operation took effect.

    Raises:
        ToolBridgeError: The error is none that a hub gives that is killed now and then.
    """
    kind = error.error_type
    if isinstance(error, ToolCommunicationError | UnavailableError) or kind in _LOST:
        return None
    if kind == "IdempotencyConflict":
        return {"in_doubt": error.details.get("outcome") == "unknown"}
    if kind == "RevisionConflict":
        return {"revision": int(error.details["revision"])}
    if kind == "VariableNotFound":
        return {"revision": 0}
    if kind == "SessionExpired":
        return {"ended": "is being removed" not in error.message}
    if kind == "AgentNotFound":
        return {"agent": False}
    if kind == "SessionNotFound":
        return {"session": False}
    raise error


# How calls end that were going on when the hub was told to end.
_LOST = ("WorkerUnavailable", "Cancelled", "TimeoutError")


class Client:
    """One client; it has mostly one operation at a time.

    Args:
        name: Its name in the history.
        bridge: Has opened the session.
        history: What it does is noted there.
        rng: Says what it does.
        values: Gives a value that nobody else sets.
        again: Waits until the hub may be reached again, after an operation that got no answer.
    """

    def __init__(
        self,
        name: str,
        bridge: ToolBridge,
        history: History,
        rng: random.Random,
        values: "itertools.count[int]",
        again: Callable[[], Awaitable[None]],
    ) -> None:
        self.name = name
        self.bridge = bridge
        self.is_over = False
        # Number of its operations that wait for an answer, or for the hub to come back.
        self.waiting = 0
        self._history = history
        self._rng = rng
        self._values = values
        self._again = again
        # The revisions at which it knows variables.
        self._known: dict[str, int] = {}
        self._kept_keys: list[tuple[str, str]] = []
        # Whether an operation has got no answer since it last asked for the answer of a key again.
        self._has_lost = False
        self._agents: list[str] = []
        # Of which there was a chunk.
        self.runs: list[str] = []

    @property
    def session(self) -> str:
        """The session of most of its operations."""
        return self.bridge.session_id or ""

    async def run(self) -> None:
        """Goes on until it is over."""
        ways: list[tuple[Callable[[], Awaitable[object]], int]] = [
            (self.set, 4),
            (self.compare_and_set, 4),
            (self.delete, 1),
            (self.get, 4),
            (self.list, 1),
            (self.call, 3),
            (self.call_again, 1),
            (self.call_without_key, 1),
            (self.come_and_go, 1),
        ]
        if self.bridge.client.is_linked:
            ways.append((self.run_agent, 1))
        while not self.is_over:
            (way,) = self._rng.choices([way for way, _ in ways], [weight for _, weight in ways])
            if self._has_lost and self._kept_keys:
                # What was answered just before is what a crash takes away first.
                self._has_lost = False
                await self.call_until_answered(*self._kept_keys[-1])
            await way()

    async def note(self, operation: Operation, make: Callable[[], Awaitable[dict[str, Any]]]) -> bool:
        """Makes an operation and notes its outcome; returns whether that is known."""
        self.waiting += 1
        try:
            self._history.end(operation, OK, **(await make()))
        except ToolBridgeError as error:
            learned = refusal(error)
            if learned is None:
                self._history.end(operation, UNKNOWN, error=str(error)[:200])
                self._has_lost = True
                await self._again()
                return False
            self._history.end(operation, REFUSED, **learned)
        finally:
            self.waiting -= 1
        return True

    # ---------------------------------------------------------------------------------------------- variables

    async def set(self) -> None:
        """Sets a variable to a new value."""
        await self._set(self._rng.choice(NAMES), None)

    async def compare_and_set(self) -> None:
        """Sets a variable to a new value if it is as this client knows it."""
        name = self._rng.choice(NAMES)
        await self._set(name, self._known.get(name, 0))

    async def _set(self, name: str, expected: int | None) -> None:
        value = next(self._values)
        operation = self._history.begin(self.name, "set", self.session, name, value=value, expected=expected)

        async def make() -> dict[str, Any]:
            revision = await self.bridge.session_context.set_variable(name, value, expected_revision=expected)
            self._known[name] = revision
            return {"revision": revision}

        await self.note(operation, make)
        self._learn(operation)

    def _learn(self, operation: Operation) -> None:
        """Notes at which revision a variable is that refused a change."""
        if operation.outcome == REFUSED:
            self._known[operation.name] = operation.answer.get("revision", 0)

    async def delete(self) -> None:
        """Deletes a variable, mostly if it is as this client knows it."""
        name = self._rng.choice(NAMES)
        expected = self._known.get(name) if self._rng.random() < 0.7 else None
        operation = self._history.begin(self.name, "delete", self.session, name, expected=expected)

        async def make() -> dict[str, Any]:
            await self.bridge.session_context.delete_variable(name, expected_revision=expected)
            self._known[name] = 0
            return {}

        await self.note(operation, make)
        self._learn(operation)

    async def get(self, name: str = "") -> bool:
        """Reads a variable; returns whether there was an answer."""
        name = name or self._rng.choice(NAMES)
        operation = self._history.begin(self.name, "get", self.session, name)

        async def make() -> dict[str, Any]:
            try:
                value, metadata = await self.bridge.session_context.get_variable_with_metadata(name)
            except NotFoundError as error:
                if error.error_type != "VariableNotFound":
                    raise
                self._known[name] = 0
                return {"value": None, "revision": 0}
            self._known[name] = metadata.revision
            return {"value": value, "revision": metadata.revision}

        return await self.note(operation, make)

    async def list(self) -> None:
        """Lists the variables."""
        operation = self._history.begin(self.name, "list", self.session)

        async def make() -> dict[str, Any]:
            found = await self.bridge.session_context.list_variables()
            return {"revisions": {info.name: info.metadata.revision for info in found}}

        await self.note(operation, make)

    # ---------------------------------------------------------------------------------------------------- calls

    async def call(self) -> None:
        """Calls a tool with a key, until there is an answer; now and then a second time with a key of before."""
        if self._kept_keys and self._rng.random() < 0.3:
            tool, key = self._rng.choice(self._kept_keys)
        else:
            tool, key = "append", f"key-{next(self._values)}"
        await self.call_until_answered(tool, key)

    async def call_again(self) -> None:
        """Calls a tool that may run again with a key, until there is an answer."""
        await self.call_until_answered("append_again", f"key-{next(self._values)}")

    async def call_until_answered(self, tool: str, key: str) -> None:
        """Calls a tool with a key, until there is an answer."""
        keyed = self.bridge.client.tool(tool).with_options(idempotency_key=key)
        while True:
            operation = self._history.begin(self.name, "call", self.session, key, tool=tool)

            async def make() -> dict[str, Any]:
                return {"effect": await keyed(key)}

            if await self.note(operation, make):
                self._kept_keys.append((tool, key))
                return

    async def call_without_key(self) -> None:
        """Calls a tool once."""
        key = f"once-{next(self._values)}"
        operation = self._history.begin(self.name, "call once", self.session, key)

        async def make() -> dict[str, Any]:
            return {"effect": await self.bridge.call_tool("append", key)}

        await self.note(operation, make)

    # --------------------------------------------------------------------------------------------------- agents

    async def run_agent(self) -> None:
        """Has an agent run, and reads the run, now and then a second time."""
        if not self._agents or self._rng.random() < 0.2:
            operation = self._history.begin(self.name, "agent", self.session)

            async def make() -> dict[str, Any]:
                self._agents.append(await self.bridge.create_react_agent("Question -> Answer"))
                return {"agent": self._agents[-1]}

            if not await self.note(operation, make):
                return
        asked = {"agent_id": self._rng.choice(self._agents), "input": {"think": self._rng.randint(1, 9)}}
        run = f"run-{next(self._values)}"
        for _ in range(self._rng.randint(1, 3)):
            await self.read_run(run, **asked)

    async def read_run(self, run: str, **asked: Any) -> None:
        """Reads a run, which begins if there is none and ``asked`` says what to do."""
        operation = self._history.begin(self.name, "run", self.session, run)
        chunks: list[tuple[int, str]] = []

        async def make() -> dict[str, Any]:
            end, why = "result", ""
            try:
                async for chunk in self.bridge.execute_agent_streaming({**asked, "run_id": run}):
                    # A comprehension would lose those before an error.
                    chunks.append((chunk["sequence"], str(chunk)))  # noqa: PERF401
            except ToolBridgeError as error:
                if error.error_type != "RunInterrupted":
                    raise
                end, why = error.error_type, error.message
            return {"end": end, "why": why}

        await self.note(operation, make)
        operation.answer["chunks"] = chunks
        if chunks:
            self.runs.append(run)

    # ------------------------------------------------------------------------------------------------- sessions

    async def come_and_go(self) -> None:
        """Creates a session, uses it, and removes it, each until there is an answer."""
        session = f"{self.name}-{next(self._values)}"
        while not await self._ask("create", session, pb.InitializeSessionRequest(session_id=session), _creation):
            pass
        if not await self.look(session) or self._rng.random() < 0.2:
            # It stays.
            return
        request = pb.CleanupSessionRequest(session_id=session, force=True)
        removal = self._ask("remove", session, request, lambda _: {})
        if self._rng.random() < 0.5:
            gone, _ = await asyncio.gather(removal, self._ask("look", session, *_look(session), client="beside"))
        else:
            gone = await removal
        if gone:
            await self.look(session)

    async def look(self, session: str) -> bool:
        """Asks for a session; returns whether there was an answer."""
        return await self._ask("look", session, *_look(session))

    async def _ask(
        self, kind: str, session: str, request: Any, read: Callable[[Any], dict[str, Any]], client: str = ""
    ) -> bool:
        method = {"create": "InitializeSession", "remove": "CleanupSession", "look": "GetSessionInfo"}[kind]
        name = f"{self.name} {client}".strip()
        operation = self._history.begin(name, kind, session)

        async def make() -> dict[str, Any]:
            return read(await self.bridge.client.call(method, request))

        return await self.note(operation, make)


def _creation(answer: pb.InitializeSessionResponse) -> dict[str, Any]:
    return {"resumed": answer.resumed}


def _look(session: str) -> tuple[Any, Callable[[Any], dict[str, Any]]]:
    return pb.GetSessionInfoRequest(session_id=session), lambda info: {"created_at": info.created_at.ToNanoseconds()}


# -------------------------------------------------------------------------------------------------------- watches

# Operation, name, value, revision.
Seen = tuple[str, str, Any, int]


@dataclass
class Watcher:
    """One watch, which resumes by itself.

    Attributes:
        session: The session.
        names: The variables; empty: all.
        after: The revision after which it began; None: with the current values.
        epochs: The epochs that it was told.
        seen: What it was told.
        is_stopped: Whether it was ended before it could see all.
    """

    session: str
    names: Sequence[str] = ()
    after: int | None = None
    epochs: set[str] = field(default_factory=set)
    seen: list[Seen] = field(default_factory=list)
    is_stopped: bool = False

    async def run(self, bridge: ToolBridge) -> None:
        """Watches until it is cancelled."""
        while True:
            changes = bridge.session_context.watch_variables(
                *self.names, include_initial=self.after is None, from_revision=self.after or 0
            )
            try:
                async for change in changes:
                    self.take(change)
            except ToolCommunicationError:
                # Only a watch that has begun resumes.
                if self.seen:
                    raise

    def take(self, change: VariableChange) -> None:
        """Notes a change."""
        self.epochs.add(change.epoch)
        self.seen.append((change.operation, change.name, change.value, change.revision))
