import pytest

from grpc_tool_bridge.adapters.naming import Naming
from grpc_tool_bridge.errors import ValidationError


def test_names_are_made_to_fit() -> None:
    naming = Naming("s", "p")
    assert naming.name_of("a b/c:d") == "p.a_b_c_d"
    assert Naming("s", "").name_of("a") == "a"
    with pytest.raises(ValidationError, match="1 to 128 characters"):
        naming.name_of("x" * 127)


def test_patterns_choose() -> None:
    naming = Naming("s", "p", include=["get_*"], exclude=["*_secret"])
    assert [name for name in ("get_a", "get_secret", "set_a") if naming.chooses(name)] == ["get_a"]
