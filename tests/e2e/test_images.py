"""What the Dockerfile runs works: its build, its entry points and its health check, here without Docker.

The image's paths lead into a folder of the test's own.
"""

import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from grpc_tool_bridge import GRPCToolBridge
from support.dockerfiles import Instruction, last, stages
from support.programs import ROOT, announced, environment, run, running, terminate
from support.waiting import until

STAGES = stages(ROOT / "Dockerfile")
TOKEN = "a-token-that-is-long-enough-for-this"
pytestmark = pytest.mark.xdist_group("images")


class Image:
    """A folder in which a stage of the Dockerfile is."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.source = root / "src"
        self.programs = root / "opt" / "tool-bridge" / "bin"

    def here(self, text: str) -> str:
        """Leads the image's paths into the folder, and leaves out what only makes an image smaller or start faster."""
        text = text.replace("--no-cache ", "").replace("--compile-bytecode ", "")
        return re.sub(r"(?<![\w.])/opt/", f"{self.root}/opt/", text)

    def env(self, **more: str) -> dict[str, str]:
        return {**environment(**more), "PATH": f"{self.programs}:/usr/bin:/bin"}

    def build(self, stage: str) -> None:
        """Does what the stage's instructions do."""
        self.source.mkdir(parents=True)
        for instruction in STAGES[stage]:
            if instruction.name == "COPY":
                self._copy(instruction)
            elif instruction.name == "RUN":
                done = run(["sh", "-ec", self.here(instruction.text)], cwd=self.source)
                assert done.returncode == 0, done.stderr
            else:
                assert instruction.name == "WORKDIR", instruction

    def _copy(self, instruction: Instruction) -> None:
        *sources, target = instruction.text.split()
        for source in sources:
            at = self.source / target if target == source else self.source / target / Path(source).name
            at.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, at, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                shutil.copy(ROOT / source, at)

    def entry_point(self, stage: str, *arguments: str) -> list[str]:
        program, *words = last(STAGES[stage], "ENTRYPOINT").words
        return [str(self.programs / program), *words, *arguments]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    image = Image(tmp_path_factory.mktemp("image"))
    image.build("build")
    return image


@pytest.fixture
def hub(image: Image, tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", dict[str, str]]]:
    """The hub's entry point with a token, on free ports of the loopback, and what it announces."""
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    command = [word.replace("0.0.0.0:8080", "127.0.0.1:0") for word in image.entry_point("hub", "--json")]
    env = image.env(TOOL_BRIDGE_ADDRESS="127.0.0.1:0", TOOL_BRIDGE_TOKEN_FILE=str(tmp_path / "token"))
    with running(command, cwd=tmp_path, env=env) as process:
        yield process, announced(process)


def test_the_image_has_the_versions_of_the_lock_and_nothing_for_development(image: Image) -> None:
    listed = run([str(ROOT / ".venv" / "bin" / "uv"), "pip", "freeze", "--python", str(image.programs / "python")])
    installed = [line for line in listed.stdout.splitlines() if not line.startswith("grpc-tool-bridge")]
    locked = re.findall(r"^\S+==\S+", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(installed) <= set(locked)
    names = {line.partition("==")[0] for line in installed}
    assert {"grpcio", "starlette", "pyarrow"} <= names
    assert not names & {"pytest", "mypy", "uv", "pip"}


async def test_a_worker_offers_its_tools_to_the_hub_and_both_end_in_order(
    image: Image, hub: tuple["subprocess.Popen[str]", dict[str, str]], tmp_path: Path
) -> None:
    process, told = hub
    (tmp_path / "my_tools.py").write_text("def double(n: int) -> int:\n    return 2 * n\n")
    env = image.env(TOOL_BRIDGE_ADDRESS=told["address"], TOOL_BRIDGE_TOKEN_FILE=str(tmp_path / "token"))
    command = image.entry_point("worker", "my_tools:double", "--json")
    with running(command, cwd=tmp_path, env=env) as worker:
        announced(worker)
        async with GRPCToolBridge(told["address"], token=TOKEN) as bridge:
            await bridge.initialize()
            await until(lambda: "double" in bridge.tools, "for the worker's tool")
            assert await bridge.tools["double"](21) == 42
        assert terminate(worker) == 0
    assert terminate(process) == 0


def test_the_hub_does_not_listen_to_everybody_without_a_token(image: Image, tmp_path: Path) -> None:
    env = image.env(TOOL_BRIDGE_ADDRESS="0.0.0.0:0")
    done = run(image.entry_point("hub"), cwd=tmp_path, env=env)
    assert done.returncode == 2
    assert "set tls_cert, tls_key and token" in done.stderr


# ------------------------------------------------------------------------------------------------------ health check


def check(address: str, **env: str) -> "subprocess.CompletedProcess[str]":
    kind, _, command = last(STAGES["hub"], "HEALTHCHECK").text.partition("CMD ")
    assert "--interval" in kind
    program, script, _ = Instruction("CMD", command).words
    assert (program, script) == ("python", "/opt/tool-bridge/healthcheck.py")
    (copied,) = [item.text for item in STAGES["hub"] if item.name == "COPY" and script in item.text]
    return run([program, str(ROOT / copied.split()[-2]), address], env=environment(**env))


def test_the_health_check_passes_while_the_hub_takes_calls(
    hub: tuple["subprocess.Popen[str]", dict[str, str]],
) -> None:
    process, told = hub
    assert check(told["http_address"]).returncode == 0
    process.send_signal(signal.SIGTERM)
    process.wait()
    ended = check(told["http_address"])
    assert ended.returncode == 1
    assert "does not answer" in ended.stdout


def test_the_health_check_passes_over_tls_whatever_the_certificate_is_for(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("tool-bridge")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    issued.private_key_pem.write_to_path(tmp_path / "tls.key")
    (tmp_path / "tls.key").chmod(0o600)
    files = {"TOOL_BRIDGE_TLS_CERT": str(tmp_path / "tls.crt"), "TOOL_BRIDGE_TLS_KEY": str(tmp_path / "tls.key")}
    command = ["grpc-tool-bridge", "serve", "--address", "127.0.0.1:0", "--http", "127.0.0.1:0", "--json"]
    with running(command, env=environment(**files)) as process:
        address = announced(process)["http_address"]
        assert check(address, **files).returncode == 0
        assert check(address).returncode == 1
        assert terminate(process) == 0


def test_the_health_check_fails_where_something_else_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        found = check(f"127.0.0.1:{server.getsockname()[1]}")
    assert found.returncode == 1


# ------------------------------------------------------------------------------------------------------- .dockerignore


def test_everything_that_is_copied_is_in_the_context_and_no_secret_is() -> None:
    text = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in text if line.startswith("!")}
    for name in ("Dockerfile", "Dockerfile.test"):
        for stage in stages(ROOT / name).values():
            for item in stage:
                if item.name == "COPY" and "--from=" not in item.text:
                    sources = [word for word in item.text.split()[:-1] if not word.startswith("--")]
                    assert {source.split("/")[0] for source in sources} <= allowed | {"."}
    assert text.index("*") < min(text.index(f"!{name}") for name in allowed)
    assert {"**/.*", "**/*.key", "**/*.pem", "**/*.token"} <= set(text)
