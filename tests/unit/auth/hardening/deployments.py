"""Hubs as they would be started, and what is found in them."""

import dataclasses
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from grpc_tool_bridge.auth.hardening.deployment import Deployment, Rule
from grpc_tool_bridge.config import Settings

NOW = 1_800_000_000.0
EVERYWHERE = "0.0.0.0:50051"
SECRET = "s3cret-that-nobody-may-see-anywhere"


def hub(settings: dict[str, Any] | None = None, **given: Any) -> Deployment:
    """Returns a hub with settings and what else is given; it runs as user 1000, at a time that is known."""
    made = Deployment(settings=Settings(**(settings or {})), uid=1000, now=NOW)
    return dataclasses.replace(made, **given)


def found(rule: Rule, deployment: Deployment) -> list[tuple[str, str]]:
    """Returns the names and states of what a check finds."""
    return [(finding.name, finding.status) for finding in rule(deployment)]


def texts(rule: Rule, deployment: Deployment) -> str:
    """Returns what a check says."""
    said = "\n".join(finding.text for finding in rule(deployment))
    assert SECRET not in said
    return said


def secret_file(folder: Path, name: str, text: str = SECRET) -> Path:
    """Writes a file that only its owner can read."""
    folder.chmod(0o700)
    path = folder / name
    path.write_text(text)
    path.chmod(0o600)
    return path


TOKEN = SecretStr(SECRET)
