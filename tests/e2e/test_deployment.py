"""The commands and settings of the manifests and of the units start a hub and a worker, here as plain processes."""

import re
import shlex
import shutil
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
import trustme
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpc_tool_bridge import GRPCToolBridge, Settings
from grpc_tool_bridge.cluster.urls import parse
from grpc_tool_bridge.stores.urls import sqlite_path
from support.dockerfiles import last, stages
from support.needs import needs
from support.patience import PATIENCE
from support.programs import ROOT, announced, environment, run, running, terminate
from support.waiting import until

DEPLOY = ROOT / "deploy"
TOKEN = "a-token-that-is-long-enough-for-this"


class Files:
    """Where the secrets, tools and programs of a container or a unit are instead."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.token = self._secret("token", TOKEN)
        issued = trustme.CA()
        certificate = issued.issue_cert("localhost", "127.0.0.1")
        self._secret("tls.crt", certificate.cert_chain_pems[0].bytes().decode())
        self._secret("tls.key", certificate.private_key_pem.bytes().decode())
        self.ca = self._secret("ca.crt", issued.cert_pem.bytes().decode())
        shutil.copy(DEPLOY / "kubernetes" / "base" / "tools.py", root / "tools.py")

    def here(self, value: str) -> str:
        """Leads a path of a mounted secret, of the tools, or an address, to what stands for it here."""
        value = value.replace("sqlite:////var/lib/tool-bridge", f"sqlite:///{self.root}")
        mounted = re.fullmatch(r"/(?:run/secrets/[\w-]+|tools|etc/tool-bridge(?:/tools)?)/([\w.]+)", value)
        return str(self.root / mounted[1]) if mounted else value

    def _secret(self, name: str, text: str) -> Path:
        path = self.root / name
        path.write_text(text)
        path.chmod(0o600)
        return path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


# --------------------------------------------------------------------------------------------------------- Kubernetes


def manifests(overlay: str) -> list[dict[str, Any]]:
    done = run(["kustomize", "build", str(DEPLOY / "kubernetes" / overlay)])
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def container(found: list[dict[str, Any]], component: str) -> dict[str, Any]:
    (deployment,) = [
        each
        for each in found
        if each["kind"] == "Deployment" and each["metadata"]["name"] == f"tool-bridge-{component}"
    ]
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def started(component: str, wanted: Mapping[str, Any], files: Files, **more: str) -> Any:
    """Runs a container's command, as its image has it, with the variables of its manifest."""
    _, *words = last(stages(ROOT / "Dockerfile")[component], "ENTRYPOINT").words
    words = [word.replace("0.0.0.0:8080", "127.0.0.1:0") for word in [*words, *wanted.get("args", ())]]
    env = {each["name"]: files.here(each["value"]) for each in wanted["env"]}
    command = ["grpc-tool-bridge", *map(files.here, words), "--json"]
    return running(command, cwd=files.root, env=environment(**{**env, **more}))


@needs("kustomize")
@pytest.mark.parametrize("overlay", ["base", "tls"])
async def test_the_manifests_start_a_hub_that_passes_its_probes_and_a_worker(overlay: str, files: Files) -> None:
    found = manifests(overlay)
    hub, worker = container(found, "hub"), container(found, "worker")
    secure: Any = {"tls": True, "tls_ca": files.ca} if overlay == "tls" else {}
    with started("hub", hub, files, TOOL_BRIDGE_ADDRESS="127.0.0.1:0") as serving:
        told = announced(serving)
        assert (told["token"], told["tls"]) == (True, overlay == "tls")
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe(hub[name], told, files)
        with started("worker", worker, files, TOOL_BRIDGE_ADDRESS=told["address"]) as working:
            announced(working)
            async with GRPCToolBridge(told["address"], token=TOKEN, **secure) as bridge:
                await bridge.initialize()
                await until(lambda: bridge.tools, "for the worker's tool")
                assert await bridge.tools["count_words"]("one two") == 2
            assert terminate(working) == 0
        assert terminate(serving) == 0


def probe(wanted: Mapping[str, Any], told: Mapping[str, Any], files: Files) -> None:
    """Asks what the kubelet asks: over HTTPS it takes any certificate, and over gRPC it knows no TLS."""
    if "grpc" in wanted:
        assert not told["tls"]
        with grpc.insecure_channel(told["address"]) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        return
    asked = wanted["httpGet"]
    scheme = asked.get("scheme", "HTTP").lower()
    assert (scheme == "https") == told["tls"]
    trusting = ssl.create_default_context(cafile=str(files.ca)) if told["tls"] else None
    with urlopen(f"{scheme}://{told['http_address']}{asked['path']}", timeout=PATIENCE, context=trusting) as response:
        assert response.status == 200


