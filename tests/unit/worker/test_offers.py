from collections.abc import Sequence
from typing import Any

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import AlreadyExistsError, ResourceExhaustedError, ToolCommunicationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.tools.external import external_tool
from grpc_tool_bridge.tools.tool import Tool, tool
from grpc_tool_bridge.worker.offers import WorkerOffers
from grpc_tool_bridge.worker.service import ToolService


async def run(*_: Any) -> None:
    """Does nothing."""


def named(name: str, description: str = "") -> Tool:
    return external_tool(name, description, run, input_schema={})


class Hub:
    """What a worker registers at.

    Attributes:
        names: The registered tools.
        taken: Names that other tools have.
        error: Raised by the next request.
        others: Names of tools that those of the worker would hide.
    """

    def __init__(self, *taken: str) -> None:
        self.names: dict[str, str] = {}
        self.taken = set(taken)
        self.error: Exception | None = None
        self.requests = 0
        self.others: set[str] = set()

    def _fail(self) -> None:
        self.requests += 1
        if self.error is not None:
            raise self.error

    async def register(self, stub: Any, specs: Sequence[ToolSpec]) -> None:
        self._fail()
        for spec in specs:
            if spec.name in self.taken:
                raise AlreadyExistsError(f"{spec.name} is taken", details={"tool": spec.name})
        self.names.update({spec.name: spec.description for spec in specs})

    async def seen(self, stub: Any) -> set[str]:
        return self.others | self.names.keys()

    async def unregister(self, stub: Any, specs: Sequence[ToolSpec]) -> None:
        self._fail()
        for spec in specs:
            self.names.pop(spec.name, None)


class Worker:
    def __init__(self, *taken: str) -> None:
        self.hub = Hub(*taken)
        self.stub: Any = "stub"
        self.service = ToolService([tool(name="mine")(run)], Settings(), lambda call: None)  # type: ignore[arg-type,return-value]
        self.offers = WorkerOffers(self.service, self.hub, lambda: self.stub)

    @property
    def served(self) -> list[str]:
        return sorted(one.spec.name for one in self.service.tools)


async def test_tools_are_registered_and_unregistered_over_the_link() -> None:
    worker = Worker()
    offer = worker.offers.make()
    a, b = named("a"), named("b")
    assert await offer.replace([a, b]) == []
    assert (sorted(worker.hub.names), worker.served) == (["a", "b"], ["a", "b", "mine"])
    before = worker.hub.requests
    await offer.replace([a, b])
    assert worker.hub.requests == before
    await offer.replace([b, named("a", "changed")])
    assert worker.hub.names == {"a": "changed", "b": ""}
    await offer.replace([])
    assert (worker.hub.names, worker.served) == ({}, ["mine"])


async def test_taken_names_are_refused_and_the_others_are_offered() -> None:
    worker = Worker("x", "y")
    one, two = worker.offers.make(), worker.offers.make()
    refused = await one.replace([named("x"), named("a"), named("y"), named("mine")])
    assert sorted((item.name, item.reason) for item in refused) == [
        ("mine", "this worker has another tool named 'mine'"),
        ("x", "x is taken"),
        ("y", "y is taken"),
    ]
    assert (await two.replace([named("a"), named("b")]))[0].name == "a"
    assert (sorted(worker.hub.names), worker.served) == (["a", "b"], ["a", "b", "mine"])


async def test_before_there_is_a_link_they_wait_for_it(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker("x")
    worker.stub = None
    offer = worker.offers.make()
    assert await offer.replace([named("a"), named("x")]) == []
    assert worker.hub.names == {}
    await worker.offers.register_all("stub")
    assert (sorted(worker.hub.names), worker.served) == (["a"], ["a", "mine"])
    assert "the tool x is not offered: x is taken" in caplog.text


async def test_a_lost_link_is_no_error_and_the_next_one_registers_all() -> None:
    worker = Worker()
    offer = worker.offers.make()
    worker.hub.error = ToolCommunicationError("Link", "UNAVAILABLE", "lost")
    await offer.replace([named("a")])
    worker.hub.error = None
    await worker.offers.register_all("stub")
    assert (sorted(worker.hub.names), worker.served) == (["a"], ["a", "mine"])


async def test_a_hub_that_refuses_them_gets_none() -> None:
    worker = Worker()
    offer = worker.offers.make()
    worker.hub.error = ResourceExhaustedError("too many")
    with pytest.raises(ResourceExhaustedError):
        await offer.replace([named("a")])
    assert worker.served == ["mine"]


async def test_tools_that_would_hide_others_are_refused() -> None:
    worker = Worker()
    worker.hub.others = {"a", "mine"}
    offer = worker.offers.make()
    assert [item.name for item in await offer.replace([named("a"), named("b")])] == ["a"]
    assert (sorted(worker.hub.names), worker.served) == (["b"], ["b", "mine"])
    # Its own ones are no others, on this link and on the next one.
    assert await offer.replace([named("b", "changed")]) == []
    await worker.offers.register_all("stub")
    assert worker.hub.names == {"b": "changed"}
    assert worker.served == ["b", "mine"]
