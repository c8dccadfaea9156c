"""The failure tests run over the transports of the contract suite."""

from integration.conftest import connect as connect  # noqa: PLC0414 - a fixture is found by its name here
