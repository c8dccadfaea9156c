"""Keys as a key file has them: read as they were written, or refused without a word of them."""

import pytest

from grpc_tool_bridge.auth.secrets.keys import MAX_KEYS, SealingKey, new_key, read_keys


def test_a_new_key_is_read_as_it_was_written_and_no_two_are_the_same() -> None:
    one, two = new_key(), new_key()
    assert read_keys(f"{one.line()}\n{two.line()}\n", "keys") == (one, two)
    assert one.material != two.material
    assert len(one.material) == 32


def test_the_id_of_a_key_is_always_the_same_and_is_all_that_its_repr_shows() -> None:
    key = SealingKey(bytes(range(32)))
    assert key.id == "99974f9cb560"
    assert repr(key) == "SealingKey(id='99974f9cb560')"


def test_comments_blank_lines_and_several_keys_in_a_line_are_read() -> None:
    one, two, three = new_key(), new_key(), new_key()
    text = f"# made in spring\n\n {one.line()}  # the first\n{two.line()} {three.line()}\n"
    assert read_keys(text, "keys") == (one, two, three)


@pytest.mark.parametrize("spoil", ["{}x", "{:.60}", "x{}", "", "gtbk1.abc.def", "gtbk1.é.ü", "{}="])
def test_what_is_no_whole_key_is_refused_by_its_line_without_a_piece_of_it(spoil: str) -> None:
    key = new_key()
    bad = spoil.format(key.line()) or key.line().replace(key.id, "0" * 12)
    with pytest.raises(ValueError, match="keys, line 2: this is not a whole key; grpc") as caught:
        read_keys(f"{new_key().line()}\n{bad}\n", "keys")
    assert key.line()[20:30] not in str(caught.value)


def test_a_key_that_is_there_twice_is_refused_by_its_id() -> None:
    key = new_key()
    with pytest.raises(ValueError, match=f"keys, line 2: key {key.id} is there twice"):
        read_keys(f"{key.line()}\n{key.line()}", "keys")


def test_no_key_and_too_many_are_refused() -> None:
    with pytest.raises(ValueError, match="keys has no key; grpc-tool-bridge secrets key makes one"):
        read_keys("# nothing\n", "keys")
    lines = "\n".join(new_key().line() for _ in range(MAX_KEYS + 1))
    with pytest.raises(ValueError, match="more than 100"):
        read_keys(lines, "keys")
