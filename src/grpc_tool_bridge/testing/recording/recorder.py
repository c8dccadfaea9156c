"""The recorder of a hub: notes each event, and leaves the writing to the journal's thread."""

import asyncio
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf.message import Message

from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.infos import error_of
from grpc_tool_bridge.core.interfaces import CallObserver
from grpc_tool_bridge.errors import ToolBridgeError, error_info
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.buffers import Payload, joined
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.rpc.methods import METHODS, ORIGIN_KEY
from grpc_tool_bridge.testing.recording import entries
from grpc_tool_bridge.testing.recording.entries import CallLog, Entry, SessionLog
from grpc_tool_bridge.testing.recording.journal import Journal
from grpc_tool_bridge.testing.recording.lines import MAX_FILE_BYTES
from grpc_tool_bridge.testing.recording.recorded_hub import RecordedHub
from grpc_tool_bridge.testing.recording.scribe import Scribe
from grpc_tool_bridge.values.redaction import Redactor, secrets_in

# Calls below a run or a call from outside that are recorded.
MAX_NESTED = 10_000
# New sessions after which expired ones are looked for.
_SESSIONS_BETWEEN_LOOKS = 1_000


class Recorder:
    """Records what clients and a hub say to one another: ``BridgeServer(recorder=Recorder("run.jsonl"))``.

    Args:
        path: The file. A recording that is there is replaced; any other file is not.
        redact: Names whose values are secret, besides those such as ``password``, ``token`` and ``api_key``: of
            arguments, keys, variables and metadata. ``*`` and ``?`` match as in file names.
        redact_patterns: Regular expressions; what they match in any text is removed.
        redact_with: Called with each text that is recorded; returns it without what is secret.
        max_bytes: Size at which the recording ends.

    Raises:
        OSError: The file cannot be written, or is there and is not a recording.
        ValueError: A pattern is not a regular expression.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        redact: Iterable[str] = (),
        redact_patterns: Iterable[str] = (),
        redact_with: Callable[[str], str] | None = None,
        max_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        self._redactor = Redactor(redact, patterns=redact_patterns, function=redact_with)
        secrets_in(os.environ, self._redactor)
        self._journal = Journal(path, max_bytes=max_bytes)
        self._scribe = Scribe(self._redactor, self._journal.store)
        self._hub: Hub | None = None
        self._sessions: dict[str, SessionLog] = {}
        self._count = 0
        self._runs: dict[tuple[str, str], CallLog] = {}
        # Calls that the hub has not begun yet, by the identity of their requests.
        self.pending: dict[int, CallLog] = {}
        self._observer = NestedCalls(self)
        self._lock = threading.Lock()

    @property
    def path(self) -> str:
        """The file."""
        return self._journal.path

    @property
    def failed(self) -> bool:
        """Whether the recording has ended early, as the log says."""
        return self._journal.failed

    def attach(self, hub: Hub) -> RecordedHub:
        """Begins to record a hub; returns what is to be served instead of it."""
        self._hub = hub
        token = hub.settings.bearer_token()
        if token is not None:
            self._redactor.remember(token)
        hub.observe(self._observer)
        hub.agents.follow_models(self.model_reported)
        return RecordedHub(hub, self)

    async def aclose(self) -> None:
        """Ends the recording, and puts it in order."""
        await asyncio.to_thread(self._journal.close)

    # --------------------------------------------------------------------------------------------------- sessions

    def opened(self, request: pb.InitializeSessionRequest, response: pb.InitializeSessionResponse) -> None:
        """Notes a session that was created, or that a client has attached to."""
        if response.session_id in self._sessions:
            return
        session = self.session(response.session_id)
        self._put(entries.OPENED, session, None, request)
        hub = self._hub
        if hub is not None:
            for tool in hub.registry.visible(hub.store.peek(session.session_id)):
                self._note_tool(session, tool.spec)

    def ended(self, request: pb.CleanupSessionRequest) -> None:
        """Notes the end of a session."""
        session = self._sessions.pop(request.session_id, None)
        if session is not None:
            self._put(entries.ENDED, session, None, request)
            self._forget_runs()

    def session(self, session_id: str) -> SessionLog:
        """Returns the log of a session."""
        session = self._sessions.get(session_id)
        if session is None:
            self._count += 1
            if self._count % _SESSIONS_BETWEEN_LOOKS == 0:
                self._forget_sessions()
            session = self._sessions[session_id] = SessionLog(self._count, session_id)
        return session

    def _forget_sessions(self) -> None:
        """Forgets the sessions that have expired."""
        if self._hub is not None:
            alive = {session.id for session in self._hub.store.sessions()}
            self._sessions = {name: log for name, log in self._sessions.items() if name in alive}
            self._forget_runs()

    def _forget_runs(self) -> None:
        self._runs = {key: log for key, log in self._runs.items() if key[0] in self._sessions}

    def worker_registered(self, worker_id: str) -> None:
        """Notes the id of a worker."""
        if worker_id:
            self._journal.run(lambda: self._scribe.add_worker(worker_id))

    # ------------------------------------------------------------------------------------------------------ calls

    def begin(self, method: str, request: Any, context: RequestContext) -> CallLog | None:
        """Notes a request; returns None if a tool made it, which is recorded with its call, or nothing is recorded."""
        if self._journal.failed or context.parent is not None or ORIGIN_KEY in getattr(context, "metadata", ()):
            return None
        session = self.session(request.session_id)
        session.calls += 1
        log = CallLog(session, (session.calls,), method)
        self._put_request(log, request)
        if method in _RUNNING:
            self.pending[id(request)] = log
        if method == "ExecuteAgent" and request.run_id:
            self._runs.setdefault((session.session_id, request.run_id), log)
        return log

    def nested(self, outer: CallLog, method: str, request: Any) -> CallLog | None:
        """Notes a call that a tool or an agent makes."""
        if outer.nested >= MAX_NESTED:
            return None
        outer.nested += 1
        log = CallLog(outer.session, (*outer.number, outer.nested), method)
        self._put_request(log, request)
        return log

    def _put_request(self, log: CallLog, request: Any) -> None:
        self._put(
            entries.CALL,
            log.session,
            log,
            request,
            names=self._names(log.session, request),
            secret=self._secret(request),
        )

    def answered(self, log: CallLog, answer: Any, *, secret: bool = False) -> None:
        """Notes the answer, as a message or as its bytes."""
        self._put(entries.ANSWER, log.session, log, answer, secret=secret)

    def chunk(self, log: CallLog, chunk: Any) -> None:
        """Notes a message of a stream."""
        self._put(entries.CHUNK, log.session, log, chunk, secret=self._secret(chunk, log.session))

    def failed_with(self, log: CallLog, error: BaseException) -> None:
        """Notes that a call ended with an exception."""
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            self.over(log, "cancelled")
            return
        known = error if isinstance(error, ToolBridgeError) else None
        info = error_info(known) if known is not None else pb.ErrorInfo(type="InternalError")
        self._put(entries.ERROR, log.session, log, info)

    def over(self, log: CallLog, how: str) -> None:
        """Notes the end of a stream: "done" or "cancelled"."""
        self._put(entries.END, log.session, log, how)

    def outcome(self, log: CallLog, outcome: Any) -> None:
        """Notes the outcome of a nested call, as ``CallObserver.ended`` gets it."""
        if isinstance(outcome, Payload | pb.ToolCallResponse | pb.ToolCallResult):
            self.answered(log, outcome)
        elif outcome is None:
            self.over(log, "done")
        else:
            self._put(entries.ERROR, log.session, log, error_of(outcome))

    def told(self, log: CallLog, event: pb.Progress | pb.LogRecord) -> None:
        """Notes progress or a log record of a tool; from any thread."""
        kind = entries.PROGRESS if isinstance(event, pb.Progress) else entries.LOG
        self._put(kind, log.session, log, event)

    def model_reported(self, call: Any, report: pb.LogRecord) -> None:
        """Notes a request to the model of a run, as its runtime reports it."""
        log = self.run(call.session.id, call.run_id)
        told = _model_request(report.message)
        if log is not None and told is not None:
            self._put(entries.MODEL, log.session, log, told)

    def run(self, session_id: str, run_id: str) -> CallLog | None:
        """Returns the log of an agent's run."""
        return self._runs.get((session_id, run_id))

    # ---------------------------------------------------------------------------------------------------- entries

    def _put(
        self,
        kind: str,
        session: SessionLog,
        call: CallLog | None,
        message: Any,
        *,
        names: Mapping[str, str] | None = None,
        secret: bool = False,
    ) -> None:
        at = self._journal.now()
        if isinstance(message, Message):
            entry = Entry(at, kind, session, call, type(message), message.SerializeToString(), names or {}, secret)
        elif isinstance(message, Payload):
            of = METHODS[call.method].response if call is not None else None
            entry = Entry(at, kind, session, call, of, joined(message), names or {}, secret)
        else:
            entry = Entry(at, kind, session, call, None, message, names or {}, secret)
        self._journal.put(entry, self._scribe.line)

    def _note_tool(self, session: SessionLog, spec: pb.ToolSpec) -> None:
        if spec.tool_id not in session.tools:
            session.tools.add(spec.tool_id)
            names = {f"arguments[{at}].default_value": one.name for at, one in enumerate(spec.arguments)}
            self._put(entries.TOOL, session, None, spec, names=names)

    def _names(self, session: SessionLog, request: Any) -> dict[str, str]:
        """Returns the parameters of the tools that a request calls by position, and notes these tools."""
        if isinstance(request, pb.BatchToolCallRequest):
            found: dict[str, str] = {}
            for at, item in enumerate(request.items):
                named = self._names(session, item)
                found.update({f"items[{at}].{place}": name for place, name in named.items()})
            return found
        spec = self._spec(session, getattr(request, "tool_id", ""))
        if spec is None:
            return {}
        self._note_tool(session, spec)
        return {f"args[{at}]": spec.arguments[at].name for at in range(min(len(request.args), len(spec.arguments)))}

    def _spec(self, session: SessionLog, tool_id: str) -> pb.ToolSpec | None:
        if not tool_id or self._hub is None:
            return None
        try:
            return self._hub.executor.spec_of(session.session_id, tool_id)
        except ToolBridgeError:
            return None

    def _secret(self, message: Any, session: SessionLog | None = None) -> bool:
        """Returns whether a message has the value of a variable that is secret at the hub."""
        name = getattr(message, "variable_name", "")
        if isinstance(message, pb.VariableUpdate) and session is not None:
            return self.is_secret(session.session_id, message.name)
        return bool(name) and self.is_secret(message.session_id, name)

    def is_secret(self, session_id: str, name: str) -> bool:
        """Returns whether a variable is secret, by its name or at the hub."""
        if self._redactor.is_secret(name):
            return True
        try:
            return self._hub is not None and self._hub.store.variables(session_id).get(name).secret
        except ToolBridgeError:
            return False


