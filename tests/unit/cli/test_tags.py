import pytest

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.tags import check_tags


def test_what_is_no_tag_is_refused_with_the_name_of_the_option() -> None:
    check_tags(None)
    check_tags(["db", "read-only"])
    with pytest.raises(ArgumentError, match="--tag: a tag is 1 to 64 letters"):
        check_tags(["a b"])
