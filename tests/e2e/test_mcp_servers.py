"""MCP servers by others, taken into a hub: all tools of four that are published, called over the bridge."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge import GRPCToolBridge, ToolExecutionError
from grpc_tool_bridge.client.bridge import ToolBridge
from grpc_tool_bridge.tools.questions import Question
from support.mcp_programs import PYTHON_ENV, SERVER_EVERYTHING, SERVER_FILESYSTEM, needs_mcp_programs
from support.needs import needs
from support.programs import announced, environment, running

pytestmark = [needs_mcp_programs, pytest.mark.xdist_group("mcp-servers")]

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(8)


@dataclass
class Places:
    """The hub, and what its servers work on.

    Attributes:
        hub: Its address.
        files: The folder of the file server.
        repository: That of the git server.
    """

    hub: str
    files: Path
    repository: Path


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    folder = tmp_path_factory.mktemp("servers")
    files, repository = folder / "files", folder / "repository"
    (files / "sub").mkdir(parents=True)
    (files / "a.txt").write_text("one\ntwo\n")
    (files / "p.png").write_bytes(PICTURE)
    make_repository(repository)
    config = {
        "time": {"command": sys.executable, "args": ["-m", "mcp_server_time"], "env": PYTHON_ENV},
        "git": {
            "command": sys.executable,
            "args": ["-m", "mcp_server_git", "--repository", str(repository)],
            "env": PYTHON_ENV,
        },
    }
    (folder / "servers.json").write_text(json.dumps({"mcpServers": config}))
    command = [
        *("grpc-tool-bridge", "serve", "--address", "127.0.0.1:0", "--json"),
        *("--mcp", f"everything={shlex.join(SERVER_EVERYTHING)}"),
        *("--mcp", f"files={shlex.join([*SERVER_FILESYSTEM, str(files)])}"),
        *("--mcp-config", str(folder / "servers.json")),
    ]
    with running(command, cwd=folder, env=environment(HOME=str(folder))) as hub:
        yield Places(announced(hub)["address"], files, repository)


def make_repository(folder: Path) -> None:
    """Makes a repository with one commit, and a change."""
    folder.mkdir()
    if shutil.which("git") is None:
        return
    (folder / "a.txt").write_text("one\n")
    for words in (
        ["init", "-q", "-b", "main"],
        ["config", "user.name", "Somebody"],
        ["config", "user.email", "somebody@example.com"],
        ["add", "."],
        ["commit", "-q", "-m", "first"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True, env=environment(HOME=str(folder)))
    (folder / "a.txt").write_text("two\n")


def fill_in(question: Question) -> dict[str, Any] | bool:
    """Fills in what a server requires, by its default if it has one."""
    if question.schema is None:
        return True
    examples = {"string": "Ada", "boolean": True, "integer": 1, "number": 1.5}
    properties = question.schema["properties"]
    needed = question.schema.get("required", [])
    return {name: properties[name].get("default", examples.get(properties[name]["type"])) for name in needed}


class Server:
    """The tools of one server, of which each must be called.

    Args:
        bridge: To the hub.
        name: The server's.
    """

    def __init__(self, bridge: ToolBridge, name: str) -> None:
        self._tools = {
            tool.removeprefix(f"{name}."): proxy for tool, proxy in bridge.tools.items() if tool.startswith(f"{name}.")
        }
        self._called: set[str] = set()

    async def call(self, tool: str, **arguments: Any) -> Any:
        """Calls a tool."""
        self._called.add(tool)
        return await self._tools[tool](**arguments)

    def check(self) -> None:
        """Checks that all were called."""
        assert self._tools
        assert self._tools.keys() == self._called


def kinds_of(result: Sequence[Any]) -> list[str]:
    """Returns what kind each part of a result is."""
    return [part["type"] if isinstance(part, dict) else type(part).__name__ for part in result]


async def test_server_everything_gives_results_of_every_kind(places: Places) -> None:
    asked: list[Question] = []

    def on_ask(question: Question) -> dict[str, Any] | bool:
        asked.append(question)
        return fill_in(question)

    async with GRPCToolBridge(places.hub, on_ask=on_ask) as bridge:
        await bridge.initialize("everything")
        server = Server(bridge, "everything")
        assert await server.call("echo", message="hi") == "Echo: hi"
        assert await server.call("get-sum", a=2, b=3.5) == "The sum of 2 and 3.5 is 5.5."
        weather = await server.call("get-structured-content", location="Chicago")
        assert weather.keys() == {"temperature", "conditions", "humidity"}
        assert json.loads(await server.call("get-env")).keys() >= {"HOME", "PATH"}

        picture = await server.call("get-tiny-image")
        assert kinds_of(picture) == ["str", "image", "str"]
        assert picture[1]["data"].startswith(b"\x89PNG")
        assert kinds_of(await server.call("get-annotated-message", messageType="success", includeImage=True)) == [
            "str",
            "image",
        ]
        links = await server.call("get-resource-links", count=2)
        assert kinds_of(links) == ["str", "resource_link", "resource_link"]
        reference = await server.call("get-resource-reference", resourceType="Blob", resourceId=2)
        assert kinds_of(reference) == ["str", "resource", "str"]
        assert isinstance(reference[1]["contents"], bytes)
        packed = await server.call(
            "gzip-file-as-resource", name="x.gz", data="data:text/plain,hello", outputType="resource"
        )
        assert (packed["mime_type"], packed["contents"][:2]) == ("application/gzip", b"\x1f\x8b")

        for tool in ("toggle-simulated-logging", "toggle-subscriber-updates"):
            assert (await server.call(tool)).startswith("Started")
            assert (await server.call(tool)).startswith("Stopped")
        answered = await server.call("trigger-elicitation-request")
        assert "- Name: Ada" in answered[1]
        # Each kind of choice that the protocol has.
        (question,) = asked
        kinds = question.schema["properties"].values() if question.schema else ()
        assert {key for rules in kinds for key in ("enum", "oneOf", "items") if key in rules} == {
            "enum",
            "oneOf",
            "items",
        }
        assert (
            "completed the URL elicitation"
            in (await server.call("trigger-url-elicitation", url="https://x.example"))[0]
        )
        # It can be called as a task alone, which is an extension of the protocol.
        assert "everything.simulate-research-query" not in bridge.tools
        assert "Steps: 2" in await server.call("trigger-long-running-operation", duration=0.01, steps=2)
        server.check()


async def test_server_everything_tells_its_progress(places: Places) -> None:
    async with GRPCToolBridge(places.hub) as bridge:
        await bridge.initialize("progress")
        told: list[float] = []
        tool = bridge.tools["everything.trigger-long-running-operation"].with_options(
            on_progress=lambda progress: told.append(progress.current)
        )
        await tool(duration=0.03, steps=3)
        assert told == [1, 2, 3]


async def test_server_filesystem_reads_and_writes(places: Places) -> None:
    files = places.files
    async with GRPCToolBridge(places.hub) as bridge:
        await bridge.initialize("files")
        server = Server(bridge, "files")

        async def content_of(tool: str, **arguments: Any) -> str:
            result = await server.call(tool, **arguments)
            return str(result["content"])

        assert str(files) in await content_of("list_allowed_directories")
        assert await content_of("read_file", path=str(files / "a.txt")) == "one\ntwo\n"
        assert await content_of("read_text_file", path=str(files / "a.txt"), head=1) == "one"
        assert "two" in await content_of("read_multiple_files", paths=[str(files / "a.txt")])
        media = await server.call("read_media_file", path=str(files / "p.png"))
        assert {"type": "image", "data": PICTURE, "mime_type": "image/png"} in media

        await server.call("create_directory", path=str(files / "new"))
        await server.call("write_file", path=str(files / "b.txt"), content="bee\n")
        edits = [{"oldText": "bee", "newText": "wasp"}]
        assert "+wasp" in await content_of("edit_file", path=str(files / "b.txt"), edits=edits)
        await server.call("move_file", source=str(files / "b.txt"), destination=str(files / "new" / "b.txt"))
        assert (files / "new" / "b.txt").read_text() == "wasp\n"

        assert "[DIR] new" in await content_of("list_directory", path=str(files))
        assert "[FILE] p.png" in await content_of("list_directory_with_sizes", path=str(files))
        assert json.loads(await content_of("directory_tree", path=str(files / "new"))) == [
            {"name": "b.txt", "type": "file"}
        ]
        assert "b.txt" in await content_of("search_files", path=str(files), pattern="**/b*")
        assert "size: 8" in await content_of("get_file_info", path=str(files / "a.txt"))
        with pytest.raises(ToolExecutionError, match="outside allowed directories"):
            await server.call("read_file", path="/etc/passwd")
        server.check()


async def test_server_time_tells_the_time_as_typed_values(places: Places) -> None:
    async with GRPCToolBridge(places.hub) as bridge:
        await bridge.initialize("time")
        server = Server(bridge, "time")
        assert (await server.call("get_current_time", timezone="Asia/Tokyo"))["is_dst"] is False
        converted = await server.call("convert_time", source_timezone="UTC", time="12:00", target_timezone="Asia/Tokyo")
        assert converted["target"]["datetime"].endswith("T21:00:00+09:00")
        with pytest.raises(ToolExecutionError, match="timezone"):
            await server.call("get_current_time", timezone="Nowhere/None")
        server.check()


@needs("git")
async def test_server_git_commits(places: Places) -> None:
    async with GRPCToolBridge(places.hub) as bridge:
        await bridge.initialize("git")
        server = Server(bridge, "git")
        path = str(places.repository)
        assert "modified:   a.txt" in await server.call("git_status", repo_path=path)
        assert "+two" in await server.call("git_diff_unstaged", repo_path=path)
        await server.call("git_add", repo_path=path, files=["a.txt"])
        assert "+two" in await server.call("git_diff_staged", repo_path=path)
        await server.call("git_reset", repo_path=path)
        await server.call("git_add", repo_path=path, files=["a.txt"])
        assert "committed" in await server.call("git_commit", repo_path=path, message="second")
        log = await server.call("git_log", repo_path=path, max_count=2)
        assert log.index("second") < log.index("first")
        assert "second" in await server.call("git_show", repo_path=path, revision="HEAD")
        await server.call("git_create_branch", repo_path=path, branch_name="side")
        await server.call("git_checkout", repo_path=path, branch_name="side")
        assert "* side" in await server.call("git_branch", repo_path=path, branch_type="local")
        assert "+two" in await server.call("git_diff", repo_path=path, target="HEAD~1")
        server.check()
