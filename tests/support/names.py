"""Names each test alike in every process that runs tests, and by its group, and lets each report pass between them."""

import re
from collections.abc import Generator
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


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, dict[str, Any] | None, dict[str, Any] | None]:
    """Lets through what a test printed or logged that is no Unicode, which would end its process."""
    report: dict[str, Any] | None = _encodable((yield))
    return report


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_encodable(key): _encodable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_encodable, value))
    return value
