"""Writes the JSON Schemas that ``make lint`` checks the Kubernetes manifests against, so that it needs no network.

They come from the package kubernetes-validate, which has those of every release, for the kinds that deploy/kubernetes
uses, with the descriptions left out:

    .venv/bin/uv run --no-project --with kubernetes-validate==1.37.0 --with pyyaml python scripts/kubernetes_schemas.py
"""

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
MANIFESTS = ROOT / "deploy" / "kubernetes"
SCHEMAS = ROOT / "deploy" / "schemas"
# The oldest release that the manifests are for.
RELEASE = "v1.30.0"
_SHARED = "/api/_definitions.json#"


def main() -> int:
    """Replaces the schemas; returns 0."""
    source = _source()
    shared = json.loads((source / "_definitions.json").read_text(encoding="utf-8"))["$defs"]
    for old in SCHEMAS.glob("*.json"):
        old.unlink()
    SCHEMAS.mkdir(exist_ok=True)
    for name in sorted(_names()):
        schema = _without_descriptions(json.loads((source / f"{name}.json").read_text(encoding="utf-8")))
        schema["$defs"] = {used: _without_descriptions(shared[used]) for used in _used(schema, shared)}
        # Everything that a schema refers to is in its own file.
        schema.pop("$id", None)
        text = json.dumps(schema, indent=1, sort_keys=True).replace(f'"{_SHARED}', '"#')
        (SCHEMAS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    return 0


def _source() -> Path:
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        sys.exit("kubernetes_schemas: kubernetes-validate is not installed; see the top of this file")
    return Path(spec.origin).parent / "kubernetes-json-schema" / f"{RELEASE}-local-strict"


def _names() -> set[str]:
    """Returns what kubeconform calls the schemas of the manifests' kinds, such as ``deployment-apps-v1``."""
    # A kustomization makes config maps of files.
    names = {"configmap-v1"}
    for path in MANIFESTS.rglob("*.yaml"):
        for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            group, _, version = manifest["apiVersion"].rpartition("/")
            if group != "kustomize.config.k8s.io":
                names.add("-".join(filter(None, [manifest["kind"].lower(), group.partition(".")[0], version])))
    return names


def _used(schema: Any, shared: dict[str, Any]) -> set[str]:
    """Returns the shared definitions that a schema refers to, and those that they refer to."""
    used: set[str] = set()
    texts = [json.dumps(schema)]
    while texts:
        new = set(re.findall(r"#/\$defs/([^\"]+)\"", texts.pop())) - used
        used |= new
        texts += [json.dumps(shared[name]) for name in new]
    return used


def _without_descriptions(schema: Any) -> Any:
    """Leaves out all texts; a property that is called ``description`` has a schema, so it stays."""
    if isinstance(schema, list):
        return [_without_descriptions(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_descriptions(value)
        for key, value in schema.items()
        if not (key == "description" and isinstance(value, str))
    }


if __name__ == "__main__":
    sys.exit(main())
