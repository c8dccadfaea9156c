"""The rules of chaos: which calls get which faults."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cached_property
from typing import Literal

from grpc_tool_bridge.errors import error_from_info
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo
from grpc_tool_bridge.runner.error_formatter import ToolRaised
from grpc_tool_bridge.runner.process import RaisedElsewhereError

# The detail of an injected error that names its rule.
RULE_KEY = "chaos"

When = Literal["before", "after"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """Refuses calls by their number: a limit of calls a minute would make the faults depend on time.

    Attributes:
        calls: Calls that are allowed.
        refused: Calls that are refused after these; then it starts again.
        retry_after: Seconds, as the error says.
    """

    calls: int
    refused: int = 1
    retry_after: float = 1.0

    def refuses(self, call: int) -> bool:
        """Returns whether it refuses a call, by its number from 1."""
        return (call - 1) % (self.calls + self.refused) >= self.calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How a call fails.

    Attributes:
        error: Type of the error; empty: the caller's link is dropped.
        message: Its text.
        details: Further facts.
        retryable: Whether the same call may succeed later; None: as the error table says.
        origin: "bridge", or "tool" for an exception of the tool.
    """

    error: str = ""
    message: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    retryable: bool | None = None
    origin: str = "bridge"

    def exception(self, rule: str) -> BaseException:
        """Returns the exception that ends the call; ``rule`` is the name of its rule."""
        details = {**self.details, "origin": self.origin, RULE_KEY: rule}
        message = self.message or f"the chaos rule {rule!r} makes this call fail"
        info = ErrorInfo(type=self.error, message=message, details=details, retryable=bool(self.retryable))
        return ToolRaised(RaisedElsewhereError(info)) if self.origin == "tool" else error_from_info(info)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Which calls get which faults.

    Attributes:
        name: Its name, for the log, the metrics and the draws.
        tool: Pattern of the tool's name, as for file names: ``*``, ``?`` and ``[…]``.
        session: Pattern of the session's name, as from ``session_name``.
        metadata: Patterns of values in the session's metadata, by key; a missing key does not match.
        probability: Probability of the fault in each call that matches.
        first_call, last_call: Which calls of the tool in the session, from 1; None: to the last.
        latency, jitter: Seconds that the call is delayed, and how much more or less.
        failure: How it fails; None: it does not.
        when: Whether it fails before or after the tool has run.
        rate_limit: Which calls are refused as too many.
        chunk_latency, chunk_jitter: Seconds that each chunk of a stream is delayed, and how much more or less.
        truncate_after: Chunks after which a stream ends with ``failure``; None: it is not truncated.
    """

    name: str
    tool: str = "*"
    session: str = "*"
    metadata: Mapping[str, str] = field(default_factory=dict)
    probability: float = 1.0
    first_call: int = 1
    last_call: int | None = None
    latency: float = 0.0
    jitter: float = 0.0
    failure: Failure | None = None
    when: When = "before"
    rate_limit: RateLimit | None = None
    chunk_latency: float = 0.0
    chunk_jitter: float = 0.0
    truncate_after: int | None = None

    def matches_tool(self, tool: str) -> bool:
        """Returns whether calls of a tool can match."""
        return self._tool.fullmatch(tool) is not None

    def matches(self, session: str, metadata: Mapping[str, str], call: int) -> bool:
        """Returns whether a call of such a tool matches, by the name and the metadata of its session and its number."""
        return (
            self.first_call <= call <= (call if self.last_call is None else self.last_call)
            and self._session.fullmatch(session) is not None
            and all(
                key in metadata and pattern.fullmatch(metadata[key]) is not None
                for key, pattern in self._metadata.items()
            )
            and (self.rate_limit is None or self.rate_limit.refuses(call))
        )

    @cached_property
    def _tool(self) -> re.Pattern[str]:
        return re.compile(translate(self.tool))

    @cached_property
    def _session(self) -> re.Pattern[str]:
        return re.compile(translate(self.session))

    @cached_property
    def _metadata(self) -> Mapping[str, re.Pattern[str]]:
        return {key: re.compile(translate(pattern)) for key, pattern in self.metadata.items()}
