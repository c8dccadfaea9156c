"""The ways to import services."""

from pathlib import Path

import pytest

from grpc_tool_bridge.adapters.grpc import Bounds, ServiceConfig, import_grpc, import_grpc_config
from grpc_tool_bridge.errors import ValidationError


def test_a_service_of_an_address_a_name_or_a_config() -> None:
    assert repr(import_grpc("w=127.0.0.1:1")) == "<GrpcService w (127.0.0.1:1)>"
    service = import_grpc(ServiceConfig(address="127.0.0.1:1", name="w"), methods=["a.*"], bounds=Bounds(files=1))
    assert (service.name, service.config.methods) == ("w", ("a.*",))
    assert service.away == "it has not been started"


def test_services_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "services.toml"
    path.write_text("[services.a]\naddress = 'h:1'\n[services.b]\naddress = 'h:2'\n")
    assert [service.name for service in import_grpc_config(path)] == ["a", "b"]
    path.write_text(
        "[services.a-b]\naddress = 'h:1'\n[services.'a+b']\naddress = 'h:2'\n[services.'a b']\naddress='h:3'"
    )
    with pytest.raises(ValidationError, match="two gRPC services are called 'a_b'"):
        import_grpc_config(path)
