"""Draws depend on the seed and on the call, and on nothing else."""

import hashlib
import uuid
from collections.abc import Mapping

import pytest

from grpc_tool_bridge.core.chaos.draws import session_name, uniform


class ASession:
    def __init__(self, session_id: str, metadata: Mapping[str, str] | None = None) -> None:
        self.id = session_id
        self.metadata = metadata or {}


def test_a_draw_is_what_the_documentation_says() -> None:
    digest = hashlib.sha256(b'[42,"slow","search","agent-1",3,"fault"]').digest()
    expected = (int.from_bytes(digest[:8], "big") >> 11) / 2**53
    assert uniform(42, "slow", "search", "agent-1", 3, "fault") == expected


def test_texts_beyond_ascii_are_escaped_as_in_json() -> None:
    digest = hashlib.sha256(b'[1,"r","t","\\u00e9",1,"fault"]').digest()
    assert uniform(1, "r", "t", "é", 1, "fault") == (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def test_each_part_of_the_key_changes_the_draw() -> None:
    keys = [
        (1, "r", "t", "s", 1, "fault"),
        (2, "r", "t", "s", 1, "fault"),
        (1, "q", "t", "s", 1, "fault"),
        (1, "r", "u", "s", 1, "fault"),
        (1, "r", "t", "x", 1, "fault"),
        (1, "r", "t", "s", 2, "fault"),
        (1, "r", "t", "s", 1, "latency"),
    ]
    assert len({uniform(*key) for key in keys}) == len(keys)


def test_draws_are_spread_evenly() -> None:
    draws = [uniform(7, "r", "t", "s", call, "fault") for call in range(2_000)]
    assert all(0 <= draw < 1 for draw in draws)
    tenths = [sum(tenth <= draw * 10 < tenth + 1 for draw in draws) for tenth in range(10)]
    assert min(tenths) > 140
    assert max(tenths) < 260


@pytest.mark.parametrize("generated", [uuid.UUID(int=7).hex, str(uuid.UUID(int=7)), str(uuid.UUID(int=7)).upper()])
def test_a_generated_id_is_no_name(generated: str) -> None:
    assert session_name(ASession(generated)) == ""
    assert session_name(ASession(generated, {"name": "agent"})) == "agent"


def test_a_chosen_id_is_a_name_unless_the_metadata_has_one() -> None:
    assert session_name(ASession("agent-1")) == "agent-1"
    assert session_name(ASession("agent-1", {"name": ""})) == ""
