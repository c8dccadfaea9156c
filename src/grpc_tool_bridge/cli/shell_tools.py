"""The tools of a session as attributes, for people who type: ``tools.add`` is ``bridge.tools["add"]``."""

from collections.abc import Iterator, Mapping
from typing import Any

from grpc_tool_bridge.cli.failures import visible
from grpc_tool_bridge.cli.spec_text import signature_text
from grpc_tool_bridge.errors.near_names import did_you_mean


class ShellTools(Mapping[str, Any]):
    """The tools of a bridge as they are at the moment: as attributes, and by name.

    Args:
        tools: The tools by name, which may change.
    """

    def __init__(self, tools: Mapping[str, Any]) -> None:
        self._tools = tools

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            if name in self._tools:
                return self._tools[name]
            raise AttributeError(f"the session has no tool {name!r}{did_you_mean(name, self._tools)}")
        raise AttributeError(name)

    def __getitem__(self, name: str) -> Any:
        return self._tools[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)

    def __dir__(self) -> list[str]:
        return sorted(name for name in self._tools if name.isidentifier())

    def _ipython_key_completions_(self) -> list[str]:
        return sorted(self._tools)

    def __repr__(self) -> str:
        lines = [visible(signature_text(self._tools[name].spec)) for name in sorted(self._tools)]
        return "\n".join(lines) or "<no tools>"
