"""The tokens that the models of one agent run take, counted against the quota of its principal."""

from grpc_tool_bridge.core.guards import Quota
from grpc_tool_bridge.proto.dspex_bridge_pb2 import AgentExecutionChunk, ExecutionMetrics

# What a runtime says so far of a run, in the metrics of its steps and of its result.
_COUNTED = ("prompt_tokens", "completion_tokens")
# More than any run can take; what is beyond is no number of tokens.
_MOST = 10**12


class RunTokens:
    """Counts the tokens of one run.

    Args:
        quota: Of its principal; None: it has none, and nothing is counted.

    Raises:
        ResourceExhaustedError: All tokens of the quota are used; it is the error of a run that begins.
    """

    def __init__(self, quota: Quota | None) -> None:
        self._quota = quota
        self._counted = 0
        if quota is not None:
            quota.check_tokens()

    def note(self, data: bytes) -> None:
        """Counts what a chunk of the run tells.

        Args:
            data: The serialized chunk.

        Raises:
            ResourceExhaustedError: All tokens of the quota are used, and the run would go on.
        """
        if self._quota is None:
            return
        chunk = AgentExecutionChunk.FromString(data)
        kind = chunk.WhichOneof("content")
        if kind not in ("observation", "result"):
            return
        total = _tokens_in(chunk.observation.metrics if kind == "observation" else chunk.result.metrics)
        if total > self._counted:
            self._quota.use_tokens(total - self._counted)
            self._counted = total
        if kind != "result":
            self._quota.check_tokens()


def _tokens_in(metrics: ExecutionMetrics) -> int:
    found = (metrics.custom_metrics.get(name, 0.0) for name in _COUNTED)
    # NaN is not between them.
    return sum(int(tokens) for tokens in found if 0 <= tokens <= _MOST)
