"""The checks of ``doctor --grpc``: whether a gRPC service can be taken in, and as what."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from grpc_tool_bridge.adapters.grpc import Bounds
from grpc_tool_bridge.adapters.grpc.diagnosis import diagnose
from grpc_tool_bridge.cli.checks import versions
from grpc_tool_bridge.cli.connection import ANSWER_SECONDS
from grpc_tool_bridge.cli.failures import one_line
from grpc_tool_bridge.cli.reach_checks import Check, Place, check_reach

if TYPE_CHECKING:
    from grpc_tool_bridge.adapters.grpc import ServiceConfig


async def examine_service(config: "ServiceConfig", connect_timeout: float) -> AsyncIterator[Check]:
    """Yields each check as it finishes; after a failure, the checks that depend on it are skipped.

    Args:
        config: The service.
        connect_timeout: Seconds to connect.
    """
    place = Place(
        what="service",
        address=config.address,
        uses_tls=config.tls,
        tls_ca=config.tls_ca,
        ca_option="--grpc-tls-ca",
        tls_cert=config.tls_cert,
        tls_key=config.tls_key,
        server_name=config.tls_server_name,
        timeout=connect_timeout,
    )
    reached = True
    async for check in check_reach(place):
        yield check
        reached = check.status != "fail"
    if reached:
        async for found in diagnose(config, Bounds(), answer_seconds=connect_timeout + ANSWER_SECONDS):
            yield Check(found.name, found.status, one_line(found.text))
    yield versions()
