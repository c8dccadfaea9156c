"""The backends around the backends of tools, for what only some hubs or tools need.

A tool that needs none has its plain backend, so that its calls pay nothing.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple
from weakref import WeakSet

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.approving import ApprovalBackend
from grpc_tool_bridge.core.breakers import Breaker, BreakerBackend
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.chaos.backend import ChaosBackend
from grpc_tool_bridge.core.chaos.injections import Chaos
from grpc_tool_bridge.core.guards import Approver
from grpc_tool_bridge.core.interfaces import Backend
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.tools.breaker_options import breaker_of

# Tools whose breakers are reported.
MAX_REPORTED = 1_000

_BY_URGENCY = ("closed", "half-open", "open")


class HeldBack(NamedTuple):
    """What the breakers of the tools with one name report.

    Attributes:
        state: Their state; of several, the most urgent one.
        until: When the next call may try the tool, as ISO 8601; empty if the state is "closed".
        refused: Calls that they have refused.
    """

    state: str
    until: str
    refused: int


class BackendWrappers:
    """Wraps the backends of tools as they are registered.

    Args:
        local: Runs the tools of this process.
        settings: The hub's settings.
        chaos: The faults to inject; None: none.
        moved: Told when a call begins to wait for approval, and when it stops.

    Attributes:
        approver: Has calls approved; None: those that need approval are refused.
    """

    def __init__(
        self,
        local: Backend[HubCall],
        settings: Settings,
        chaos: Chaos | None,
        moved: Callable[[HubCall], None],
    ) -> None:
        self.approver: Approver | None = None
        self._moved = moved
        self._local = local
        self._settings = settings
        self._chaos = chaos
        # Those of tools that are gone disappear with them.
        self._breakers: WeakSet[Breaker] = WeakSet()

    def wrap(self, tool: RegisteredTool, backend: Backend[HubCall] | None) -> Backend[HubCall] | None:
        """Returns the backend of a tool with all that it needs around it; ``backend`` itself if it needs nothing.

        Args:
            tool: The tool.
            backend: Its backend; None for a tool of this process.
        """
        wrapped = backend
        rules = self._chaos.rules_of(tool.name) if self._chaos is not None else ()
        if self._chaos is not None and rules:
            wrapped = ChaosBackend(wrapped or self._local, self._chaos, rules)
        if tool.needs_approval:
            wrapped = ApprovalBackend(wrapped or self._local, lambda: self.approver, self._moved)
        settings, rule = self._settings, breaker_of(tool.spec)
        failures = settings.breaker_failures if rule.failures is None else rule.failures
        if failures:
            # Outside of chaos, so that it counts injected failures, too.
            breaker = Breaker(tool.name, failures, rule.seconds or settings.breaker_seconds)
            self._breakers.add(breaker)
            timeouts = settings.call_timeout, settings.stream_timeout
            wrapped = BreakerBackend(wrapped or self._local, breaker, settings.breaker_ignored_errors, timeouts)
        return wrapped

    def held_back(self) -> Mapping[str, HeldBack]:
        """Returns the tools that have failed lately or were held back, by name."""
        found: dict[str, HeldBack] = {}
        for breaker in list(self._breakers):
            if not breaker.failed and not breaker.refused:
                continue
            before = found.get(breaker.name)
            if before is None and len(found) >= MAX_REPORTED:
                continue
            state = breaker.state
            now = HeldBack(state, "" if state == "closed" else breaker.until.isoformat(), breaker.refused)
            if before is not None:
                worst = max(before, now, key=lambda item: _BY_URGENCY.index(item.state))
                now = worst._replace(refused=before.refused + now.refused)
            found[breaker.name] = now
        return found

    def injected(self) -> Mapping[tuple[str, str], int]:
        """Returns the number of injected faults, by the rule's name and the kind of the fault."""
        return self._chaos.injected if self._chaos is not None else {}

    def counts(self) -> dict[str, int | str]:
        """Returns the metrics of breakers and chaos, by name."""
        found: dict[str, int | str] = {}
        for name, held in sorted(self.held_back().items()):
            found[f"breaker.{name}.state"] = held.state
            found[f"breaker.{name}.refused"] = held.refused
            if held.until:
                found[f"breaker.{name}.until"] = held.until
        for (rule, fault), count in sorted(self.injected().items()):
            found[f"chaos.{rule}.{fault}"] = count
        return found
