"""What ``doctor --security`` says that ``serve`` refuses, ``serve`` refuses."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.patience import PATIENCE
from support.programs import environment


def program(command: str, *words: str) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "grpc_tool_bridge", *command.split(), *words]
    return subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=2 * PATIENCE, check=False)


def audit_nowhere(folder: Path) -> list[str]:
    assert program("audit key", str(folder / "key")).returncode == 0
    return ["--audit", f"file:{folder}/nowhere/audit.log", "--audit-key-file", str(folder / "key")]


def wrong_policy(folder: Path) -> list[str]:
    path = folder / "policy.toml"
    path.write_text('[[rules]]\nname = "all"\nallow = ["cal"]\nprincipals = ["*"]\nresources = ["*"]\n')
    tokens = folder / "tokens"
    assert program("token new ann", "--file", str(tokens)).returncode == 0
    return ["--policy", str(path), "--tokens-file", str(tokens)]


CASES: dict[str, Callable[[Path], list[str]]] = {
    "tls": lambda _: ["--address", "0.0.0.0:0"],
    "policy": wrong_policy,
    "settings": lambda folder: ["--tls-cert", str(folder / "cert.pem")],
    "store": lambda folder: ["--store", f"sqlite:///{folder}/nowhere/hub.db"],
    "audit": audit_nowhere,
    "tokens_file": lambda folder: ["--tokens-file", str(folder / "none")],
    "quotas": lambda folder: ["--quotas", str(folder / "none")],
}


@pytest.mark.parametrize("name", CASES)
def test_what_it_says_that_serve_refuses_serve_refuses(tmp_path: Path, name: str) -> None:
    words = [*CASES[name](tmp_path), *([] if name == "tls" else ["--address", "127.0.0.1:0"])]

    checked = program("doctor --security --json", *words)
    refused: dict[str, Any] = {
        check["name"]: check["text"]
        for check in json.loads(checked.stdout)["checks"]
        if "serve refuses to start" in check["text"]
    }
    assert name in refused
    assert checked.returncode == 1
    assert program("serve", *words).returncode in (1, 2)
