"""What a caller should know of a call that the hub refused: how its tool has changed, and what it may have meant."""

from grpc_tool_bridge.client.options import CALL_SETTINGS
from grpc_tool_bridge.client.signature import shown
from grpc_tool_bridge.errors import ToolBridgeError, ToolExecutionError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec


def explain_refusal(error: ToolBridgeError, spec: ToolSpec, *, made_of: ToolSpec | None, is_removed: bool) -> None:
    """Adds to an error how the tool has changed since its proxy was made; any but a refusal stays as it is.

    Args:
        error: The error of the call.
        spec: The tool's current spec.
        made_of: The spec with which its proxy was made, if the tool has changed since.
        is_removed: Whether the tool was removed from the session.
    """
    if not isinstance(error, ToolExecutionError) or error.details.get("origin", "bridge") != "bridge":
        return
    if error.error_type == "ToolNotFound" and is_removed:
        _add(error, "it was removed from the session", "removed")
    elif error.error_type == "ValidationError" and (options := _options_in(error, spec)):
        error.message = f"{error.message}; for a call's own settings use with_options({options}=…)"
        error.args = (error.message,)
    elif (
        error.error_type == "ValidationError"
        and made_of is not None
        and list(made_of.arguments) != list(spec.arguments)
    ):
        was, is_now = shown(made_of), shown(spec)
        text = "the tool has changed since its proxy was made"
        _add(error, text if was == is_now else f"{text}: it was {was}, it is now {is_now}", "changed")


def _options_in(error: ToolExecutionError, spec: ToolSpec) -> str:
    """Returns the call settings that were passed as arguments of the tool."""
    known = {argument.name for argument in spec.arguments}
    return "=…, ".join(name for name in CALL_SETTINGS if name in error.details and name not in known)


def _add(error: ToolExecutionError, text: str, detail: str) -> None:
    error.message = f"{error.message}; {text}"
    error.args = (error.message,)
    error.details[detail] = "true"
