"""Python objects of a frame, one by one."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import RichValue
from grpc_tool_bridge.values.cells import read_cell, write_cell
from grpc_tool_bridge.values.rich import pack_rich


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        ("Timestamp", 1, "ns", None),
        ("NaT",),
        (),
        (("tuple",),),
        {("a", pd.NaT): pd.NA},
        [{pd.Timestamp(1)}, frozenset({("x", pd.Timedelta(1))})],
        pd.Interval(pd.Timestamp(0, tz="UTC"), pd.Timestamp(1, tz="UTC"), closed="neither"),
        pd.Timestamp("2026-10-25 02:30+01:00").tz_convert("Europe/Berlin"),
        pd.Timestamp("2026-01-01 00:00+05:30"),
        pd.Period("2026Q1", "Q-NOV"),
        np.array([[1, 2]], "i1"),
        nested(30),
    ],
    ids=repr,
)
def test_an_object_comes_back_the_same_whatever_it_looks_like(value: Any) -> None:
    back = read_cell(write_cell(value))
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def cell(value: Any) -> bytes:
    return pack_rich(value, lambda _: ("", b""))[1]


@pytest.mark.parametrize("value", [object(), nested(31), int, type("Number", (int,), {})(5), {"a": {1: object()}}])
def test_what_has_no_form_is_refused(value: Any) -> None:
    with pytest.raises(SerializationError):
        write_cell(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        cell(("os.system", "true")),
        cell(("Timestamp", "now", "ns", None)),
        cell(("Timestamp", 1, "Y", None)),
        cell(("Timestamp", True, "ns", None)),
        cell(("Timedelta", 1, "generic")),
        cell(nested(60)),
        RichValue(any=AnyMessage(type_url="python.Thing")).SerializeToString(),
    ],
    ids=repr,
)
def test_a_cell_that_no_writer_makes_is_refused(data: bytes) -> None:
    with pytest.raises(SerializationError):
        read_cell(data)
