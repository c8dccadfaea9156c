"""Stub; replaced by merge."""

from typing import Any

from grpc_tool_bridge.wire import frames, tensor
from grpc_tool_bridge.wire.scalars import Packed


def plain_data(value: Any) -> Any:
    return value


def pack_data(value: Any) -> Packed | None:
    package = type(value).__module__.partition(".")[0]
    if package == "numpy":
        return tensor.pack_tensor(value)
    if package in ("pandas", "polars", "pyarrow"):
        return frames.pack_frame(value, package)
    return None


def to_list(value: Any) -> list[Any] | None:
    return None


def read_as(cls: Any, value: Any) -> Any:
    return value
