import pytest

from grpc_tool_bridge.adapters.grpc.problems import (
    MAX_PROBLEMS,
    Problems,
    WrongError,
    as_validation_error,
    said,
    step_to,
    unknown,
    wrong,
)


def test_problems_are_told_by_their_paths() -> None:
    inner = Problems()
    inner.add(".city", wrong("a valid string", 3))
    inner.add(".zip", said("missing"))
    outer = Problems()
    with pytest.raises(WrongError) as caught:
        inner.end()
    outer.add("[2]", caught.value)
    with pytest.raises(WrongError) as caught:
        outer.end()
    whole = WrongError(*((f".legs{path}", text) for path, text in caught.value.problems))
    error = as_validation_error("t", whole)
    assert error.details == {"legs[2].city": "should be a valid string, got 3 (int)", "legs[2].zip": "missing"}
    assert error.message == (
        "t: argument 'legs[2].city': should be a valid string, got 3 (int); argument 'legs[2].zip': missing"
    )


def test_no_more_are_collected_than_anyone_reads() -> None:
    problems = Problems()
    for place in range(1, MAX_PROBLEMS):
        problems.add(f"[{place}]", said("missing"))
    with pytest.raises(WrongError) as caught:
        problems.add("[0]", said("missing"))
    assert len(caught.value.problems) == MAX_PROBLEMS
    Problems().end()


def test_two_problems_of_one_place_are_one_detail() -> None:
    error = as_validation_error("t", WrongError((".a", "missing"), (".a", "unknown")))
    assert error.details == {"a": "missing; unknown"}


def test_a_step_is_short_and_an_extension_keeps_its_brackets() -> None:
    assert (step_to("a"), step_to("[pkg.ext]"), step_to(5)) == (".a", "[pkg.ext]", ".5")
    assert len(step_to("a" * 1_000)) < 70


@pytest.mark.parametrize(
    ("name", "known", "text"),
    [
        ("citi", ["city", "zip"], "unknown, did you mean 'city'?"),
        ("x", ["city"], "unknown, pkg.M has 'city'"),
        (5, ["city"], "unknown, pkg.M has 'city'"),
        ("x", [], "unknown, pkg.M has no fields"),
        ("?", [f"field_{number}" for number in range(30)], "and 10 more"),
    ],
)
def test_an_unknown_name_is_told_with_what_was_meant(name: object, known: list[str], text: str) -> None:
    ((_, found),) = unknown(name, known, "pkg.M").problems
    assert text in found
