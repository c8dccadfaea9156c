"""What changes of an audit trail show, and what a crash leaves that is told apart from them."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from grpc_tool_bridge.auth.audit.chain import Chain, Link, read_line
from grpc_tool_bridge.auth.audit.checking import Report, TrailCheck, read_link
from grpc_tool_bridge.auth.audit.keys import AuditKeys
from grpc_tool_bridge.auth.audit.tails import Tail, read_tail

KEYS = AuditKeys(b"k" * 32)


def begin(chain: Chain, after: Tail | None = None) -> bytes:
    fields = f'"hub":"h","key":"{KEYS.name}","after":{"null" if after is None else after.fields()}'
    return chain.line("begin", fields)


def call(number: int) -> str:
    return f'"time":"2026-12-01T00:00:00.{number:09d}Z","event":"call","tool":"add","outcome":"ok"'


def trail(calls: int = 8, *, after: Tail | None = None, end: bool = True) -> list[bytes]:
    chain = Chain(KEYS)
    lines = [begin(chain, after), *chain.lines(map(call, range(calls))), chain.checkpoint()]
    return [*lines, *chain.lines([call(calls)]), *([chain.checkpoint("end")] if end else [])]


def check(
    path: Path, *files: bytes, partial: bool = False, mixed: bool = False, expected: tuple[Link, ...] = ()
) -> Report:
    paths = []
    for number, data in enumerate(files):
        paths.append(path / f"{number}.log")
        paths[-1].write_bytes(data)
    return TrailCheck(KEYS, partial=partial, mixed=mixed).check(paths, expected)


def texts(report: Report) -> str:
    return "\n".join(f"{finding.line}: {finding.text}" for finding in report.findings)


def test_a_whole_trail_is_intact_and_nothing_is_said_of_it(tmp_path: Path) -> None:
    report = check(tmp_path, b"".join(trail()))
    assert not report.is_broken
    assert not report.findings
    [chain] = report.chains
    assert (chain.lines, chain.has_ended, chain.hub, chain.signed) == (12, True, "h", 11)


def test_files_may_be_given_in_any_order(tmp_path: Path) -> None:
    lines = trail()
    assert not check(tmp_path, b"".join(lines[7:]), b"".join(lines[:3]), b"".join(lines[3:7])).findings


def test_chains_of_two_processes_in_one_file_are_told_apart(tmp_path: Path) -> None:
    one, two = trail(), trail()
    woven = [line for both in zip(one, two, strict=True) for line in both]
    report = check(tmp_path, b"".join(woven))
    assert not report.findings
    assert len(report.chains) == 2


def test_a_changed_line_is_named(tmp_path: Path) -> None:
    lines = trail()
    lines[4] = lines[4].replace(b'"add"', b'"sub"')
    report = check(tmp_path, b"".join(lines))
    assert report.is_broken
    assert [(finding.line, finding.text) for finding in report.findings] == [
        (5, f"line 4 of chain {report.chains[0].id} was changed")
    ]


def test_missing_lines_are_named(tmp_path: Path) -> None:
    lines = trail()
    report = check(tmp_path, b"".join(lines[:3] + lines[6:]))
    assert report.is_broken
    assert "4: lines 3 to 5 of chain" in texts(report)


def test_a_repeated_and_a_moved_line_are_named(tmp_path: Path) -> None:
    lines = trail()
    assert "5: line 3 of chain" in texts(check(tmp_path, b"".join(lines[:4] + lines[3:])))
    swapped = [*lines[:3], lines[4], lines[3], *lines[5:]]
    report = check(tmp_path, b"".join(swapped))
    assert report.is_broken
    assert "it was moved" in texts(report)


def test_a_missing_file_in_the_middle_and_at_the_beginning_show(tmp_path: Path) -> None:
    lines = trail()
    assert check(tmp_path, b"".join(lines[:3]), b"".join(lines[6:])).is_broken
    assert check(tmp_path, b"".join(lines[3:])).is_broken


def test_a_part_of_a_trail_is_checked_but_for_what_is_before_it(tmp_path: Path) -> None:
    lines = trail()
    report = check(tmp_path, b"".join(lines[3:]), partial=True)
    assert not report.is_broken
    assert "is not checked itself" in texts(report)
    assert check(tmp_path, b"".join(lines[3:6] + lines[7:]), partial=True).is_broken


def test_a_line_without_the_key_is_not_taken(tmp_path: Path) -> None:
    forged = Chain(AuditKeys(b"x" * 32))
    report = check(tmp_path, b"".join([begin(forged), *forged.lines([call(1)]), forged.checkpoint("end")]))
    assert report.is_broken


def test_another_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.log").write_bytes(b"".join(trail()))
    report = TrailCheck(AuditKeys(b"x" * 32)).check([tmp_path / "t.log"])
    assert report.is_broken
    assert "is checked with the key" in texts(report)


def test_a_trail_cut_at_its_end_looks_like_one_whose_hub_was_killed(tmp_path: Path) -> None:
    report = check(tmp_path, b"".join(trail()[:7]))
    assert not report.is_broken
    assert "has no end after line 6: its hub runs, was killed, or lines after that were cut" in texts(report)


def test_a_cut_end_shows_where_a_later_line_is_known(tmp_path: Path) -> None:
    lines = trail()
    last = read_line(lines[-1][:-1])
    assert last is not None
    assert not check(tmp_path, b"".join(lines), expected=(last.link,)).is_broken
    assert check(tmp_path, b"".join(lines[:7]), expected=(last.link,)).is_broken
    assert check(tmp_path, b"".join(trail()), expected=(last.link,)).is_broken


def test_the_next_chain_shows_that_the_one_before_was_cut_or_is_missing(tmp_path: Path) -> None:
    first = trail(end=False)
    (tmp_path / "first").write_bytes(b"".join(first))
    second = b"".join(trail(after=read_tail(tmp_path / "first")))
    assert not check(tmp_path, b"".join(first) + second).is_broken
    report = check(tmp_path, b"".join(first[:-2]) + second)
    assert report.is_broken
    assert "are cut off" in texts(report)
    report = check(tmp_path, second)
    assert report.is_broken
    assert "is missing" in texts(report)


def test_a_line_that_a_crash_has_cut_is_told_from_a_changed_one(tmp_path: Path) -> None:
    first = trail(end=False)
    torn = b"".join(first)[:-20]
    (tmp_path / "first").write_bytes(torn)
    report = check(tmp_path, torn)
    assert not report.is_broken
    assert "cannot be told apart" in texts(report)
    second = b"".join(trail(after=read_tail(tmp_path / "first")))
    report = check(tmp_path, torn + b"\n" + second)
    assert not report.is_broken
    assert "as the chain after it has noted" in texts(report)
    assert check(tmp_path, torn[:-1] + b"\n" + second).is_broken


def test_lines_of_syslog_are_found_among_others(tmp_path: Path) -> None:
    lines = [
        b"<110>1 2026-12-01T00:00:00Z host tool-bridge 1 audit - " + line + b"something else\n" for line in trail()
    ]
    assert check(tmp_path, b"".join(lines)).is_broken
    assert not check(tmp_path, b"".join(lines), mixed=True).findings


def test_removed_files_are_told_from_missing_ones(tmp_path: Path) -> None:
    chain = Chain(KEYS)
    old = [begin(chain), *chain.lines(map(call, range(3)))]
    (tmp_path / "old").write_bytes(b"".join(old))
    tail = read_tail(tmp_path / "old")
    assert tail is not None
    kept = [
        *chain.lines([call(4)]),
        chain.line("removed", f'"file":"old","last":{tail.fields()}'),
        chain.checkpoint("end"),
    ]
    report = check(tmp_path, b"".join(kept))
    assert not report.is_broken
    assert "removed by the hub" in texts(report)
    assert check(tmp_path, b"".join(kept[1:])).is_broken


@pytest.mark.parametrize("text", ["", "a:b", "a:1:zz", "a:1:00", "a:-1:" + "0" * 32])
def test_what_is_no_place_is_not_read(text: str) -> None:
    assert read_link(text) is None


WHOLE = b"".join(trail(4))
PLACES = st.integers(min_value=0, max_value=len(WHOLE) - 1)
LINES = WHOLE.splitlines(keepends=True)
QUICK = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def found(tmp_path: Path, data: bytes) -> bool:
    """Whether a check says anything: only a cut at the very end may be explained by a crash."""
    report = check(tmp_path, data)
    return report.is_broken or bool(report.findings) or not report.chains


@QUICK
@given(place=PLACES, byte=st.integers(min_value=0, max_value=255))
@example(place=len(WHOLE) - 1, byte=32)
def test_any_changed_byte_is_found(tmp_path: Path, place: int, byte: int) -> None:
    data = WHOLE[:place] + bytes((byte,)) + WHOLE[place + 1 :]
    assert found(tmp_path, data) == (data != WHOLE)


@QUICK
@given(place=PLACES, size=st.integers(min_value=1, max_value=600))
def test_any_bytes_that_are_taken_out_are_found(tmp_path: Path, place: int, size: int) -> None:
    assert found(tmp_path, WHOLE[:place] + WHOLE[place + size :])


@QUICK
@given(place=PLACES, more=st.binary(min_size=1, max_size=20))
def test_any_bytes_that_are_put_in_are_found(tmp_path: Path, place: int, more: bytes) -> None:
    data = WHOLE[:place] + more + WHOLE[place:]
    assert found(tmp_path, data) == (data != WHOLE)


@QUICK
@given(order=st.permutations(range(len(LINES))))
def test_any_other_order_of_lines_is_found(tmp_path: Path, order: list[int]) -> None:
    report = check(tmp_path, b"".join(LINES[place] for place in order))
    assert report.is_broken == (order != sorted(order))


@QUICK
@given(chosen=st.lists(st.integers(min_value=0, max_value=len(LINES) - 1), max_size=12))
def test_any_other_choice_of_lines_is_found(tmp_path: Path, chosen: list[int]) -> None:
    data = b"".join(LINES[place] for place in chosen)
    assert found(tmp_path, data) == (data != WHOLE)
