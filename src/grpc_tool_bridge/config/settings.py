"""The settings of a hub, as one frozen object."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from grpc_tool_bridge.config.audit_choices import AuditSync, OnAuditFailure
from grpc_tool_bridge.config.defaults import (
    BATCH_TIMEOUT,
    CALL_TIMEOUT,
    MAX_HUB_BYTES,
    MAX_HUB_NAME_CHARS,
    MAX_MESSAGE_BYTES,
    MAX_MESSAGE_NODES,
    MAX_PEER_BYTES,
    MAX_SESSION_BYTES,
    MEMORY_STORE,
    REQUEST_TIMEOUT,
    STREAM_TIMEOUT,
)
from grpc_tool_bridge.config.renamed import SETTINGS, old_name, renamed_settings
from grpc_tool_bridge.config.secret_files import check_secret_file, read_cluster_secret, read_secret, read_token
from grpc_tool_bridge.config.token_rules import check_jwt_settings, signing_algorithms
from grpc_tool_bridge.config.web_names import host_names, origins


def _split(value: Any) -> Any:
    """Reads a comma-separated list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Seconds = Annotated[float, Field(gt=0, le=86_400)]
# A store may keep a session for weeks. Clients have timers of a third of this, and those of JavaScript end at 24 days.
IdleSeconds = Annotated[float, Field(gt=0, le=30 * 86_400)]
Count = Annotated[int, Field(ge=1)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
# A comma may be a part of a pattern.
Patterns = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]


class LogFormat(StrEnum):
    """How lines of the log are written."""

    TEXT = "text"
    JSON = "json"


