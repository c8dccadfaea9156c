"""A policy that is followed while its file changes."""

import logging
from pathlib import Path

import pytest

from grpc_tool_bridge.auth.policy.file import PolicyFile
from grpc_tool_bridge.errors import ValidationError
from support.waiting import until

RULE = '[[rules]]\nname = "one"\nallow = ["call"]\nprincipals = ["bob"]\nresources = ["*"]\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "policy.toml"
    made.write_text(RULE)
    return made


async def test_a_change_holds_and_is_told(path: Path) -> None:
    told: list[int] = []
    policy = PolicyFile(path, look_seconds=0.01)
    policy.on_change = lambda: told.append(len(policy.decisions.policy.rules))
    policy.start()
    path.write_text(RULE + RULE.replace("one", "two"))  # noqa: ASYNC240 - a small file
    await until(lambda: bool(told))
    assert told == [2]
    await policy.aclose()


async def test_what_is_not_valid_changes_nothing_and_is_said_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    policy = PolicyFile(path)
    before = policy.decisions
    path.write_text(RULE.replace("allow", "alow"))  # noqa: ASYNC240 - a small file
    with caplog.at_level(logging.ERROR):
        assert not await policy.look()
        assert not await policy.look()
    (line,) = caplog.messages
    assert "the policy stays as it was" in line
    assert "did you mean allow?" in line
    path.unlink()  # noqa: ASYNC240 - a small file
    assert not await policy.look()
    assert policy.decisions is before
    path.write_text(RULE.replace("bob", "ana"))  # noqa: ASYNC240 - a small file
    assert await policy.look()
    assert policy.decisions is not before


def test_a_hub_does_not_begin_with_one_that_is_not_valid(path: Path) -> None:
    path.write_text("[[rules]]\n")
    with pytest.raises(ValidationError):
        PolicyFile(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        PolicyFile(path)
