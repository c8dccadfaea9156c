"""The hubs of the cluster, as people and programs see them through this one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from grpc_tool_bridge.cluster import clock
from grpc_tool_bridge.cluster.members.hub_record import HubRecord
from grpc_tool_bridge.cluster.members.lease import Lease
from grpc_tool_bridge.cluster.members.leases import Change, Leases
from grpc_tool_bridge.core.hubs import CUT_OFF, GONE, NOT_SERVING, SERVING
from grpc_tool_bridge.core.infos import set_time
from grpc_tool_bridge.proto.dspex_bridge_pb2 import HubInfo

# How long a hub that has gone is listed, and how many at most.
GONE_SECONDS = 600.0
_MAX_GONE = 100

Counts = Callable[[], Mapping[str, int | float | str]]


class Links(Protocol):
    """The links to other hubs."""

    def link_state(self, incarnation: str) -> tuple[str, str]:
        """Returns the state of the link to a hub, "linked", "connecting" or "refused", and why it is not linked."""
        ...

    async def ask(self, incarnation: str, method: str, request: bytes, timeout: float, caller: str) -> bytes:
        """Makes a request, as ``HubDirectory.ask``."""
        ...


class ClusterDirectory:
    """Tells of the hubs of the cluster, by their leases, and asks them, over the links to them; a ``HubDirectory``.

    Args:
        lease: This hub's own.
        leases: Those of all hubs.
        links: The links to the others.
        counts: Return the metrics of the parts of the cluster, each name beginning with "cluster_".
    """

    def __init__(self, lease: Lease, leases: Leases, links: Links, counts: Sequence[Counts] = ()) -> None:
        self._lease = lease
        self._leases = leases
        self._links = links
        self._counts = counts
        # By incarnation, with the time when that was heard.
        self._gone: dict[str, tuple[HubRecord, float]] = {}
        leases.on_change(self._note)

    @property
    def name(self) -> str:
        """The name of this hub."""
        return self._lease.record.name

    @property
    def incarnation(self) -> str:
        """Identifies this life of it."""
        return self._lease.incarnation

    def hubs(self) -> Sequence[HubInfo]:
        """Returns a row for each hub, and for those that have gone lately and not come back; see ``HubDirectory``."""
        own = self._lease.record
        rows = [self._own(own)]
        rows += [self._other(record) for record in self._leases.hubs() if record.incarnation != own.incarnation]
        now = clock.now()
        self._gone = {key: found for key, found in self._gone.items() if now - found[1] < GONE_SECONDS}
        # A hub that began anew is not listed twice.
        alive = {(row.name, row.address) for row in rows}
        gone = [record for record, _ in self._gone.values() if (record.name, record.address) not in alive]
        rows += [_row(record, GONE, record.closed) for record in gone]
        return rows

    async def ask(self, incarnation: str, method: str, request: bytes, timeout: float, caller: str) -> bytes:
        """Makes a request to another hub, as ``HubDirectory`` says."""
        return await self._links.ask(incarnation, method, request, timeout, caller)

    def counts(self) -> Mapping[str, int | float | str]:
        """Returns the metrics of the cluster by name, as ``HubDirectory`` says."""
        states = [row.state for row in self.hubs()]
        found: dict[str, int | float | str] = {
            "cluster_hubs_serving": states.count(SERVING) + states.count(NOT_SERVING),
            "cluster_hubs_cut_off": states.count(CUT_OFF),
            "cluster_hubs_gone": states.count(GONE),
            "cluster_certain": int(self._lease.is_certain()),
            "cluster_renewals": self._lease.renewals,
            "cluster_renewal_failures": self._lease.failures,
            "cluster_renewal_seconds": self._lease.renewal_seconds,
        }
        for counts in self._counts:
            found.update(counts())
        return found

    def _own(self, record: HubRecord) -> HubInfo:
        is_certain = self._lease.is_certain()
        reason = "" if is_certain else self._lease.failure or "its lease in NATS was not renewed in time"
        row = _row(record, SERVING if is_certain else CUT_OFF, reason)
        row.is_self = True
        return row

    def _other(self, record: HubRecord) -> HubInfo:
        row = _row(record, NOT_SERVING if record.is_draining else SERVING, "it drains" if record.is_draining else "")
        row.link, row.link_error = self._links.link_state(record.incarnation)
        return row

    def _note(self, record: HubRecord, change: Change) -> None:
        if change is Change.CLOSED and record.incarnation != self.incarnation:
            self._gone[record.incarnation] = record, clock.now()
            while len(self._gone) > _MAX_GONE:
                self._gone.pop(next(iter(self._gone)))


def _row(record: HubRecord, state: str, reason: str) -> HubInfo:
    row = HubInfo(
        # A newer version of the package may tell what this one cannot read.
        name=record.name or record.incarnation,
        incarnation=record.incarnation,
        address=record.address,
        version=record.version,
        state=state,
        reason=reason,
        room=record.room,
    )
    if record.http_address:
        is_url = record.http_address.startswith(("http://", "https://"))
        row.http_url = record.http_address if is_url else f"http://{record.http_address}"
    if record.started:
        set_time(row.started_at, record.started)
    return row
