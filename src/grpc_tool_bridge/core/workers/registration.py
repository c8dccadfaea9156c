"""Registers the tools of a worker, and resolves conflicts with tools of the same names."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from grpc_tool_bridge.core.registered_tool import (
    Prepared,
    RegisteredTool,
    ToolSource,
    prepare,
    tool_not_found,
)
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.tool_scopes import ToolScope
from grpc_tool_bridge.core.workers.backend import WorkerBackend, backend_of
from grpc_tool_bridge.core.workers.dispatch import Dispatcher
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.errors import AlreadyExistsError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.tools.tool_versions import check_beside, exact_id, version_key, versioned


@dataclass(slots=True)
class Registration:
    """The tools that a worker registers.

    Attributes:
        ids: The ids of all of them, with their versions, in order.
        joined: Tools that other workers offer too, with the identical schema.
        new: Tools to add.
        replaced: The worker's own tools that new ones replace.
    """

    ids: list[str] = field(default_factory=list)
    joined: list[RegisteredTool] = field(default_factory=list)
    new: list[Prepared] = field(default_factory=list)
    replaced: list[RegisteredTool] = field(default_factory=list)


def offer(
    registry: ToolRegistry,
    dispatcher: Dispatcher,
    session_id: str,
    specs: Iterable[ToolSource],
    worker: Worker,
    *,
    in_place_of: Worker | None = None,
) -> list[RegisteredTool]:
    """Registers tools of a worker, all or none; the worker joins tools that other workers offer too.

    Args:
        registry: The registry.
        dispatcher: Sends their calls to workers.
        session_id: The session that sees them; empty: every session.
        specs: The tools.
        worker: The worker.
        in_place_of: A worker that it replaces.

    Raises:
        SessionError: There is no such session.
        AlreadyExistsError: A name or an id is taken, unless by a tool of workers with the identical schema.
        ValidationError: A name is not valid.
    """
    known = registry.own(session_id)
    own = [worker] if in_place_of is None else [worker, in_place_of]
    scope = f"session {session_id!r}" if session_id else "the hub"
    specs = list(specs)
    if registry.make_room is not None and not worker.is_peer and not session_id:
        registry.make_room(specs)
    registration = sort_registration(known, specs, own, scope, in_place_of=in_place_of)
    added = registry.register_batch(session_id, registration.new, replaced=registration.replaced)
    for tool in added:
        registry.set_backend(tool, WorkerBackend(dispatcher, worker))
    for tool in registration.joined:
        backend = backend_of(tool)
        if backend is not None:
            backend.add(worker)
    by_id = {_id_of(tool.spec): tool for tool in (*added, *registration.joined)}
    return [by_id[tool_id] for tool_id in registration.ids]


def in_the_way(known: ToolScope, sources: Iterable[ToolSource]) -> list[RegisteredTool]:
    """Returns the tools that only other hubs offer and that this hub's own, which it is about to register, replace.

    Args:
        known: The scope's tools.
        sources: What this hub is about to register there.
    """
    found: dict[RegisteredTool, None] = {}
    for source in sources:
        prepared = prepare(source)
        spec = prepared.spec
        for tool in (*known.same_name(spec.name), *known.same_id(spec.tool_id)):
            backend = backend_of(tool)
            if backend is None or not backend.is_of_peers:
                continue
            is_same = prepared.tool is None and tool.schema == prepared.schema
            if not is_same and not _stands_beside(spec, tool.spec):
                found[tool] = None
    return list(found)


def _stands_beside(spec: ToolSpec, other: ToolSpec) -> bool:
    """Returns whether two tools are versions of one."""
    if spec.version == other.version:
        return False
    try:
        check_beside(spec, other, "")
    except AlreadyExistsError:
        return False
    return True


def offered_by(worker: Worker, session_id: str, tool_ids: Collection[str]) -> list[RegisteredTool]:
    """Returns the tools with these ids that a worker offers in one scope; without ids, all.

    Raises:
        NotFoundError: The worker does not offer one of them there.
    """
    offered = [tool for tool in worker.tools if tool.session_id == session_id]
    if not tool_ids:
        return offered
    # By a plain id, the newest that it offers.
    own = {tool.id: tool for tool in sorted(offered, key=lambda tool: (version_key(tool.version), tool.revision))}
    own |= {versioned(tool.id, tool.version): tool for tool in offered if tool.version}
    for tool_id in tool_ids:
        if tool_id not in own:
            raise tool_not_found(tool_id, f"worker {worker.id!r}", own)
    return list(dict.fromkeys(own[tool_id] for tool_id in tool_ids))


def sort_registration(
    known: ToolScope,
    specs: Iterable[ToolSource],
    own: Collection[Worker],
    scope: str,
    *,
    in_place_of: Worker | None = None,
) -> Registration:
    """Compares the tools that a worker offers with those that exist.

    Args:
        known: The scope's tools.
        specs: The offered tools.
        own: The worker, and one that it replaces.
        scope: The scope's name, for error texts.
        in_place_of: A worker that it replaces: other versions that only that one offers are replaced, too.

    Raises:
        AlreadyExistsError: A name or an id is taken.
        ValidationError: A name or an id is not valid.
    """
    registration = Registration()
    for source in specs:
        prepared = prepare(source)
        spec = prepared.spec
        registration.ids.append(_id_of(spec))
        if _is_version(known, prepared, own, scope, in_place_of, registration):
            registration.new.append(prepared)
            continue
        there, namesake = known.get(spec.tool_id), known.names.get(spec.name)
        if there is None and namesake is None:
            registration.new.append(prepared)
            continue
        if there is None or namesake is None:
            # Only one of the two is taken: the name by a tool with another id, or the id by one with another name.
            there = namesake or there
        elif there is not namesake:
            raise _taken(spec, scope, "another tool")
        assert there is not None  # noqa: S101 - one of the two is there
        if spec.version and (same := known.version(there.id, spec.version)) is not None:
            there = same
        backend = backend_of(there)
        if backend is None:
            raise _taken(spec, scope, "a tool of the hub itself")
        others = [worker for worker in backend.everyone() if worker not in own]
        if not others and there.spec != spec:
            registration.new.append(prepared)
            registration.replaced.append(there)
        elif there.schema == prepared.schema:
            registration.joined.append(there)
        else:
            raise AlreadyExistsError(
                f"{scope} has a tool {spec.name!r} from {len(others)} other workers, with another schema or version: "
                "give this one another name, or start it when they have gone",
                details={"tool": spec.name},
            )
    return registration


def _id_of(spec: ToolSpec) -> str:
    return exact_id(spec.tool_id, spec.version)


def _is_version(
    known: ToolScope,
    prepared: Prepared,
    own: Collection[Worker],
    scope: str,
    in_place_of: Worker | None,
    registration: Registration,
) -> bool:
    """Returns whether a tool is to stand beside other versions, and notes those of them that it replaces.

    Raises:
        AlreadyExistsError: It may not stand beside them.
    """
    spec = prepared.spec
    others = known.same_name(spec.name)
    if not others or any(other.version == spec.version for other in others):
        return False
    gone = [other for other in others if _gives_way(other, spec, own, in_place_of)]
    beside = [other for other in others if other not in gone]
    registration.replaced += [other for other in gone if other not in registration.replaced]
    for other in beside:
        check_beside(spec, other.spec, scope)
    return True


def _gives_way(other: RegisteredTool, spec: ToolSpec, own: Collection[Worker], in_place_of: Worker | None) -> bool:
    """Returns whether another version of a tool is replaced by the one that a worker offers, and not beside it."""
    backend = backend_of(other)
    workers = backend.everyone() if backend is not None else ()
    if backend is None or any(worker not in own for worker in workers):
        return False
    # One that no worker runs must not stay the newest when its workers go back to an older one; and a worker that comes
    # back has the versions that it offers now.
    return not workers or workers == [in_place_of] or not (spec.version and other.version)


def _taken(spec: ToolSpec, scope: str, by: str) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"{scope} has {by} named {spec.name!r} or with the id {spec.tool_id!r}; rename one", details={"tool": spec.name}
    )
