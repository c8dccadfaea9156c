"""The connection to a service."""

from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from grpc_tool_bridge.adapters.grpc.channel import open_channel, read_credentials
from grpc_tool_bridge.adapters.grpc.config import ServiceConfig
from support.certificates import certificate_files


def options_of(monkeypatch: pytest.MonkeyPatch, config: ServiceConfig) -> tuple[str, dict[str, Any]]:
    seen: list[Any] = []
    monkeypatch.setattr(grpc.aio, "insecure_channel", lambda target, options: seen.append((target, dict(options))))
    open_channel(config, None)
    target, options = seen[0]
    return target, options


def test_settings_become_options(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ServiceConfig(
        address="grpc://h:1", authority="other", max_message_bytes=1_000, keepalive_time=300, keepalive_timeout=5
    )
    target, options = options_of(monkeypatch, config)
    assert target == "h:1"
    assert options["grpc.default_authority"] == "other"
    assert options["grpc.max_receive_message_length"] == 1_000
    assert (options["grpc.keepalive_time_ms"], options["grpc.keepalive_timeout_ms"]) == (300_000, 5_000)


def test_by_default_there_are_no_pings_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    _, options = options_of(monkeypatch, ServiceConfig(address="h:1"))
    assert "grpc.keepalive_time_ms" not in options
    assert options["grpc.enable_http_proxy"] == 0
    assert options["grpc.enable_retries"] == 0


def test_a_try_to_connect_has_the_time_that_it_takes_from_far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    _, options = options_of(monkeypatch, ServiceConfig(address="h:1"))
    # By this gRPC bounds one try, whatever the name says.
    assert options["grpc.min_reconnect_backoff_ms"] >= 3_000
    assert options["grpc.max_reconnect_backoff_ms"] <= 3_000


def test_certificates_are_read(tmp_path: Path) -> None:
    files = certificate_files(tmp_path)
    assert read_credentials(ServiceConfig(address="h:1")) is None
    assert read_credentials(ServiceConfig(address="grpcs://h:1")) is not None
    assert read_credentials(ServiceConfig(address="h:1", tls_ca=files["ca"])) is not None
    pair = ServiceConfig(address="h:1", tls_cert=files["cert"], tls_key=files["key"])
    assert read_credentials(pair) is not None
    with pytest.raises(FileNotFoundError):
        read_credentials(ServiceConfig(address="h:1", tls_ca=tmp_path / "none.pem"))
