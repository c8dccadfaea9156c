"""The table of what does not run over HTTP."""

from importlib import import_module
from importlib.util import find_spec

import pytest

from integration.transports_of_tests import NOT_OVER_HTTP, OF_STREAMS


@pytest.mark.parametrize("name", [*NOT_OVER_HTTP, *OF_STREAMS])
def test_what_is_left_out_is_there(name: str) -> None:
    module, _, test = name.partition(".")
    folder = next(name for name in ("integration", "failure_modes") if find_spec(f"{name}.{module}"))
    assert hasattr(import_module(f"{folder}.{module}"), test or "__doc__")
