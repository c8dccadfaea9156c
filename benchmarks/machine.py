"""The machine on which the figures were measured."""

import datetime as dt
import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

_LIBRARIES = ("grpc-tool-bridge", "grpcio", "protobuf", "mcp", "nats-py", "pandas", "pyarrow")


def machine() -> dict[str, Any]:
    """Describes the machine, what runs on it, and the day."""
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES} | _broker(),
    }


def in_words(machine: dict[str, Any]) -> str:
    """Describes the machine in one line."""
    versions = machine["versions"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, grpcio {versions['grpcio']}, "
        f"protobuf {versions['protobuf']}, {machine['date']}"
    )


def _processor() -> str:
    """Returns the processor's own name, which Python does not know on Linux."""
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _broker() -> dict[str, str]:
    path = shutil.which("nats-server")
    if path is None:
        return {}
    told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10.0, check=False)
    return {"nats-server": told.stdout.rpartition("v")[2].strip()}
