"""Lines as messages of syslog (RFC 5424): to its socket on this machine, by UDP, or by TCP (RFC 6587, counted)."""

import errno
import os
import socket
import time
from collections import deque
from typing import NamedTuple
from urllib.parse import urlsplit

from grpc_tool_bridge.auth.audit.outlets import Unrotated
from grpc_tool_bridge.auth.audit.tails import Tail

LOCAL_SOCKET = "/dev/log"
# Of syslog over UDP, and over TCP.
_PORTS = {"udp": 514, "tcp": 601}

# "log audit", at the level "informational".
_PRIORITY = 13 * 8 + 6
_NAME = "grpc-tool-bridge"
_SECONDS = 5.0


class Place(NamedTuple):
    """Where syslog listens.

    Attributes:
        network: "unix", "udp" or "tcp".
        host: The host, or the path of a socket.
        port: The port.
    """

    network: str
    host: str
    port: int = 0


def read_syslog(where: str) -> Place | None:
    """Reads what follows ``syslog:``; empty: the socket of this machine. Returns None if it is nothing of the kind."""
    if not where or where.startswith("/"):
        return Place("unix", where or LOCAL_SOCKET)
    try:
        url = urlsplit(where)
        port = url.port
    except ValueError:
        return None
    if url.scheme not in _PORTS or not url.hostname or url.path or url.query or url.username:
        return None
    return Place(url.scheme, url.hostname, port or _PORTS[url.scheme])


class Syslog(Unrotated):
    """Sends lines to syslog. One that was being sent when a connection was lost is sent again.

    Args:
        place: Where it listens.
    """

    # A message has to fit into a datagram.
    most_value_chars = 8 * 1024

    def __init__(self, place: Place) -> None:
        self._place = place
        self._socket: socket.socket | None = None
        self._waiting: deque[bytes] = deque()
        self._head = f"{socket.gethostname() or '-'} {_NAME} {os.getpid()} audit - "

    def open(self) -> Tail | None:
        """See ``Sink``."""
        self._connected()
        return None

    def add(self, lines: list[bytes]) -> None:
        """See ``Sink``."""
        self._waiting += lines

    def flush(self) -> None:
        """See ``Sink``."""
        waiting = self._waiting
        while waiting:
            message = self._message(waiting[0][:-1])
            try:
                self._connected().sendall(message)
            except OSError as error:
                self._disconnect()
                if error.errno != errno.EMSGSIZE:
                    raise
                # It would never be taken; that it is missing is what shows.
            waiting.popleft()

    def _message(self, line: bytes) -> bytes:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        message = f"<{_PRIORITY}>1 {moment} {self._head}".encode() + line
        return b"%d %b" % (len(message), message) if self._place.network == "tcp" else message

    def _connected(self) -> socket.socket:
        if self._socket is None:
            network, host, port = self._place
            if network == "unix":
                made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                where: str | tuple[str, int] = host
            else:
                kind = socket.SOCK_DGRAM if network == "udp" else socket.SOCK_STREAM
                family, _, _, _, found = socket.getaddrinfo(host, port, type=kind)[0]
                made, where = socket.socket(family, kind), (str(found[0]), port)
            try:
                made.settimeout(_SECONDS)
                made.connect(where)
            except OSError:
                made.close()
                raise
            self._socket = made
        return self._socket

    def _disconnect(self) -> None:
        made, self._socket = self._socket, None
        if made is not None:
            made.close()

    def sync(self) -> None:
        """Does nothing: syslog keeps it."""

    def close(self) -> None:
        """See ``Sink``."""
        self._disconnect()
