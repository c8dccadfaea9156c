"""What the tutorial and the how-tos show is what happens: every Python block of them is run."""

import ast
import asyncio
import importlib.util
import inspect
import os
import re
import shlex
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from agents.testing import ScriptedModel, assistant_message, function_call
from google.adk.models import BaseLlm
from google.adk.models.llm_response import LlmResponse
from google.genai import types
from langchain_core.messages import AIMessage, ToolMessage
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM
from openai.types.chat import ChatCompletionMessage
from pydantic_ai import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from agents import set_tracing_disabled
from grpc_tool_bridge import (
    AccessError,
    BridgeServer,
    GRPCToolBridge,
    LocalToolBridge,
    Principal,
    Settings,
    Tool,
    ToolContext,
    ToolExecutionError,
    tool,
)
from grpc_tool_bridge.auth.secrets.keys import new_key
from grpc_tool_bridge.cli import main
from grpc_tool_bridge.cluster import directory
from grpc_tool_bridge.cluster.bus import opening, stream
from grpc_tool_bridge.cluster.forwarding import orphanage
from grpc_tool_bridge.cluster.journal import appending
from grpc_tool_bridge.cluster.members import certainty, cut_off, lease
from grpc_tool_bridge.core.chaos.draws import uniform
from grpc_tool_bridge.core.chaos.reading import read_chaos
from grpc_tool_bridge.stores.sqlite import health
from grpc_tool_bridge.testing.background import background_bridge, running_hub
from grpc_tool_bridge.testing.model_script import fields, step
from grpc_tool_bridge.testing.scripted_lm import ScriptedLM
from grpc_tool_bridge.values import serialization as values
from support.grpc_services.bridges import weather_handlers
from support.grpc_services.serving import serving
from support.grpc_services.weather import Weather
from support.nats_nodes import PROGRAM as NATS_SERVER
from support.nats_nodes import free_ports, one_node
from support.patience import PATIENCE
from support.programs import environment
from support.pytests import PYTEST

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [
    *sorted(DOCS.rglob("*.md")),
    *(DOCS.parent / name for name in ("README.md", "CONTRIBUTING.md", "conformance/README.md")),
]
EXAMPLE_ADDRESS = "127.0.0.1:50051"


