"""Which tests do not run over HTTP, and why: what they are about has no part there."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

_PAGES = "the list of a session's tools comes whole over HTTP, and has no revision"
_FOLLOWING = "tools are listed over HTTP, and nobody is told when they change"
_METRICS = "metrics are read in the form of Prometheus; test_prometheus.py is about it"
_WIRE = "values are JSON over HTTP, and messages are made by the hub itself"
_EMPTY = "a path with an empty name is that of the list"
_LINK = "tools are registered over a link"
_FRAMES = "a frame in JSON has its columns, rows and index, and not the types of its columns"

# By module, or by module and test.
NOT_OVER_HTTP: Mapping[str, str] = {
    "test_admin.test_a_call_that_a_workers_tool_makes_names_its_parent": _FOLLOWING,
    "test_admin.test_a_watch_tells_of_a_workers_calls": _FOLLOWING,
    "test_admin.test_a_workers_call_is_cancelled_at_the_worker": _FOLLOWING,
    "test_admin.test_workers_are_listed_with_their_tools_and_calls": _FOLLOWING,
    "test_adapters_conformance.test_a_toolset_takes_tools_that_pass_the_filter_later": _FOLLOWING,
    "test_agents.test_a_run_counts_as_a_call_of_its_session": _METRICS,
    "test_bad_input.test_a_broken_value_is_refused_and_its_argument_named": _WIRE,
    "test_bad_input.test_a_broken_variable_is_kept_as_it_is_and_refused_by_its_reader": _WIRE,
    "test_bad_input.test_a_set_request_without_a_value_is_refused": _WIRE,
    "test_bad_input.test_a_variable_name_that_nobody_could_read_is_refused": _EMPTY,
    "test_bad_input.test_an_unknown_variable_is_named_in_a_short_text": _EMPTY,
    "test_bad_input.test_tools_are_registered_over_a_link_only_and_the_answer_says_so": _LINK,
    "test_bad_input.test_unregistering_what_is_not_there_removes_nothing": _LINK,
    "test_contract_asks": "a question needs an answer on the way of the call, which a response has not",
    "test_contract_frames": _FRAMES,
    "test_contract_values.test_frames_keep_their_columns_index_and_types": _FRAMES,
    "test_find_tools.test_what_is_found_follows_the_tools": _FOLLOWING,
    "test_limits.test_a_request_over_the_hub_s_limit_alone_is_refused_by_the_hub": (
        "over HTTP, the body is limited, to twice as much; test_gateway.py is about it"
    ),
    "test_metrics_health": _METRICS,
    "test_organized_tools.test_a_session_s_own_tool_hides_all_versions_of_the_hub_s": _FOLLOWING,
    "test_organized_tools.test_watches_tell_what_each_name_means_now": _FOLLOWING,
    "test_organized_tools.test_what_is_counted_is_told_apart_by_the_name_that_was_called": _METRICS,
    "test_request_bounds": "the fields of messages that it fills are parts of a path, a query or a header",
    "test_tool_pages": _PAGES,
    "test_tools_that_change": _FOLLOWING,
}
# Those that run a second time over HTTP with JSON lines, which only streams have.
OF_STREAMS = ("test_contract_streams",)


def those_for(test: Callable[..., Any], ways: Sequence[str]) -> list[str]:
    """Returns the transports, or the places of tools, that a test runs over."""
    module = test.__module__.rpartition(".")[2]
    if NOT_OVER_HTTP.keys() & {module, f"{module}.{test.__name__}"}:
        return [way for way in ways if not way.startswith("http")]
    return [way for way in ways if way != "http lines" or module in OF_STREAMS]
