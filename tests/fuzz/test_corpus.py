"""Every input of the corpus, and some that are nearly the same, is read or refused by its target."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.corpus import names, target
from support.soak import examples

INPUTS = [pytest.param(name, path, id=f"{name}/{path.name}") for name in names() for path in target(name).inputs()]


@pytest.mark.parametrize(("name", "path"), INPUTS)
def test_an_input_is_read_or_refused(name: str, path: Path) -> None:
    target(name).run(path.read_bytes())


@pytest.mark.parametrize("name", names())
@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(data=st.data())
def test_what_is_nearly_such_an_input_is_read_or_refused(name: str, data: st.DataObject) -> None:
    fuzzed = target(name)
    inputs = [b"", *(path.read_bytes() for path in fuzzed.inputs())]
    # A part of one, something else, and the rest of one.
    first, last = data.draw(st.sampled_from(inputs)), data.draw(st.sampled_from(inputs))
    start, end = data.draw(st.integers(0, len(first))), data.draw(st.integers(0, len(last)))
    fuzzed.run(first[:start] + data.draw(st.binary(max_size=40)) + last[end:])


@pytest.mark.parametrize("name", names())
def test_each_target_has_inputs(name: str) -> None:
    assert target(name).inputs(), f"put some into {target(name).folder}"