def blocks(page: Path, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


# ------------------------------------------------------------------------------------------------ the tutorial


def python(folder: Path, script: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, script]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    tools, serve, call, wrong, stream = blocks(DOCS / "tutorial.md")
    printed, last_line = blocks(DOCS / "tutorial.md", "text")
    serve = serve.replace(EXAMPLE_ADDRESS, "127.0.0.1:0")
    good = next(line for line in call.splitlines(keepends=True) if 'tools["greet"]' in line)
    (tmp_path / "greetings.py").write_text(tools)
    (tmp_path / "serve.py").write_text(serve)

    with subprocess.Popen([sys.executable, "serve.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as hub:
        try:
            assert hub.stdout is not None
            found = re.fullmatch(r"serving on (127\.0\.0\.1:\d+)\n", hub.stdout.readline())
            assert found is not None
            call = call.replace(EXAMPLE_ADDRESS, found[1])
            (tmp_path / "call.py").write_text(call)
            (tmp_path / "wrong.py").write_text(call.replace(good, wrong))
            (tmp_path / "stream.py").write_text(call.replace(good, stream))

            assert python(tmp_path, "call.py").stdout == printed
            assert python(tmp_path, "wrong.py").stderr.endswith(last_line)
            assert python(tmp_path, "stream.py").stdout.splitlines()[1:] == ["3", "2", "1", "0"]
        finally:
            hub.terminate()


# -------------------------------------------------------------------------------------- blocks run one by one


class EnoughError(Exception):
    """Ends a block that would go on for ever."""


def _example_tools() -> ModuleType:
    """The tools that the pages speak of, as the repository has them."""
    spec = importlib.util.spec_from_file_location("example_tools", DOCS.parent / "examples" / "tools.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass of the module looks itself up there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


EXAMPLES = _example_tools()
calculate, search_docs = EXAMPLES.calculate, EXAMPLES.search_docs


@tool
def scan_tree(path: str, pattern: str, ctx: ToolContext) -> Iterator[str]:
    """Scans."""
    ctx.progress(1, 2, pattern)
    yield path


class Page:
    """Runs the blocks of a page as somebody does who types them into ``python -m asyncio``.

    Args:
        name: Of the how-to.
        names: What the reader has besides the page.
        replace: What stands for something in the page that a test cannot use.
    """

    def __init__(self, name: str, replace: dict[str, str], **names: Any) -> None:
        texts = blocks(DOCS / "how-to" / f"{name}.md")
        for old, new in replace.items():
            assert any(old in text for text in texts), old
            texts = [text.replace(old, new) for text in texts]
        self.texts = texts
        self.printed: list[str] = []
        self.given = {"print": self._print, **names}
        self.names: dict[str, Any] = {"__name__": "page"}
        self.stop_at_print = False

    def tools(self) -> list[Tool]:
        """Makes the tools that the page defines."""
        return self.tools_of(*self.texts)

    @staticmethod
    def tools_of(*texts: str) -> list[Tool]:
        """Makes the tools that blocks define."""
        names: dict[str, Any] = {"__name__": "page"}
        for text in texts:
            if "@tool" in text:
                exec(text, names)
        return [item for item in names.values() if isinstance(item, Tool)]

    async def run(self, text: str) -> None:
        """Runs one block; a value with a comment behind it has to be what the comment says."""
        self.names.update(self.given)
        for statement in ast.parse(text).body:
            if not isinstance(statement, ast.Expr):
                await self._value(ast.Module([statement], []), "exec")
                continue
            value = await self._value(ast.Expression(statement.value), "eval")
            _, _, promised = text.splitlines()[(statement.end_lineno or 1) - 1].partition("  # ")
            if promised:
                assert repr(value) == promised

    async def _value(self, tree: Any, mode: str) -> Any:
        code = compile(tree, "page", mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        value = eval(code, self.names)
        return await value if code.co_flags & inspect.CO_COROUTINE else value

    def _print(self, *words: object) -> None:
        self.printed.append(" ".join(str(word) for word in words))
        if self.stop_at_print:
            raise EnoughError


async def run_page(name: str, replace: dict[str, str], **names: Any) -> Page:
    """Runs the blocks of a how-to against a hub that has the page's tools and those that it speaks of."""
    page = Page(name, replace)
    with running_hub([calculate, search_docs, scan_tree, *page.tools()], Settings()) as hub:
        page.texts = [text.replace(EXAMPLE_ADDRESS, hub.address) for text in page.texts]
        async with GRPCToolBridge(hub.address) as bridge:
            tools = await bridge.initialize("reader")
            page.given |= {"bridge": bridge, "tools": tools, "ctx": bridge.session_context, **names}
            for text in page.texts:
                page.stop_at_print = "watch_variables" in text
                if page.stop_at_print:
                    await bridge.session_context.set_variable("threshold", 0.5)
                try:
                    await page.run(text)
                except EnoughError:
                    assert page.stop_at_print
    return page


async def test_call_tools_does_what_it_says() -> None:
    page = await run_page("call-tools", {})

    assert repr(page.names["result"]) == "4"
    assert "event loop" in page.names["hits"][0]["snippet"]
    assert repr(page.names["squares"][:4]) == "[0, 1, 4, 9]"
    assert repr(page.names["results"][0]) == "2"
    assert isinstance(page.names["results"][1], ToolExecutionError)
    assert page.printed == ["4"]


async def test_find_tools_does_what_it_says() -> None:
    @tool(idempotent=True)
    def weather_now(city: str) -> str:
        """Says how the weather is in a city."""
        return f"sunny in {city}"

    page = Page("find-tools", {})
    settings = Settings(shutdown_grace=0.0)
    async with (
        BridgeServer(tools=[calculate, weather_now], agents={"lm": ScriptedLM()}, settings=settings) as server,
        GRPCToolBridge(server.address) as bridge,
    ):
        await bridge.initialize()
        page.given["bridge"] = bridge
        for text in page.texts:
            await page.run(text)

    assert (page.printed, page.names["result"]) == (["['weather_now']"], "sunny in Rome")
    for name, tools in (("some", ["weather_now"]), ("more", ["weather_now"]), ("safe", ["calculate", "weather_now"])):
        assert [item["function"]["name"] for item in page.names[name]] == tools
    assert [item.name for item in page.names["tools"]] == ["calculate", "search_tools", "call_tool"]
    assert page.names["agent_id"].startswith("agent-")


async def test_retries_and_caching_does_what_it_says() -> None:
    page = await run_page("retries-and-caching", {})

    assert "event loop" in page.names["hits"][0]["snippet"]
    assert page.names["first"] == page.names["second"] == [7, 13]


async def test_composite_tools_does_what_it_says() -> None:
    page = Page("composite-tools", {})
    declared, called, at_once, called_at_once = page.texts
    await page.run(declared)
    await page.run(at_once)
    tools = [item for item in page.names.values() if isinstance(item, Tool)]
    with running_hub(tools, Settings()) as hub, background_bridge(hub.address, Settings()) as bridge:
        page.given["tools"] = await bridge.initialize()
        await page.run(called)
        await page.run(called_at_once)

    assert [item.spec.name for item in tools] == ["fetch", "summarize", "report", "overview"]


async def test_handle_errors_does_what_it_says() -> None:
    page = Page("handle-errors", {})
    answered, told_apart, tried_again, busy, held_back = page.texts
    with running_hub([calculate], Settings()) as hub, background_bridge(hub.address, Settings()) as bridge:
        page.given |= {"tools": await bridge.initialize(), "expression": "1 / 0"}
        await page.run(answered)
        await page.run(told_apart)
        with pytest.raises(ToolExecutionError, match="cannot calculate"):
            await page.run(tried_again)
        await page.run(busy)
    await page.run(held_back)

    assert page.names["weather"].spec.metadata["breaker"] == '{"failures": 5, "seconds": 30}'
    assert page.printed[0].startswith("calculate ValueError cannot calculate '1 / 0': it divides by zero")
    assert page.printed[1].startswith("wrong arguments: {")
    assert "'expression': 'missing'" in page.printed[1]
    assert page.names["Busy"].retryable is True


async def test_inject_faults_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page("inject-faults", {}, search_docs=search_docs)
    in_a_test, named = page.texts
    await page.run(in_a_test)
    assert "event loop" in page.names["hits"][0]["snippet"]
    with running_hub([calculate], Settings()) as hub, background_bridge(hub.address, Settings()) as bridge:
        page.given["bridge"] = bridge
        await page.run(named)

    (rules,) = blocks(DOCS / "how-to" / "inject-faults.md", "toml")
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "chaos.toml"
    file.write_text(rules)
    assert [rule.name for rule in read_chaos("chaos.toml").rules] == ["flaky search", "slow network", "lost answer"]
    file.write_text(rules.replace("probability", "probabilty"))
    with pytest.raises(ValueError, match="did you mean probability") as caught:
        read_chaos("chaos.toml")
    text = (DOCS / "how-to" / "inject-faults.md").read_text(encoding="utf-8")
    assert f"error: --chaos {caught.value}\n" in text
    number = uniform(42, "flaky search", "search_docs", "agent-1", 1, "fault")
    assert f"gives {number:.4f}…"[:-2] in text


async def test_notebooks_does_what_it_says() -> None:
    @tool
    def add(a: int, b: int) -> int:
        """Adds numbers."""
        return a + b

    page = Page("notebooks", {})
    with running_hub([add, scan_tree], Settings()) as hub:
        for text in page.texts:
            await page.run(text.replace(EXAMPLE_ADDRESS, hub.address))
        assert page.names["bar"].last.message == "*.py"
        assert list(page.names["tools"]) == ["add", "scan_tree"]
        await page.names["bridge"].close()


async def test_share_state_does_what_it_says() -> None:
    page = await run_page("share-state", {})

    assert page.printed == ["threshold set 0.5"]
    assert page.names["revision"] > 0


async def test_stream_results_does_what_it_says(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("::1 localhost\n127.0.0.1 localhost\n")

    page = await run_page("stream-results", {"/etc/hosts": hosts.as_posix()})

    assert page.printed == ["::1 localhost", "127.0.0.1 localhost", "1 of 2: *.py"]
    assert page.names["rows"] == ["src"]
    assert page.names["line"] == "127.0.0.1 localhost"


def client_of_openai(answers: list[Any], asked: list[Any]) -> Any:
    """Makes a client of OpenAI's whose model gives these messages; what it is asked goes into the list."""
    left = iter(answers)

    async def create(**request: Any) -> Any:
        asked.append([*request["messages"]])
        return SimpleNamespace(choices=[SimpleNamespace(message=next(left))])

    return SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))


class ScriptedChat:
    """Stands for LangChain's ChatOpenAI: calls a tool once, and then is done."""

    def bind_tools(self, tools: list[Any]) -> "ScriptedChat":
        return self

    async def ainvoke(self, messages: list[Any]) -> AIMessage:
        if isinstance(messages[-1], ToolMessage):
            return AIMessage("done")
        given = {"path": "src", "pattern": "*.py"}
        return AIMessage("", tool_calls=[{"type": "tool_call", "id": "1", "name": "scan_tree", "args": given}])


class ScriptedGemini(BaseLlm):
    """Calls a tool once, and then tells what it was told."""

    async def generate_content_async(self, llm_request: Any, stream: bool = False) -> AsyncGenerator[LlmResponse, None]:
        answered = llm_request.contents[-1].parts[0].function_response
        call = types.FunctionCall(name="calculate", args={"expression": "2 + 2"})
        part = types.Part(text=str(answered.response)) if answered else types.Part(function_call=call)
        yield LlmResponse(content=types.Content(role="model", parts=[part]))


def llama_index_model() -> MockFunctionCallingLLM:
    """Makes a model that calls a tool once, and then tells what it was told."""

    def answer(messages: Any, **kwargs: Any) -> ChatMessage:
        if messages[-1].role == "tool":
            return ChatMessage(role="assistant", content=messages[-1].content)
        call = ToolCallBlock(tool_call_id="1", tool_name="calculate", tool_kwargs={"expression": "2 + 2"})
        return ChatMessage(role="assistant", blocks=[call])

    return MockFunctionCallingLLM(response_generator=answer)


async def test_use_with_frameworks_does_what_it_says() -> None:
    function = {"name": "calculate", "arguments": '{"expression": "2 + 2"}'}
    call = {"id": "call-1", "type": "function", "function": function}
    asked: list[Any] = []
    answers = [
        ChatCompletionMessage.model_validate({"role": "assistant", "tool_calls": [call]}),
        ChatCompletionMessage.model_validate({"role": "assistant", "content": "4"}),
    ]
    replace = {
        'dspy.LM("openai/gpt-4o-mini")': "scripted",
        "from langchain_openai import ChatOpenAI\n": "",
        'ChatOpenAI(model="gpt-4o-mini")': "chat_model",
        "AsyncOpenAI()": "openai_client",
        'Agent("Accountant", ': 'Agent("Accountant", model=agents_model, ',
        '"openai:gpt-4o-mini"': "function_model",
        "from llama_index.llms.openai import OpenAI\n": "",
        'llm=OpenAI(model="gpt-4o-mini")': "llm=llama_index_model",
        'model="gemini-flash-latest"': "model=gemini",
    }

    def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        last = messages[-1].parts[-1]
        if isinstance(last, ToolReturnPart):
            return ModelResponse(parts=[TextPart(str(last.content))])
        return ModelResponse(parts=[ToolCallPart("calculate", {"expression": "2 + 2"})])

    agents_model = ScriptedModel(
        [[function_call("calculate", {"expression": "2 + 2"}, call_id="1")], [assistant_message("4")]]
    )
    set_tracing_disabled(disabled=True)
    page = await run_page(
        "use-with-frameworks",
        replace,
        scripted=ScriptedLM(
            [
                step("a sum", "calculate", expression="2 + 2"),
                step("done", "finish"),
                fields(reasoning="so", answer="4"),
            ]
        ),
        chat_model=ScriptedChat(),
        openai_client=client_of_openai(answers, asked),
        agents_model=agents_model,
        function_model=FunctionModel(model),
        llama_index_model=llama_index_model(),
        gemini=ScriptedGemini(model="scripted"),
    )

    (custom,) = blocks(DOCS / "how-to" / "use-with-frameworks.md", "text")
    assert page.names["said"].trajectory["observation_0"] == 4
    assert page.names["value"] == "42"
    assert "cannot calculate 'two and two'" in page.names["refusal"]
    assert page.printed == custom.splitlines()
    assert isinstance(page.names["asking"], GRPCToolBridge)
    assert asked[1][-1] == {"role": "tool", "tool_call_id": "call-1", "content": "4"}
    assert page.names["result"].final_output == "4"
    assert [item.output for item in page.names["result"].new_items if item.type == "tool_call_output_item"] == ["4"]
    assert page.names["ran"].output == "4"
    assert str(page.names["answer"]) == "4"
    assert page.names["events"][-1].content.parts[0].text == "{'result': 4}"
    assert "event loop" in page.names["found"]


async def test_write_a_tool_does_what_it_says(tmp_path: Path) -> None:
    page = Page("write-a-tool", {EXAMPLE_ADDRESS: "127.0.0.1:0"}, limit=101)
    slug, limit, count, chart, checksum, caller, asks, options, served = page.texts
    await page.run(slug)
    assert page.names["slug"]("Hello, World!") == "hello-world"
    with pytest.raises(ValueError, match="limit is 101: give a number from 1 to 100"):
        await page.run(limit)
    await page.run(count)
    with running_hub([page.names["count"]], Settings()) as hub:
        async with GRPCToolBridge(hub.address) as bridge:
            tools = await bridge.initialize()
            assert await tools["count"]("a b a") == {"a": 2, "b": 1}
    await page.run(chart)
    with running_hub([page.names["chart"]], Settings()) as hub:
        async with GRPCToolBridge(hub.address) as bridge:
            title, image, link = await (await bridge.initialize())["chart"]("Sales")
            assert (title, image["type"], link["name"]) == ("Sales", "image", "The data")
    await page.run(checksum)
    await page.run(caller)
    with pytest.raises(AccessError):
        await ToolContext.for_test().run(page.names["pay"], "a", 1)
    context = ToolContext.for_test(principal=Principal("ada", frozenset({"finance"})), via=["tool:report"])
    assert await context.run(page.names["pay"], "a", 1) == "ada has paid 1 cents from a, by ('tool:report',)"
    await page.run(asks)
    answers = Page("call-tools", {})
    await answers.run(next(text for text in answers.texts if "on_ask" in text))
    with running_hub([page.names["delete_files"]], Settings()) as hub:
        async with GRPCToolBridge(hub.address, on_ask=answers.names["on_ask"]) as bridge:
            tools = await bridge.initialize()
            assert await tools["delete_files"](["a", "b"]) == "deleted 2 files: they are old"
    await page.run(options)
    assert page.names["slug"].spec.name == "page.slug"

    page.given["asyncio"] = asyncio
    serving = asyncio.ensure_future(page.run(served))
    done, _ = await asyncio.wait([serving], timeout=0)
    assert not done
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_lifespan_and_dependencies_does_what_it_says() -> None:
    page = await run_page("lifespan-and-dependencies", {})

    assert page.names["tools"]["add_order"] is not None


async def test_organize_tools_does_what_it_says() -> None:
    page = Page("organize-tools", {"server = BridgeServer(": "server = LocalToolBridge("})
    orders, renamed, tagged, hidden, deprecated, versions, called = page.texts
    page.given["LocalToolBridge"] = LocalToolBridge
    for text in (orders, renamed, hidden, deprecated, versions):
        await page.run(text)
    names = page.names
    async with names["server"] as bridge:
        assert sorted(await bridge.initialize()) == ["books.cancel", "books.get", "music.get"]
    everything = [*names["offered"], names["reset"], names["sum_up"], *names["versions"]]
    async with LocalToolBridge(everything) as bridge:
        assert sorted(await bridge.initialize()) == ["add", "greet", "greet@1.0", "plus", "sum_up"]
        page.given["bridge"] = bridge
        for text in (tagged, called):
            await page.run(text)
    assert sorted(names["reading"]) == ["add", "plus"]
    assert sorted(proxy.name for proxy in names["found"]) == ["add", "plus"]
    assert [item["function"]["name"] for item in names["functions"]] == ["add", "plus"]


async def test_workers_does_what_it_says() -> None:
    page = await run_page("workers", {})
    assert page.names["loud"] == "HELLO"

    serving = asyncio.ensure_future(page.names["main"]())
    done, _ = await asyncio.wait([serving], timeout=0)
    assert not done
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


TIME_SERVER = """
from mcp.server.mcpserver import MCPServer
app = MCPServer("time")
@app.tool()
def get_current_time(timezone: str) -> str:
    return f"12:00 {timezone}"
app.run()
"""


async def test_the_page_about_grpc_services() -> None:
    async with serving(*weather_handlers(Weather())) as address:
        page = Page("import-grpc-services", {"127.0.0.1:5000": address})
        await page.run(page.texts[0])
    assert page.printed == ["0.0", "1.0"]
    assert page.names["report"]["city"] == "Bern"


async def test_import_mcp_servers_does_what_it_says(tmp_path: Path) -> None:
    server = tmp_path / "time.server.py"
    server.write_text(TIME_SERVER)
    command = repr(f"time={sys.executable} {server}")
    page = Page("import-mcp-servers", {'"uvx mcp-server-time"': command})
    for text in page.texts:
        await page.run(text)
    assert page.names["now"] == "12:00 UTC"


async def test_watch_a_hub_does_what_it_says() -> None:
    page = Page("watch-a-hub", {})
    lists, watch, sample, cluster = page.texts
    page.stop_at_print = True
    with running_hub([calculate], Settings()) as hub, background_bridge(hub.address, Settings()) as bridge:
        page.given |= {"bridge": bridge, "tools": await bridge.initialize("reader")}
        await page.run(lists)
        for text in (watch, sample):
            watching = asyncio.ensure_future(page.run(text))
            while not watching.done():
                await bridge.tools["calculate"]("2 + 2")
            with pytest.raises(EnoughError):
                await watching
        page.stop_at_print = False
        await page.run(cluster)

    assert page.names["sessions"] == ["reader"]
    assert page.printed[0].startswith(("started calculate", "ended calculate"))
    assert page.printed[1].endswith("calls left out")
    assert f" serving {hub.address} " in page.printed[2]
    assert page.printed[3].startswith("reader")


async def test_carry_your_own_types_does_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values._codecs, "by_class", dict(values._codecs.by_class))
    monkeypatch.setattr(values._codecs, "by_name", dict(values._codecs.by_name))
    page = Page("carry-your-own-types", {})

    for text in page.texts:
        await page.run(text)

    assert "Point" in page.names


def without_numbers(text: str) -> list[str]:
    """Splits a text into lines, with one word for each epoch and each number, and single spaces and lines."""
    text = re.sub(r"\b[0-9a-f]{32}\b|\d[\d.,]*", "N", text)
    return [re.sub(r"[ ─]+", " ", line).strip() for line in text.strip().splitlines()]


def run_in_shell(script: str, folder: Path, address: str) -> str:
    """Runs what a page lets its reader type, with a hub at this address; returns what it prints."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    program = programs / "grpc-tool-bridge"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m grpc_tool_bridge.cli "$@"\n')
    program.chmod(0o755)
    more = {"TOOL_BRIDGE_ADDRESS": address, "TOOL_BRIDGE_CONNECT_TIMEOUT": str(PATIENCE)}
    env = {**environment(**more), "PATH": f"{programs}:{os.environ['PATH']}"}
    paths = [str(Path(path).resolve()) for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    env["PYTHONPATH"] = os.pathsep.join(paths)
    words = ["bash", "-c", script]
    ran = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_what_durable_lets_a_shell_do_keeps_a_variable(tmp_path: Path) -> None:
    first, *_ = blocks(DOCS / "how-to" / "durable.md", "sh")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    # Its hubs end with the block: nothing reads what they print.
    printed = run_in_shell(first.replace(" &\n", " >>log 2>&1 &\n"), tmp_path, address)
    assert printed.splitlines()[-1] == "0.95"


async def test_durable_does_what_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Page("durable", {"/var/lib/tool-bridge": str(tmp_path)})
    for text in page.texts:
        await page.run(text)
    monkeypatch.setattr(health, "mount_of", lambda folder: health.Mount("ext4", "/"))
    doctor, info = (
        text.replace("/var/lib/tool-bridge", str(tmp_path)) for text in blocks(DOCS / "how-to" / "durable.md", "text")
    )
    store = f"sqlite:///{tmp_path}/hub.db"
    async with LocalToolBridge(store=store, keep_session=True) as local:
        await local.initialize("orders")
        await local.client.session_context.set_variable("threshold", 0.95)
        assert await asyncio.to_thread(main, ["doctor", "--store", store]) == 0
        assert without_numbers(capsys.readouterr().out) == without_numbers(doctor)
        assert await asyncio.to_thread(main, ["store", "info", store]) == 0
        told = without_numbers(capsys.readouterr().out)
        assert told[: len(info.strip().splitlines())] == without_numbers(info)
    for line in blocks(DOCS / "how-to" / "durable.md", "sh")[1:]:
        words = shlex.split(line.replace("/var/lib/tool-bridge", str(tmp_path)).replace("/backups", str(tmp_path)))
        assert words[0] == "grpc-tool-bridge"
        assert await asyncio.to_thread(main, words[1:]) == 0, line


def test_what_secrets_lets_a_shell_do_keeps_a_secret_that_is_in_no_file(tmp_path: Path) -> None:
    (script,) = blocks(DOCS / "how-to" / "secrets.md", "sh")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    printed = run_in_shell(script.replace(" &\n", " >>log 2>&1 &\n"), tmp_path, address)
    assert "0" in printed.splitlines()
    assert re.search(r"^ok +secrets +values are sealed: 1 with key [0-9a-f]{12}", printed, re.MULTILINE)
    assert b"hunter2" not in b"".join(file.read_bytes() for file in (tmp_path / "state").iterdir())


async def test_secrets_does_what_it_says(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(new_key().line())
    keys.chmod(0o600)
    async with LocalToolBridge(keep_session=True) as bridge:
        await bridge.initialize()
        replaced = {"/etc/tool-bridge/keys": str(keys), "/var/lib/tool-bridge": str(tmp_path)}
        page = await run_page("secrets", replaced, bridge=bridge, token="t0p")
        assert page.names["address"]
        (info,) = await bridge.session_context.list_variables()
        assert (info.name, info.secret) == ("crm_token", True)


def test_the_errors_that_secrets_explains_are_those_of_the_code() -> None:
    page = (DOCS / "how-to" / "secrets.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| what it says.*?\n\n", page + "\n", re.DOTALL | re.MULTILINE)
    package = DOCS.parent / "src" / "grpc_tool_bridge"
    sources = [source for room in ("auth", "core", "stores") for source in (package / room).rglob("*.py")]
    told = " ".join(re.sub(r'"\s+f?"', "", source.read_text(encoding="utf-8")) for source in sources)
    quoted = [text for line in table.strip().splitlines()[2:] for text in re.findall(r"`([^`]+)`", line.split("|")[1])]
    assert len(quoted) == 4
    for text in quoted:
        for part in text.split("…"):
            assert part in told, part


def test_the_errors_that_durable_explains_are_those_of_stores() -> None:
    page = (DOCS / "how-to" / "durable.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| the error says.*?\n\n", page, re.DOTALL | re.MULTILINE)
    sources = (DOCS.parent / "src" / "grpc_tool_bridge" / "stores").rglob("*.py")
    told = " ".join(re.sub(r'"\s+f?"', "", source.read_text(encoding="utf-8")) for source in sources)
    quoted = [text for line in table.strip().splitlines()[2:] for text in re.findall(r"`([^`]+)`", line.split("|")[1])]
    assert len(quoted) > 10
    for text in quoted:
        for part in re.split(r" ?\(process \d+\) ?", text):
            assert part in told, part


def test_what_run_several_hubs_lets_a_shell_do_goes_on_at_the_other_hub(tmp_path: Path) -> None:
    page = DOCS / "how-to" / "run-several-hubs.md"
    begin, look, *_ = blocks(page, "sh")
    listed, *_ = blocks(page, "text")
    nats, north, south = free_ports(3)
    script = begin.replace(" &\n", " >>log 2>&1 &\n") + look + "wait\n"
    for theirs, ours in (("4222", nats), ("50051", north), ("50052", south)):
        script = script.replace(theirs, str(ours))
    script = script.replace("nats-server ", f"{NATS_SERVER} ", 1)
    _, first, *rest = run_in_shell(script, tmp_path, "").splitlines()
    assert first == "0.95"
    before, after = rest[: rest.index("0.95")], rest[rest.index("0.95") + 1 :]

    def states(lines: list[str]) -> list[list[str]]:
        return [line.replace(" (asked)", "").split()[:2] for line in lines if line[:5] in ("north", "south")]

    assert states(before) == states(listed.splitlines()) == [["north", "serving"], ["south", "serving"]]
    assert states(after)[:2] == [["north", "gone"], ["south", "serving"]]
    assert "it no longer renewed its lease" in after[-1]


async def test_run_several_hubs_does_what_it_says() -> None:
    @tool
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    with one_node() as node:
        store = node.url
        async with BridgeServer("127.0.0.1:0", store=store, tools=[add]) as other:
            (north,) = free_ports(1)
            page = Page(
                "run-several-hubs",
                {
                    "nats://nats-0,nats-1,nats-2": store,
                    "127.0.0.1:50051": f"127.0.0.1:{north}",
                    "127.0.0.1:50052": other.address,
                    "hub-a:50051,hub-b:50051": f"{other.address},127.0.0.1:{north}",
                },
            )
            several, calls = page.texts
            await page.run(several)
            async with GRPCToolBridge(other.address) as bridge:
                await bridge.initialize("orders")
                assert await bridge.session_context.get_variable("threshold") == 0.95
            await page.run(calls)


def test_the_seconds_that_run_several_hubs_tells_are_those_of_the_code() -> None:
    page = (DOCS / "how-to" / "run-several-hubs.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| what \| seconds \|\n.*?\n\n", page, re.DOTALL | re.MULTILINE)
    told = [line.split("|")[2].strip() for line in table.strip().splitlines()[2:]]
    terms = lease.TERMS
    assert told == [
        f"{terms.renew:g}",
        f"{terms.term - terms.margin:g}",
        f"{terms.term + terms.margin:g}",
        f"{certainty.MAX_WAIT_SECONDS:g}",
        f"{appending.WRITE_TIMEOUT_SECONDS:g}",
        f"{cut_off.NODE_SECONDS:g}",
        f"{cut_off.UNCONNECTED_SECONDS:g}",
        f"{cut_off.PATIENCE_SECONDS:g}",
        f"{opening.OPEN_SECONDS:g}",
        f"{stream.ENSURE_SECONDS:g}",
        f"{orphanage.GRACE_SECONDS:g} to {3 * orphanage.GRACE_SECONDS:g}",
        f"{directory.GONE_SECONDS:g}",
    ]


def test_the_errors_that_run_several_hubs_explains_are_those_of_the_cluster() -> None:
    page = (DOCS / "how-to" / "run-several-hubs.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| the error or the log says.*?(?:\n\n|\Z)", page, re.DOTALL | re.MULTILINE)
    sources = (DOCS.parent / "src" / "grpc_tool_bridge" / "cluster").rglob("*.py")
    told = " ".join(re.sub(r'"\s+f?"', "", source.read_text(encoding="utf-8")) for source in sources)
    quoted = [text for line in table.strip().splitlines()[2:] for text in re.findall(r"`([^`]+)`", line.split("|")[1])]
    assert len(quoted) > 8
    assert [text for text in quoted if text not in told] == []


# --------------------------------------------------------------------------------------------- pages of migration


async def test_coming_from_fastmcp_does_what_it_says() -> None:
    page = Page("../coming-from/fastmcp", {})
    theirs, tools, called = page.texts
    assert theirs.startswith("# FastMCP\n")
    await page.run(tools)
    await page.run(called)
    assert page.printed == ["5", "5"]


async def test_coming_from_temporal_does_what_it_says() -> None:
    @tool
    def charge(order: int, amount: float) -> str:
        """Takes money."""
        return f"{order}: {amount}"

    theirs, _, both = Page("../coming-from/temporal", {}).texts
    assert theirs.startswith("# Temporal")
    with running_hub([charge], Settings()) as hub:
        page = Page("../coming-from/temporal", {EXAMPLE_ADDRESS: hub.address})
        await page.run(page.texts[1])
        async with GRPCToolBridge(hub.address) as bridge:
            page.given["tools"] = await bridge.initialize()
            await page.run(both)
            await page.run(both)
    assert page.printed == ["Hello, Ann!"]
    assert page.names["receipt"] == "17: 9.5"


async def test_coming_from_grpc_does_what_it_says() -> None:
    page = Page("../coming-from/grpc", {})
    await page.run(page.texts[0])
    assert page.printed == ["5", "[3, 2, 1, 0]"]


async def test_coming_from_snakepit_does_what_it_says() -> None:
    page = Page("../coming-from/snakepit", {})
    theirs, ours = page.texts
    assert theirs.startswith("# Snakepit\n")
    await page.run(ours)
    async with LocalToolBridge(tools=page.tools_of(ours)) as bridge:
        assert await (await bridge.initialize())["add"](2, 3) == 5.0


def test_what_the_command_line_shows_of_json_can_be_typed(tmp_path: Path) -> None:
    first, second = re.findall(
        r"^```sh\n(.*?)^```",
        (DOCS / "reference" / "cli.md").read_text().split("\n## JSON\n")[1].split("\n## ")[0],
        re.DOTALL | re.MULTILINE,
    )
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# A\n")
    with running_hub([EXAMPLES.scan_tree, EXAMPLES.summarize], Settings()) as hub:
        # The hub of this test has another folder.
        scanned = run_in_shell(first.replace("scan_tree docs", f"scan_tree {tmp_path}/docs"), tmp_path, hub.address)
        summed = run_in_shell(second, tmp_path, hub.address)
    assert "a.md" in scanned
    assert ".py" in summed


# ---------------------------------------------------------------------------------------- pages that are tests


def test_test_your_program_does_what_it_says(tmp_path: Path) -> None:
    slug = blocks(DOCS / "how-to" / "write-a-tool.md")[0]
    (tmp_path / "my_tools.py").write_text(slug)
    for number, text in enumerate(blocks(DOCS / "how-to" / "test-your-program.md")):
        (tmp_path / f"test_page_{number}.py").write_text(text)

    words = [*PYTEST, "-q", "--rootdir", str(tmp_path)]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert ran.returncode == 0, ran.stdout
    assert "5 passed" in ran.stdout


# ------------------------------------------------------------------------------------------------- every page


def test_record_and_replay_does_what_it_says(tmp_path: Path) -> None:
    replayed, recorded = blocks(DOCS / "how-to" / "record-and-replay.md")
    (conftest, *_) = blocks(DOCS / "how-to" / "test-your-tools.md")
    example = blocks(DOCS / "how-to" / "record-and-replay.md", "json")
    (tmp_path / "run.jsonl").write_text(example[0])
    (tmp_path / "my_tools.py").write_text(
        "def add(a: int, b: int) -> int:\n    return a + b\n\n\ndef count(n: int) -> int:\n    return n\n"
    )
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_replayed.py").write_text(replayed)
    (tmp_path / "test_recorded.py").write_text(recorded)
    for _ in ("records", "plays"):
        words = [*PYTEST, "-q", "."]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
        assert "2 passed" in done.stdout, done.stdout
    assert (tmp_path / "recordings" / "test_recorded" / "test_add.jsonl").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]*))?\)", prose):
        linked = (page.parent / target) if target else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_block_is_whole(page: Path) -> None:
    for text in blocks(page):
        compile(textwrap.dedent(text), page.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
