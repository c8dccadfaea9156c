"""What a store does with values where there is a key, and where there is none."""

import logging

import pytest
from google.protobuf.any_pb2 import Any

from grpc_tool_bridge.core.sealed import SEALED_TYPE, UnreadableValue, ValuePlace, key_id_of
from grpc_tool_bridge.core.sealing import StoreSealing

PLACE = ValuePlace("s", "x", 1)
VALUE = Any(type_url="t", value=b"plain")


class Reversing:
    """Seals by writing backwards."""

    def __init__(self, *, seals_all: bool = False) -> None:
        self.seals_all = seals_all

    def seal(self, value: Any, place: ValuePlace, *, secret: bool) -> Any:
        return Any(type_url=SEALED_TYPE, value=b"\1\2\3\4\5\6" + value.value[::-1])

    def open(self, value: Any, place: ValuePlace, *, secret: bool) -> Any | UnreadableValue:
        return Any(type_url="t", value=value.value[:5:-1])

    def is_due(self, value: Any, *, secret: bool) -> bool:
        return secret


def test_secret_values_are_sealed_and_the_others_only_where_all_are() -> None:
    some, every = StoreSealing(Reversing()), StoreSealing(Reversing(seals_all=True))
    assert some.seal(VALUE, PLACE, secret=False) is VALUE
    sealed = some.seal(VALUE, PLACE, secret=True)
    assert sealed == every.seal(VALUE, PLACE, secret=False)
    assert some.open(sealed, PLACE, secret=True) == VALUE
    assert some.open(VALUE, PLACE, secret=True) is VALUE


def test_without_a_key_a_secret_is_stored_as_it_is_and_one_line_of_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sealing = StoreSealing()
    with caplog.at_level(logging.WARNING):
        assert sealing.seal(VALUE, PLACE, secret=False) is VALUE
        assert caplog.records == []
        assert [sealing.seal(VALUE, PLACE, secret=True) for _ in range(3)] == [VALUE] * 3
    (record,) = caplog.records
    assert "secrets_key_file" in record.getMessage()
    assert "plain" not in record.getMessage()


def test_without_a_key_a_sealed_value_is_unreadable_and_is_stored_again_as_it_is() -> None:
    sealed = Reversing().seal(VALUE, PLACE, secret=True)
    found = StoreSealing().open(sealed, PLACE, secret=True)
    assert isinstance(found, UnreadableValue)
    assert found.key_id == key_id_of(sealed) == "010203040506"
    assert "key 010203040506, which this hub does not have" in found.error("x").message
    assert StoreSealing().seal(found, PLACE, secret=True) is sealed
