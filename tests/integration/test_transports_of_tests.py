"""The table of what does not run over HTTP."""

from importlib import import_module

import pytest

from integration.transports_of_tests import NOT_OVER_HTTP, OF_STREAMS


@pytest.mark.parametrize("name", [*NOT_OVER_HTTP, *OF_STREAMS])
def test_what_is_left_out_is_there(name: str) -> None:
    module, _, test = name.partition(".")
    assert hasattr(import_module(f"integration.{module}"), test or "__doc__")