class Settings(BaseModel):
    """All settings of a hub. Durations are in seconds, sizes in bytes."""

    # An input may be a token, even under a misspelt name.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    # Who may connect.
    tls_cert: Path | None = Field(default=None, description="PEM file with the hub's certificate chain")
    tls_key: Path | None = Field(default=None, description="PEM file with the certificate's private key")
    token: SecretStr | None = Field(default=None, description="bearer token that every caller must send")
    token_file: Path | None = Field(default=None, description="file that holds the bearer token")
    tokens_file: Path | None = Field(
        default=None, description="file with the tokens of callers by name, as grpc-tool-bridge token new writes it"
    )
    jwt_issuer: str | None = Field(
        default=None, description="issuer of the JWTs that callers may send as tokens, exactly as in the claim iss"
    )
    jwt_audience: Names = Field(default=(), description="what this hub is called in the claim aud of JWTs; any of them")
    jwt_keys: str | None = Field(
        default=None, description="keys that JWTs are signed with, as a JWKS: the path of a file, or its https:// URL"
    )
    jwt_algorithms: Annotated[Names, AfterValidator(signing_algorithms)] = Field(
        default=("RS256", "PS256", "ES256", "EdDSA"), description="algorithms that JWTs may be signed with"
    )
    jwt_leeway: Annotated[float, Field(ge=0, le=300)] = Field(
        default=30.0, description="how far the clocks of the issuer and of this hub may differ"
    )
    jwt_name_claim: str = Field(default="sub", description="claim of a JWT that has the caller's name")
    jwt_groups_claim: str = Field(default="groups", description="claim of a JWT that lists the caller's groups")
    tls_client_ca: Path | None = Field(
        default=None, description="PEM file with the authorities whose client certificates say who callers are"
    )
    tls_client_required: bool = Field(
        default=True,
        description="with tls_client_ca, refuse connections without a client certificate; off: they need a token, and "
        "none is asked for over gRPC",
    )
    tls_crl: Path | None = Field(
        default=None,
        description="file with client certificates that are revoked: CRLs as PEM or DER, or a serial number or SHA-256 "
        "fingerprint in each line",
    )
    unix_users: Names = Field(
        default=(),
        description="users of this machine that need no token at the local socket: names or ids, each as "
        "NAME=PRINCIPAL if it is called otherwise here; *: each that the socket admits, by its own name",
    )
    policy: Path | None = Field(
        default=None,
        description="TOML file with rules of who may do what; then nothing else is allowed, and changes are followed",
    )
    quotas: Path | None = Field(
        default=None,
        description="TOML file with quotas: how much each principal may use of the hub; changes are followed",
    )
    forwarded_claims: Names = Field(
        default=(), description="claims of a caller, such as email, that workers' tools are told with its name"
    )
    allow_insecure: bool = Field(
        default=False, description="listen, and send a token, beyond loopback without TLS; listen there without a token"
    )

    local_socket: bool = Field(
        default=True,
        description="at a loopback address without TLS, also take links over a socket that only this user can reach",
    )
    link_address: str | None = Field(
        default=None,
        description="host:port at which links are taken over TCP, too; with the same TLS and token as at the hub's "
        "address",
    )

    http_hosts: Annotated[Names, AfterValidator(host_names)] = Field(
        default=(), description="names that the HTTP gateway is reached by, besides localhost and addresses"
    )
    mcp_tools: Names = Field(
        default=(),
        description="what MCP clients see over HTTP and gRPC that choose no tools themselves: patterns of names, such "
        "as weather.*, or tags, such as tag:read",
    )
    mcp_grpc: bool = Field(default=False, description="serve MCP over gRPC at the hub's address, too; an experiment")
    http_origins: Annotated[Names, AfterValidator(origins)] = Field(
        default=(), description="other origins whose pages may call the HTTP gateway, such as https://tools.example.com"
    )

    # What may be held in memory, over all transports.
    max_hub_bytes: Count = Field(default=MAX_HUB_BYTES, description="all that the hub holds for sessions and peers")
    max_session_bytes: Count = Field(
        default=MAX_SESSION_BYTES, description="all that one session holds: variables, caches, requests of its calls"
    )
    max_peer_bytes: Count = Field(
        default=MAX_PEER_BYTES, description="pending requests and responses of one connection, over RPCs and links"
    )
    max_unauthenticated_bytes: Count = Field(
        default=1024 * 1024, description="what a connection may send before it is authenticated"
    )
    max_connections: Count = Field(default=10_000, description="concurrent connections; further ones are closed")
    max_connection_rpcs: Count = Field(
        default=2_000,
        description="concurrent RPCs of one connection, including links and watches; more wait at the client",
    )
    max_connection_links: Count = Field(
        default=16, description="concurrent links of one connection; a client has one, over its own connection"
    )
    max_pending_links: Count = Field(default=100, description="concurrent links whose peers have not sent a hello")
    max_health_watches: Count = Field(default=1_000, description="concurrent watches of the standard health service")
    hello_timeout: Seconds = Field(
        default=10.0, description="a new connection or link must send its hello within this time"
    )
    request_timeout: Seconds = Field(
        default=REQUEST_TIMEOUT,
        description="a request of an RPC or a frame over a socket must arrive within this time",
    )

    # What a call may take.
    max_message_bytes: Count = Field(default=MAX_MESSAGE_BYTES, description="payload of one request or response")
    max_message_nodes: Annotated[int, Field(ge=1_000)] = Field(
        default=MAX_MESSAGE_NODES,
        description="elements, keys, texts and numbers in one message, counted before it is decoded",
    )
    max_depth: Annotated[int, Field(ge=1, le=500)] = Field(default=100, description="nesting of one value")
    max_batch_items: Count = Field(default=100, description="calls in one batch")
    call_timeout: Seconds = Field(default=CALL_TIMEOUT, description="default timeout of a call")
    stream_timeout: Seconds = Field(default=STREAM_TIMEOUT, description="default timeout of a stream")
    batch_timeout: Seconds = Field(default=BATCH_TIMEOUT, description="timeout of a whole batch")
    max_threads: Count = Field(
        default=64,
        description="threads for synchronous tools, at each depth of nested calls, including orphaned ones",
    )
    max_processes: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="processes for tools with executor='process', at each depth of nested calls; 0: one for each core",
    )
    max_process_calls: Annotated[int, Field(ge=0)] = Field(
        default=0, description="calls after which such a process is replaced; 0: unlimited"
    )
    max_process_seconds: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="time after which such a process is replaced; 0: unlimited"
    )
    max_process_bytes: Annotated[int, Field(ge=0)] = Field(
        default=0, description="memory of such a process after a call beyond which it is replaced; 0: unlimited"
    )
    process_jitter: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.1, description="part by which calls and time are less at random, so that not all are replaced at once"
    )
    stream_buffer: Count = Field(default=16, description="values of a stream that are buffered for a slow reader")
    max_tool_calls: Annotated[int, Field(ge=0)] = Field(
        default=0, description="concurrent calls of a tool that sets no limit; 0: unlimited"
    )
    rate_limit_per_minute: Annotated[int, Field(ge=0)] = Field(
        default=0, description="calls per minute of a tool that sets no limit; 0: unlimited"
    )

    # When a tool is held back.
    breaker_failures: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=0, description="failures in a row after which a tool that sets nothing else is held back; 0: never"
    )
    breaker_seconds: Seconds = Field(
        default=30.0, description="how long a tool is held back before one call may try it again"
    )
    breaker_ignored_errors: Names = Field(
        default=("ValueError",), description="classes of tools' exceptions that are the caller's fault, and not counted"
    )

    # What a session may take.
    max_sessions: Annotated[int, Field(ge=1, le=100_000)] = Field(default=1_000, description="concurrent sessions")
    session_idle_timeout: IdleSeconds = Field(
        default=300.0, description="an idle session ends after this time, at most 30 days (2592000)"
    )
    max_session_calls: Count = Field(default=100, description="concurrent calls of a session; more wait in order")
    max_session_waiting: Count = Field(default=10_000, description="waiting calls of a session; more are refused")
    max_session_tools: Count = Field(default=10_000, description="tools that belong to one session")
    max_session_tool_bytes: Count = Field(
        default=64 * 1024 * 1024, description="specs of those tools; each counts for 2 KiB more than it has"
    )
    max_session_variables: Count = Field(default=10_000, description="variables of one session")
    max_session_variable_bytes: Count = Field(default=256 * 1024 * 1024, description="all variables of one session")
    max_session_answers: Count = Field(
        default=1_000, description="responses that a session remembers for calls with an idempotency key"
    )
    max_session_answer_bytes: Count = Field(
        default=16 * 1024 * 1024, description="all remembered responses of one session"
    )
    answer_ttl: Seconds = Field(default=600.0, description="a remembered response expires after this time")
    max_session_cache_entries: Count = Field(
        default=1_000, description="cached results of a session that was opened with enable_caching"
    )
    max_session_cache_bytes: Count = Field(default=16 * 1024 * 1024, description="all cached results of one session")
    cache_ttl: Seconds = Field(default=300.0, description="a cached result expires after this time")
    max_session_watches: Count = Field(
        default=100, description="concurrent watches of one session, for variables and for tools each"
    )
    max_admin_watches: Count = Field(default=100, description="concurrent watches of what happens in the hub")
    watch_history: Count = Field(default=1_000, description="changes that a watch can catch up on")
    watch_history_bytes: Count = Field(default=16 * 1024 * 1024, description="values that those changes hold")
    max_session_agents: Count = Field(default=100, description="agents of one session")
    max_session_runs: Count = Field(
        default=100, description="agent runs of one session, including those kept for a reader"
    )
    ended_sessions: Count = Field(default=10_000, description="ended sessions that are remembered")

    # What outlives the hub's process.
    store: str = Field(
        default=MEMORY_STORE,
        repr=False,
        description="where sessions, variables, kept answers, agents and runs are kept: memory: (they end with the "
        "process), sqlite:/// and the absolute path of a file, or nats://host:4222, where several hubs are one",
    )
    max_store_bytes: Annotated[int, Field(ge=0)] = Field(
        default=10 * 1024 * 1024 * 1024, description="file of the store, without its log; 0: unlimited"
    )

    # What the store keeps sealed.
    secrets_key: SecretStr | None = Field(
        default=None,
        description="keys that the store's secret values are sealed with; the first one seals, all open",
    )
    secrets_key_file: Path | None = Field(
        default=None, description="file that holds those keys, one a line; the first one seals, all of them open"
    )
    secrets_seal_all: bool = Field(
        default=False, description="seal the values of all variables in the store, not those of secret ones alone"
    )

    # Hubs that are one, over NATS.
    hub_name: str | None = Field(default=None, description="name of this hub among others; none: the machine's")
    nats_creds: Path | None = Field(default=None, description="file with the hub's credentials for NATS, as of nsc")
    nats_tls_ca: Path | None = Field(
        default=None, description="PEM file with the authorities that NATS is trusted by; none: the system's"
    )
    nats_tls_cert: Path | None = Field(default=None, description="PEM file with the hub's certificate for NATS")
    nats_tls_key: Path | None = Field(default=None, description="PEM file with that certificate's private key")
    nats_replicas: Annotated[int, Field(ge=0, le=5)] = Field(
        default=0, description="nodes of NATS that keep the state; 0: as many as there are, at most 3"
    )
    cluster_secret: SecretStr | None = Field(
        default=None, description="secret that the hubs of a cluster know each other by, of 16 characters at least"
    )
    cluster_secret_file: Path | None = Field(default=None, description="file that holds the cluster's secret")

    # What tools may take.
    max_tools: Count = Field(default=20_000, description="tools that every session sees")
    max_tool_bytes: Count = Field(
        default=256 * 1024 * 1024, description="specs of these and of all sessions' own tools together"
    )

    # What a link may take.
    max_link_calls: Count = Field(default=20_000, description="pending calls of a link; more wait")
    max_link_bytes: Count = Field(
        default=256 * 1024 * 1024, description="requests of pending calls of a link; more are refused"
    )

    # What becomes of workers.
    worker_ping_interval: Seconds = Field(default=0.5, description="how often a worker is pinged")
    worker_suspect_after: Seconds = Field(
        default=1.5, description="a worker that does not answer pings gets no new calls after this time"
    )
    worker_lost_after: Seconds = Field(
        default=10.0, description="a worker that does not answer pings is disconnected after this time"
    )
    worker_grace_period: Annotated[float, Field(ge=0)] = Field(
        default=5.0, description="how long calls wait for another worker after the last one has disconnected"
    )
    max_worker_waiting: Count = Field(default=10_000, description="calls of one tool that wait for busy workers")

    # Agents.
    agent_model: str | None = Field(default=None, description="default model of agents, such as openai/gpt-4o-mini")
    agent_api_base: str | None = Field(
        default=None, repr=False, description="base URL of the default model, if not the provider's own"
    )
    agent_allowed_models: Names = Field(
        default=(),
        description="models that agents may name besides the default; if empty, any model of the same provider",
    )
    agent_allowed_api_bases: Names = Field(
        default=(),
        repr=False,
        description="base URLs that agents may name besides the default; each receives the runtime's API keys",
    )
    agent_max_total_tokens: Annotated[int, Field(ge=0)] = Field(
        default=0, description="prompt and completion tokens of a run; 0: unlimited"
    )
    agent_cache: bool = Field(default=False, description="use DSPy's cache of model responses")
    agent_timeout: Seconds = Field(default=600.0, description="default timeout of a run")
    agent_run_ttl: Seconds = Field(
        default=60.0, description="a run without a reader is cancelled, or forgotten if it has ended, after this time"
    )
    agent_run_bytes: Count = Field(
        default=16 * 1024 * 1024, description="chunks of one run that are kept for readers who attach later"
    )
    max_agent_run_bytes: Count = Field(
        default=256 * 1024 * 1024, description="chunks of all runs together; the oldest ended run is evicted"
    )

    # How the hub behaves.
    show_tracebacks: bool = Field(default=True, description="send a tool's traceback with its error")
    shutdown_grace: Annotated[float, Field(ge=0)] = Field(
        default=10.0, description="how long calls in flight may take to finish at shutdown"
    )
    keepalive_time: Seconds = Field(default=30.0, description="an idle connection is pinged after this time")
    keepalive_timeout: Seconds = Field(
        default=10.0, description="an unanswered ping closes the connection after this time"
    )

    # What is logged.
    access_log: bool = Field(default=False, description="log every call, not only those that failed")
    log_format: LogFormat = Field(
        default=LogFormat.TEXT, description="how lines of the log are written: text, or json, one object a line"
    )

    # What is audited.
    audit: str | None = Field(
        default=None,
        repr=False,
        description="where a line of each call and each decision goes: file: and an absolute path, stdout, syslog, "
        "syslog:/path, syslog:udp://host:port or syslog:tcp://host:port; none: nothing is audited",
    )
    audit_key_file: Path | None = Field(
        default=None, description="file with the key of the audit trail, as grpc-tool-bridge audit key makes it"
    )
    audit_on_failure: OnAuditFailure = Field(
        default=OnAuditFailure.REFUSE,
        description="what happens while the audit trail cannot be written: refuse calls, or count the lines that are "
        "lost",
    )
    audit_sync: AuditSync = Field(
        default=AuditSync.SECOND,
        description="when the audit trail waits for the disk: always (after each write), second (once a second), never",
    )
    audit_arguments: bool = Field(default=False, description="audit the arguments of calls, without secrets, too")
    audit_results: bool = Field(default=False, description="audit the results of calls, without secrets, too")
    audit_max_bytes: Annotated[int, Field(ge=0)] = Field(
        default=100 * 1024 * 1024, description="size at which an audit file goes on in another one; 0: any"
    )
    audit_max_seconds: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="age at which an audit file goes on in another one; 0: any"
    )
    audit_keep: Annotated[int, Field(ge=0)] = Field(
        default=0, description="audit files that are over and kept, besides the one that is written; 0: all"
    )

    # What is traced.
    otel: bool | None = Field(
        default=None,
        description="export traces and metrics by OpenTelemetry, as its OTEL_ variables say; by default if one of them "
        "names an exporter or its endpoint",
    )

    # What a recording leaves out.
    record_redact: Names = Field(
        default=(),
        description="names whose values are neither recorded nor audited, besides password, token, api_key"
        " and the like",
    )
    record_redact_patterns: Patterns = Field(
        default=(),
        repr=False,
        description="regular expressions; what they match in any text is neither recorded nor audited",
    )

    # Old names, for one more version.
    agent_run_keep_time = old_name("agent_run_keep_time")
    answer_keep_time = old_name("answer_keep_time")
    cache_keep_time = old_name("cache_keep_time")
    worker_grace = old_name("worker_grace")

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, given: Any) -> Any:
        return renamed_settings(given) if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _whole(self) -> "Settings":
        if (self.tls_cert is None) != (self.tls_key is None):
            missing = "tls_key" if self.tls_key is None else "tls_cert"
            raise ValueError(f"TLS needs both a certificate and its key; {missing} is not set")
        if self.token is not None and self.token_file is not None:
            raise ValueError("token and token_file are both set; give one of them")
        check_jwt_settings(self.jwt_issuer, self.jwt_audience, self.jwt_keys)
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("tls_client_ca needs TLS; set tls_cert and tls_key")
        if self.tls_crl is not None and self.tls_client_ca is None:
            raise ValueError("tls_crl revokes client certificates; set tls_client_ca, too")
        return self

    @model_validator(mode="after")
    def _cluster_is_whole(self) -> "Settings":
        name = self.hub_name
        if name is not None and not (name.strip() and name.isprintable() and len(name) <= MAX_HUB_NAME_CHARS):
            raise ValueError(f"hub_name has 1 to {MAX_HUB_NAME_CHARS} visible characters")
        if (self.nats_tls_cert is None) != (self.nats_tls_key is None):
            missing = "nats_tls_key" if self.nats_tls_key is None else "nats_tls_cert"
            raise ValueError(f"a certificate for NATS needs its key; {missing} is not set")
        if self.cluster_secret is not None and self.cluster_secret_file is not None:
            raise ValueError("cluster_secret and cluster_secret_file are both set; give one of them")
        return self

    @model_validator(mode="after")
    def _keys_are_whole(self) -> "Settings":
        if self.secrets_key is not None and self.secrets_key_file is not None:
            raise ValueError("secrets_key and secrets_key_file are both set; give one of them")
        if self.secrets_seal_all and self.secrets_key is None and self.secrets_key_file is None:
            raise ValueError("secrets_seal_all needs a key to seal with; set secrets_key_file or secrets_key, too")
        if self.audit is not None and self.audit_key_file is None:
            raise ValueError(
                "audit needs audit_key_file, the key by which changed and missing lines show; make one with "
                "grpc-tool-bridge audit key FILE"
            )
        return self

    def bearer_token(self) -> str | None:
        """Returns the token that callers must send, from the setting or its file; None if no token is required.

        Raises:
            ValueError: The token is empty or has characters that a header cannot carry, or others can read its file.
            OSError: The file cannot be read.
        """
        return read_token(self.token.get_secret_value() if self.token is not None else None, self.token_file)

    def secret_of_cluster(self) -> str | None:
        """Returns the secret that the hubs of a cluster know each other by, from the setting or its file; None: none.

        Raises:
            ValueError: It is too short, or others can read its file.
            OSError: The file cannot be read.
        """
        given = self.cluster_secret.get_secret_value() if self.cluster_secret is not None else None
        return read_cluster_secret(given, self.cluster_secret_file)

    def sealing_keys(self) -> str | None:
        """Returns the text with the keys that a store's values are sealed with, from the setting or its file.

        Returns:
            None if there are none.

        Raises:
            ValueError: Others can read the file.
            OSError: The file cannot be read.
        """
        if self.secrets_key is not None:
            return self.secrets_key.get_secret_value()
        if self.secrets_key_file is None:
            return None
        return read_secret(self.secrets_key_file, "secrets_key_file").decode("utf-8", "replace")


