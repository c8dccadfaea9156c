"""Which gRPC services there are."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.adapters.grpc.config import ServiceConfig, ServiceOptions, config_of, distinct, read_config_file
from grpc_tool_bridge.errors import ValidationError


@pytest.mark.parametrize(
    ("source", "address", "name", "prefix", "tls"),
    [
        ("127.0.0.1:5000", "127.0.0.1:5000", "127.0.0.1:5000", "", False),
        ("  [::1]:5000 ", "[::1]:5000", "[::1]:5000", "", False),
        ("weather=127.0.0.1:5000", "127.0.0.1:5000", "weather", "weather", False),
        ("my.weather=127.0.0.1:5000", "127.0.0.1:5000", "my_weather", "my_weather", False),
        ("grpc://localhost:5000", "localhost:5000", "localhost:5000", "", False),
        ("GRPCS://api.example.com:443/", "api.example.com:443", "api.example.com:443", "", True),
        ("unix:/run/weather.sock", "unix:/run/weather.sock", "unix:/run/weather.sock", "", False),
        ("w=dns:///weather.example:5000", "dns:///weather.example:5000", "w", "w", False),
        ("dns:///weather.example:5000", "dns:///weather.example:5000", "dns:///weather.example:5000", "", False),
    ],
)
def test_an_address_is_a_service(source: str, address: str, name: str, prefix: str, tls: bool) -> None:
    config = config_of(source)
    assert (config.address, config.name, config.prefix, config.tls) == (address, name, prefix, tls)


def test_a_prefix_that_is_given_is_taken() -> None:
    assert config_of("w=h:1", prefix="").prefix == ""
    assert config_of("h:1", name="w", prefix="x").prefix == "x"
    assert config_of("w=h:1", name="other").name == "other"


def test_options_complete_a_config() -> None:
    config = ServiceConfig(address="h:1", methods=("a.*",))
    assert config_of(config) is config
    assert config_of(config, methods=["b.*"], timeout=None).methods == ("b.*",)


@pytest.mark.parametrize("key", ["tls_ca", "tls_cert"])
def test_files_for_tls_imply_it(key: str, tmp_path: Path) -> None:
    files: dict[str, Any] = {key: tmp_path / "x.pem"}
    if key == "tls_cert":
        files["tls_key"] = str(tmp_path / "y.pem")
    config = ServiceConfig(address="h:1", **files)
    assert config.tls
    assert config.where == "h:1 (TLS)"


def test_secrets_are_not_printed() -> None:
    config = ServiceConfig(address="h:1", metadata={"authorization": "Bearer s3cret", "x-bin": "s3cret"})
    assert "s3cret" not in repr(config)
    assert config.metadata == {"authorization": "Bearer s3cret", "x-bin": b"s3cret"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"address": "https://h:1"}, "host:port, or grpcs://host:port for TLS"),
        ({"address": "h"}, "host:port"),
        ({"address": ""}, "address"),
        ({"address": 5}, "address"),
        ({"address": "user:s3cret@h:1"}, "not a valid address"),
        ({"tls_cert": "a.pem"}, "tls_cert and tls_key belong together"),
        ({"tls_key": "a.pem"}, "tls_cert and tls_key belong together"),
        ({"tls_server_name": "x"}, "for connections with TLS"),
        ({"descriptor_set": "a", "proto": "b"}, "keep one of them"),
        ({"proto_include": ["a"]}, "give proto, too"),
        ({"methods": "a.*"}, "methods must be a list"),
        ({"forward": [1]}, "forward"),
        ({"metadata": ["a"]}, "metadata must be texts by name"),
        ({"metadata": {"grpc-timeout": "1"}}, "does not begin with grpc-"),
        ({"metadata": {"Host": "a"}}, "one of HTTP's own"),
        ({"metadata": {"connection": "close"}}, "one of HTTP's own"),
        ({"metadata": {"a b": "1"}}, "not a name of metadata"),
        ({"metadata": {"a": "ä"}}, "printable ASCII"),
        ({"metadata": {"a": b"x"}}, "printable ASCII"),
        ({"metadata": {"a-bin": 3}}, "must be bytes"),
        ({"max_message_bytes": 0}, "max_message_bytes"),
        ({"timeout": 0}, "timeout"),
        ({"refresh": -1}, "refresh"),
        ({"keepalive_time": "x"}, "keepalive_time"),
        ({"tls": "yes"}, "tls"),
        ({"tls_ca": 3}, "tls_ca must be the path of a file"),
        ({"name": "***"}, "cannot be called"),
    ],
)
def test_what_is_not_valid_is_named(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text) as caught:
        ServiceConfig(**{"address": "h:1", **options})
    assert "s3cret" not in caught.value.message


def test_an_option_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="'mehtods' is no option of a gRPC service; did you mean 'methods'"):
        config_of("h:1", mehtods=[])  # type: ignore[call-arg]


def test_every_attribute_is_an_option() -> None:
    assert ServiceOptions.__annotations__.keys() == {item.name for item in fields(ServiceConfig)} - {"address"}


def test_a_source_that_is_no_text_is_refused() -> None:
    with pytest.raises(ValidationError, match="given by its address"):
        config_of(3)  # type: ignore[arg-type]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "services.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_has_services_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHER_TOKEN", "t0ken")
    path = written(
        tmp_path,
        """
        [services.weather]
        address = "grpcs://weather.example:443"
        methods = ["weather.v1.*"]
        tls_ca = "ca.pem"
        proto = "/protos"
        proto_include = ["vendor"]
        metadata = { authorization = "env:WEATHER_TOKEN", x-team = "blue" }
        timeout = 5

        [services.shop]
        address = "unix:/run/shop.sock"
        prefix = ""
        """,
    )
    weather, shop = read_config_file(path)
    assert (weather.name, weather.prefix, weather.tls, weather.timeout) == ("weather", "weather", True, 5)
    assert (weather.tls_ca, weather.proto, weather.proto_include) == (
        tmp_path / "ca.pem",
        Path("/protos"),
        (tmp_path / "vendor",),
    )
    assert weather.metadata == {"authorization": "t0ken", "x-team": "blue"}
    assert (shop.name, shop.prefix) == ("shop", "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("services = 3", "it needs a table"),
        ("", "it needs a table"),
        ("[services.a]\naddress='h:1'\n[other]", "'other' is not known"),
        ("[services]\na = 3", "must be a table"),
        ("[services.a]\nadress='h:1'", "did you mean address"),
        ("[services.a]", "it needs an address"),
        ("[services.a]\naddress='h:1'\nname='b'", "'name' is not known"),
        ("[services.a]\naddress='h:1'\nmetadata={x='env:NOT_SET_AT_ALL'}", "NOT_SET_AT_ALL is not set"),
        ("[services.a]\naddress='h:1'\ntimeout=-1", r"\[services.a\]: timeout"),
        ("[services.a", "not valid TOML"),
    ],
)
def test_a_file_that_is_not_valid_is_an_error_that_says_where(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        read_config_file(written(tmp_path, text))
    assert "services.toml" in caught.value.message


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="is it the right file"):
        read_config_file(written(tmp_path, "#" * 5_000_000))


def test_two_services_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"two gRPC services are called 'w' \(h:1 and h:2\)"):
        distinct([config_of("w=h:1"), config_of("w=h:2")])
    assert len(distinct([config_of("w=h:1"), config_of("v=h:1")])) == 2
