"""The checks of ``doctor --security``: what the settings of a hub leave open."""

import os
from collections.abc import Iterator, Sequence

from grpc_tool_bridge.auth.hardening.checklist import examine
from grpc_tool_bridge.auth.hardening.deployment import Deployment, NatsFacts
from grpc_tool_bridge.cli.failures import ArgumentError, one_line
from grpc_tool_bridge.cli.log import LogLevel
from grpc_tool_bridge.cli.reach_checks import Check
from grpc_tool_bridge.cli.serve_options import ServeOptions
from grpc_tool_bridge.cli.serve_words import read_serve
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.config.defaults import MEMORY_STORE
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.stores.urls import is_nats, sqlite_path
from grpc_tool_bridge.telemetry.switch import VARIABLES, is_wanted


def examine_security(words: Sequence[str]) -> Iterator[Check]:
    """Yields each check of a hub that ``serve`` would start with these words, the environment and the file.

    Raises:
        ArgumentError: The words are no options of ``serve``.
    """
    options = read_serve(words)
    try:
        settings = options.named_settings()
        hub = _deployment(options, settings)
    except (ArgumentError, ValidationError) as error:
        yield Check("settings", "fail", f"serve refuses to start: {one_line(str(error))}")
        return
    for found in examine(hub):
        yield Check(found.name, found.status, one_line(found.text))


def _deployment(options: ServeOptions, settings: Settings) -> Deployment:
    store, nats = None, None
    if is_nats(settings.store):
        nats = _nats(settings.store)
    elif settings.store != MEMORY_STORE:
        store = sqlite_path(settings.store)
    development = (("--reload", options.reload), ("--chaos", options.chaos is not None))
    return Deployment(
        settings=settings,
        address=options.address,
        http=options.http,
        config=options.config,
        store=store,
        nats=nats,
        recording=options.record,
        development=tuple(flag for flag, given in development if given),
        agents=options.agents,
        logs_debug=options.log_level is LogLevel.DEBUG,
        collectors=_collectors(settings),
    )


def _collectors(settings: Settings) -> tuple[str, ...]:
    if not is_wanted(settings.otel):
        return ()
    return tuple(url for name in VARIABLES if name.endswith("_ENDPOINT") and (url := os.environ.get(name)))


def _nats(url: str) -> NatsFacts:
    from grpc_tool_bridge.cluster.urls import parse

    found = parse(url)
    has_credentials = found.user is not None or found.token is not None
    return NatsFacts(found.shown, is_local=found.is_local, tls=found.tls, has_credentials=has_credentials)
