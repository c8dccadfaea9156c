"""An index of tools that come and go, brought up to date when it is searched."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice

from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.llm.tool_search import DEFAULT_LIMIT, Allows, FoundTool, ToolIndex, check_search
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

# How many changes are made at once: together they take about a millisecond.
_STEP = 32

# What is kept of sessions that are searched: so many indexes, and so many tools in all of them.
MAX_INDEXES = 16
MAX_INDEXED_TOOLS = 50_000


class LiveIndex:
    """An index of tools, for one event loop.

    What changes is noted, and indexed in slices at the next search, so that a program that does not search pays
    nothing, and thousands of tools do not block the event loop.
    """

    def __init__(self) -> None:
        self._index: ToolIndex | None = None
        # The new spec of each tool that has changed; None: it was removed.
        self._changes: dict[str, ToolSpec | None] = {}
        self._replacing: asyncio.Lock | None = None

    def __len__(self) -> int:
        return max(len(self._changes), 0 if self._index is None else len(self._index))

    def note(self, name: str, spec: ToolSpec | None) -> None:
        """Notes the current spec of a tool; None: it was removed."""
        self._changes[name] = spec

    async def replace(self, specs: Iterable[ToolSpec]) -> None:
        """Takes the current specs of all tools."""
        self._replacing = self._replacing or asyncio.Lock()
        async with self._replacing:
            present = {spec.name: spec for spec in specs}
            turns = Turns()
            for name in self._index.names() if self._index is not None else ():
                if name not in present:
                    self.note(name, None)
            for name in [name for name in self._changes if name not in present]:
                self.note(name, None)
            for name, spec in present.items():
                current = self._current(name)
                if current is not spec and current != spec:
                    self.note(name, spec)
                if turns.due:
                    await turns.give()

    async def search(
        self, query: str, *, limit: int = DEFAULT_LIMIT, prefix: str = "", allows: Allows | None = None
    ) -> list[FoundTool]:
        """Searches the tools as they are now; arguments, result and errors as for ``ToolIndex.search``."""
        # Before thousands of tools are indexed for it.
        check_search(query, limit, prefix)
        if self._index is None:
            self._index = ToolIndex()
        turns = Turns()
        while self._changes:
            names = list(islice(self._changes, _STEP))
            self._index.change({name: self._changes.pop(name) for name in names})
            if self._changes and turns.due:
                await turns.give()
        return self._index.search(query, limit=limit, prefix=prefix, allows=allows)

    def _current(self, name: str) -> ToolSpec | None:
        if name in self._changes:
            return self._changes[name]
        return None if self._index is None else self._index.get(name)


class LiveIndexes:
    """The indexes of sessions, of which those that were used last are kept."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, LiveIndex] = OrderedDict()

    def of(self, session_id: str) -> LiveIndex:
        """Returns the index of a session; a new one, without tools, if there is none."""
        index = self._of.setdefault(session_id, LiveIndex())
        self._of.move_to_end(session_id)
        while len(self._of) > MAX_INDEXES or (
            len(self._of) > 1 and sum(map(len, self._of.values())) > MAX_INDEXED_TOOLS
        ):
            self._of.popitem(last=False)
        return index
