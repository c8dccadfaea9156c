"""Hubs of one process that know one another, without a store or links between them."""

from collections.abc import Mapping, Sequence

from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.hubs import CUT_OFF, GONE, SERVING
from grpc_tool_bridge.errors import UnavailableError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.methods import METHODS


class FakeCluster:
    """Hubs that know one another.

    Attributes:
        hubs: By their incarnations.
        silent: Incarnations of hubs that serve and do not answer others.
        states: By incarnation, where it is not "serving".
        links: By incarnation, the state and the error of the link to it.
        asked: The incarnation and the method of each question.
        callers: On whose behalf each was asked.
    """

    def __init__(self, **hubs: Hub) -> None:
        self.hubs = {f"{name}-life": hub for name, hub in hubs.items()}
        self.names = {f"{name}-life": name for name in hubs}
        self.silent: set[str] = set()
        self.states: dict[str, str] = {}
        self.links: dict[str, tuple[str, str]] = {}
        self.asked: list[tuple[str, str]] = []
        self.callers: list[str] = []
        for incarnation, hub in self.hubs.items():
            hub.directory = FakeDirectory(self, incarnation)

    def rename(self, incarnation: str, name: str) -> None:
        """Gives a hub another name."""
        self.names[incarnation] = name


class FakeDirectory:
    """The directory of one of them.

    Attributes:
        metrics: What it counts.
    """

    def __init__(self, cluster: FakeCluster, incarnation: str) -> None:
        self._cluster = cluster
        self.incarnation = incarnation
        self.metrics: dict[str, int | float | str] = {}

    @property
    def name(self) -> str:
        return self._cluster.names[self.incarnation]

    def hubs(self) -> Sequence[pb.HubInfo]:
        rows = []
        for incarnation, name in self._cluster.names.items():
            state = self._cluster.states.get(incarnation, SERVING)
            is_self = incarnation == self.incarnation
            link, error = ("", "") if is_self or state == GONE else self._cluster.links.get(incarnation, ("linked", ""))
            rows.append(
                pb.HubInfo(
                    name=name,
                    incarnation=incarnation,
                    address=f"{name}.test:50051",
                    is_self=is_self,
                    state=state,
                    reason="it cannot reach NATS" if state == CUT_OFF else "",
                    room=7,
                    link=link,
                    link_error=error,
                )
            )
        return rows

    async def ask(self, incarnation: str, method: str, request: bytes, timeout: float, caller: str) -> bytes:
        del timeout
        self._cluster.callers.append(caller)
        self._cluster.asked.append((incarnation, method))
        if incarnation in self._cluster.silent:
            raise UnavailableError("no link")
        serve = getattr(self._cluster.hubs[incarnation], METHODS[method].attribute)
        answer: bytes = (await serve(METHODS[method].request.FromString(request))).SerializeToString()
        return answer

    def counts(self) -> Mapping[str, int | float | str]:
        return self.metrics
