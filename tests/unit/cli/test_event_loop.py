"""Which event loop a process that serves runs in."""

import asyncio
import builtins
import logging
from typing import Any

import pytest

from grpc_tool_bridge.cli.event_loop import LoopChoice, run_in_loop
from grpc_tool_bridge.cli.failures import ArgumentError


async def is_uvloop() -> int:
    return type(asyncio.get_running_loop()).__module__.startswith("uvloop")


@pytest.fixture
def without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **options: Any) -> Any:
        if name == "uvloop":
            raise ImportError("No module named 'uvloop'", name="uvloop")
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", missing)


@pytest.mark.parametrize(
    ("choice", "module"), [(LoopChoice.AUTO, "uvloop"), (LoopChoice.UVLOOP, "uvloop"), (LoopChoice.ASYNCIO, "asyncio")]
)
def test_uvloop_is_taken_where_it_is_installed_unless_asyncio_is_chosen(
    choice: LoopChoice, module: str, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("uvloop")
    caplog.set_level(logging.DEBUG)

    assert run_in_loop(is_uvloop(), choice) == (module == "uvloop")

    assert f"the event loop is {module}" in caplog.text


@pytest.mark.usefixtures("without_uvloop")
@pytest.mark.parametrize("choice", [LoopChoice.AUTO, LoopChoice.ASYNCIO])
def test_where_uvloop_is_not_installed_asyncio_is_taken(choice: LoopChoice, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    assert run_in_loop(is_uvloop(), choice) == 0

    assert "the event loop is asyncio's own" in caplog.text


@pytest.mark.usefixtures("without_uvloop")
def test_uvloop_that_is_chosen_and_not_installed_is_a_wrong_argument_that_names_the_extra() -> None:
    with pytest.raises(ArgumentError) as caught:
        run_in_loop(is_uvloop(), LoopChoice.UVLOOP)

    assert str(caught.value) == ('--loop uvloop: uvloop is not installed; run: pip install "grpc-tool-bridge[uvloop]"')
