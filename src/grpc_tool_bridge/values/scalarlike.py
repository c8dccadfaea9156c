"""Scalars of pandas and pyarrow as the Python values that they stand for."""

import sys
from collections.abc import Callable
from typing import Any

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.optional import home_of

_NANOS_IN_MICRO = 1_000


def plain_data(value: Any) -> Any:
    """Gives the plain value that a scalar of pandas or pyarrow stands for.

    Args:
        value: Anything, such as a leaf of a container.

    Returns:
        A datetime, timedelta, None, bytes or what a scalar of pyarrow holds; ``value`` itself where it stands for
        nothing else.

    Raises:
        SerializationError: The plain value would not be exact.
    """
    package = home_of(type(value))
    if package is None:
        return value
    convert = _CONVERTERS.get(package)
    module = sys.modules.get(package)
    return value if convert is None or module is None else convert(value, module)


def _of_pandas(value: Any, pd: Any) -> Any:
    if value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, pd.Timestamp):
        if value.nanosecond:
            raise _too_fine(value, 'value.floor("us")')
        return _converted(value, lambda: value.to_pydatetime(warn=False))
    if isinstance(value, pd.Timedelta):
        if value.nanoseconds:
            raise _too_fine(value, 'value.floor("us")')
        return _converted(value, value.to_pytimedelta)
    return value


def _of_pyarrow(value: Any, pa: Any) -> Any:
    if isinstance(value, pa.Buffer):
        return value.to_pybytes()
    if not isinstance(value, pa.Scalar):
        return value
    if value.type == pa.time64("ns") and value.is_valid and value.value % _NANOS_IN_MICRO:
        raise _too_fine(value, 'value.cast("time64[us]", safe=False)')
    plain = _converted(value, value.as_py)
    return plain_data(plain)


def _too_fine(value: Any, mend: str) -> SerializationError:
    return SerializationError(
        f"{value!s:.80} has nanoseconds, which a Python {type(value).__name__.lower()} does not have; send {mend}, "
        "or a Series or array of it"
    )


def _converted(value: Any, convert: Callable[[], Any]) -> Any:
    try:
        return convert()
    except Exception as failure:
        raise SerializationError(
            f"a {type(value).__name__} cannot be written as a Python value: {str(failure)[:200]}; send str() of it"
        ) from failure


_CONVERTERS: dict[str, Callable[[Any, Any], Any]] = {"pandas": _of_pandas, "pyarrow": _of_pyarrow}
