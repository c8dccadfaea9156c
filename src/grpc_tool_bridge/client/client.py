"""Calls of one session, one to one with the methods of the service."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from grpc_tool_bridge.aio.backoff import back_off
from grpc_tool_bridge.aio.portal import AsyncApi
from grpc_tool_bridge.aio.timeouts import ExpiredError, was_cancelled, within
from grpc_tool_bridge.client.agents import cancel_run, create_agent, execute_agent
from grpc_tool_bridge.client.arguments import pack_arguments, put_arguments
from grpc_tool_bridge.client.proxy import (
    CLIENT_SLACK,
    AsyncGRPCProxyTool,
    CallOptions,
    bridge_closed,
    make_proxy,
    no_answer,
    value_of,
)
from grpc_tool_bridge.client.tools import SessionTools, ToolChange, follow_tools, read_tools
from grpc_tool_bridge.client.variables import SessionContext
from grpc_tool_bridge.config import (
    BATCH_TIMEOUT,
    CALL_TIMEOUT,
    DEFAULT_ADDRESS,
)
from grpc_tool_bridge.config.argument_checks import (
    A_NAME,
    check_count,
    check_flag,
    check_named,
    check_names,
    check_positional,
    check_seconds,
    check_text,
    check_texts_by_name,
    check_timeout,
    instance_of,
    list_of,
    message_of,
    refuse_plain,
    refuse_type,
)
from grpc_tool_bridge.errors import (
    MessageTooLargeError,
    ProtocolError,
    SessionExpiredError,
    SessionNotFoundError,
    ToolBridgeError,
    ToolCommunicationError,
    ToolExecutionError,
    ValidationError,
    error_from_info,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    BatchToolCallRequest,
    BatchToolCallResponse,
    CleanupSessionRequest,
    GetMetricsRequest,
    GetSessionInfoRequest,
    HealthCheckRequest,
    HealthCheckResponse,
    HeartbeatRequest,
    InitializeSessionRequest,
    InitializeSessionResponse,
    MetricValue,
    SessionConfig,
    SessionInfo,
    ToolSpec,
    ToolUpdate,
)
from grpc_tool_bridge.rpc.session_defaults import read_facts
from grpc_tool_bridge.transport.addresses import check_address
from grpc_tool_bridge.transport.channel import Connection
from grpc_tool_bridge.transport.status import RpcError, from_rpc_error
from grpc_tool_bridge.transport.stubs import RpcTransport, Transport
from grpc_tool_bridge.values.offload import outside_loop, read_value

# A third of the hub's default idle time; the hub tells its own where it has another.
HEARTBEAT_SECONDS = 100.0
HEARTBEAT_LEAST_SECONDS = 0.01

_A_CALL = "{'tool_id': 'add', 'args': [1, 2]}"
_A_TARGET = "'host:port', a grpc.aio.Channel or a transport"

_log = logging.getLogger(__name__)


class ToolBridgeClient(AsyncApi):
    """Calls of one session, one to one with the methods of the service.

    Args:
        target: ``host:port``, a ``grpc.aio.Channel`` that stays its owner's, or a transport.
        options: How tools are called.
        proxy: As of ``GRPCToolBridge``; with a ``host:port`` only.

    Raises:
        ValidationError: An argument cannot be; the text names it.

    Attributes:
        session_id: The session that calls belong to; set by ``initialize_session``, or by hand.
        session_context: The session's variables.
        tools: The session's tools by name, as ``initialize_session``, ``refresh_tools`` or ``follow_tools`` saw them
            last. It is always the same dict, and a tool that is there all the time always the same proxy.
        tools_revision: Of the last change that ``refresh_tools`` saw.
        on_session_renewed: Called when a hub that began anew has created the session again, without what it held.
        on_tools_changed: Called with "added", "changed" or "removed" and the tool's name for each change of ``tools``
            but those of ``initialize_session``, once they are made.
    """

    def __init__(
        self, target: Any = DEFAULT_ADDRESS, *, options: CallOptions | None = None, proxy: str | None = None
    ) -> None:
        if isinstance(target, str):
            target = RpcTransport(Connection(address=target, proxy=proxy))
        elif proxy is not None:
            raise ValidationError("proxy: a channel or a transport that is given has its own way; leave the proxy out")
        elif not hasattr(target, "where"):
            if isinstance(target, bytes | bytearray):
                # As where an address is given that is no text: it may hold a token.
                check_address(bytes(target))
            refuse_plain("target", target, _A_TARGET)
            if not hasattr(target, "unary_unary"):
                refuse_type("target", target, _A_TARGET)
            target = RpcTransport(target)
        if options is not None:
            instance_of("options", options, CallOptions, "CallOptions, or None")
        self._transport: Transport = target
        self._given_options = self._options = options or CallOptions(where=self._transport.where)
        self.session_id: str | None = None
        self.session_context = SessionContext(self)
        self._session_tools = SessionTools(self.session_context)
        self.tools: dict[str, AsyncGRPCProxyTool] = self._session_tools.proxies
        self.tools_revision = 0
        self.created_session = False
        self.heartbeat_interval = HEARTBEAT_SECONDS
        self._opening = InitializeSessionRequest()
        # When the session began, by which one that began anew is told from the one that was lost; None: unknown.
        self._began_at: int | None = None
        self._transport.on_relinked = self._rejoin
        self.on_session_renewed: Callable[[], None] | None = None
        self.on_tools_changed: Callable[[str, str], None] | None = None

    @property
    def on_moved(self) -> Callable[[], None] | None:
        """Called when the client is used in another event loop than before, since that one has ended."""
        return self._transport.on_moved

    @on_moved.setter
    def on_moved(self, function: Callable[[], None] | None) -> None:
        self._transport.on_moved = function

    @property
    def stub(self) -> Any:
        """An object with the methods of the generated stub; made when first used, and may be replaced."""
        return self._transport.stub

    @stub.setter
    def stub(self, stub: Any) -> None:
        self._transport.stub = stub

    @property
    def is_linked(self) -> bool:
        """Whether the hub sees by a link that this client is there, so that its session is not idle."""
        return self._transport.is_linked

    @property
    def resumes(self) -> bool:
        """Whether what a lost connection broke off is taken up again over the next."""
        return self._transport.resumes

    @property
    def where(self) -> str:
        """The hub's address, for texts."""
        return self._transport.where

    @property
    def max_message_bytes(self) -> int:
        """Payload of one request."""
        return self._options.max_message_bytes

    @property
    def max_message_nodes(self) -> int:
        """Elements, keys, texts and numbers of one value."""
        return self._options.max_message_nodes

    def require_session(self) -> str:
        """Returns the session's id.

        Raises:
            ProtocolError: There is no session yet.
        """
        if not self.session_id:
            raise ProtocolError("there is no session yet; await initialize() first, or set session_id")
        return self.session_id

    async def call(self, method: str, request: Any, *, timeout: float = CALL_TIMEOUT, stub: Any = None) -> Any:
        """Calls a unary method that is no tool call; ``timeout`` in seconds, ``stub`` in place of this client's own.

        Raises:
            ToolBridgeError: The hub answered with an error: the class of the tree that has its type.
            ToolCommunicationError: Nobody answered.
        """
        return (await self._call(method, request, timeout, stub))[0]

    async def _call(self, method: str, request: Any, timeout: float, stub: Any = None) -> tuple[Any, Any]:
        size = request.ByteSize()
        if size > self._options.max_message_bytes:
            raise MessageTooLargeError.of(f"the request of {method}", size, self._options.max_message_bytes)
        try:
            answer = getattr(stub or self.stub, method)(request)
            response = await within(answer, timeout + CLIENT_SLACK)
        except RpcError as error:
            raise from_rpc_error(error, method=method, where=self.where) from error
        except ExpiredError:
            raise no_answer(method, timeout) from None
        except asyncio.CancelledError:
            if was_cancelled():
                raise
            raise bridge_closed(method) from None
        fields = response.DESCRIPTOR.fields_by_name
        if "error" in fields and response.HasField("error"):
            raise error_from_info(response.error)
        if "success" in fields and not response.success:
            raise ProtocolError(f"the answer to {method} reports a failure, but gives no error")
        return response, answer

    # ------------------------------------------------------------------------------------------------ sessions

    async def initialize_session(
        self,
        session_id: str | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        config: SessionConfig | None = None,
        connect_timeout: float = 5.0,
    ) -> bool:
        """Creates the session, or attaches to it where its id is known.

        Args:
            session_id: 1 to 256 printable characters; None: one is made up.
            metadata: Kept with a new session.
            config: Limits of a new session, and whether it keeps the results of idempotent tools (``enable_caching``).
            connect_timeout: Seconds to go on trying to reach the hub.

        Returns:
            True.

        Raises:
            ToolCommunicationError: The hub cannot be reached.
            ValidationError: The id or the config cannot be used.
            ResourceExhaustedError: The hub has too many sessions.
        """
        check_session(session_id, metadata, config, connect_timeout)
        request = InitializeSessionRequest(
            # Made up here, so that a further try after a lost answer finds the same session.
            session_id=session_id or uuid.uuid4().hex,
            metadata=metadata or {},
            config=None if config is None else message_of("config", config, SessionConfig),
        )
        response, answer = await self._reach("InitializeSession", request, connect_timeout)
        opened = response.session_id or request.session_id
        # It was there before, but by this client's doing: by an earlier call, or a try whose answer was lost.
        known = not session_id or (self.created_session and opened == self.session_id)
        request.session_id = opened
        self._opening = request
        self.session_id, self.created_session = opened, known or not response.resumed
        await self._take_facts(answer)
        await self._take_tools(response)
        self._began_at = None
        if self.is_linked:
            with contextlib.suppress(ToolBridgeError):
                self._began_at = await self._session_began_at()
        return True

    async def _reach(self, method: str, request: Any, connect_timeout: float) -> tuple[InitializeSessionResponse, Any]:
        end = asyncio.get_running_loop().time() + connect_timeout
        for wait in back_off():
            try:
                await self.connect(max(0.0, end - asyncio.get_running_loop().time()))
                return await self._call(method, request, CALL_TIMEOUT)
            except ToolCommunicationError as error:
                left = end - asyncio.get_running_loop().time()
                if error.code_name == "UNAVAILABLE" and left <= 0:
                    error.add_note(f"Does a hub run at {self.where}? grpc-tool-bridge serve --tools … starts one.")
                if error.code_name != "UNAVAILABLE" or left <= 0:
                    raise
                _log.debug("%s; trying again in %.1f s", error, wait)
                await asyncio.sleep(min(wait, left))
        raise AssertionError("back_off() never ends")

    async def connect(self, seconds: float = 5.0) -> None:
        """Reaches the hub, where the transport does that once for all calls.

        Args:
            seconds: How long to go on trying; 0: once.

        Raises:
            ToolCommunicationError: The hub cannot be reached.
            AccessError: It does not let this client in.
        """
        check_seconds("seconds", seconds, may_be_endless=True)
        try:
            await self._transport.connect(seconds)
        except RpcError as error:
            raise from_rpc_error(error, method="Link", where=self.where) from error

    async def _rejoin(self, stub: Any) -> None:
        """Takes the session up again over another link, or begins it anew at a hub that knows nothing of it."""
        if not self.session_id or self.session_id != self._opening.session_id:
            return
        lost = self._began_at
        try:
            found = await self._session_began_at(stub)
        except SessionExpiredError:
            _log.warning("session %s ended at the hub while the link was lost", self.session_id)
            return
        except SessionNotFoundError:
            found = None  # the hub began anew, and the session with it
        response, answer = await self._call("InitializeSession", self._opening, CALL_TIMEOUT, stub)
        await self._take_facts(answer)
        self._tell(await self._take_tools(response, stub))
        self._began_at = found or await self._session_began_at(stub)
        # Another client of the session, or a try whose answer was lost, may have begun it anew before.
        if not response.resumed or (lost is not None and found != lost):
            _log.warning(
                "the hub at %s began anew: session %s was created again, and what it held is lost",
                self.where,
                self.session_id,
            )
            if self.on_session_renewed is not None:
                self.on_session_renewed()

    async def _session_began_at(self, stub: Any = None) -> int:
        request = GetSessionInfoRequest(session_id=self.session_id or "")
        info, _ = await self._call("GetSessionInfo", request, CALL_TIMEOUT, stub)
        return int(info.created_at.ToNanoseconds())

    async def _take_facts(self, answer: Any) -> None:
        """Goes by what the hub says of the session, where this client sets nothing itself.

        The hub says it in the trailing metadata, where the stub gives a call that has any.
        """
        trailing = getattr(answer, "trailing_metadata", None)
        facts = read_facts(await trailing() if trailing is not None else None)
        if facts.get("idle-timeout"):
            self.heartbeat_interval = max(facts["idle-timeout"] / 3, HEARTBEAT_LEAST_SECONDS)
        given = self._given_options
        self._options = replace(
            given,
            call_timeout=given.call_timeout or facts.get("call-timeout"),
            stream_timeout=given.stream_timeout or facts.get("stream-timeout"),
        )

    async def cleanup_session(self, *, force: bool = False) -> None:
        """Ends the session; with ``force`` its calls in flight are cancelled, without it they finish first."""
        check_flag("force", force)
        await self.call("CleanupSession", CleanupSessionRequest(session_id=self.require_session(), force=force))

    async def session_info(self) -> SessionInfo:
        """Describes the session."""
        info: SessionInfo = await self.call("GetSessionInfo", GetSessionInfoRequest(session_id=self.require_session()))
        return info

    async def heartbeat(self) -> bool:
        """Keeps the session alive; returns whether it is."""
        request = HeartbeatRequest(session_id=self.require_session())
        request.client_time.GetCurrentTime()
        return bool((await self.call("Heartbeat", request)).session_valid)

    async def _take_tools(self, response: InitializeSessionResponse, stub: Any = None) -> list[ToolChange]:
        """Takes the tools of a session that was opened; where not all of them came with the answer, it asks for all."""
        tools = (await read_tools(self, stub))[0] if response.more_tools else response.tools
        return self._session_tools.take(tools, self._options)

    async def refresh_tools(self) -> dict[str, AsyncGRPCProxyTool]:
        """Reads the session's tools anew, all of them as they are at one revision.

        Raises:
            ConflictError: They changed each time before all of them were read.
        """
        session_id = self.require_session()
        tools, revision = await read_tools(self)
        if session_id == self.session_id:
            self.tools_revision = revision
            self._tell(self._session_tools.take(tools, self._options))
        return self.tools

    async def follow_tools(self) -> None:
        """Keeps ``tools`` as the hub has them, for as long as this client has its session; runs until then.

        Where the hub does not offer that, or too many clients of the session ask for it, it returns at once, and the
        tools stay as they were read last.
        """
        await follow_tools(self)

    def take_tool_update(self, update: ToolUpdate) -> None:
        """Takes a change that a watch of the session's tools told; no "reset"."""
        if update.operation == "removed":
            self._tell(self._session_tools.remove(update.tool.name))
        else:
            self._tell(self._session_tools.put(update.tool))

    def _tell(self, changes: Iterable[ToolChange]) -> None:
        for operation, name in changes:
            if self.on_tools_changed is not None:
                try:
                    self.on_tools_changed(operation, name)
                except Exception:  # noqa: BLE001 - whoever is told; the tools are right, and are followed further
                    _log.exception("on_tools_changed failed for %s %s", name, operation)

    # ----------------------------------------------------------------------------------------------- execution

    def tool(self, tool_id: str) -> AsyncGRPCProxyTool:
        """Returns the proxy of a tool by name or id; of one that is not known here, one that the hub will judge.

        Raises:
            ValidationError: It is no name and no id.
        """
        try:
            known = self.tools.get(tool_id)
        except TypeError:
            # What cannot be a key is no name either.
            known = None
        if known is not None:
            return known
        if isinstance(tool_id, AsyncGRPCProxyTool):
            refuse_type("tool_id", tool_id, f"{A_NAME}; a tool itself is called: await tool(…)")
        check_text("tool_id", tool_id, A_NAME)
        by_id = next((proxy for proxy in self.tools.values() if proxy.spec.tool_id == tool_id), None)
        return by_id or make_proxy(ToolSpec(tool_id=tool_id, name=tool_id), self.session_context, self._options)

    async def execute_tool(self, tool_id: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls a tool by id or name; raises as a proxy does."""
        return await self.tool(tool_id)(*args, **kwargs)

    def stream_tool(self, tool_id: str, /, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """Iterates over what a tool yields; raises as a proxy does."""
        return self.tool(tool_id).stream(*args, **kwargs)

    async def execute_batch(
        self,
        items: Sequence[Mapping[str, Any]],
        *,
        parallel: bool = True,
        stop_on_error: bool = False,
        max_parallel: int = 0,
        timeout: float = BATCH_TIMEOUT,
    ) -> list[Any]:
        """Makes many calls in one request.

        Args:
            items: Of each call a dict of its "tool_id", and its "args" and "kwargs" where it has any.
            parallel: Run the calls at once; otherwise one after another.
            stop_on_error: Start no further call after the first that failed; those answer Cancelled.
            max_parallel: Calls at once; 0: as many as the session allows.
            timeout: Seconds for the whole batch.

        Returns:
            The results in the order of the items; of an item that failed, a ToolExecutionError in its place.

        Raises:
            ValidationError: An item is no call, or there are too many.
            ToolCommunicationError, ProtocolError, SerializationError: As of a call.
        """
        items = list_of("the batch", items, f"a list of calls, such as [{_A_CALL}]")
        for name, flag in (("parallel", parallel), ("stop_on_error", stop_on_error)):
            check_flag(name, flag)
        check_count("max_parallel", max_parallel)
        check_timeout("timeout", timeout)
        request = BatchToolCallRequest(session_id=self.require_session(), batch_id=uuid.uuid4().hex)
        request.config.parallel = parallel
        request.config.stop_on_error = stop_on_error
        request.config.max_parallel = max_parallel
        tools = []
        for index, item in enumerate(items):
            tool_id, args, kwargs = _batch_item(index, item)
            tool = self.tool(tool_id)
            spec = tool.spec
            tools.append(tool)
            message = request.items.add(index=index, tool_id=spec.tool_id or spec.name)
            pack = partial(pack_arguments, args, kwargs, partial(_name_item, index, spec.name), spec)
            put_arguments(message, await outside_loop(pack))
        if not tools:
            return []
        response: BatchToolCallResponse = await self.call("BatchExecuteTools", request, timeout=timeout)
        if len(response.results) != len(tools):
            raise ProtocolError(f"a batch of {len(tools)} calls was answered with {len(response.results)} results")
        most = self.max_message_nodes
        return [await _batch_result(result, tool, most) for result, tool in zip(response.results, tools, strict=True)]

    # -------------------------------------------------------------------------------------------------- agents

    async def create_react_agent(
        self,
        signature: str,
        tool_names: Iterable[str] | None = None,
        max_iters: int = 5,
        llm_config: Mapping[str, Any] | None = None,
        *,
        return_intermediate_steps: bool = False,
        verbose: bool = False,
    ) -> str:
        """Makes an agent; it lives as long as the session.

        Args:
            signature: Inputs and outputs, such as ``"Question -> Answer"`` or ``"text, limit: int -> summary"``.
            tool_names: Tools that it may call; None: all that the session sees.
            max_iters: Steps that it may take.
            llm_config: Settings of its model, such as "model" and "temperature"; never a key.
            return_intermediate_steps: Repeat the steps in the result.
            verbose: Have the agent runtime log each step, at level INFO.

        Returns:
            Its id.

        Raises:
            ValidationError: The signature or a setting cannot be used.
            NotFoundError: The session sees no tool of a name.
            UnavailableError: No agent runtime is connected to the hub.
            ToolCommunicationError: Nobody answered.
        """
        return await create_agent(
            self,
            signature,
            tool_names,
            max_iters,
            llm_config,
            return_intermediate_steps=return_intermediate_steps,
            verbose=verbose,
        )

    def execute_agent_streaming(self, request: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Runs an agent, and iterates over what it does.

        When the connection is lost, it goes on over the next one: nothing is missed and nothing comes twice. Closing
        the iterator cancels the run.

        Args:
            request: "agent_id" and "input", a dict of the signature's inputs; "stream" (False: only the result),
                "timeout" in seconds, "context", a dict that every tool of the run finds in the metadata of its
                ``ToolContext``, as texts, "run_id" to choose one or to attach to one, and "from_sequence", the
                first chunk wanted then.

        Yields:
            Dicts with "type", "sequence" and "run_id"; of a "thought" its "text" and "step"; of an "action"
            "tool_name", "tool_input" and "step"; of an "observation" the "output" as the model sees it, the tool's
            "error" or None, and "step"; of the "result", which is the last, "final_answer", "total_steps", "steps" and
            the "stop_reason": "finished", or the limit that was reached: "max_iters", "time" or "tokens".

        Raises:
            ToolBridgeError: The run failed: the class of the tree that has the error's type.
            NotFoundError: There is no such agent or run.
            ToolCommunicationError: The connection was lost, and not there again within 30 s.
        """
        return execute_agent(self, request)

    async def cancel_agent_run(self, run_id: str) -> None:
        """Cancels a run, with its model's call and its tool; raises NotFoundError where there is none."""
        await cancel_run(self, run_id)

    # --------------------------------------------------------------------------------------------------- the hub

    async def health_check(self) -> bool:
        """Asks whether the hub serves."""
        response: HealthCheckResponse = await self.call("HealthCheck", HealthCheckRequest())
        return response.status == HealthCheckResponse.SERVING

    async def get_metrics(self, *names: str) -> dict[str, MetricValue]:
        """Reads the hub's metrics; a name that ends in "*" stands for all that begin so, no name for all."""
        check_names("get_metrics", names, "hub.*")
        response = await self.call("GetMetrics", GetMetricsRequest(metric_names=names))
        return dict(response.metrics)

    async def close(self) -> None:
        """Closes the connection, where it was opened here."""
        await self._transport.close()


def _name_item(index: int, name: str) -> str:
    return f"item {index} of the batch ({name})"


def check_session(session_id: object, metadata: object, config: object, connect_timeout: object) -> None:
    """Refuses what a session cannot be opened with."""
    if session_id is not None:
        check_text("session_id", session_id, "a text of 1 to 256 characters, or None for a new one")
    if metadata is not None:
        check_texts_by_name("metadata", metadata)
    if config is not None:
        message_of("config", config, SessionConfig)
    check_seconds("connect_timeout", connect_timeout, may_be_endless=True)


def _batch_item(index: int, item: object) -> tuple[str, Sequence[Any], Mapping[str, Any]]:
    where = f"item {index} of the batch"
    if not isinstance(item, Mapping):
        refuse_type(where, item, f"a dict such as {_A_CALL}")
    if not isinstance(item.get("tool_id"), str) or not item["tool_id"]:
        raise ValidationError(f"{where} is no call: it needs a 'tool_id', got {item!r:.80}")
    unknown = sorted(map(str, item.keys() - {"tool_id", "args", "kwargs"}))
    if unknown:
        raise ValidationError(f"{where} has {unknown}; it takes tool_id, args and kwargs")
    args, kwargs = item.get("args"), item.get("kwargs")
    if args is not None:
        check_positional(f"args of {where}", args)
    if kwargs is not None:
        check_named(f"kwargs of {where}", kwargs)
    return item["tool_id"], () if args is None else args, kwargs or {}


async def _batch_result(result: Any, tool: AsyncGRPCProxyTool, max_nodes: int) -> Any:
    try:
        return await read_value(value_of(result, tool.name), max_nodes=max_nodes)
    except ToolExecutionError as error:
        tool.explain(error)
        return error
