"""The names of a cluster on NATS."""

import re

from grpc_tool_bridge.cluster.names import Names


def test_the_stream_has_a_name_that_nats_takes_and_the_subjects_begin_with_the_clusters() -> None:
    names = Names("tool-bridge")
    assert names.stream == "TOOL_BRIDGE"
    assert names.subjects == ["tool-bridge.s.*", "tool-bridge.h.*", "tool-bridge.m.*"]
    assert (names.hub("abc"), names.fact("epoch")) == ("tool-bridge.h.abc", "tool-bridge.m.epoch")
    assert not names.inboxes.startswith(tuple(subject[:-1] for subject in names.subjects))


def test_any_id_of_a_session_has_one_subject_of_its_own_that_does_not_show_it() -> None:
    names = Names("c")
    subjects = [names.session(session_id) for session_id in ("a", "b", "a.*.>", "é \n" * 100, "")]
    assert len(set(subjects)) == 5
    assert all(re.fullmatch(r"c\.s\.[0-9a-f]{40}", subject) for subject in subjects)
    assert names.session("a") == subjects[0]