@needs("kustomize")
@pytest.mark.parametrize("overlay", ["base", "tls", "durable", "cluster"])
def test_every_pod_is_restricted_and_has_time_to_drain(overlay: str) -> None:
    for workload in (each for each in manifests(overlay) if each["kind"] in {"Deployment", "StatefulSet"}):
        pod = workload["spec"]["template"]["spec"]
        (only,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not pod["automountServiceAccountToken"]
        assert not pod["enableServiceLinks"]
        if only["name"] == "nats":
            config = (DEPLOY / "nats" / "nats.conf").read_text(encoding="utf-8")
            (drain,) = re.findall(r'lame_duck_duration: "(\d+)s"', config)
            assert pod["terminationGracePeriodSeconds"] > int(drain)
            continue
        env = {each["name"]: each["value"] for each in only["env"]}
        assert not {"TOOL_BRIDGE_TOKEN", "TOOL_BRIDGE_CLUSTER_SECRET"} & set(env)
        settings = {name.removeprefix("TOOL_BRIDGE_").lower() for name in env} - {"tls_ca"}
        assert settings <= set(Settings.model_fields) | {"address"}
        waits = int(only.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["", 0])[-1])
        assert pod["terminationGracePeriodSeconds"] > waits + float(env["TOOL_BRIDGE_SHUTDOWN_GRACE"])


@needs("kustomize")
async def test_the_sessions_of_the_durable_hub_are_there_when_its_pod_is(files: Files) -> None:
    hub = container(manifests("durable"), "hub")
    for restored in (0, 1):
        with started("hub", hub, files, TOOL_BRIDGE_ADDRESS="127.0.0.1:0") as serving:
            told = announced(serving)
            assert (told["store"], told["sessions_restored"]) == (str(files.root / "hub.db"), restored)
            async with GRPCToolBridge(told["address"], token=TOKEN, keep_session=True) as bridge:
                await bridge.initialize("s")


@needs("kustomize")
def test_the_store_of_the_durable_hub_is_on_a_volume_of_one_pod() -> None:
    found = manifests("durable")
    hub = container(found, "hub")
    (claim,) = [each for each in found if each["kind"] == "PersistentVolumeClaim"]
    (pod,) = [
        each["spec"]["template"]["spec"]
        for each in found
        if each["kind"] == "Deployment" and each["metadata"]["name"] == "tool-bridge-hub"
    ]
    (volume,) = [each for each in pod["volumes"] if "persistentVolumeClaim" in each]
    (mount,) = [each["mountPath"] for each in hub["volumeMounts"] if each["name"] == volume["name"]]
    (store,) = [each["value"] for each in hub["env"] if each["name"] == "TOOL_BRIDGE_STORE"]
    assert sqlite_path(store).parent == Path(mount)
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_the_compose_file_and_the_drop_in_keep_the_store_where_it_lasts() -> None:
    compose = yaml.safe_load((DEPLOY / "compose" / "durable.yaml").read_text(encoding="utf-8"))
    hub = compose["services"]["hub"]
    mounts = dict(volume.split(":")[:2] for volume in hub["volumes"])
    assert sqlite_path(hub["environment"]["TOOL_BRIDGE_STORE"]).parent == Path(mounts["store"])
    assert "store" in compose["volumes"]
    settings = {name.removeprefix("TOOL_BRIDGE_").lower() for name in hub["environment"]}
    assert settings <= set(Settings.model_fields)
    made = f"install --directory --owner=10001 --group=10001 --mode=0700 {mounts['store']}"
    assert made in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    dropped = unit("tool-bridge.service.d/durable.conf")
    store = dropped["Environment"].removeprefix("TOOL_BRIDGE_STORE=")
    assert sqlite_path(store).parent == Path("/var/lib") / dropped["StateDirectory"]


@needs("kustomize")
def test_the_hubs_of_the_cluster_name_the_nodes_and_the_settings_that_there_are() -> None:
    found = manifests("cluster")
    (nodes,) = [each for each in found if each["kind"] == "StatefulSet"]
    host = nodes["metadata"]["name"], nodes["spec"]["serviceName"]
    names = [f"{host[0]}-{number}.{host[1]}" for number in range(nodes["spec"]["replicas"])]
    env = {each["name"]: each["value"] for each in container(found, "hub")["env"]}
    assert parse(env["TOOL_BRIDGE_STORE"]).servers == tuple(f"{name}:4222" for name in names)
    assert parse(env["TOOL_BRIDGE_STORE"]).tls
    (only,) = nodes["spec"]["template"]["spec"]["containers"]
    assert only["args"][-1] == ",".join(f"nats-route://{name}:6222" for name in names)
    mounts = {each["mountPath"] for each in container(found, "hub")["volumeMounts"]}
    files = [value for name, value in env.items() if "NATS_TLS" in name or name.endswith("SECRET_FILE")]
    assert {str(Path(file).parent) for file in files} <= mounts


