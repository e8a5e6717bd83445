"""Sequences: rows of clips of different lengths."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pianoeval.errors import BadInputError
from pianoeval.features.sequences import Sequences


def made(lengths: list[int], dim: int = 2) -> Sequences:
    rows = sum(lengths)
    values = np.arange(rows * dim, dtype=np.float32).reshape(rows, dim)
    start = np.cumsum([0, *lengths[:-1]]).astype(np.int64)
    beat = np.arange(rows, dtype=np.int32)
    return Sequences(values, start, np.array(lengths, np.int64), {"beat": beat})


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.data())
def test_taken_clips_are_those_that_were_asked_for(lengths: list[int], data: st.DataObject) -> None:
    whole = made(lengths)
    some = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1))
    part = whole.take(np.array(some, np.int64))
    assert len(part) == len(some)
    for found, clip in zip(part, some, strict=True):
        np.testing.assert_array_equal(found, whole.values[whole.rows(clip)])


def test_a_digest_tells_clips_marks_and_lengths_apart_but_not_where_they_stand() -> None:
    one, moved = made([2, 3]), made([1, 2, 3])
    digests = {
        one.digest(),
        one.take(np.array([1, 0])).digest(),
        made([3, 2]).digest(),
        Sequences(one.values, one.start, one.length).digest(),
        Sequences(one.values + 1, one.start, one.length, one.marks).digest(),
        Sequences(one.values, one.start, one.length, {"beat": one.marks["beat"] + 1}).digest(),
    }
    assert len(digests) == 6
    values = np.concatenate([np.zeros((1, 2), np.float32), one.values])
    marks = {"beat": np.concatenate([np.zeros(1, np.int32), one.marks["beat"]])}
    assert Sequences(values, one.start + 1, one.length, marks).digest() == one.digest()
    assert len(moved) == 3


def test_parts_that_do_not_fit_are_refused() -> None:
    good = made([2, 3])
    with pytest.raises(BadInputError, match="do not fit"):
        Sequences(good.values, good.start, good.length + 1, good.marks)
    with pytest.raises(BadInputError, match="do not fit"):
        Sequences(good.values, good.start, good.length, {"beat": good.marks["beat"][:-1]})
    with pytest.raises(BadInputError, match="without frames or notes"):
        Sequences(good.values, good.start, np.array([2, 0]), good.marks)
    infinite = good.values.copy()
    infinite[0] = np.inf
    with pytest.raises(BadInputError, match="infinite"):
        Sequences(infinite, good.start, good.length, good.marks)
    missing = good.values.copy()
    missing[0] = np.nan  # a value may be absent
    assert np.isnan(Sequences(missing, good.start, good.length, good.marks).values).any()
