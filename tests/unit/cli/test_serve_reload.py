"""What ``serve --reload`` gives its worker, and what it refuses."""

from pathlib import Path

import pytest

from grpc_tool_bridge import Settings
from grpc_tool_bridge.cli import serve_reload
from grpc_tool_bridge.cli.direct import read
from grpc_tool_bridge.cli.event_loop import LoopChoice
from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.log import LogLevel
from grpc_tool_bridge.cli.serve_options import ServeOptions
from grpc_tool_bridge.config.settings import LogFormat


def test_the_worker_gets_what_concerns_it_and_the_hub_keeps_the_rest() -> None:
    options = ServeOptions(
        address="127.0.0.1:1",
        http="127.0.0.1:2",
        config=Path("a.toml"),
        token_file=Path("token"),
        log_level=LogLevel.DEBUG,
        loop=LoopChoice.ASYNCIO,
        max_threads=3,
        show_tracebacks=False,
        shutdown_grace=2.5,
        agents=True,
        agent_model="m",
        mcp=["uvx x"],
        as_json=True,
        store="sqlite:////x",
        middleware=["m.py:mw"],
        access_log=True,
        lifespan=["life.py:life"],
        prefix="orders.",
        log_format=LogFormat.JSON,
    )
    words = serve_reload.worker_words(options)
    assert words == [
        *("--token-file", "token", "--config", "a.toml", "--log-level", "debug", "--loop", "asyncio"),
        *("--lifespan", "life.py:life", "--prefix", "orders."),
        *("--max-threads", "3", "--no-show-tracebacks", "--shutdown-grace", "2.5", "--log-format", "json"),
    ]
    # Each is an option of the worker.
    assert read(["worker", *words, "--address", "127.0.0.1:1", "--", "a.py"]) is not None


def test_what_was_not_given_is_not_given_to_the_worker() -> None:
    assert serve_reload.worker_words(ServeOptions()) == []


def test_without_tools_with_tls_and_without_the_file_it_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="name some with --tools SOURCE"):
        serve_reload.files_to_watch([], [], Settings())
    with pytest.raises(ArgumentError, match="leave out --tls-cert or --reload"):
        serve_reload.files_to_watch(["x"], [], Settings(tls_cert=tmp_path / "c", tls_key=tmp_path / "k"))
    with pytest.raises(ArgumentError, match=r"--tools .*nothing\.py: the file .* does not exist"):
        serve_reload.files_to_watch([str(tmp_path / "nothing.py")], [], Settings())
    (tmp_path / "t.py").write_text("")
    tools = [str(tmp_path / "t.py")]
    with pytest.raises(ArgumentError, match=r"--lifespan .*nothing\.py:life: the file .* does not exist"):
        serve_reload.files_to_watch(tools, [str(tmp_path / "nothing.py:life")], Settings())
    assert serve_reload.files_to_watch(tools, [], Settings()).folders == [tmp_path]
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "life.py").write_text("")
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "t.py").write_text("")
    both = serve_reload.files_to_watch(
        [str(tmp_path / "tools" / "t.py")], [str(tmp_path / "beside" / "life.py:life")], Settings()
    )
    assert both.folders == [tmp_path / "beside", tmp_path / "tools"]