def load_settings(flags: dict[str, Any], config_file: Path | None) -> Settings:
    """Reads the settings from flags, environment and file; for each setting, the first that has it wins.

    Args:
        flags: Settings given on the command line; None counts as not given.
        config_file: A TOML file whose keys are the names of the settings.

    Raises:
        pydantic.ValidationError: A value has the wrong type or is out of range; the error names the setting.
        ValueError: The file is not TOML, or has an unknown key.
        OSError: The file cannot be read.
    """
    # Only the command line needs it, and it takes as long to import as all of pydantic.
    from pydantic_settings import (  # noqa: PLC0415 - see above
        BaseSettings,
        InitSettingsSource,
        PydanticBaseSettingsSource,
        SettingsConfigDict,
    )

    in_file = {} if config_file is None else _read_toml(config_file)

    class LoadedSettings(BaseSettings, Settings):
        model_config = SettingsConfigDict(
            env_prefix="TOOL_BRIDGE_",
            frozen=True,
            extra="ignore",
            hide_input_in_errors=True,
            # Lists are comma-separated, not JSON.
            enable_decoding=False,
        )

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is the library's
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            old_environment = InitSettingsSource(settings_cls, _old_environment())
            toml = InitSettingsSource(settings_cls, renamed_settings(in_file))
            return init_settings, env_settings, old_environment, toml

    given = {name: value for name, value in flags.items() if value is not None}
    if "token_file" in given:
        # It overrides a token from the environment.
        given.setdefault("token", None)
    loaded = LoadedSettings(**given)
    return Settings.model_validate(loaded.model_dump())


def _old_environment() -> dict[str, str]:
    """Reads environment variables with the old name of a setting; those with the new name take precedence."""
    names = {name.upper(): value for name, value in os.environ.items()}
    given = {old: names[f"TOOL_BRIDGE_{old.upper()}"] for old in SETTINGS if f"TOOL_BRIDGE_{old.upper()}" in names}
    return renamed_settings(given)


def _read_toml(config_file: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - only the command line with a file needs it

    with config_file.open("rb") as file:
        try:
            found = tomllib.load(file)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{config_file} is not valid TOML: {error}") from None
        for name in ("token", "cluster_secret"):
            if name in found:
                check_secret_file(file, config_file, f"config with a {name}")
        if "@" in str(found.get("store", "")):
            check_secret_file(file, config_file, "config with credentials in the URL of a store")
    unknown = sorted(found.keys() - Settings.model_fields.keys() - SETTINGS.keys())
    if unknown:
        raise ValueError(f"{config_file}: no setting is called {', '.join(unknown)}")
    return found
