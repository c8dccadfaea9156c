import typing
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, NotRequired, Protocol, TypedDict

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from pydantic import Field, ValidationError

from grpc_tool_bridge.tools.checks import compile_check


class Base(TypedDict):
    type: int


class Row(Base, total=False):
    note: str
    when: typing.Required[Annotated[date, Field(ge=date(2000, 1, 1))]]


class Outer(TypedDict):
    rows: list[Row]
    one: NotRequired[Row | None]


class Foreign:
    pass


@dataclass
class Holder:
    array: np.ndarray[Any, Any] | None = None
    thing: Foreign | None = None


def accepted(annotation: Any, *types: type) -> list[bool]:
    accepts = compile_check(annotation, "here").accepts
    return [item in accepts for item in types]


class TestAccepts:
    @pytest.mark.parametrize(
        ("annotation", "expected"),
        [
            (int, [True, False, False, False]),
            (int | None, [True, False, False, True]),
            (int | str, [True, True, False, False]),
            (Any, [True, True, True, True]),
            (object, [True, True, True, True]),
            (Any | None, [True, True, True, True]),
            (list[int], [False, False, False, False]),
            (Annotated[int, Field(ge=0)], [False, False, False, False]),
            (Foreign, [False, False, True, False]),
        ],
    )
    def test_only_types_that_need_no_look_are_passed(self, annotation: Any, expected: list[bool]) -> None:
        assert accepted(annotation, int, str, Foreign, type(None)) == expected

    def test_bool_does_not_pass_for_int(self) -> None:
        assert accepted(int, bool) == [False]


class TestClasses:
    def test_arrays_and_frames_are_checked_by_isinstance(self) -> None:
        for annotation, value in (
            (np.ndarray, np.zeros(2)),
            (npt.NDArray[np.float64], np.zeros(2)),
            (pd.DataFrame, pd.DataFrame({"a": [1]})),
            (Foreign, Foreign()),
        ):
            validator = compile_check(annotation, "here").validator
            assert validator.validate_python(value) is value
            with pytest.raises(ValidationError):
                validator.validate_python([1])

    def test_they_may_stand_in_a_dataclass(self) -> None:
        array, thing = np.zeros(2), Foreign()
        holder = compile_check(Holder, "here").validator.validate_python({"array": array, "thing": thing})
        assert holder.array is array
        assert holder.thing is thing


class TestTypedDict:
    def test_the_one_of_typing_is_taken_with_what_it_requires(self) -> None:
        validator = compile_check(Outer, "here").validator
        row = {"type": 1, "when": "2024-01-02"}
        good = {"type": 1, "when": date(2024, 1, 2)}
        assert validator.validate_python({"rows": [row]}) == {"rows": [good]}
        assert validator.validate_python({"rows": [], "one": {**row, "note": "n"}})["one"] == {**good, "note": "n"}
        for bad in ({"type": 1}, {"when": "2024-01-02"}, {"type": 1, "when": "1999-01-01"}):
            with pytest.raises(ValidationError):
                validator.validate_python({"rows": [bad]})

    @pytest.mark.parametrize("annotation", [Row | None, Annotated[Row, "x"], typing.Union[Row, int]])  # noqa: UP007 - both forms
    def test_it_is_found_inside_other_types(self, annotation: Any) -> None:
        value = compile_check(annotation, "here").validator.validate_python({"type": 1, "when": "2024-01-02"})
        assert value == {"type": 1, "when": date(2024, 1, 2)}


class TestRefused:
    def test_what_cannot_be_checked_is_named_with_its_place(self) -> None:
        with pytest.raises(TypeError, match=r"f: parameter 'a': values cannot be checked against its annotation 5"):
            compile_check(5, "f: parameter 'a'")

    def test_a_protocol_that_isinstance_cannot_check(self) -> None:
        class Closes(Protocol):
            def close(self) -> None: ...

        with pytest.raises(TypeError, match="values cannot be checked against its annotation"):
            compile_check(Closes, "here")
