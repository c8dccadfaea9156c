"""What the tools of a hub or a worker run in: its lifespans, and the providers that replace others."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from grpc_tool_bridge.config.argument_checks import check_type
from grpc_tool_bridge.runner.lifespans import Lifespans, lifespans_of
from grpc_tool_bridge.tools.tool import Tool


@dataclass(slots=True, eq=False)
class Surroundings:
    """What the tools of a hub or a worker run in.

    Attributes:
        lifespans: Its lifespans.
        dependency_overrides: Providers that replace others, by the provider that each replaces.
    """

    lifespans: Lifespans = field(default_factory=lambda: Lifespans(()))
    dependency_overrides: dict[Callable[..., Any], Callable[..., Any]] = field(default_factory=dict)

    def live_in(self, lifespan: Any, tools: Iterable[Tool]) -> None:
        """Sets the lifespans: one, several, or None.

        Raises:
            ArgumentTypeError: It is something else, or a function of another kind.
            ValidationError: One of the tools runs in a process, and a lifespan cannot be found there.
        """
        self.lifespans = lifespans_of(lifespan)
        self.lifespans.check_processes(tools)


class Surrounded:
    """Base of a hub's server and of a worker: lets a test replace the providers of dependencies."""

    _surroundings: Surroundings

    @property
    def lifespans(self) -> Lifespans:
        """Its lifespans: what they have yielded, and which one has failed."""
        return self._surroundings.lifespans

    @property
    def dependency_overrides(self) -> dict[Callable[..., Any], Callable[..., Any]]:
        """Providers that replace others in all calls that begin from now on, by the provider that each replaces.

        ``server.dependency_overrides[get_db] = get_test_db`` replaces one, and ``clear()`` brings all of them back.
        """
        return self._surroundings.dependency_overrides

    @dependency_overrides.setter
    def dependency_overrides(self, overrides: Mapping[Callable[..., Any], Callable[..., Any]]) -> None:
        check_type("dependency_overrides", overrides, Mapping, "a dict of providers by the provider that each replaces")
        self._surroundings.dependency_overrides = dict(overrides)
