"""The pieces that a slicer cuts, and effects as they are given in JSON."""

from random import Random

import pytest

from grpc_tool_bridge.testing.toxiproxy.effects import Slicer


@pytest.mark.parametrize(("average", "variation"), [(1, 0), (10, 0), (10, 5), (100, 99), (1, 1_000), (10, 10)])
@pytest.mark.parametrize("total", [1, 2, 11, 1_000, 32_768])
def test_a_slicer_cuts_into_pieces_of_about_its_size(average: int, variation: int, total: int) -> None:
    sizes = list(Slicer(average_size=average, size_variation=variation).sizes(total, Random(1)))
    assert sum(sizes) == total
    assert all(1 <= size <= average + variation for size in sizes) or total == 1


@pytest.mark.parametrize("average", [0, -1])
def test_a_slicer_without_a_size_cuts_nothing(average: int) -> None:
    assert list(Slicer(average_size=average, size_variation=5).sizes(1_000, Random(1))) == [1_000]


def test_a_slicer_cuts_in_the_same_way_with_the_same_seed() -> None:
    slicer = Slicer(average_size=20, size_variation=10)
    first, again, other = (list(slicer.sizes(10_000, Random(seed))) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len(set(first)) > 5
