"""Keeps what a whole run holds away from the garbage collector.

All tests and the libraries that they import are half a million objects, which stay until the end. Every full collection
would look at each of them: that took a quarter of the time of the tests in this process.
"""

import gc
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collects no garbage while tests are collected, and leaves what is there then out of all later collections."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        if was_enabled:
            gc.enable()
