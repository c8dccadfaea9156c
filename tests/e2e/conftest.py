"""The end-to-end tests run over the transports that reach another process."""

from integration.conftest import remote_bridge as remote_bridge  # noqa: PLC0414 - a fixture is found by its name here
from support.browser import browser as browser  # noqa: PLC0414 - likewise
from support.browser import chromium as chromium  # noqa: PLC0414 - likewise
from support.browser import tab as tab  # noqa: PLC0414 - likewise