# Methods whose requests the hub hands to its observer.
_RUNNING = frozenset({"ExecuteTool", "StreamTool"})


def _model_request(text: str) -> dict[str, Any] | None:
    """Reads a runtime's report; None if it is not one, since a runtime may send anything."""
    try:
        report = json.loads(text)
        told = [{"role": str(one["role"]), "content": str(one["content"])} for one in report["messages"]]
        if "error" in report:
            return {"messages": told, "error": str(report["error"])}
        return {"messages": told, "answers": [str(answer) for answer in report["answers"]]}
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


class NestedCalls(CallObserver):
    """Records what tools and agents do within a call: progress, log records, and further calls.

    Args:
        recorder: The recorder.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._calls: dict[Any, CallLog] = {}

    def started(self, call: Any, request: Any) -> None:
        """As in ``CallObserver``."""
        recorder = self._recorder
        log = recorder.pending.pop(id(request), None)
        if log is None and call.run_id:
            log = recorder.run(call.session.id, call.run_id)
        if log is None and call.parent is not None and request is not None:
            outer = self._calls.get(call.parent)
            method = "StreamTool" if isinstance(request, pb.ToolStreamRequest) else "ExecuteTool"
            log = recorder.nested(outer, method, request) if outer is not None else None
        if log is not None:
            self._calls[call] = log

    def moved(self, call: Any) -> None:
        """As in ``CallObserver``; where a call waits is not recorded."""

    def told(self, call: Any, event: pb.Progress | pb.LogRecord) -> None:
        """As in ``CallObserver``."""
        log = self._calls.get(call)
        if log is not None:
            self._recorder.told(log, event)

    def ended(self, call: Any, *, ok: bool, duration_us: int, outcome: Any) -> None:
        """As in ``CallObserver``."""
        del ok, duration_us
        log = self._calls.pop(call, None)
        if log is not None and len(log.number) > 1:
            self._recorder.outcome(log, outcome)
