"""Values as Hypothesis generates them: of every row of the table of values, but frames."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import strategies as st

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_ZONES = st.sampled_from([None, dt.UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("America/St_Johns")])
_MOMENTS = st.builds(
    lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold), st.datetimes(), _ZONES, st.integers(0, 1)
)
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS

# What may be a key or a member of a set.
_HASHABLE: st.SearchStrategy[Any] = st.deferred(
    lambda: (
        _LEAVES
        | st.binary(max_size=8)
        | _MOMENTS
        | st.dates()
        | st.times()
        | st.timedeltas()
        | st.uuids()
        | st.decimals(allow_nan=False)
        | st.complex_numbers()
        | st.lists(_HASHABLE, max_size=3).map(tuple)
        | st.frozensets(_HASHABLE, max_size=3)
    )
)

JSON_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5), max_leaves=30
)
_CODES = st.sampled_from(["?", "b", "H", "i", "q", ">f4", "c8"])
_ARRAYS = st.builds(lambda code, numbers: np.array(numbers).astype(code), _CODES, st.lists(st.integers(0, 9)))

VALUES = st.recursive(
    _HASHABLE | JSON_VALUES | _ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(_HASHABLE, max_size=4)
        | st.dictionaries(_HASHABLE, inner, max_size=4)
    ),
    max_leaves=20,
)
