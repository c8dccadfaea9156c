"""The tools of a session for the frameworks that run agents."""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, Literal

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.llm.tool_filter import ToolFilter


class FrameworkTools:
    """Gives the tools of a session to frameworks; base of the bridge. Each needs the extra of its name."""

    def dspy_tools(
        self,
        *names: str,
        tool_filter: ToolFilter | None = None,
        tags: Iterable[str] = (),
        search: bool = False,
        metadata: Any = None,
    ) -> list[Any]:
        """Returns ``dspy.Tool`` objects for the named tools, by default for all; see ``adapters.dspy.dspy_tools``."""
        chosen = {"tool_filter": tool_filter, "tags": tags, "search": search, "metadata": metadata}
        return [*_adapter("dspy").dspy_tools(self, *names, **chosen)]

    def langchain_tools(
        self,
        *names: str,
        tool_filter: ToolFilter | None = None,
        tags: Iterable[str] = (),
        search: bool = False,
        metadata: Any = None,
        handle_tool_error: bool | str | Callable[[Any], str] = False,
    ) -> list[Any]:
        """Returns LangChain tools for the named tools, by default for all; see ``adapters.langchain``."""
        chosen = {
            "tool_filter": tool_filter,
            "tags": tags,
            "search": search,
            "metadata": metadata,
            "handle_tool_error": handle_tool_error,
        }
        return [*_adapter("langchain").langchain_tools(self, *names, **chosen)]

    def openai_tools(
        self,
        *names: str,
        api: Literal["chat", "responses"] = "chat",
        tool_filter: ToolFilter | None = None,
        tags: Iterable[str] = (),
        search: bool = False,
    ) -> list[dict[str, Any]]:
        """Returns the named tools, by default all, as OpenAI function schemas; see ``adapters.openai.openai_tools``."""
        if api not in ["chat", "responses"]:
            raise ValidationError(f"api must be 'chat' or 'responses', not {api!r:.60}")
        return [
            *_adapter("openai").openai_tools(self, *names, api=api, tool_filter=tool_filter, tags=tags, search=search)
        ]

    async def run_openai_tool_calls(
        self,
        calls: Any,
        *,
        tool_filter: ToolFilter | None = None,
        tags: Iterable[str] = (),
        search: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> list[dict[str, Any]]:
        """Runs the tool calls of a model's answer and returns the messages with their results.

        See ``adapters.openai.run_openai_tool_calls``.
        """
        adapter = _adapter("openai")
        chosen = {"tool_filter": tool_filter, "tags": tags, "search": search, "metadata": metadata}
        return [*await adapter.run_openai_tool_calls(self, calls, **chosen)]

    def openai_agents_tools(
        self,
        *names: str,
        tool_filter: ToolFilter | None = None,
        tags: Iterable[str] = (),
        search: bool = False,
        metadata: Any = None,
        needs_approval: bool | Literal["destructive"] = False,
        **options: Any,
    ) -> list[Any]:
        """Returns tools of the OpenAI Agents SDK for the named tools, by default for all.

        See ``adapters.openai_agents.openai_agents_tools``, also for ``options``.
        """
        chosen = {"tool_filter": tool_filter, "tags": tags, "search": search, "metadata": metadata}
        chosen |= {"needs_approval": needs_approval, **options}
        return [*_adapter("openai_agents").openai_agents_tools(self, *names, **chosen)]

    def pydantic_ai_toolset(
        self,
        *names: str,
        tool_filter: ToolFilter | None = None,
        tags: Iterable[str] = (),
        search: bool = False,
        metadata: Any = None,
        tool_error_behavior: Literal["failed", "retry", "error"] = "failed",
    ) -> Any:
        """Returns a Pydantic AI toolset of the named tools, by default of all.

        See ``adapters.pydantic_ai.pydantic_ai_toolset``.
        """
        chosen = {"tool_filter": tool_filter, "tags": tags, "search": search, "metadata": metadata}
        chosen |= {"tool_error_behavior": tool_error_behavior}
        return _adapter("pydantic_ai").pydantic_ai_toolset(self, *names, **chosen)

    def llama_index_tools(
        self,
        *names: str,
        tool_filter: ToolFilter | None = None,
        tags: Iterable[str] = (),
        search: bool = False,
        metadata: Any = None,
    ) -> list[Any]:
        """Returns LlamaIndex tools for the named tools, by default for all; see ``adapters.llama_index``."""
        chosen = {"tool_filter": tool_filter, "tags": tags, "search": search, "metadata": metadata}
        return [*_adapter("llama_index").llama_index_tools(self, *names, **chosen)]

    def google_adk_toolset(
        self,
        *names: str,
        tool_filter: ToolFilter | None = None,
        tags: Iterable[str] = (),
        search: bool = False,
        metadata: Any = None,
        require_confirmation: bool | Literal["destructive"] = False,
    ) -> Any:
        """Returns a Google ADK toolset of the named tools, by default of all; see ``adapters.google_adk``."""
        chosen = {"tool_filter": tool_filter, "tags": tags, "search": search, "metadata": metadata}
        chosen |= {"require_confirmation": require_confirmation}
        return _adapter("google_adk").google_adk_toolset(self, *names, **chosen)


def _adapter(framework: str) -> Any:
    """Imports a framework's adapter by name: it is an extra, and on a higher floor."""
    return import_module(f"grpc_tool_bridge.adapters.{framework}")
