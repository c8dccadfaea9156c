"""Members that a peer has chosen to have one hash are found without building a set of them."""

from grpc_tool_bridge.values.hashes import MAX_SAME_HASH, have_same_hash, same_hashes

MODULUS = 2**61 - 1


def test_hashes_that_many_items_share_are_found() -> None:
    chosen = [7 + MODULUS * number for number in range(MAX_SAME_HASH + 1)]
    assert same_hashes([*range(1_000), *chosen]) == {7}


def test_as_many_of_one_hash_as_may_be_are_none_too_many() -> None:
    assert same_hashes([MODULUS * number for number in range(MAX_SAME_HASH)]) == frozenset()


def test_doubles_that_share_a_hash_by_nature_are_not_too_many() -> None:
    doubles = [2.0**number for number in range(-1_000, 1_000)]
    assert not have_same_hash(doubles, same_hashes(doubles))


def test_one_item_many_times_is_no_attack() -> None:
    items = [1] * 1_000
    assert same_hashes(items) == {1}
    assert not have_same_hash(items, same_hashes(items))
    assert have_same_hash([MODULUS * number for number in range(MAX_SAME_HASH + 1)], frozenset({0}))
