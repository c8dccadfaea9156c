"""The machine on which the figures were measured."""

import datetime as dt
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.programs import NATS_SERVER, where

# What a figure depends on or is compared with.
_LIBRARIES = (
    "grpc-tool-bridge",
    "grpcio",
    "protobuf",
    "msgspec",
    "mcp",
    "nats-py",
    "starlette",
    "uvicorn",
    "dspy",
    "pandas",
    "pyarrow",
)
# Of those, the ones in the line below a report: what the bridge is made with, and what it is compared with.
_PARTS = ("grpcio", "protobuf")
_PEERS = ("mcp", "nats-py", NATS_SERVER, "dspy", "starlette", "uvicorn")


def machine() -> dict[str, Any]:
    """Describes the machine, what runs on it, and the day."""
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": _libraries() | _broker(),
    }


def in_words(machine: dict[str, Any], *, peers: bool = True) -> str:
    """Describes the machine in one line; with ``peers``, also what the bridge is compared with."""
    versions = machine["versions"]
    named = (*_PARTS, *_PEERS) if peers else _PARTS
    libraries = [f"{name} {versions[name]}" for name in named if name in versions]
    facts = [machine["cpu"], f"{machine['cores']} cores", f"Python {machine['python']}", *libraries, machine["date"]]
    return ", ".join(facts)


def _processor() -> str:
    """Returns the processor's own name, which Python does not know on Linux."""
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _libraries() -> dict[str, str]:
    installed = {found.name.lower(): found.version for found in importlib.metadata.distributions()}
    return {name: installed[name] for name in _LIBRARIES if name in installed}


def _broker() -> dict[str, str]:
    path = where(NATS_SERVER)
    if path is None:
        return {}
    told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10.0, check=False)
    return {NATS_SERVER: told.stdout.rpartition("v")[2].strip()}
