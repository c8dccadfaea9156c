"""The end-to-end tests run over the transports that reach another process."""

from integration.conftest import remote_bridge as remote_bridge  # noqa: PLC0414 - a fixture is found by its name here
