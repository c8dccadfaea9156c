"""numpy arrays and scalars."""

from typing import Any

import numpy as np
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import RichValue, Tensor
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from grpc_tool_bridge.values.tensor import read_array

URL = "type.googleapis.com/dspex.bridge.Tensor"

ARRAYS = [
    *(np.arange(6).astype(code) for code in "bBhHiIlLqQefdgFDG?"),
    np.arange(6, dtype=">i4"),
    np.arange(6, dtype=">c16"),
    np.array(["2026-01-01", "NaT"], "M8[ns]"),
    np.array(["2026-01-01"], ">M8[D]"),
    np.array([1, 2], "m8[25s]"),
    np.array([1]).view("m8"),
    np.array(["a", "longer", "é", ""]),
    np.array([b"a", b"\x00b"]),
    np.array([b"abc"], "V3"),
    np.zeros((0, 3)),
    np.zeros((2, 0)),
    np.array(["", ""]).astype("U0"),
    np.arange(24).reshape(2, 3, 4),
    np.arange(24).reshape(2, 3, 4).T,
    np.arange(24)[::-2],
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array(5),
    np.array("text"),
    np.array([np.nan, np.inf, -0.0]),
]


def round_trip(value: Any) -> Any:
    return deserialize_value(AnyMessage.FromString(serialize_value(value).SerializeToString()))


@pytest.mark.parametrize("value", ARRAYS, ids=lambda value: f"{value.dtype.str}{value.shape}")
def test_an_array_comes_back_the_same_and_can_be_written_to(value: Any) -> None:
    for back in (round_trip(value), round_trip([value, (value,)])[1][0], round_trip({"a": value})["a"]):
        assert type(back) is np.ndarray
        assert back.dtype == value.dtype
        assert back.dtype.str == value.dtype.str
        assert back.shape == value.shape
        assert back.tobytes() == value.tobytes()
        assert back.flags.writeable


def test_an_array_of_dimensions_is_a_tensor() -> None:
    message = serialize_value(np.array([[1.5, 2.5]]))
    assert message.type_url == URL
    tensor = Tensor.FromString(message.value)
    assert (tensor.dtype, list(tensor.shape), len(tensor.data)) == ("<f8", [1, 2], 16)


