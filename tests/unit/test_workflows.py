"""What the workflows run is there: targets of make, scripts, folders of tests, services of the compose file."""

import itertools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.stack import COMPOSE, SERVICES

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
# What a runner has; all else that a step begins with must be in this repository.
PROGRAMS = {"curl", "docker", "git", "make", "mix", "mkdir"}
REDIRECTIONS = {">", "<", "|"}


def jobs() -> Iterator[Any]:
    for path in WORKFLOWS:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, job in loaded["jobs"].items():
            yield pytest.param(job, id=f"{path.stem}:{name}")


def values_of(job: Any, name: str) -> list[str]:
    """The values of one name of a job's matrix, wherever they are."""
    matrix = job.get("strategy", {}).get("matrix", {})
    listed = matrix.get(name, []) + [entry[name] for entry in matrix.get("include", []) if name in entry]
    return list(dict.fromkeys(map(str, listed)))


def commands(job: Any) -> Iterator[list[str]]:
    """The commands of a job, once for each value of its matrix that they name."""
    for step in job["steps"]:
        text = step.get("run", "").replace("\\\n", " ")
        names = sorted(set(re.findall(r"\$\{\{ matrix\.(\w+) \}\}", text)))
        for values in itertools.product(*(values_of(job, name) for name in names)):
            filled = text
            for name, value in zip(names, values, strict=True):
                filled = filled.replace(f"${{{{ matrix.{name} }}}}", value)
            yield from (shlex.split(line) for line in filled.splitlines() if line.strip())


def check_make(words: list[str]) -> None:
    for target in (word for word in words if "=" not in word):
        assert re.search(rf"^(?:[\w-]+ )*{re.escape(target)}(?: [\w-]+)*:", MAKEFILE, re.MULTILINE), target
    for name, value in (word.split("=", 1) for word in words if "=" in word):
        assert f"$({name})" in MAKEFILE, name
        assert name != "TESTS" or (ROOT / value).is_dir(), value


def check_compose(words: list[str]) -> None:
    """Of ``docker compose -f FILE COMMAND``: the file, and of ``run`` the service and its command."""
    assert words[:2] == ["-f", "docker-compose.test.yml"]
    command, *rest = words[2:]
    if command != "run":
        assert command in {"up", "logs"}
        return
    while rest[0].startswith("-"):
        rest = rest[2:] if rest[0] == "-e" else rest[1:]
    service, *ran = rest
    assert service in SERVICES
    check_paths(ran)


def check_paths(words: list[str]) -> None:
    for word in words:
        if re.fullmatch(r"(?:tests|scripts|examples)/[\w/.-]+", word):
            assert (ROOT / word).exists(), word


@pytest.mark.parametrize("job", list(jobs()))
def test_every_command_of_a_job_names_what_is_there(job: Any) -> None:
    for program, *words in commands(job):
        known = (ROOT / program).exists() if "/" in program and not program.startswith(".venv") else None
        assert known or known is None, program
        assert known or program in PROGRAMS or program.startswith(".venv/bin/"), program
        if program == "make":
            check_make(words)
        elif words[:1] == ["compose"]:
            check_compose(words[1:])
        else:
            check_paths(words)


def test_every_python_of_the_classifiers_is_tested() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    claimed = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)
    for workflow, job in (("test-tool-bridge", "unit-tests"), ("release", "test")):
        loaded = yaml.safe_load((ROOT / f".github/workflows/{workflow}.yml").read_text(encoding="utf-8"))
        assert values_of(loaded["jobs"][job], "python") == claimed


def test_what_is_published_was_tested_before_and_is_attested() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))["jobs"]
    assert (jobs["test"]["needs"], jobs["publish"]["needs"]) == ("build", "test")
    used = [step["uses"].partition("@")[0] for step in jobs["publish"]["steps"]]
    assert used == ["actions/download-artifact", "actions/attest-build-provenance", "pypa/gh-action-pypi-publish"]
    # A token of the project would be shown to whatever the step runs.
    assert "password" not in jobs["publish"]["steps"][-1]["with"]


def test_no_job_may_write_but_the_one_that_publishes() -> None:
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert workflow["permissions"] == {"contents": "read"}, path.name
        granted = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
        publish = {"id-token": "write", "attestations": "write"}
        assert granted == ({"publish": publish} if path.stem == "release" else {})


def test_no_step_puts_what_others_wrote_into_a_shell() -> None:
    """A title or a branch's name in ``run`` would be run."""
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        for job in workflow["jobs"].values():
            for step in job["steps"]:
                assert set(re.findall(r"\$\{\{ (\w+)", step.get("run", ""))) <= {"matrix"}


def test_toxiproxy_leads_to_the_hub_and_is_reached_where_the_workflow_calls_it() -> None:
    (proxy,) = json.loads((ROOT / "tests" / "toxiproxy.json").read_text(encoding="utf-8"))
    listens = SERVICES["hub"]["command"].split("--address 0.0.0.0:")[1].split()[0]
    assert proxy["upstream"] == f"hub:{listens}"
    port = proxy["listen"].rpartition(":")[2]
    published = SERVICES["toxiproxy"]["ports"]
    assert f"127.0.0.1:{port}:{port}" in published

    text = (ROOT / ".github/workflows/test-tool-bridge.yml").read_text(encoding="utf-8")
    apis = re.findall(r"http://localhost:(\d+)/proxies/(\w+)/toxics", text)
    assert apis
    assert {f"127.0.0.1:{api}:{api}" for api, _ in apis} <= set(published)
    assert {name for _, name in apis} == {proxy["name"]}
    assert f"GRPC_ADDR=toxiproxy:{port}" in text


def test_no_port_of_the_compose_file_is_open_to_the_network() -> None:
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_every_service_is_built_from_a_stage_that_is_there() -> None:
    stages = re.findall(r"^FROM \S+ AS (\w+)$", (ROOT / "Dockerfile.test").read_text(encoding="utf-8"), re.MULTILINE)
    assert {service["build"]["target"] for service in SERVICES.values() if "build" in service} <= set(stages)
