"""The connected agent runtimes.

A runtime is a worker whose link says that it runs agents. It keeps no state: the session holds the definition of an
agent, which the hub sends to the runtime before each run.
"""

from collections.abc import AsyncGenerator, Callable

from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.workers.pool import WorkerPool
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.errors import (
    NotFoundError,
    ProtocolError,
    ResourceExhaustedError,
    UnavailableError,
    error_from_info,
)
from grpc_tool_bridge.link.calls import CREATE_AGENT, AgentCall, WorkerCall, WorkerLostError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.buffers import joined
from grpc_tool_bridge.rpc.nodes import read_message

# A runtime may forget an agent, or be lost, between getting its definition and running it. This limits the attempts.
MAX_TELLINGS = 3

_NO_RUNTIME = "no agent runtime is connected; start one with grpc-tool-bridge worker --agents, or serve --agents"


class AgentRuntimes:
    """The workers that run agents.

    Args:
        workers: All connected workers.

    Attributes:
        on_model: Called with a run and the report of each request to its model, if set.
    """

    def __init__(self, workers: WorkerPool) -> None:
        self._workers = workers
        self.on_model: Callable[[HubCall, pb.LogRecord], None] | None = None

    @property
    def available(self) -> bool:
        """Whether one is connected."""
        return bool(self._connected())

    def _connected(self) -> list[Worker]:
        return [worker for worker in self._workers.workers() if worker.runs_agents and not worker.gone]

    async def tell(self, call: HubCall, definition: pb.CreateReActAgentRequest) -> pb.CreateReActAgentResponse:
        """Sends the definition of an agent to a runtime, which checks it.

        Raises:
            UnavailableError: No runtime is connected, or it was lost.
            ResourceExhaustedError: All runtimes are busy.
            ToolBridgeError: The runtime rejects the agent.
        """
        try:
            return await self._tell(call, self._choose(), definition)
        except WorkerLostError as lost:
            raise UnavailableError(f"the agent runtime was lost: {lost.message}") from None

    async def run(
        self, call: HubCall, definition: pb.CreateReActAgentRequest, request: pb.ExecuteAgentRequest
    ) -> AsyncGenerator[bytes, None]:
        """Executes a run on a runtime; yields its serialized chunks.

        Args:
            call: The run as a call of the hub.
            definition: The agent's definition, which is sent to the runtime first.
            request: The request; its ``agent_id`` is set to the id at the runtime.

        Raises:
            UnavailableError: No runtime is connected, or it was lost.
            ResourceExhaustedError: All runtimes are busy.
            ToolBridgeError: The runtime refused the run.
        """
        for is_last in (*[False] * (MAX_TELLINGS - 1), True):
            worker = self._choose()
            try:
                request.agent_id = (await self._tell(call, worker, definition)).agent_id
            except WorkerLostError as lost:
                if is_last:
                    raise UnavailableError(f"the agent runtime was lost: {lost.message}") from None
                # Nothing has begun, so another runtime can run it.
                continue
            remote = AgentCall(call, self.on_model, self._workers.dispatcher.caller_of(call, worker))
            call.worker = worker
            observer = self._workers.dispatcher.observer
            if observer is not None:
                observer.moved(call)
            try:
                worker.link.send(remote, request.SerializeToString())
                while (data := await remote.read()) is not None:
                    yield joined(data)
                    worker.link.grant(remote, len(data))
            except NotFoundError as error:
                if error.error_type != "AgentNotFound" or remote.has_arrived or is_last:
                    raise
                call.worker = None
            except WorkerLostError as lost:
                raise UnavailableError(f"the agent runtime was lost in the middle of the run: {lost.message}") from None
            else:
                return
            finally:
                # Does nothing if the call has ended.
                worker.link.cancel(remote)

    async def _tell(
        self, call: HubCall, worker: Worker, definition: pb.CreateReActAgentRequest
    ) -> pb.CreateReActAgentResponse:
        """Sends the definition of an agent to a runtime, which answers with its own id for the agent."""
        remote = WorkerCall(call, streaming=False, prefix=CREATE_AGENT)
        try:
            worker.link.send(remote, definition.SerializeToString())
            data = await remote.answer()
        finally:
            worker.link.cancel(remote)
        try:
            response = read_message(pb.CreateReActAgentResponse, data, "the message")
        except Exception as failure:  # noqa: BLE001 - protobuf's DecodeError, which is the runtime's fault
            raise ProtocolError(f"the agent runtime's answer cannot be read: {str(failure)[:200]}") from None
        if response.HasField("error"):
            raise error_from_info(response.error)
        if not response.agent_id:
            raise ProtocolError("the agent runtime's answer has no agent_id")
        return response

    def _choose(self) -> Worker:
        """Returns the runtime with the fewest calls."""
        connected = self._connected()
        if not connected:
            raise UnavailableError(_NO_RUNTIME)
        answering = [worker for worker in connected if not worker.suspect]
        if not answering:
            raise UnavailableError("the agent runtime does not answer; call again when it does")
        free = [worker for worker in answering if worker.active < worker.capacity]
        if not free:
            capacities = ", ".join(str(worker.capacity) for worker in answering[:8])
            raise ResourceExhaustedError(
                f"the agent runtimes are busy: each has as many calls as it takes ({capacities}); call again later, or "
                "start another",
                details={"retry_after": "1"},
            )
        return min(free, key=lambda worker: worker.active)
