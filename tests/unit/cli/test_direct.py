"""What is read without typer is read as typer reads it."""

import shlex
from collections.abc import Mapping
from typing import Any

import pytest

from grpc_tool_bridge.cli import direct, typer_app
from grpc_tool_bridge.cli.command import Command
from grpc_tool_bridge.cli.commands import COMMANDS

# Command lines with nothing wrong in them.
PLAIN = [
    "tools",
    "tools add --json",
    "tools --session s --address [::1]:5 --tls --no-tls --tls-ca ca.pem --proxy env --allow-insecure",
    "call add",
    "call add 2 3",
    "call add -1 -.5 - -- --x -y",
    "call add --kwarg a=1 --kwarg b=--x 2 --json --timeout 1.5 --session=s --kwarg=c=",
    "call add --timeout -1 --timeout 3 --answer true --traceback --connect-timeout 0",
    "call '' ''",
    "stream add 1",
    "vars list --session s",
    "vars list a. --session s --tag a=b --tag c --json",
    "vars get name --session s --show-secrets",
    "vars set name value --session s --text --secret --revision 0 --tag a=b",
    "vars delete name --session s",
    "vars watch --session s",
    "vars watch a b --session s --count 3",
    "hubs",
    "sessions --hub h2",
    "workers --json",
    "calls --session s --arguments",
    "runs",
    "metrics hub.* tool.add.calls --json",
    "top --interval 0.5 --count 3",
    "logs -f --session s --level info",
    "logs --follow --count 3",
    "completion zsh",
    "init my-tools --json",
    "settings --sample",
    "settings --config a.toml --json",
    "shell --session s --plain",
    "serve --reload --tools a.py",
    "admin sessions",
    "admin calls --session s --arguments --json",
    "admin cancel c1 --reason why",
    "admin events --kind call --kind log --count 1",
    "store info hub.db --session s --json",
    "store backup sqlite:////srv/hub.db copy.db --force",
    "store restore copy.db hub.db --json",
    "store vacuum hub.db",
    "token list --file tokens --json",
    "policy check policy.toml --json",
    "approvals list --hub h1 --json",
    "approvals grant 12ab --digest 34cd",
    "approvals deny 12ab --reason no --json",
    "quotas explain ann --group staff --json",
    "audit show audit.log --json",
    "secrets key --file keys --last",
    "secrets rotate hub.db --secrets-key-file keys --json",
    "approve --pin pins.json a.b --json",
    "stubs",
    "stubs --out a.py --check --tools m.py --tools n:tool --prefix a. --class Api --sync",
    "stubs --out - --session s --address h:1",
    "bench",
    "bench --tool add --args 1 2 3 --kwarg a=b --clients 2 --rate 10.5 --out file.json --max-p99 0.5 --batch 7",
    "mcp --tools m.py --print-config claude",
    "open --http 127.0.0.1:8080 --print --json",
    "doctor",
    "doctor --store hub.db --full --json",
    "replay file --in-time --speed 2.5 --tools a --tools b --make-test t.py",
    "chaos-proxy --host h --port 0 --seed 7 --log-level debug --config c.json",
    "serve",
    "serve --tools a --tools b --loop asyncio --show-tracebacks --no-allow-insecure --call-timeout 5 --http h:1",
    "worker a b --capacity 5 --session s --max-age 3 --jitter 0.5 --log-level error --loop uvloop",
    "worker --agents --model m",
]

# Command lines that are wrong or unusual, or ask for help.
NOT_PLAIN = [
    "",
    "--help",
    "--version",
    "nothing",
    "call",
    "call --help",
    "call -h add",
    "call add --nope",
    "call add --timeout",
    "call add --timeout x",
    "call add --timeout inf",
    "call add --timeout 1e3",
    "call add --json=true",
    "call add --connect-timeout -1",
    "call add --tls-ca=",
    "tools a b",
    "vars",
    "vars nothing",
    "vars get name",
    "vars set name --session s",
    "admin --help",
    "admin events --count 0",
    "bench --clients 10001",
    "bench --clients 1_0",
    "chaos-proxy --log-level DEBUG",
    "chaos-proxy --port 65536",
    "agent 'a -> b' --question x",
]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ADDRESS", "TLS", "TLS_CA", "PROXY", "ALLOW_INSECURE", "CONNECT_TIMEOUT", "LOOP"):
        monkeypatch.delenv(f"TOOL_BRIDGE_{name}", raising=False)


@pytest.fixture
def read_by_typer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reads a command line by typer; returns the values that the command would get."""
    got: list[Mapping[str, Any]] = []

    def run(_: Command, values: Mapping[str, Any]) -> int:
        got.append(values)
        return 0

    monkeypatch.setattr(Command, "run", run)

    def read(words: list[str]) -> Mapping[str, Any]:
        assert typer_app.run(words) == 0
        return got.pop()

    return read


def split(line: str) -> list[str]:
    return shlex.split(line)


def check(words: list[str], read_by_typer: Any) -> None:
    found = direct.read(words)
    assert found is not None
    _, values = found
    expected = dict(read_by_typer(words))
    assert values == expected
    assert {name: type(value) for name, value in values.items()} == {
        name: type(value) for name, value in expected.items()
    }


@pytest.mark.parametrize("line", PLAIN)
def test_a_plain_command_line_is_read_as_typer_reads_it(line: str, read_by_typer: Any) -> None:
    check(split(line), read_by_typer)


def test_each_command_is_among_them() -> None:
    assert {line.split()[0] for line in PLAIN} == COMMANDS.keys() - {"agent"}


@pytest.mark.parametrize("line", NOT_PLAIN)
def test_any_other_is_left_to_typer(line: str) -> None:
    assert direct.read(split(line)) is None


def test_variables_of_the_environment_count_as_for_typer(monkeypatch: pytest.MonkeyPatch, read_by_typer: Any) -> None:
    monkeypatch.setenv("TOOL_BRIDGE_ADDRESS", "there:1")
    monkeypatch.setenv("TOOL_BRIDGE_CONNECT_TIMEOUT", "3.5")
    monkeypatch.setenv("TOOL_BRIDGE_TLS_CA", "ca.pem")
    monkeypatch.setenv("TOOL_BRIDGE_PROXY", "")
    monkeypatch.setenv("TOOL_BRIDGE_LOOP", "asyncio")
    check(["call", "add"], read_by_typer)
    check(["tools", "--address", "here:2", "--connect-timeout", "1"], read_by_typer)
    check(["serve"], read_by_typer)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOOL_BRIDGE_TLS", "1"),
        ("TOOL_BRIDGE_CONNECT_TIMEOUT", "soon"),
        ("TOOL_BRIDGE_CONNECT_TIMEOUT", "-1"),
    ],
)
def test_what_a_variable_may_say_in_many_ways_is_left_to_typer(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert direct.read(["call", "add"]) is None
