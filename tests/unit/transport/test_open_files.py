"""How many connections a process has files for."""

import resource
from collections.abc import Iterator

import pytest

from grpc_tool_bridge.transport.open_files import allow_connections, connection_limit, socket_connection_limit


@pytest.fixture(autouse=True)
def few() -> Iterator[int]:
    """A process that may open few files; returns how many it may let itself open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (800, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_two_servers_leave_files_for_others() -> None:
    assert connection_limit(10_000) == 300
    assert connection_limit(200) == 200
    assert socket_connection_limit(10_000) == 75
    assert socket_connection_limit(20) == 20


def test_a_process_lets_itself_open_what_its_connections_need() -> None:
    allow_connections(600)
    assert connection_limit(10_000) == 600


def test_what_is_enough_already_stays() -> None:
    allow_connections(10)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 800


def test_a_process_opens_no_more_than_the_system_lets_it(few: int) -> None:
    allow_connections(2**40)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == few
