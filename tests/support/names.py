"""Names each test alike in every process that runs tests, as pytest-xdist asks for, and by its group."""

import re
from typing import Any

import pytest

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Replaces an address in the name of a parameter by a number, and appends the ``xdist_group``."""
    if not hasattr(config, "workerinput"):
        return
    seen: dict[str, int] = {}
    for item in items:
        name, found = _ADDRESS.subn("", item.nodeid)
        if found:
            seen[name] = seen.get(name, 0) + 1
            name = f"{name}#{seen[name]}"
        if group := item.get_closest_marker("xdist_group"):
            name = f"{name}@{group.args[0]}"
        _rename(item, name)


def _rename(item: Any, name: str) -> None:
    # There is no public way. pytest-xdist 3.8 sets ``_nodeid``, which pytest 9.2 no longer reads.
    if name != item.nodeid:
        item._id = type(item._id).parse(name)
