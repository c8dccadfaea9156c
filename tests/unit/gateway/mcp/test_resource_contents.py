"""What a resource says of a variable, and what it gives of it."""

import base64
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from mcp_types import BlobResourceContents, TextResourceContents

from grpc_tool_bridge.gateway.mcp.resource_contents import contents_of, resource_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import VariableInfo, VariableMetadata
from grpc_tool_bridge.tools.media import Audio, Image, Resource, ResourceLink, media_dict
from grpc_tool_bridge.tools.variable import Variable
from grpc_tool_bridge.values.serialization import serialize_value

URI = "variable:///it"


def info(value: Any, **tags: str) -> Variable:
    kind = type(value).__name__
    size = serialize_value(value).ByteSize()
    metadata = VariableMetadata(type=kind, tags=tags)
    return Variable.of(VariableInfo(name="it", type=kind, size_bytes=size, metadata=metadata))


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 128, 129, 16_000, 16_381, 16_384, 2_097_150, 2_097_160])
@pytest.mark.parametrize("unit", ["x", b"x"])
def test_the_size_of_texts_and_bytes_is_told_to_the_byte(unit: Any, length: int) -> None:
    assert resource_of(info(unit * length)).size == length


@pytest.mark.parametrize(
    ("value", "mime_type"),
    [
        ("a text", "text/plain"),
        (b"bytes", "application/octet-stream"),
        ([1, 2], "application/json"),
        (3, "application/json"),
        (pd.DataFrame({"a": [1]}), "text/csv"),
        # Only the value tells whether it stands for a document.
        ({"a": 1}, None),
    ],
)
def test_an_entry_says_the_format(value: Any, mime_type: str | None) -> None:
    entry = resource_of(info(value))
    assert (entry.uri, entry.name, entry.mime_type) == (URI, "it", mime_type)
    assert entry.size is None or isinstance(value, str | bytes)


def test_tags_say_what_a_reader_is_told() -> None:
    entry = resource_of(info("# Hi", mime_type="text/markdown", title="Read me", description="What it is about"))
    assert (entry.mime_type, entry.title, entry.description) == ("text/markdown", "Read me", "What it is about")


def test_a_type_that_does_not_fit_the_size_has_no_size() -> None:
    assert resource_of(Variable.of(VariableInfo(name="it", type="str", size_bytes=3))).size is None


TEXTS: list[tuple[Any, str, str]] = [
    ("héllo", "héllo", "text/plain"),
    ({"a": [1, None]}, '{"a":[1,null]}', "application/json"),
    (None, "null", "application/json"),
    (True, "true", "application/json"),
    (pd.DataFrame({"a": [1, 2], "b": ["x", None]}), "a,b\n1,x\n2,\n", "text/csv"),
    (pd.Series([1.5, 2.5], name="s"), "s\n1.5\n2.5\n", "text/csv"),
    (np.arange(3), "[0,1,2]", "application/json"),
    (Resource("docs://a", "# Hi", "text/markdown"), "# Hi", "text/markdown"),
    (Resource("docs://a", "Hi"), "Hi", "text/plain"),
    (ResourceLink("https://example.com/x", "x"), "https://example.com/x\r\n", "text/uri-list"),
]


@pytest.mark.parametrize(("value", "text", "mime_type"), TEXTS)
async def test_a_value_is_text(value: Any, text: str, mime_type: str) -> None:
    given = media_dict(value) if isinstance(value, Resource | ResourceLink) else value
    assert await contents_of(URI, given, VariableMetadata()) == TextResourceContents(
        uri=URI, text=text, mime_type=mime_type
    )


@pytest.mark.parametrize(
    ("value", "data", "mime_type"),
    [
        (b"\0\1", b"\0\1", "application/octet-stream"),
        (Image(b"PNG"), b"PNG", "image/png"),
        (Audio(b"WAV"), b"WAV", "audio/wav"),
        (Resource("docs://a", b"PDF", "application/pdf"), b"PDF", "application/pdf"),
        (Resource("docs://a", b"?"), b"?", "application/octet-stream"),
    ],
)
async def test_bytes_are_a_blob(value: Any, data: bytes, mime_type: str) -> None:
    given = value if isinstance(value, bytes) else media_dict(value)
    blob = base64.b64encode(data).decode()
    assert await contents_of(URI, given, VariableMetadata()) == BlobResourceContents(
        uri=URI, blob=blob, mime_type=mime_type
    )


@pytest.mark.parametrize("value", ["a,b", "x" * 100_000, b"a,b", [1], {"type": "image", "data": b"x"}])
async def test_a_tag_says_the_format_of_any_value(value: Any) -> None:
    contents = await contents_of(URI, value, VariableMetadata(tags={"mime_type": "x/y"}))
    assert contents.mime_type == "x/y"


async def test_nothing_of_a_large_frame_or_array_is_left_out() -> None:
    frame = await contents_of(URI, pd.DataFrame({"a": range(5_000)}), VariableMetadata())
    assert isinstance(frame, TextResourceContents)
    assert frame.text.count("\n") == 5_001
    array = await contents_of(URI, np.arange(5_000), VariableMetadata())
    assert isinstance(array, TextResourceContents)
    assert array.text == f"[{','.join(map(str, range(5_000)))}]"


async def test_frames_of_every_library_are_csv() -> None:
    polars, pyarrow = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    for frame in (polars.DataFrame({"a": [1, 2]}), pyarrow.table({"a": [1, 2]})):
        contents = await contents_of(URI, frame, VariableMetadata())
        assert isinstance(contents, TextResourceContents)
        assert contents.text.replace('"', "") == "a\n1\n2\n"
        assert contents.mime_type == "text/csv"


async def test_frames_with_columns_that_csv_has_not_are_json() -> None:
    polars, pyarrow = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    rows = [[1, 2]] * 2_000
    for frame in (polars.DataFrame({"a": rows}), pyarrow.table({"a": rows})):
        contents = await contents_of(URI, frame, VariableMetadata())
        assert isinstance(contents, TextResourceContents)
        assert contents.mime_type == "application/json"
        assert json.loads(contents.text) == [{"a": [1, 2]}] * 2_000


def test_the_types_that_sizes_are_of_are_those_of_the_wire() -> None:
    for value, name in (("x", "StringValue"), (b"x", "BytesValue")):
        message: AnyMessage = serialize_value(value)
        assert message.type_url == f"type.googleapis.com/google.protobuf.{name}"
