"""The failure tests run over the transports of the contract suite, and over links through a network that fails."""

from failure_modes.links import over_link as over_link  # noqa: PLC0414 - a fixture is found by its name here
from failure_modes.workers import make_crew as make_crew  # noqa: PLC0414 - likewise
from integration.conftest import connect as connect  # noqa: PLC0414 - likewise
from integration.conftest import pytest_generate_tests as pytest_generate_tests  # noqa: PLC0414 - likewise
from integration.conftest import remote_bridge as remote_bridge  # noqa: PLC0414 - likewise
