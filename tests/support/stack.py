"""The services of docker-compose.test.yml: those that run already, or the same commands as processes."""

import contextlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.peers import ELIXIR, NODE
from support.programs import ROOT, announced, environment, running

COMPOSE: Mapping[str, Any] = yaml.safe_load((ROOT / "docker-compose.test.yml").read_text(encoding="utf-8"))
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
# What is there once a worker's language was built; a worker in Python needs nothing.
BUILT = {"worker-python": ROOT, "worker-elixir": ELIXIR.built, "worker-node": NODE.built}


@dataclass(frozen=True)
class Stack:
    """Where a hub and its workers are.

    Attributes:
        address: Of the hub, as ``host:port``.
        http_address: Likewise, over HTTP.
    """

    address: str
    http_address: str


@contextlib.contextmanager
def stack() -> Iterator[Stack]:
    """Runs the hub and the workers that are built, as the compose file does but for the ports."""
    with contextlib.ExitStack() as started:
        hub = started.enter_context(_running("hub", {"0.0.0.0:50051": "127.0.0.1:0", "0.0.0.0:8080": "127.0.0.1:0"}))
        told = announced(hub)
        for name, built in BUILT.items():
            if built.exists():
                started.enter_context(_running(name, {"hub:50051": told["address"]}))
        yield Stack(told["address"], told["http_address"])


def health_check(address: str) -> Sequence[str]:
    """Returns the command of the hub's health check, for a hub that listens elsewhere."""
    kind, *command = SERVICES["hub"]["healthcheck"]["test"]
    assert kind == "CMD"
    return _replaced(command, {"localhost:50051": address})


def _running(name: str, addresses: Mapping[str, str]) -> Any:
    service = SERVICES[name]
    command = _replaced(shlex.split(service["command"]), addresses)
    folder = ROOT / Path(service.get("working_dir", "/app")).relative_to("/app")
    return running(command, cwd=folder, env=environment(**service.get("environment", {})))


def _replaced(command: Sequence[str], addresses: Mapping[str, str]) -> list[str]:
    """Puts other addresses in, each of which must be there."""
    missing = addresses.keys() - set(command)
    assert not missing, f"{shlex.join(command)} does not name {missing}"
    return [addresses.get(word, word) for word in command]