@pytest.mark.parametrize(
    "value",
    [
        np.float64(2.5),
        np.float32(2.5),
        np.int8(-3),
        np.uint64(2**64 - 1),
        np.bool_(True),
        np.complex64(1 + 2j),
        np.datetime64("2026-01-01T00:00:00", "ms"),
        np.timedelta64(5, "D"),
        np.str_("text"),
        np.str_(""),
        np.bytes_(b"text"),
        np.void(b"abc"),
        np.float16("nan"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_scalar_comes_back_as_a_scalar(value: Any) -> None:
    assert serialize_value(value).type_url == URL
    for back in (round_trip(value), round_trip([value, (value,)])[1][0]):
        assert type(back) is type(value)
        assert repr(back) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        np.array([object()]),
        np.array([1, "a"], dtype=object),
        np.zeros(2, dtype=[("x", "i4")]),
        np.zeros(2, dtype=[("x", "i4")])[0],
        np.array(["a"], dtype=np.dtypes.StringDType()),
    ],
    ids=lambda value: str(value.dtype),
)
def test_a_dtype_without_a_plain_form_is_refused(value: Any) -> None:
    for sent in (value, [value]):
        with pytest.raises(SerializationError, match="astype"):
            serialize_value(sent)


@pytest.mark.parametrize("value", [np.str_("a\0"), np.bytes_(b"a\0")])
def test_a_scalar_that_would_lose_nul_characters_is_refused(value: Any) -> None:
    with pytest.raises(SerializationError, match="NUL"):
        serialize_value(value)


@pytest.mark.parametrize(
    ("dtype", "shape", "data"),
    [
        ("<f8", [1], b""),
        ("<f8", [], b""),
        ("<f8", [2], b"x" * 8),
        ("<f8", [-1], b"x" * 8),
        ("<f8", [-1, -1], b"x" * 8),
        ("<f8", [2**62, 2**62], b""),
        ("<f8", [2**32, 2**32], b""),
        ("<f8", [0, 2**62], b""),
        ("<f8", [1] * 65, b"x" * 8),
        ("<U0", [2**40], b""),
        ("<U0", [1_001], b""),
        ("", [1], b"x"),
        ("O", [1], b"x" * 8),
        ("|O", [1], b"x" * 8),
        ("|O8", [1], b"x" * 8),
        ("f8", [1], b"x" * 8),
        ("<f3", [1], b"x" * 3),
        ("<i4,<i4", [1], b"x" * 8),
        ("(2,)i4", [1], b"x" * 8),
        ("<U999999999", [1], b"x"),
        ("<i٤", [1], b"x" * 4),
        ("<M8[x]", [1], b"x" * 8),
        ("<f8[s]", [1], b"x" * 8),
        # No characters: NumPy takes them, and fails with a SystemError where they are looked at.
        ("<U1", [1], b"\xff\xff\xff\xff"),
        (">U2", [2], b"\x00\x00\x00a" * 3 + b"\x00\x11\x00\x00"),
        # Written as lists, they would be billions.
        ("<f8", [1_000_000, 1_000, 0], b""),
        ("|u1", [100_000, *([1] * 60)], bytes(100_000)),
    ],
)
def test_a_hostile_tensor_is_refused(dtype: str, shape: list[int], data: bytes) -> None:
    message = Tensor(dtype=dtype, shape=shape, data=data)
    with pytest.raises(SerializationError):
        deserialize_value(AnyMessage(type_url=URL, value=message.SerializeToString()))


def test_a_tensor_without_numpy_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    message = serialize_value(np.arange(3))
    monkeypatch.setitem(__import__("sys").modules, "numpy", None)
    with pytest.raises(SerializationError, match=r'pip install "grpc-tool-bridge\[data\]"'):
        deserialize_value(message)


def test_a_tensor_has_at_most_as_many_dimensions_as_numpy_allows() -> None:
    with pytest.raises(SerializationError, match="a tensor has 65 dimensions; NumPy arrays have at most 64"):
        read_array(Tensor(dtype="<f8", shape=[1] * 65, data=bytes(8)))


@pytest.mark.parametrize("shape", [(200_000, 0), (0, 10**9), (50_000, 1, 1, 1), (2, 0, 10**9)])
def test_an_array_of_many_rows_with_little_in_them_is_read(shape: tuple[int, ...]) -> None:
    assert round_trip(np.zeros(shape, "u1")).shape == shape


def test_an_array_that_is_hardly_more_than_dimensions_is_not_sent() -> None:
    with pytest.raises(SerializationError, match=r"would be 1,001,001 nested lists, with 0 items; reshape it"):
        serialize_value(np.zeros((1_000, 1_000, 0)))


def field(number: int, content: bytes) -> bytes:
    return bytes((number << 3 | 2, len(content))) + content


DTYPE, SHAPE, DATA = field(1, b"<i2"), field(2, b"\x02"), field(3, b"\x01\x00\x02\x00")


@pytest.mark.parametrize(
    "payload",
    [
        DTYPE + SHAPE + DATA,
        DATA + DTYPE + SHAPE,
        SHAPE + DATA + DTYPE,
        # The last of several counts.
        DTYPE + SHAPE + field(3, b"") + DATA,
        field(3, b"xyz") + DTYPE + SHAPE + DATA,
        field(1, b"<f8") + DTYPE + SHAPE + DATA,
        # A shape that is not packed, an unknown field, a length of more digits than it needs.
        DTYPE + b"\x10\x02" + DATA,
        field(9, b"new") + DTYPE + SHAPE + DATA,
        DTYPE + SHAPE + DATA + field(9, b"new"),
        DTYPE + SHAPE + b"\x1a\x84\x00" + DATA[2:],
        field(9, DATA) * 5 + DTYPE + SHAPE + DATA,
    ],
)
def test_a_tensor_is_read_as_protobuf_reads_it(payload: bytes) -> None:
    back = deserialize_value(AnyMessage(type_url=URL, value=payload))
    expected = read_array(Tensor.FromString(payload))
    assert (back.dtype, back.tolist()) == (expected.dtype, expected.tolist()) == (np.dtype("<i2"), [1, 2])


@pytest.mark.parametrize(
    "payload",
    [
        DTYPE + SHAPE + DATA[:-1],
        DTYPE + SHAPE + DATA + b"\x1a",
        DTYPE + SHAPE + DATA + b"\x80",
        DTYPE + SHAPE + b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        DTYPE + SHAPE + b"\x1a\x05" + DATA[2:],
        DTYPE + SHAPE + field(3, DATA),
        DTYPE + SHAPE + DATA + field(3, b""),
        b"\x1a",
        b"",
    ],
)
def test_a_broken_tensor_is_refused(payload: bytes) -> None:
    with pytest.raises(SerializationError):
        deserialize_value(AnyMessage(type_url=URL, value=payload))


@pytest.mark.parametrize("value", ARRAYS, ids=lambda value: f"{value.dtype.str}{value.shape}")
def test_the_bytes_are_those_that_protobuf_writes(value: Any) -> None:
    message = serialize_value(value)
    tensor = Tensor(dtype=value.dtype.str, shape=value.shape, data=value.tobytes())
    expected = tensor if message.type_url == URL else RichValue(tensor=tensor)
    assert message.value == expected.SerializeToString()


@pytest.mark.parametrize("size", [3, 200, 1_000_000])
def test_an_array_owns_its_memory_and_is_aligned(size: int) -> None:
    value = np.arange(size, dtype="<f8")
    message = serialize_value(value)
    one, other = deserialize_value(message), deserialize_value(message)
    assert one.flags.aligned
    one[:] = 7
    assert not np.shares_memory(one, other)
    assert (deserialize_value(message) == value).all()
    assert (other == value).all()
