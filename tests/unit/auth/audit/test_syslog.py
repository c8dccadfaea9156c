"""Lines as messages of syslog, over each way that it listens."""

import socket
from pathlib import Path

import pytest

from grpc_tool_bridge.auth.audit.sinks import Target, read_target
from grpc_tool_bridge.auth.audit.syslog import Place, Syslog
from grpc_tool_bridge.errors import ValidationError


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("file:/var/log/a.log", Target("file", "/var/log/a.log")),
        ("stdout", Target("stdout")),
        ("syslog", Target("syslog", Place("unix", "/dev/log"))),
        ("syslog:/run/log", Target("syslog", Place("unix", "/run/log"))),
        ("syslog:udp://h", Target("syslog", Place("udp", "h", 514))),
        ("syslog:tcp://[::1]:99", Target("syslog", Place("tcp", "::1", 99))),
    ],
)
def test_each_sink_is_read(given: str, target: Target) -> None:
    assert read_target(given) == target


@pytest.mark.parametrize(
    "given", ["", "file:", "file:a.log", "stdout:1", "syslog:", "syslog:http://h", "syslog:udp://h:x"]
)
def test_what_is_no_sink_is_refused(given: str) -> None:
    with pytest.raises(ValidationError, match="has to be file:"):
        read_target(given)


def test_a_line_is_a_message_to_the_socket_of_this_machine(tmp_path: Path) -> None:
    place = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(place)
        sink = Syslog(Place("unix", place))
        sink.open()
        sink.add([b'{"chain":"1"}\n', b'{"chain":"2"}\n'])
        sink.flush()
        first, second = server.recv(4096), server.recv(4096)
        sink.close()
    assert first.startswith(b"<110>1 20")
    assert first.endswith(b' audit - {"chain":"1"}')
    assert second.endswith(b'{"chain":"2"}')


def test_messages_over_tcp_are_counted(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sink = Syslog(Place("tcp", "127.0.0.1", server.getsockname()[1]))
        sink.open()
        connected, _ = server.accept()
        sink.add([b'{"chain":"1"}\n'])
        sink.flush()
        with connected:
            size, message = connected.recv(4096).split(b" ", 1)
        sink.close()
    assert int(size) == len(message)


def test_what_could_not_be_sent_waits(tmp_path: Path) -> None:
    place = str(tmp_path / "log")
    sink = Syslog(Place("unix", place))
    sink.add([b'{"chain":"1"}\n'])
    with pytest.raises(OSError, match="No such file"):
        sink.flush()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(place)
        sink.flush()
        assert server.recv(4096).endswith(b'{"chain":"1"}')
    sink.close()
