"""Inner divisions keep groups whole and hold every clip once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pianoeval.errors import ConfigError
from pianoeval.training.inner import inner_splits, validation_split

groupings = st.lists(st.sampled_from("abcdefg"), min_size=2, max_size=60).filter(
    lambda names: len(set(names)) > 1
)


@given(groupings, st.integers(2, 6))
def test_no_group_on_two_sides_of_an_inner_fold(names: list[str], n_folds: int) -> None:
    groups = np.array(names, dtype=object)
    splits = inner_splits(groups, n_folds)
    assert len(splits) == min(n_folds, len(set(names)))  # else leave-one-group-out
    held = np.concatenate([held for _, held in splits])
    assert sorted(held.tolist()) == list(range(len(names)))
    for fit, held in splits:
        assert not set(groups[fit]) & set(groups[held])
        assert len(fit) + len(held) == len(names)


@given(groupings, st.floats(0.05, 0.6), st.integers(0, 5))
def test_no_group_on_two_sides_of_the_validation_split(
    names: list[str], fraction: float, seed: int
) -> None:
    groups = np.array(names, dtype=object)
    fit, held = validation_split(groups, fraction, seed)
    assert not set(groups[fit]) & set(groups[held])
    assert sorted([*fit, *held]) == list(range(len(names)))
    assert len(fit)
    assert len(held)
    smallest = min(names.count(name) for name in names)
    assert len(held) <= max(fraction * len(names), smallest)


def test_validation_takes_the_smallest_group_where_none_fits() -> None:
    groups = np.array(["x"] * 5 + ["y"] * 4 + ["z"] * 6, dtype=object)
    assert validation_split(groups, 0.15, 42)[1].tolist() == [5, 6, 7, 8]


def test_one_group_cannot_be_divided() -> None:
    groups = np.array(["a"] * 5, dtype=object)
    with pytest.raises(ConfigError, match="two groups"):
        inner_splits(groups, 4)
    with pytest.raises(ConfigError, match="two groups"):
        validation_split(groups, 0.2, 0)
