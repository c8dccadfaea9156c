"""What becomes of the tools that a worker offers, where there are others of the same names."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from grpc_tool_bridge.core.registered_tool import Prepared, RegisteredTool, ToolSource, prepare
from grpc_tool_bridge.errors import AlreadyExistsError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

if TYPE_CHECKING:
    from grpc_tool_bridge.core.workers.pool import Worker


@dataclass(slots=True)
class Offers:
    """The tools of one offer.

    Attributes:
        ids: Of all of them, in their order.
        joined: Tools that others offer as well, with the identical schema.
        new: What is to be registered.
        replaced: Tools of the worker's own that give way to new ones.
    """

    ids: list[str] = field(default_factory=list)
    joined: list[RegisteredTool] = field(default_factory=list)
    new: list[Prepared] = field(default_factory=list)
    replaced: list[RegisteredTool] = field(default_factory=list)


def sort_offers(
    known: Mapping[str, RegisteredTool], specs: Iterable[ToolSource], own: Collection["Worker"], scope: str
) -> Offers:
    """Compares what a worker offers with what there is.

    Args:
        known: The scope's tools by id.
        specs: What is offered.
        own: The worker, and one whose place it takes.
        scope: The scope's name, for the texts of errors.

    Raises:
        AlreadyExistsError: A name or an id is taken.
        ValidationError: A name or an id cannot be used.
    """
    offers = Offers()
    names = {tool.name: tool for tool in known.values()}
    for source in specs:
        prepared = prepare(source)
        spec = prepared.spec
        offers.ids.append(spec.tool_id)
        there, namesake = known.get(spec.tool_id), names.get(spec.name)
        if there is None and namesake is None:
            offers.new.append(prepared)
            continue
        if there is None or namesake is None:
            # One of the two is new: its name goes with another id, or its id with another name.
            there = namesake or there
        elif there is not namesake:
            raise _taken(spec, scope, "another tool")
        assert there is not None  # noqa: S101 - one of the two is there
        if there.workers is None:
            raise _taken(spec, scope, "a tool of the hub itself")
        others = [worker for worker in there.workers if worker not in own]
        if not others and there.spec != spec:
            offers.new.append(prepared)
            offers.replaced.append(there)
        elif there.schema == prepared.schema:
            offers.joined.append(there)
        else:
            raise AlreadyExistsError(
                f"{scope} has a tool {spec.name!r} from {len(others)} other workers, with another schema or version: "
                "give this one another name, or start it when they have gone"
            )
    return offers


def _taken(spec: ToolSpec, scope: str, by: str) -> AlreadyExistsError:
    return AlreadyExistsError(f"{scope} has {by} named {spec.name!r} or with the id {spec.tool_id!r}; rename one")
