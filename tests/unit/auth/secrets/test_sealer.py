"""Sealed values: opened where they belong with the key that sealed them, and nowhere else."""

from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.any_pb2 import Any
from pydantic import SecretStr

from grpc_tool_bridge.auth.secrets.keys import new_key
from grpc_tool_bridge.auth.secrets.sealer import Sealer, sealer_of
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.sealed import UnreadableValue, ValuePlace, is_sealed, key_id_of

PLAIN = "the-value-that-nobody-may-see"
VALUE = Any(type_url="type.googleapis.com/acme.Password", value=PLAIN.encode())
PLACE = ValuePlace("s", "x", 7)
KEY = new_key()


@pytest.fixture
def sealer() -> Sealer:
    return Sealer([KEY])


def opened(sealer: Sealer, value: Any, place: ValuePlace = PLACE, *, secret: bool = True) -> Any | UnreadableValue:
    return sealer.open(value, place, secret=secret)


def test_a_value_comes_back_as_it_was_and_nothing_of_it_or_its_type_is_in_what_is_stored(sealer: Sealer) -> None:
    sealed = sealer.seal(VALUE, PLACE, secret=True)
    assert is_sealed(sealed)
    assert key_id_of(sealed) == KEY.id
    stored = sealed.SerializeToString()
    assert PLAIN.encode() not in stored
    assert b"Password" not in stored
    assert KEY.material not in stored
    assert opened(sealer, sealed) == VALUE


def test_the_same_value_is_never_sealed_the_same_way_twice(sealer: Sealer) -> None:
    made = {sealer.seal(VALUE, PLACE, secret=True).value for _ in range(100)}
    assert len(made) == 100
    # Not even the salt or the nonce is.
    assert len({data[7:35] for data in made}) == 100


@pytest.mark.parametrize(
    "place",
    [
        ValuePlace("t", "x", 7), ValuePlace("s", "y", 7), ValuePlace("s", "x", 8), ValuePlace("sx", "", 7),
        ValuePlace("", "sx", 7),
    ],
)  # fmt: skip
def test_a_value_that_was_moved_does_not_open(sealer: Sealer, place: ValuePlace) -> None:
    found = opened(sealer, sealer.seal(VALUE, PLACE, secret=True), place)
    assert isinstance(found, UnreadableValue)
    assert "damaged, or belongs to another variable or revision" in found.why


def test_a_byte_that_changed_anywhere_keeps_it_shut(sealer: Sealer) -> None:
    sealed = sealer.seal(VALUE, PLACE, secret=True)
    for at in range(len(sealed.value)):
        data = bytearray(sealed.value)
        data[at] ^= 1
        assert isinstance(opened(sealer, Any(type_url=sealed.type_url, value=bytes(data))), UnreadableValue), at


def test_a_value_that_was_cut_or_is_empty_does_not_open(sealer: Sealer) -> None:
    sealed = sealer.seal(VALUE, PLACE, secret=True)
    for length in (*range(60), len(sealed.value) - 1):
        found = opened(sealer, Any(type_url=sealed.type_url, value=sealed.value[:length]))
        assert isinstance(found, UnreadableValue), length


def test_a_secret_value_does_not_open_as_one_that_is_shown(sealer: Sealer) -> None:
    sealed = sealer.seal(VALUE, PLACE, secret=True)
    assert isinstance(opened(sealer, sealed, secret=False), UnreadableValue)


def test_a_value_that_became_secret_after_it_was_sealed_opens(sealer: Sealer) -> None:
    assert opened(sealer, sealer.seal(VALUE, PLACE, secret=False), secret=True) == VALUE


def test_another_key_opens_nothing_and_the_missing_one_is_named(sealer: Sealer) -> None:
    sealed = sealer.seal(VALUE, PLACE, secret=True)
    found = opened(Sealer([new_key()]), sealed)
    assert isinstance(found, UnreadableValue)
    error = found.error("x")
    assert f"variable 'x' is sealed with key {KEY.id}, which this hub does not have; add that key" in error.message
    assert not error.retryable
    assert found.stored == sealed


def test_the_first_key_seals_and_all_open() -> None:
    new = new_key()
    old_one, both = Sealer([KEY]), Sealer([new, KEY])
    by_old, by_new = (each.seal(VALUE, PLACE, secret=True) for each in (old_one, both))
    assert (key_id_of(by_old), key_id_of(by_new)) == (KEY.id, new.id)
    assert opened(both, by_old) == opened(both, by_new) == VALUE
    assert [both.is_due(each, secret=True) for each in (by_old, by_new, VALUE)] == [True, False, True]


def test_what_no_key_opens_is_not_due_and_what_is_not_secret_only_if_all_is_sealed() -> None:
    unknown = Sealer([new_key()]).seal(VALUE, PLACE, secret=True)
    assert not Sealer([KEY]).is_due(unknown, secret=True)
    assert not Sealer([KEY]).is_due(VALUE, secret=False)
    assert Sealer([KEY], seals_all=True).is_due(VALUE, secret=False)


@pytest.mark.parametrize("text", ["surrogate \ud800", "", "ü" * 256])
def test_any_name_can_be_a_place(sealer: Sealer, text: str) -> None:
    place = ValuePlace(text, text, 2**62)
    assert opened(sealer, sealer.seal(VALUE, place, secret=True), place) == VALUE


def test_no_repr_shows_a_key_or_a_value(sealer: Sealer) -> None:
    assert repr(sealer) == f"<Sealer with key {KEY.id}, opens 1>"
    found = opened(Sealer([new_key()]), sealer.seal(VALUE, PLACE, secret=True))
    assert repr(found) == f"<UnreadableValue of key {KEY.id}>"


# -------------------------------------------------------------------------------------------------------- settings


def key_file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "keys"
    file.write_text(text)
    file.chmod(0o600)
    return file


def test_without_keys_in_the_settings_nothing_is_sealed() -> None:
    assert sealer_of(Settings()) is None


def test_keys_come_from_the_setting_or_its_file(tmp_path: Path) -> None:
    file = key_file(tmp_path, f"{KEY.line()}\n{new_key().line()}\n")
    by_file, by_text = (
        sealer_of(Settings(secrets_key_file=file)),
        sealer_of(Settings(secrets_key=SecretStr(KEY.line()))),
    )
    assert by_file is not None
    assert by_text is not None
    assert (len(by_file.keys), by_file.keys[0], by_text.keys) == (2, KEY, (KEY,))
    assert not by_file.seals_all


def _open_to_all(tmp_path: Path) -> Settings:
    file = key_file(tmp_path, KEY.line())
    file.chmod(0o644)
    return Settings(secrets_key_file=file)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda path: Settings(secrets_key_file=key_file(path, "hunter2")), "keys, line 1: this is not a whole key"),
        (lambda _: Settings(secrets_key=SecretStr("hunter2")), "secrets_key, line 1: this is not a whole key"),
        (lambda path: Settings(secrets_key=SecretStr(KEY.line()), secrets_key_file=path / "keys"), "both set"),
        (lambda _: Settings(secrets_seal_all=True), "needs a key to seal with"),
    ],
)
def test_settings_that_name_no_keys_are_refused_without_a_word_of_them(
    make: Callable[[Path], Settings], match: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        sealer_of(make(tmp_path))
    assert "hunter2" not in str(caught.value)


def test_the_settings_do_not_show_the_key() -> None:
    assert KEY.line() not in repr(Settings(secrets_key=SecretStr(KEY.line())))
