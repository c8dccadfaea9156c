"""The sample settings file has every setting, with its default, and can be used as it is and with each line."""

import re
import tomllib
from pathlib import Path

import pytest

from grpc_tool_bridge.cli import main
from grpc_tool_bridge.cli.settings_file import EXAMPLES, sample, toml
from grpc_tool_bridge.config import Settings, load_settings

# What else must be set with a setting.
_TLS = {"tls_cert": "c", "tls_key": "k"}
_JWT = {"jwt_issuer": "i", "jwt_audience": ["a"], "jwt_keys": "k"}
NEEDED: dict[str, dict[str, object]] = {
    "audit": {"audit_key_file": "/etc/tool-bridge/audit-key"},
    "jwt_issuer": {**_JWT, "jwt_issuer": None},
    "jwt_keys": {**_JWT, "jwt_keys": None},
    "tls_client_ca": {**_TLS},
    "tls_crl": {**_TLS, "tls_client_ca": "a"},
}

SETTING = re.compile(r"^# ([a-z_]+ = .*)$", re.MULTILINE)


def test_every_setting_stands_in_it_once_with_its_default_and_what_it_does() -> None:
    text = sample()
    found = tomllib.loads("\n".join(SETTING.findall(text)))
    assert list(found) == list(Settings.model_fields)
    made = Settings(**{name: value for name, value in found.items() if name not in EXAMPLES})
    for name, field in Settings.model_fields.items():
        if field.default is not None:
            assert getattr(made, name) == field.default, name
        assert (field.description or "")[1:] in " ".join(text.replace("\n# ", " ").split()), name


def test_only_settings_without_a_default_have_an_example() -> None:
    assert EXAMPLES.keys() == {name for name, field in Settings.model_fields.items() if field.default is None}


def test_as_it_is_it_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(sample())
    assert load_settings({}, file).model_dump() == Settings().model_dump()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_setting_can_be_uncommented(name: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    # A certificate and its key need one another.
    names = f"{name[:-3]}cert|{name}" if name.endswith("tls_key") else name
    names = f"{name}|{name[:-4]}key" if name.endswith("tls_cert") else names
    file.write_text(re.sub(rf"^# ((?:{names}) = )", r"\1", sample(), flags=re.MULTILINE))
    file.chmod(0o600)
    assert name in load_settings(NEEDED.get(name, {}), file).model_fields_set


@pytest.mark.parametrize("value", [True, False, 0, 10_485_760, 0.1, 1e-9, 30.0, 'a"b\\c\n', "é", ("a", "b"), ()])
def test_values_are_written_as_toml_reads_them(value: object) -> None:
    assert tomllib.loads(f"x = {toml(value)}")["x"] == (list(value) if isinstance(value, tuple) else value)


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--sample"]) == 0
    assert capsys.readouterr().out == sample()
    assert main(["settings", "--sample", "--json"]) == 2
