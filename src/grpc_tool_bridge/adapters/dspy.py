"""Tools of a bridge for DSPy."""

from collections.abc import Iterable
from typing import Any

from pydantic import PrivateAttr

from grpc_tool_bridge.adapters.calling import HomeLoop, LoopWaitsError
from grpc_tool_bridge.adapters.choice import AnyTool, Bridge, Choice, framework_name
from grpc_tool_bridge.adapters.metadata import CallMetadata, Metadata, with_metadata
from grpc_tool_bridge.llm.texts import failure_text
from grpc_tool_bridge.llm.tool_args import tool_args
from grpc_tool_bridge.llm.tool_filter import ToolFilter, with_tags
from grpc_tool_bridge.llm.tool_marks import described
from grpc_tool_bridge.llm.values import from_json, value_text
from grpc_tool_bridge.optional import missing

try:
    import dspy
except ImportError as error:
    raise missing(error, "dspy", extra="dspy") from error


def dspy_tools(
    bridge: Bridge,
    *names: str,
    tool_filter: ToolFilter | None = None,
    tags: Iterable[str] = (),
    search: bool = False,
    metadata: Metadata | None = None,
) -> list[dspy.Tool]:
    """Returns DSPy tools, for ``dspy.ReAct`` and every other module that takes tools.

    ``await tool.acall(…)`` works in any event loop; ``tool(…)``, which synchronous modules use, in any thread but that
    of the bridge's own loop. A result is the value itself, and errors of the tool are raised unchanged.

    ``dspy.ReAct`` and ``dspy.ReActV2`` get observations instead: any result that is not a number as text, and an error
    as one line without a traceback.

    Args:
        bridge: An initialized bridge.
        *names: Names of tools; default: all that the session has now, except hidden and deprecated ones and older
            versions.
        tool_filter: Only tools that pass it: a pattern such as ``"weather_*"``, a prefix that ends with a separator
            such as ``"weather_"``, a list of these, or a function that is called with each ``ToolSpec``.
        tags: Only tools that have all of these tags.
        search: Give ``search_tools`` and ``call_tool`` instead of all tools, or beside those that are named: with them
            a model finds and calls all tools that pass the filter, however many there are.
        metadata: Sent with every call; a tool finds it in ``ToolContext.metadata``. A dict of texts, or a function that
            is called without arguments for each call and returns one. None: none.

    Raises:
        NotFoundError: The session has no tool with one of the names, or none that passes ``tool_filter``.
        AlreadyExistsError: Two tools would have the same name in the framework.
        ProtocolError: There is no session yet, or no event loop runs here.
    """
    home = HomeLoop()
    found, choice = CallMetadata(metadata), Choice(names, with_tags(tool_filter, tags), search)
    return [_make(proxy, home, found) for proxy in choice.tools(bridge)]


class ModuleWaitsError(BaseException):
    """A synchronous module was run while the event loop of its tools' bridge waits for it.

    It is not an ``Exception``, because modules turn those into observations, and a model cannot fix this one.
    """


class BridgeTool(dspy.Tool):  # type: ignore[misc]  # DSPy has no types
    """A tool of a bridge that blocks in ``__call__`` and awaits in ``acall``."""

    # DSPy's own tool has one function for both.
    _awaited: dspy.Tool = PrivateAttr()

    def __call__(self, /, **kwargs: Any) -> Any:
        """Calls the tool and waits for it.

        Raises:
            ModuleWaitsError: A module called it, and the bridge's event loop waits for that module.
        """
        try:
            # DSPy's own method cannot take an argument of this name.
            value = self.func(**kwargs) if "self" in kwargs else super().__call__(**kwargs)
        except LoopWaitsError as error:
            if dspy.settings.caller_modules:
                raise ModuleWaitsError(f"{error}. Await the module (acall), or run it in a thread") from error
            raise
        except Exception as error:
            if not _is_observed():
                raise
            return self._failure(error)
        return _as_read(value) if _is_observed() else value

    async def acall(self, /, **kwargs: Any) -> Any:
        """Calls the tool."""
        try:
            value = await (self._awaited.func(**kwargs) if "self" in kwargs else self._awaited.acall(**kwargs))
        except Exception as error:
            if not _is_observed():
                raise
            return self._failure(error)
        return _as_read(value) if _is_observed() else value

    def _failure(self, error: Exception) -> str:
        # DSPy itself would write the whole traceback, and the notes with the one of the other process.
        return f"Execution error in {failure_text(str(self.name), error)}"

    def _validate_and_parse_args(self, **kwargs: Any) -> dict[str, Any]:
        # The hub converts and checks them, by the tool's real types.
        return kwargs


class _Awaited(BridgeTool):
    """The same tool with DSPy's own ``acall``, which BridgeTool wraps."""

    acall = dspy.Tool.acall


def _make(proxy: AnyTool, home: HomeLoop, metadata: CallMetadata) -> dspy.Tool:
    async def awaited(**kwargs: Any) -> Any:
        tool = with_metadata(proxy, metadata.of())
        return await home.run(lambda: tool(**from_json(proxy.spec, kwargs)), name=proxy.name)

    def blocking(**kwargs: Any) -> Any:
        tool = with_metadata(proxy, metadata.of())
        return home.block(proxy.name, lambda: tool(**from_json(proxy.spec, kwargs)))

    args = tool_args(proxy.spec)
    told = {
        "name": framework_name(proxy.name),
        "desc": described(proxy.spec),
        "args": args,
        "arg_types": dict.fromkeys(args, Any),
        "arg_desc": {name: part["description"] for name, part in args.items() if "description" in part},
    }
    tool = BridgeTool(func=blocking, **told)
    tool._awaited = _Awaited(func=awaited, **told)  # noqa: SLF001 - of this module's own class
    return tool


def _is_observed() -> bool:
    """Returns whether the calling module turns the tool's result or error into an observation."""
    callers = dspy.settings.caller_modules
    return bool(callers) and isinstance(callers[-1], dspy.ReAct | dspy.ReActV2)


def _as_read(value: Any) -> Any:
    # DSPy prints numbers as they are, but not lists of numbers, and writes NaN in three ways.
    text = value_text(value)
    return value if type(value) in (str, int, float) and str(value) == text else text
