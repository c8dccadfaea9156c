"""All checks together."""

import importlib
import inspect
import pkgutil

from pydantic import SecretStr

import grpc_tool_bridge.auth.hardening as room
from grpc_tool_bridge.auth.hardening.checklist import RULES, examine
from grpc_tool_bridge.auth.hardening.deployment import Deployment
from unit.auth.hardening.deployments import EVERYWHERE, SECRET, hub


def test_every_check_is_on_the_list() -> None:
    modules = [importlib.import_module(f"{room.__name__}.{each.name}") for each in pkgutil.iter_modules(room.__path__)]
    made = [
        item
        for module in modules
        for name, item in vars(module).items()
        if inspect.isfunction(item) and item.__module__ == module.__name__ and not name.startswith("_")
        if [each.annotation for each in inspect.signature(item).parameters.values()] == [Deployment]
    ]

    assert set(RULES) == {item for item in made if item is not examine}


def test_no_finding_has_a_secret_and_each_says_what_to_do() -> None:
    secret = SecretStr(SECRET)
    settings = {"token": secret, "cluster_secret": secret, "secrets_key": secret, "allow_insecure": True}
    findings = list(examine(hub({**settings, "store": "sqlite:////srv/hub.db"}, address=EVERYWHERE)))

    assert findings
    for finding in findings:
        assert SECRET not in finding.text
        assert finding.status == "ok" or ";" in finding.text or ":" in finding.text
