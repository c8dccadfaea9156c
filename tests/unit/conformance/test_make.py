"""The committed vectors are those that are made."""

from conformance.make import VECTORS, text_of, vectors


def test_the_committed_file_is_what_is_made() -> None:
    assert VECTORS.read_text(encoding="utf-8") == text_of(vectors())


def test_the_file_is_small_enough_to_review() -> None:
    assert VECTORS.stat().st_size < 2_000_000