def test_the_compose_file_of_a_cluster_names_the_nodes_and_the_settings_that_there_are() -> None:
    services = yaml.safe_load((DEPLOY / "compose" / "cluster.yaml").read_text(encoding="utf-8"))["services"]
    nodes = [name for name in services if name.startswith("nats-")]
    hubs = [name for name in services if name.startswith("hub-")]
    assert (len(nodes), len(hubs)) == (3, 3)
    for name in hubs:
        env = services[name]["environment"]
        assert env["TOOL_BRIDGE_HUB_NAME"] == name
        assert parse(env["TOOL_BRIDGE_STORE"]).servers == tuple(f"{node}:4222" for node in nodes)
        assert {each.removeprefix("TOOL_BRIDGE_").lower() for each in env} <= set(Settings.model_fields)
    for name in nodes:
        assert services[name]["command"][-1] == ",".join(f"nats-route://{node}:6222" for node in nodes)
        assert services[name]["environment"]["NATS_NAME"] == name
    assert services["worker"]["environment"]["TOOL_BRIDGE_ADDRESS"] == ",".join(f"{hub}:50051" for hub in hubs)


@needs("kustomize")
def test_the_policies_and_the_service_select_the_pods_that_they_are_for() -> None:
    found = manifests("base")
    labels = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"]
        for each in found
        if each["kind"] == "Deployment"
    }
    selectors = {
        (each["kind"], each["metadata"]["name"]): each["spec"].get("podSelector", each["spec"].get("selector"))
        for each in found
        if each["kind"] in {"NetworkPolicy", "PodDisruptionBudget", "Service"}
    }
    assert len(selectors) == 4
    for (_, name), selector in selectors.items():
        wanted = selector.get("matchLabels", selector)
        selected = {pod for pod, has in labels.items() if wanted.items() <= has.items()}
        assert selected == {"tool-bridge-hub" if name == "tool-bridge" else name}


@needs("kustomize")
def test_no_overlay_has_a_token_and_the_example_s_is_refused(tmp_path: Path) -> None:
    assert all(each["kind"] != "Secret" for overlay in ("base", "tls") for each in manifests(overlay))
    example = yaml.safe_load((DEPLOY / "kubernetes" / "secret.example.yaml").read_text(encoding="utf-8"))
    (tmp_path / "token").write_text(example["stringData"]["token"])
    (tmp_path / "token").chmod(0o600)
    done = run(["grpc-tool-bridge", "serve", "--address", "127.0.0.1:0", "--token-file", str(tmp_path / "token")])
    assert done.returncode == 2
    assert "empty" in done.stderr


# ------------------------------------------------------------------------------------------------------------ systemd


def unit(name: str) -> dict[str, str]:
    """The settings of a unit; of those that come several times, the last."""
    lines = (DEPLOY / "systemd" / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))


def exec_start(name: str, files: Files) -> list[str]:
    """The command of a unit, with the specifiers of an instance that is called ``tools``."""
    text = unit(name)["ExecStart"].replace("%i", "tools").replace("%H", "machine")
    text = text.replace("${CREDENTIALS_DIRECTORY}", str(files.root)).replace("127.0.0.1:8080", "127.0.0.1:0")
    program, *words = shlex.split(text)
    assert program == "/opt/tool-bridge/bin/grpc-tool-bridge"
    for settings in (DEPLOY / "systemd").glob("*.toml"):
        shutil.copy(settings, files.root)
    return ["grpc-tool-bridge", *map(files.here, words), "--json"]


async def test_the_units_start_a_hub_and_a_worker(files: Files) -> None:
    hub = [*exec_start("tool-bridge.service", files), "--address", "127.0.0.1:0"]
    with running(hub, cwd=files.root) as serving:
        told = announced(serving)
        worker = [*exec_start("tool-bridge-worker@.service", files), "--address", told["address"]]
        with running(worker, cwd=files.root) as working:
            assert announced(working)["worker_id"] == "machine-tools"
            async with GRPCToolBridge(told["address"], token=TOKEN) as bridge:
                await bridge.initialize()
                await until(lambda: bridge.tools, "for the worker's tool")
                assert await bridge.tools["count_words"]("one two three") == 3
            assert terminate(working) == 0
        assert terminate(serving) == 0


@pytest.mark.parametrize("name", ["tool-bridge.service", "tool-bridge-worker@.service"])
def test_a_unit_leaves_time_to_drain(name: str) -> None:
    config = re.search(r"--config /etc/tool-bridge/(\w+\.toml)", unit(name)["ExecStart"])
    assert config is not None
    grace = re.search(r"shutdown_grace = ([\d.]+)", (DEPLOY / "systemd" / config[1]).read_text(encoding="utf-8"))
    assert grace is not None
    assert float(unit(name)["TimeoutStopSec"]) > float(grace[1])
