"""What a session sees of the tools at one moment, and what has changed from one moment to another."""

from collections.abc import Callable, Collection, Container, Iterator, Mapping
from dataclasses import dataclass

from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.llm.tool_marks import VERSION_SIGN
from grpc_tool_bridge.tools.tool_versions import split_version

# "added", "changed" or "removed", and the tool.
Change = tuple[str, RegisteredTool]


@dataclass(frozen=True, slots=True)
class ToolFilter:
    """Which of the tools that a session sees are shown to one who asks.

    Attributes:
        sees: Whether the tools with a name are.
        key: Identifies the filter as it is now; another one makes another list.
        is_stale: Whether it decides otherwise by now than when it was made.
    """

    sees: Callable[[str], bool]
    key: str
    is_stale: Callable[[], bool]

    def of(self, tools: Mapping[str, RegisteredTool]) -> Mapping[str, RegisteredTool]:
        """Returns those of the tools that are shown, in their order."""
        return {name: tool for name, tool in tools.items() if self.sees(tool.name)}


@dataclass(frozen=True, slots=True)
class ToolView:
    """The tools that a session sees: its own, and those of the hub that none of its own hides.

    A session's own tool hides all versions of the hub's tool with its name.

    The hub's are not copied: of thousands of sessions, each would hold and sort thousands of tools.

    Attributes:
        shared: The hub's tools by name, in order.
        own: The session's own tools by name, in any order.
        own_revision: The revision of the session's own tools; -1 if they were left out.
        hidden: Names of the hub's tools that the session's own hid, though ``own`` does not have these names.
    """

    shared: Mapping[str, RegisteredTool]
    own: Mapping[str, RegisteredTool]
    own_revision: int
    hidden: Container[str] = frozenset()

    def get(self, name: str) -> RegisteredTool | None:
        """Returns the tool with a name; None if there is none."""
        own = self.own.get(name)
        if own is not None:
            return own
        plain = split_version(name)[0]
        return None if plain in self.own or plain in self.hidden else self.shared.get(name)

    def by_name(self) -> Mapping[str, RegisteredTool]:
        """Returns all of the tools by name, in order. The result must not be changed."""
        if not self.own:
            return self.shared
        tools = {**self.shared, **self.own}
        for name in self.older_of(self.own):
            if name not in self.own:
                del tools[name]
        return {name: tools[name] for name in sorted(tools)}

    def older_of(self, names: Container[str]) -> list[str]:
        """Returns the names of the older versions that the hub has of tools with these names."""
        return [name for name in self.shared if VERSION_SIGN in name and split_version(name)[0] in names]

    def until(self, revision: int) -> "ToolView":
        """Returns the same without the tools that came after a revision."""
        shared, own = (
            {name: tool for name, tool in tools.items() if tool.revision <= revision}
            for tools in (self.shared, self.own)
        )
        # A version that was the newest then may have come under another name since.
        were_here = (tool for tool in self.own.values() if (tool.base or tool).revision <= revision)
        return ToolView(shared, own, -1, frozenset(split_version(tool.name)[0] for tool in were_here))


NOTHING = ToolView({}, {}, -1)


def changes_of(told: Mapping[str, RegisteredTool], present: Mapping[str, RegisteredTool]) -> Iterator[Change]:
    """Yields the changes from one set of tools to another: first what was removed."""
    for name, tool in told.items():
        if name not in present:
            yield "removed", tool
    for name, tool in present.items():
        known = told.get(name)
        if known is not tool:
            yield ("added" if known is None else "changed"), tool


def changes_between(told: ToolView, present: ToolView, shared: Collection[Change]) -> Iterator[Change]:
    """Yields the changes from one view to another: first what was removed.

    Args:
        told: The view before.
        present: The view now.
        shared: The changes of the hub's tools between them, of which the session's own may hide some.
    """
    names = {tool.name for _, tool in shared}
    if told.own is not present.own:
        both = told.own.keys() | present.own.keys()
        changed = {name for name in both if told.own.get(name) is not present.own.get(name)}
        names |= changed.union(told.older_of(changed), present.older_of(changed))
    ordered = sorted(names)
    before = {name: tool for name in ordered if (tool := told.get(name)) is not None}
    after = {name: tool for name in ordered if (tool := present.get(name)) is not None}
    yield from changes_of(before, after)
