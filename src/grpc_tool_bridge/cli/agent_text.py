"""What ``agent`` prints for people: the steps of a run, and why it did not finish."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from grpc_tool_bridge.cli.failures import visible
from grpc_tool_bridge.values import tagged_json

# Characters of a tool's result; --json prints all.
_SHOWN_CHARS = 2_000

_LABELS = {"thought": "thought", "action": "action", "observation": "observed", "result": "answer"}
_STYLES = {"thought": "italic", "action": "cyan", "observation": "", "result": "bold"}

_WHY = {
    "max_iters": "it used all its steps (--max-iters)",
    "time": "it ran out of time (--timeout)",
    "tokens": "it used all its tokens, or its context was full",
}


def why(stop_reason: str) -> str:
    """Says why a run ended before the agent had finished."""
    return _WHY.get(stop_reason, stop_reason)


def print_chunk(chunk: Mapping[str, Any], out: Console) -> None:
    """Prints a step, or the answer."""
    kind = chunk["type"]
    text = _text(chunk)
    if len(text) > _SHOWN_CHARS and kind == "observation":
        text = f"{text[:_SHOWN_CHARS]}… ({len(text) - _SHOWN_CHARS:,} more characters; --json gives all)"
    step = f"{chunk['step']}" if "step" in chunk else ""
    line = Text(f"{step:>2} {_LABELS[kind]:<9}", style="dim")
    line.append(visible(text).replace("\n", "\n" + " " * 12), style=f"not dim {_STYLES[kind]}")
    out.print(line, soft_wrap=True)


def _text(chunk: Mapping[str, Any]) -> str:
    match chunk["type"]:
        case "thought":
            return str(chunk["text"])
        case "action":
            arguments = ", ".join(f"{name}={tagged_json.dumps(value)}" for name, value in chunk["tool_input"].items())
            return f"{chunk['tool_name']}({arguments})"
        case "observation":
            return _shown(chunk["output"])
        case _:
            answer = chunk["final_answer"]
            return "\n".join(f"{name}: {_shown(value)}" for name, value in answer.items())


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else tagged_json.dumps(value)
