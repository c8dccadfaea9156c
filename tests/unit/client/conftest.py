"""What tests of the client share."""

from support.waits import waits as waits  # noqa: PLC0414 - a fixture
