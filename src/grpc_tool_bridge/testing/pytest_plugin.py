"""Fixtures for projects that offer or use tools: a real hub, and a bridge to it.

pytest loads this plugin if the package is installed, so nothing large is imported before a fixture is used.
"""

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings
    from grpc_tool_bridge.core.registered_tool import ToolSource
    from grpc_tool_bridge.testing.recording.recorded import RecordedHub
    from grpc_tool_bridge.tools.tool_calls import ToolCalls

_failed = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option that says when hubs are recorded."""
    parser.getgroup("grpc-tool-bridge").addoption(
        "--bridge-record-mode",
        choices=("none", "once", "all"),
        default="once",
        help="When bridge_recording records a hub: once (if there is no recording, the default), all (again), or none "
        "(a missing recording is an error).",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Notes that a test has failed, for ``bridge_recording``."""
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


@pytest.fixture
def bridge_tools() -> "list[ToolSource]":
    """The tools of ``bridge_server``: none. Override this fixture to set them."""
    return []


@pytest.fixture
def bridge_settings() -> "Settings":
    """The settings of ``bridge_server``: the defaults. Override this fixture to change them."""
    from grpc_tool_bridge import Settings  # noqa: PLC0415 - costs nothing to those who do not use it

    return Settings()


@pytest.fixture
def bridge_lifespan() -> Any:
    """The lifespan of ``bridge_server``: none. Override this fixture to set it, or a list of several."""
    return None


@pytest.fixture
def bridge_server(
    bridge_tools: "list[ToolSource]", bridge_settings: "Settings", bridge_lifespan: Any
) -> "Iterator[BridgeServer]":
    """A hub in its own thread, at ``bridge_server.address``.

    Calls that a test leaves running are cancelled at its end.
    """
    from grpc_tool_bridge.testing.background import running_hub  # noqa: PLC0415 - as above

    with running_hub(bridge_tools, bridge_settings, lifespan=bridge_lifespan) as server:
        yield server


@pytest.fixture
def bridge(bridge_server: "BridgeServer", bridge_settings: "Settings") -> "Iterator[GRPCToolBridge]":
    """A bridge to ``bridge_server``, not yet initialized.

    An async test awaits ``bridge.initialize()``, a plain one calls ``bridge.sync.initialize()``. It is closed after the
    test.
    """
    from grpc_tool_bridge.testing.background import background_bridge  # noqa: PLC0415 - as above

    with background_bridge(bridge_server.address, bridge_settings) as made:
        yield made


@pytest.fixture
def tool_calls(bridge_server: "BridgeServer") -> "Iterator[ToolCalls]":
    """The calls of all tools of ``bridge_server``, whoever makes them: clients, other tools, agents.

    ``tool_calls.of("add").assert_called_once_with(2, 3)``; each call has ``tool``, ``args``, ``kwargs``, ``arguments``,
    ``result`` and ``error``.
    """
    from grpc_tool_bridge.testing.call_recorder import record_calls  # noqa: PLC0415 - as above

    with record_calls(bridge_server) as calls:
        yield calls


@pytest.fixture
def bridge_agents() -> Any:
    """The agents of ``bridge_recording``: none. Override this fixture with the ``agents`` of a ``BridgeServer``."""
    return None


@pytest.fixture
def bridge_redact() -> list[str]:
    """The names whose values ``bridge_recording`` leaves out, besides the usual ones. Override this to add some."""
    return []


@pytest.fixture
def bridge_recording(
    request: pytest.FixtureRequest,
    bridge_tools: "list[ToolSource]",
    bridge_settings: "Settings",
    bridge_agents: Any,
    bridge_redact: list[str],
) -> "Iterator[RecordedHub]":
    """A hub in its own thread that is recorded, or its recording, at ``bridge_recording.address``.

    The first run records a hub with ``bridge_tools``; later runs play the recording, which lies in
    ``recordings/<file of the test>/<name of the test>.jsonl``. ``--bridge-record-mode`` changes this. A test that calls
    anything that was not recorded fails at its end, if not before.
    """
    from grpc_tool_bridge.testing.recording.recorded import path_of, recorded_hub, remove  # noqa: PLC0415 - as above

    path = path_of(request.node.path, request.node.name)
    mode = request.config.getoption("--bridge-record-mode")
    with recorded_hub(
        path, mode, tools=bridge_tools, settings=bridge_settings, agents=bridge_agents, redact=bridge_redact
    ) as hub:
        yield hub
    if hub.is_recording and request.node.stash.get(_failed, False):
        # The next run would play what has failed.
        remove(path)


@pytest.fixture
def recorded_bridge(bridge_recording: "RecordedHub", bridge_settings: "Settings") -> "Iterator[GRPCToolBridge]":
    """A bridge to ``bridge_recording``, like ``bridge``."""
    from grpc_tool_bridge.testing.background import background_bridge  # noqa: PLC0415 - as above

    with background_bridge(bridge_recording.address, bridge_settings) as made:
        yield made
