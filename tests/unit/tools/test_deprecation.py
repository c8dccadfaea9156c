"""Where a warning of a deprecated tool points to."""

import pytest

from grpc_tool_bridge.tools.deprecation import warn_deprecated


def test_it_names_the_tool_what_to_use_and_the_line_of_the_program() -> None:
    with pytest.warns(DeprecationWarning, match="^the tool old is deprecated: use new$") as caught:
        warn_deprecated("old", "use new")
    assert caught[0].filename == __file__


def test_frames_of_the_package_are_passed_over() -> None:
    code = "def call(function):\n    function('old', 'use new')\n"
    inside: dict[str, object] = {"__name__": "grpc_tool_bridge.somewhere"}
    exec(code, inside)
    with pytest.warns(DeprecationWarning, match="the tool old") as caught:
        inside["call"](warn_deprecated)  # type: ignore[operator]  # what the code has defined
    assert caught[0].filename == __file__
