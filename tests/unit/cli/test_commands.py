"""The command of a group that is meant if none is named."""

import pytest

from grpc_tool_bridge.cli.commands import DEFAULTS, GROUPS, with_default


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sessions", "sessions list"),
        ("sessions --json", "sessions list --json"),
        ("sessions list --json", "sessions list --json"),
        ("sessions share s --with ann", "sessions share s --with ann"),
        ("sessions --help", "sessions --help"),
        ("workers --json", "workers --json"),
        ("", ""),
    ],
)
def test_it_is_put_in(words: str, expected: str) -> None:
    assert list(with_default(words.split())) == expected.split()


def test_only_a_group_has_one() -> None:
    assert DEFAULTS.keys() <= GROUPS.keys()
