"""The options of ``serve``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.mcp_agents import declared_agents
from grpc_tool_bridge.cli.options import check_address
from grpc_tool_bridge.cli.parameters import Option
from grpc_tool_bridge.cli.recording import RecordOption, RedactOption, RedactPatternOption, check_redaction
from grpc_tool_bridge.cli.serving_options import ServingOptions
from grpc_tool_bridge.cli.settings import setting
from grpc_tool_bridge.config.defaults import DEFAULT_ADDRESS


@dataclass(frozen=True, kw_only=True)
class ServeOptions(ServingOptions):
    """The options of ``serve``: those of any process that runs tools, and the settings of a hub."""

    address: Annotated[
        str,
        Option(
            metavar="HOST:PORT",
            envvar="TOOL_BRIDGE_ADDRESS",
            help="Address to listen on; port 0 picks a free port; also [IPV6]:PORT or unix:PATH.",
        ),
    ] = DEFAULT_ADDRESS
    http: Annotated[
        str | None,
        Option(
            metavar="HOST:PORT",
            help="Serve over HTTP there, too, with the same token and TLS; port 0 picks a free port. Default: no HTTP.",
        ),
    ] = None
    mcp_agent: Annotated[
        list[str] | None,
        Option(
            metavar="NAME=SIGNATURE",
            help="Offer an agent to MCP clients as a tool, such as ask='question -> answer'; needs --http or "
            "--mcp-grpc, and --agents or an agent runtime that is connected. Repeatable.",
        ),
    ] = None
    chaos: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="TOML file with faults to inject into calls on purpose, to test programs. Never in production.",
        ),
    ] = None
    reload: Annotated[
        bool,
        Option(
            "--reload",
            help="Load the tools again when a Python file beside or below their sources changes, for development: "
            "they run in a process of their own, and the hub goes on with its sessions.",
        ),
    ] = False
    record: RecordOption = None
    redact: RedactOption = None
    redact_pattern: RedactPatternOption = None
    token_file: Annotated[Path | None, setting("token_file")] = None
    tokens_file: Annotated[Path | None, setting("tokens_file")] = None
    policy: Annotated[Path | None, setting("policy")] = None
    quotas: Annotated[Path | None, setting("quotas")] = None
    tls_cert: Annotated[Path | None, setting("tls_cert")] = None
    tls_key: Annotated[Path | None, setting("tls_key")] = None
    allow_insecure: Annotated[bool | None, setting("allow_insecure")] = None
    mcp_grpc: Annotated[bool | None, setting("mcp_grpc")] = None
    link_address: Annotated[str | None, setting("link_address", metavar="HOST:PORT")] = None
    local_socket: Annotated[bool | None, setting("local_socket")] = None
    store: Annotated[str | None, setting("store", metavar="URL")] = None
    hub_name: Annotated[str | None, setting("hub_name", metavar="NAME")] = None
    nats_creds: Annotated[Path | None, setting("nats_creds")] = None
    nats_tls_ca: Annotated[Path | None, setting("nats_tls_ca")] = None
    nats_tls_cert: Annotated[Path | None, setting("nats_tls_cert")] = None
    nats_tls_key: Annotated[Path | None, setting("nats_tls_key")] = None
    cluster_secret_file: Annotated[Path | None, setting("cluster_secret_file")] = None
    max_store_bytes: Annotated[int | None, setting("max_store_bytes")] = None
    secrets_key_file: Annotated[Path | None, setting("secrets_key_file")] = None
    max_batch_items: Annotated[int | None, setting("max_batch_items")] = None
    call_timeout: Annotated[float | None, setting("call_timeout")] = None
    stream_timeout: Annotated[float | None, setting("stream_timeout")] = None
    max_sessions: Annotated[int | None, setting("max_sessions")] = None
    session_idle_timeout: Annotated[float | None, setting("session_idle_timeout")] = None
    max_session_calls: Annotated[int | None, setting("max_session_calls")] = None
    access_log: Annotated[bool | None, setting("access_log")] = None
    audit: Annotated[str | None, setting("audit", metavar="SINK")] = None
    audit_key_file: Annotated[Path | None, setting("audit_key_file")] = None

    def check(self) -> None:
        """Checks the addresses and the common options."""
        check_address(self.address, listening=True)
        if self.http is not None:
            check_address(self.http, listening=True, flag="--http")
        self.declared_agents()
        check_redaction(self.record, self.redact, self.redact_pattern)
        super().check()

    def declared_agents(self) -> dict[str, str]:
        """Returns the agents for MCP clients: signatures by name.

        Raises:
            ArgumentError: One is not ``NAME=SIGNATURE``, or nothing serves MCP.
        """
        declared = declared_agents(self.mcp_agent)
        if declared and self.http is None and not self.read_settings().mcp_grpc:
            raise ArgumentError("--mcp-agent offers agents over HTTP, at /mcp; add --http HOST:PORT, or --mcp-grpc")
        return declared
