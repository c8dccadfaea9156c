"""The tools of one scope, a session or the hub: by id, by name, and by version."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.registered_tool import Prepared, RegisteredTool, ToolSource, prepare
from grpc_tool_bridge.core.revisions import Revisions
from grpc_tool_bridge.errors import AlreadyExistsError, ResourceExhaustedError
from grpc_tool_bridge.llm.tool_marks import VERSION_SIGN
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.tools.tool_versions import check_beside, split_version, version_key
from grpc_tool_bridge.tools.toolset import Toolset, flat


class ToolScope(dict[str, RegisteredTool]):
    """The tools of one scope by id: of each the newest version. Changed by ``add`` and ``remove`` only.

    Attributes:
        names: The same by name.
        versions: All versions of the tools that have several, by id and by version, in the order of registration.
        size: Bytes charged for all of them, which each registration would otherwise have to add up.
    """

    __slots__ = ("names", "size", "versions")

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, RegisteredTool] = {}
        self.versions: dict[str, dict[str, RegisteredTool]] = {}
        self.size = 0

    @property
    def count(self) -> int:
        """Number of tools, each version counted."""
        return len(self) + sum(len(versions) - 1 for versions in self.versions.values())

    def all(self) -> Iterator[RegisteredTool]:
        """Yields all tools, each version."""
        yield from self.values()
        yield from self.older()

    def older(self) -> Iterator[RegisteredTool]:
        """Yields the versions that are not the newest ones."""
        for tool_id, versions in self.versions.items():
            newest = self[tool_id]
            yield from (tool for tool in versions.values() if tool is not newest)

    def same_name(self, name: str) -> list[RegisteredTool]:
        """Returns the versions of the tool with a name; none if there is no such tool."""
        newest = self.names.get(name)
        if newest is None:
            return []
        return [newest] if newest.versions is None else list(newest.versions.values())

    def same_id(self, tool_id: str) -> list[RegisteredTool]:
        """Returns the versions of the tool with an id; none if there is no such tool."""
        newest = self.get(tool_id)
        return self.same_name(newest.name) if newest is not None else []

    def find(self, tool_id: str) -> RegisteredTool | None:
        """Returns a tool by its id, with or without a version; None if there is none."""
        found = self.get(tool_id)
        if found is None and VERSION_SIGN in tool_id:
            plain, version = split_version(tool_id)
            found = self.version(plain, version)
        return found

    def version(self, tool_id: str, version: str) -> RegisteredTool | None:
        """Returns one version of a tool; None if there is none."""
        newest = self.get(tool_id)
        if newest is None or not version or newest.version == version:
            return newest if version else None
        return None if newest.versions is None else newest.versions.get(version)

    def holds(self, tool: RegisteredTool) -> bool:
        """Returns whether a tool is one of these."""
        newest = self.get(tool.id)
        return newest is tool or (
            newest is not None and newest.versions is not None and newest.versions.get(tool.version) is tool
        )

    def add(self, tool: RegisteredTool) -> None:
        """Adds a tool whose id and name are not taken, or are those of other versions of it."""
        self.size += tool.size
        before = self.get(tool.id)
        if before is not None:
            versions = before.versions or {before.version: before}
            versions[tool.version] = tool
            self.versions[tool.id] = before.versions = tool.versions = versions
            tool = newest_of(versions)
        self[tool.id] = self.names[tool.name] = tool

    def remove(self, tool: RegisteredTool) -> None:
        """Removes a tool that it holds; the next version takes the place of the newest."""
        self.size -= tool.size
        versions = tool.versions
        if versions is None:
            del self[tool.id], self.names[tool.name]
            return
        del versions[tool.version]
        self[tool.id] = self.names[tool.name] = newest = newest_of(versions)
        tool.versions = None
        if len(versions) == 1:
            newest.versions = None
            del self.versions[tool.id]


def newest_of(versions: dict[str, RegisteredTool]) -> RegisteredTool:
    """Returns the newest of some versions in the order of their registration: of equal ones, the last."""
    return max(reversed(versions.values()), key=lambda tool: version_key(tool.version))


def register_in(
    known: ToolScope,
    sources: Iterable[ToolSource | Toolset],
    *,
    settings: Settings,
    revisions: Revisions,
    scope: str,
    bounds: "ScopeBounds | None" = None,
    replaced: Collection[RegisteredTool] = (),
) -> list[RegisteredTool]:
    """Adds tools to one scope, all or none.

    Args:
        known: The scope's tools by id; the new ones are added.
        sources: Functions, tools, toolsets, or specs: of tools that workers run, or of pipelines, which the hub runs.
        settings: Has the default limits of tools.
        revisions: Numbers the change.
        scope: The scope's name, for error texts.
        bounds: Limits on the number and bytes of tools; None: no limits.
        replaced: Tools of the scope that the new ones replace.

    Raises:
        AlreadyExistsError: Two tools of the scope would share a name or an id, and are not versions of one tool.
        ValidationError: A tool is not valid, as for ``prepare``.
        ResourceExhaustedError: The scope would have too many tools.
    """
    resolved = [prepare(source) for source in flat(sources)]
    if bounds is not None:
        size = known.size - sum(tool.size for tool in replaced)
        bounds.check(scope, known.count - len(replaced), size, resolved)
    _check_taken(known, [prepared.spec for prepared in resolved], set(replaced), scope)
    if not resolved:
        return []
    revision = revisions.next()
    added = [RegisteredTool(prepared, None, revision, settings) for prepared in resolved]
    for tool in replaced:
        known.remove(tool)
    for tool in added:
        known.add(tool)
    return added


def _check_taken(known: ToolScope, specs: Iterable[ToolSpec], gone: Collection[RegisteredTool], scope: str) -> None:
    """Checks that names and ids are free, or those of other versions."""
    new: dict[str, list[ToolSpec]] = {}
    ids: dict[str, str] = {}
    for spec in specs:
        beside = [*(tool.spec for tool in known.same_name(spec.name) if tool not in gone), *new.get(spec.name, ())]
        for other in beside:
            check_beside(spec, other, scope)
        owner, same = ids.get(spec.tool_id), known.get(spec.tool_id)
        if owner is None and same is not None and any(tool not in gone for tool in known.same_name(same.name)):
            owner = same.name
        if owner not in (None, spec.name):
            raise AlreadyExistsError(
                f"{scope} has a tool with the id {spec.tool_id!r} already; give one of them another name",
                details={"tool": spec.name},
            )
        new.setdefault(spec.name, []).append(spec)
        ids[spec.tool_id] = spec.name


@dataclass(frozen=True, slots=True)
class ScopeBounds:
    """The limits on the tools of one scope, and on those of all scopes of a hub.

    Attributes:
        count, count_setting: Number of tools, and the name of its setting.
        size, size_setting: Bytes of tools, and the name of its setting.
        others: Bytes that the tools of all other scopes take.
        all_size: Limit on the bytes of all tools of a hub.
    """

    count: int
    count_setting: str
    size: int
    size_setting: str
    others: int
    all_size: int

    def check(self, scope: str, kept: int, kept_size: int, added: Sequence[Prepared]) -> None:
        """Checks that a scope stays within its limits.

        Args:
            scope: Its name, for error texts.
            kept: How many tools it keeps.
            kept_size: The bytes of these.
            added: The tools to add.

        Raises:
            ResourceExhaustedError: There would be too many tools, or too many bytes of them.
        """
        count = kept + len(added)
        if count > self.count:
            raise ResourceExhaustedError(
                f"{scope} would have {count:,} tools, the limit is {self.count:,} ({self.count_setting})"
            )
        size = kept_size + sum(prepared.size for prepared in added)
        if size > self.size:
            raise ResourceExhaustedError(
                f"the {count:,} tools of {scope} would take {size:,} bytes, the limit is {self.size:,} "
                f"({self.size_setting}); shorten their descriptions and schemas"
            )
        if self.others + size > self.all_size:
            raise ResourceExhaustedError(
                f"all tools of the hub and its sessions would take {self.others + size:,} bytes, the limit is "
                f"{self.all_size:,} (max_tool_bytes); remove some, or end sessions that have some"
            )
