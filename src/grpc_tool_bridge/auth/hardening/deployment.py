"""A hub as it would be started, and what a check finds in it."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from grpc_tool_bridge.auth.identity.identities import methods_of
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.config.defaults import DEFAULT_ADDRESS, MEMORY_STORE
from grpc_tool_bridge.transport.addresses import is_loopback

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found.

    Attributes:
        name: What it is about.
        status: "ok"; "warn": it could be harder; "fail": it is open, or the hub refuses to start so.
        text: What is there and what to do. It has no secret.
    """

    name: str
    status: Status
    text: str


def refused(name: str, why: str) -> Finding:
    """Returns the finding for what the hub itself refuses when it starts."""
    return Finding(name, "fail", f"serve refuses to start: {why}")


@dataclass(frozen=True, slots=True)
class NatsFacts:
    """What is to know of a store in NATS.

    Attributes:
        shown: Its URL, without secrets.
        is_local: Whether all nodes are at this machine.
        tls: Whether nothing is sent without TLS.
        has_credentials: Whether the URL has any.
    """

    shown: str
    is_local: bool
    tls: bool
    has_credentials: bool


def _own_uid() -> int | None:
    return None if os.name == "nt" else os.geteuid()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A hub as it would be started.

    Attributes:
        settings: Its settings, with the names of files and not what is in them.
        address: Where it listens.
        http: Where its HTTP gateway listens; None: it has none.
        config: The file with settings; None: there is none.
        store: The file of its store; None: it has none.
        nats: Its store in NATS; None: it has none.
        recording: The file of a recording; None: nothing is recorded.
        development: Options that are for development and tests, as they are written.
        agents: Whether it runs agents.
        logs_debug: Whether it logs at the level debug.
        collectors: URLs that traces and metrics are exported to, as far as the environment names them.
        uid: The user that it runs as; None: not known.
        now: The time, in seconds since the epoch.
    """

    settings: Settings
    address: str = DEFAULT_ADDRESS
    http: str | None = None
    config: Path | None = None
    store: Path | None = None
    nats: NatsFacts | None = None
    recording: Path | None = None
    development: tuple[str, ...] = ()
    agents: bool = False
    logs_debug: bool = False
    collectors: tuple[str, ...] = ()
    uid: int | None = field(default_factory=_own_uid)
    now: float = field(default_factory=time.time)

    @property
    def exposed(self) -> tuple[str, ...]:
        """The addresses at which other machines reach it."""
        listens = (self.address, self.http, self.settings.link_address)
        return tuple(address for address in listens if address is not None and not is_loopback(address))

    @property
    def methods(self) -> tuple[str, ...]:
        """How callers prove who they are, for people; empty: they need not."""
        return methods_of(self.settings)

    @property
    def tells_apart(self) -> bool:
        """Whether one caller is told from another: one token for all does not do that."""
        return any(method != "a token" for method in self.methods)

    @property
    def is_durable(self) -> bool:
        """Whether its state outlives the process."""
        return self.settings.store != MEMORY_STORE


# A check. It finds something in any case, or what it is about is not used at all.
Rule = Callable[[Deployment], Iterator[Finding]]
