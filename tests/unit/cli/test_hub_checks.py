"""What ``doctor`` says of a cluster."""

from collections.abc import Collection
from typing import Any

import pytest

from grpc_tool_bridge.cli.hub_checks import checks_of
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb


def hub(name: str, **fields: Any) -> pb.HubInfo:
    given: dict[str, Any] = {"incarnation": f"{name}-life", "state": "serving", "version": "1.0", "link": "linked"}
    info = pb.HubInfo(name=name, **{**given, **fields})
    info.time.FromSeconds(1)
    return info


OWN = hub("h1", is_self=True, link="")


def said(*others: pb.HubInfo, missing: Collection[str] = (), own: pb.HubInfo = OWN) -> dict[str, tuple[str, str]]:
    return {check.name: (check.status, check.text) for check in checks_of([own, *others], missing)}


def test_a_hub_alone_in_its_cluster_is_only_checked_itself() -> None:
    assert said() == {"hubs": ("ok", "1 serve and reach their store: h1")}
    # What has gone is no fault of those that are there.
    assert said(hub("h2", state="gone", link="")) == said()


@pytest.mark.parametrize(
    ("other", "name", "status", "text"),
    [
        (hub("h2"), "hubs", "ok", "2 serve"),
        (hub("h2", state="cut off", reason="no NATS"), "hubs", "warn", "h2 is cut off (no NATS)"),
        (hub("h2"), "links", "ok", "linked to 1 of 1"),
        (hub("h2", link="connecting", link_error="timed out"), "links", "warn", "h2: connecting (timed out)"),
        (hub("h2", link=""), "links", "warn", "h2: no link"),
        (hub("h2", link="refused", link_error="another secret"), "links", "ok", "linked to 0 of 1"),
        (hub("h2", link="refused", link_error="another secret"), "secrets", "fail", "h2 (another secret)"),
        (hub("h2"), "secrets", "ok", "no other hub refuses"),
        (hub("h2", clock_ahead_us=-20_000), "clocks", "ok", "at most 0.020 s apart (h2)"),
        (hub("h2", clock_ahead_us=3_500_000), "clocks", "warn", "h2 is 3.500 s ahead of the hub"),
        (hub("h2", clock_ahead_us=-3_500_000), "clocks", "warn", "h2 is 3.500 s behind the hub"),
        (hub("h2"), "versions", "ok", "1.0 (h1, h2)"),
        (hub("h2", version="2.0"), "versions", "warn", "they differ: 1.0 (h1), 2.0 (h2)"),
    ],
)
def test_each_fault_has_its_check(other: pb.HubInfo, name: str, status: str, text: str) -> None:
    found = said(other)[name]
    assert found[0] == status
    assert text in found[1]


def test_a_hub_that_is_cut_off_itself_is_a_failure() -> None:
    found = said(hub("h2"), own=hub("h1", is_self=True, state="cut off", link=""))
    assert found["hubs"] == ("fail", "h1 is cut off")


def test_hubs_that_did_not_answer_have_no_clock_and_are_named() -> None:
    silent = hub("h2", version="")
    silent.ClearField("time")
    found = said(silent, missing=["h2"])
    assert found["hubs"] == ("warn", "h2 does not answer the hub that was asked")
    assert "clocks" not in found
