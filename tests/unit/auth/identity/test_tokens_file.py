"""The file of tokens: what is in it, who may read it, and what changes it."""

import json
import re
import stat
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.auth.identity.tokens_file import add_token, read_tokens, revoke_token, split_token
from grpc_tool_bridge.errors import AlreadyExistsError, NotFoundError, ValidationError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


def test_a_token_is_found_by_its_id_and_is_not_in_the_file(path: Path) -> None:
    token, made = add_token(path, "reports-bot", ["b", "a"], seconds=90)
    assert re.fullmatch(r"tb_[a-z2-7]{12}_[A-Za-z0-9_-]{43}", token)
    parts = split_token(token.encode())
    assert parts is not None
    assert (parts[0], read_tokens(path)) == (made.id, {made.id: made})
    assert made.has_secret(parts[1])
    assert not made.has_secret(parts[1] + b"x")
    assert parts[1].decode() not in path.read_text()
    assert made.expires == made.created + 90
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.groups == {"a", "b"}


def test_two_tokens_with_one_secret_have_hashes_of_their_own(path: Path) -> None:
    first, second = (add_token(path, name)[1] for name in ("a", "b"))
    assert first.salt != second.salt


def test_a_name_has_two_valid_tokens_at_most_so_that_one_can_replace_the_other(path: Path) -> None:
    _, first = add_token(path, "bot")
    add_token(path, "bot")
    with pytest.raises(AlreadyExistsError, match=rf"bot has 2 valid tokens, {first.id} and "):
        add_token(path, "bot")
    revoked = revoke_token(path, first.id)
    assert revoked.state(time.time()) == "revoked"
    assert revoke_token(path, first.id) == revoked
    _, late = add_token(path, "bot", seconds=-1)
    assert late.state(time.time()) == "expired"
    assert len(read_tokens(path)) == 3
    with pytest.raises(NotFoundError, match="no token with the id 'nobody'"):
        revoke_token(path, "nobody")


def test_processes_that_change_it_at_once_lose_nothing(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: add_token(path, f"bot-{number}")[1].id, range(40)))
    assert set(read_tokens(path)) == set(made)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["", " a", "a\n", "a" * 256, "a\x00", "a;b"])
def test_a_name_that_would_mislead_is_refused(path: Path, name: str) -> None:
    with pytest.raises(ValidationError, match="cannot name a caller or group"):
        add_token(path, name)
    with pytest.raises(ValidationError, match="cannot name a caller or group"):
        add_token(path, "a", [name])


def test_a_file_that_others_can_read_is_refused() -> None:
    # The folder that pytest makes is its owner's.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        path = Path(name) / "tokens"
        add_token(path, "bot")
        path.chmod(0o644)
        with pytest.raises(ValueError, match="every user of this machine can read it; chmod 600"):
            read_tokens(path)
        with pytest.raises(ValueError, match="every user of this machine can read it"):
            add_token(path, "bot")


GOOD: dict[str, Any] = {
    "id": "a",
    "name": "n",
    "groups": [],
    "salt": "00",
    "hash": "00",
    "created": "2026-01-01",
}


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "it is not an object"),
        (json.dumps({**GOOD, "id": 5}), "id is missing or of the wrong type"),
        (json.dumps({**GOOD, "groups": "a"}), "groups is missing or of the wrong type"),
        (json.dumps({**GOOD, "salt": "x"}), "cannot be read"),
        (json.dumps({**GOOD, "expires": "soon"}), "cannot be read"),
        (json.dumps({**GOOD, "revoked": 5}), "cannot be read"),
        (json.dumps(GOOD), "the id a stands there twice"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(path: Path, line: str, text: str) -> None:
    path.write_text(f"# of the team\n\n{json.dumps(GOOD)}\n{line}\n")
    path.chmod(0o600)
    with pytest.raises(ValueError, match=f"line 4.*{text}"):
        read_tokens(path)


@pytest.mark.parametrize("token", [b"", b"tb_", b"tb_aaaaaaaaaaaa_", b"tb_AAAAAAAAAAAA_" + b"a" * 43, b"x" * 100_000])
def test_what_has_another_form_is_no_token(token: bytes) -> None:
    assert split_token(token) is None
