"""What lifespans have yielded."""

import pytest

from grpc_tool_bridge.tools.lifespan_values import NO_LIFESPAN, LifespanValues


def test_values_are_read_by_name() -> None:
    values = LifespanValues({"db": 1, "cache": 2})
    assert (values["db"], dict(values), len(values), values.get("x", 3)) == (1, {"db": 1, "cache": 2}, 2, 3)
    assert repr(values) == "<lifespan values: db, cache>"


def test_a_missing_name_says_what_there_is() -> None:
    values = LifespanValues({"database": 1})
    with pytest.raises(KeyError, match="no lifespan has yielded 'databse', only 'database'; did you mean 'database'"):
        values["databse"]
    with pytest.raises(KeyError, match="only nothing"):
        LifespanValues({})["x"]


def test_without_a_lifespan_it_says_how_to_give_one() -> None:
    with pytest.raises(
        KeyError, match="there is no lifespan, so there is no 'db'; give one as lifespan= or --lifespan"
    ):
        NO_LIFESPAN["db"]
    assert repr(NO_LIFESPAN) == "<lifespan values: none>"
