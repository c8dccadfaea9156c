"""A tool's docstring, as ``help`` shows it: made of what the hub says about the tool."""

import re
from collections.abc import Mapping

from grpc_tool_bridge.llm.tool_marks import described
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec, ToolType
from grpc_tool_bridge.tools.argument_kinds import stars_of

_INDENT = "    "
# The sections of a docstring that come after its arguments and its result, and stay in the description.
_LATER_SECTION = re.compile(
    r"^(?:Raises|Warns|Examples?|Notes?|See Also|References|Todo|Warnings?):[ \t]*$", re.MULTILINE
)


def docstring_of(spec: ToolSpec, names: Mapping[str, str] | None = None) -> str:
    """Writes a tool's docstring in Google's style: its description, and sections for what it takes and returns.

    That of a deprecated tool says first what to use instead.

    Args:
        spec: The tool's spec.
        names: Other names of its arguments, by their own.
    """
    description = described(spec).strip("\n")
    later = _LATER_SECTION.search(description)
    start = later.start() if later else len(description)
    parts = [description[:start].rstrip() or f"{spec.name} has no description."]
    parts += [section for section in (_arguments(spec, names or {}), _result(spec)) if section]
    parts += [description[start:]] if later else []
    return "\n\n".join(parts)


def _arguments(spec: ToolSpec, names: Mapping[str, str]) -> str:
    entries = [
        _entry(f"{stars_of(argument)}{names.get(argument.name, argument.name)}: {argument.description}")
        for argument in spec.arguments
        if argument.description
    ]
    return "\n".join(["Args:", *entries]) if entries else ""


def _result(spec: ToolSpec) -> str:
    title = "Yields" if spec.type == ToolType.STREAMING else "Returns"
    text = spec.return_type.description
    return f"{title}:\n{_entry(text, within='')}" if text else ""


def _entry(text: str, within: str = _INDENT) -> str:
    """Indents an entry of a section; ``within`` indents its further lines once more."""
    first, *rest = text.strip().splitlines()
    return "\n".join([f"{_INDENT}{first}", *(f"{_INDENT}{within}{line}".rstrip() for line in rest)])
