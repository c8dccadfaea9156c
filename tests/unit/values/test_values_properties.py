"""What holds for every value, and for all bytes."""

import datetime as dt
import random
import uuid
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conformance.generated import JSON_VALUES, VALUES
from google.protobuf.any_pb2 import Any as AnyMessage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from support.soak import examples

pytestmark = pytest.mark.slow

ROUNDS = settings(max_examples=examples(150), deadline=None, suppress_health_check=list(HealthCheck))

PREFIX = "type.googleapis.com/"
WRAPPERS = "Bool Bytes Double Float Int32 Int64 String UInt32 UInt64"
NAMES = [
    *(f"google.protobuf.{name}Value" for name in WRAPPERS.split()),
    *(f"google.protobuf.{name}" for name in ("Value", "ListValue", "Struct", "Empty", "Timestamp")),
    *(f"dspex.bridge.{name}" for name in ("Json", "RichValue", "Tensor")),
    *("pandas.DataFrame", "pandas.Series", "pandas.Index", "pyarrow.Table", "polars.DataFrame", "python.Thing"),
]


def assert_same(old: Any, new: Any) -> None:
    """Compares types, values and key order, at every level."""
    assert type(old) is type(new)
    if isinstance(old, dict):
        assert_same(list(old.items()), list(new.items()))
    elif isinstance(old, list | tuple):
        assert len(old) == len(new)
        for one, other in zip(old, new, strict=True):
            assert_same(one, other)
    elif isinstance(old, set | frozenset):
        assert sorted(map(described, old)) == sorted(map(described, new))
    elif isinstance(old, np.ndarray):
        assert (old.dtype.str, old.shape, old.tobytes()) == (new.dtype.str, new.shape, new.tobytes())
    else:
        assert (repr(old), getattr(old, "fold", 0)) == (repr(new), getattr(new, "fold", 0))


def described(value: Any) -> str:
    if isinstance(value, frozenset):
        return f"frozenset {sorted(map(described, value))}"
    if isinstance(value, tuple):
        return f"tuple {list(map(described, value))}"
    return f"{type(value).__name__} {value!r}"


def decode(message: AnyMessage) -> None:
    try:
        deserialize_value(message)
    except SerializationError as refusal:
        assert str(refusal)  # noqa: PT017 - a refusal is one of two outcomes


@ROUNDS
@given(VALUES)
def test_every_value_comes_back_the_same(value: Any) -> None:
    message = AnyMessage.FromString(serialize_value(value, strict=True).SerializeToString())
    assert_same(value, deserialize_value(message))


@ROUNDS
@given(JSON_VALUES)
def test_every_json_value_comes_back_the_same(value: Any) -> None:
    assert_same(value, deserialize_value(serialize_value(value, strict=True)))


@ROUNDS
@given(st.sampled_from(NAMES) | st.text(max_size=20), st.binary(max_size=60))
def test_any_bytes_under_any_type_url_are_a_value_or_refused(name: str, payload: bytes) -> None:
    try:
        message = AnyMessage(type_url=name, value=payload)
    except UnicodeEncodeError:
        return
    decode(message)


def samples() -> dict[str, AnyMessage]:
    frame = pd.DataFrame(
        {
            "a": [1, 2],
            "b": ["x", None],
            "c": pd.Categorical(["u", "v"]),
            "d": pd.date_range("2026-01-01", periods=2, tz="Europe/Berlin"),
            "e": pd.Series([[1], [2, 3]], dtype=object),
        }
    )
    everything = {
        "when": dt.datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
        "all": [
            (1, 2**70),
            {1, 2.5},
            frozenset({b"x"}),
            dt.timedelta(1),
            uuid.UUID(int=7),
            1j,
            np.arange(3),
            np.int8(1),
        ],
    }
    return {
        "scalar": serialize_value("text"),
        "list": serialize_value([1, {"a": [None, "x"]}]),
        "json": serialize_value({"b": [1, 2.5, None], "a": {"x": "y\\", "z": 2**70}}),
        "rich": serialize_value(everything),
        "tensor": serialize_value(np.arange(6.0).reshape(2, 3)),
        "frame": serialize_value(frame),
        "series": serialize_value(frame["b"]),
        "index": serialize_value(pd.date_range("2026-01-01", periods=3)),
        "arrow": serialize_value(pa.table({"a": [[1, 2], None], "b": [{"x": "y"}, {"x": None}]})),
        "polars": serialize_value(pl.DataFrame({"a": ["x", None], "b": [[1], [2]]})),
        "nested frame": serialize_value([frame]),
    }


SAMPLES = samples()


@pytest.mark.seeded
@pytest.mark.parametrize("name", SAMPLES)
def test_changed_bytes_are_a_value_or_refused(name: str) -> None:
    message = SAMPLES[name]
    dice = random.Random(name)
    for _ in range(examples(200)):
        payload = bytearray(message.value)
        for _ in range(dice.randint(1, 4)):
            payload[dice.randrange(len(payload))] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])
        decode(AnyMessage(type_url=message.type_url, value=bytes(payload)))


@pytest.mark.seeded
@pytest.mark.parametrize("name", SAMPLES)
def test_truncated_bytes_are_a_value_or_refused(name: str) -> None:
    message = SAMPLES[name]
    dice = random.Random(name)
    for _ in range(examples(60)):
        decode(AnyMessage(type_url=message.type_url, value=message.value[: dice.randrange(len(message.value))]))


@pytest.mark.parametrize("name", NAMES)
def test_the_bytes_of_every_other_type_are_a_value_or_refused(name: str) -> None:
    for message in SAMPLES.values():
        decode(AnyMessage(type_url=PREFIX + name, value=message.value))
