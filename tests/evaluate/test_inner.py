"""Inner divisions keep groups whole and hold every clip once."""

from __future__ import annotations

import evaluation_cases as cases
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pianoeval.corpora.manifest import label_matrix
from pianoeval.errors import ConfigError
from pianoeval.evaluate.protocol.inner import inner_splits, validation_split
from pianoeval.evaluate.protocol.overlaps import Selection
from pianoeval.evaluate.protocol.splits import SCHEMES, make_folds, train_test
from pianoeval.features.views import View
from pianoeval.params import FoldParams, RunParams
from pianoeval.training.crossval import Labels, Study, make_scheme

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


def by_share(groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Groups that fit into the share, in seeded order, else the smallest: which rows are held.

    Written out again: published numbers depend on it.
    """
    names, sizes = np.unique(groups.astype(str), return_counts=True)
    room, held = fraction * len(groups), []
    for i in np.random.default_rng(seed).permutation(len(names)):
        if sizes[i] <= room:
            held.append(names[i])
            room -= sizes[i]
    return np.isin(groups.astype(str), held or [names[sizes.argmin()]])


@given(groupings, st.floats(0.05, 0.6), st.integers(0, 5), st.integers(1, 60))
def test_validation_keeps_groups_whole_and_holds_enough(
    names: list[str], fraction: float, seed: int, n_equal: int
) -> None:
    """The share where it is enough, more whole groups where it is not, None where none are left."""
    groups = np.array(names, dtype=object)
    labels = np.maximum(np.arange(len(names)), n_equal)[:, None] * [[1.0, 0.0]]
    share = by_share(groups, fraction, seed)
    split = validation_split(groups, fraction, seed, labels)
    if split is None:
        assert min(share.sum(), (~share).sum()) < 2 or not np.ptp(labels[share], axis=0).any()
        return
    fit, held = split
    assert not set(groups[fit]) & set(groups[held])
    assert sorted([*fit, *held]) == list(range(len(names)))
    assert min(len(fit), len(held)) >= 2
    assert np.ptp(labels[held], axis=0).any()
    assert set(np.flatnonzero(share)) <= set(held)
    if share.sum() >= 2 and np.ptp(labels[share], axis=0).any():
        assert held.tolist() == np.flatnonzero(share).tolist()


@given(st.integers(10, 200), st.integers(200, 1200), st.integers(0, 5))
def test_large_corpora_are_divided_by_the_share_alone(
    n_groups: int, n_clips: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    groups = np.array([f"g{i}" for i in random.integers(0, n_groups, n_clips)], dtype=object)
    split = validation_split(groups, 0.15, seed, random.normal(size=(n_clips, 3)))
    assert split is not None
    assert split[1].tolist() == np.flatnonzero(by_share(groups, 0.15, seed)).tolist()


def test_validation_takes_the_smallest_group_where_none_fits() -> None:
    groups = np.array(["x"] * 5 + ["y"] * 4 + ["z"] * 6, dtype=object)
    split = validation_split(groups, 0.15, 42)
    assert split is not None
    assert split[1].tolist() == [5, 6, 7, 8]


def test_validation_grows_by_the_smallest_groups() -> None:
    groups = np.array(["a", "b", "c", "c", "d", "d", "d"], dtype=object)
    labels = np.array([[0.5], [0.5], [0.5], [0.1], [0.2], [0.3], [0.4]])
    for given_labels, expected in ((None, [0, 1]), (labels, [0, 1, 2, 3])):
        split = validation_split(groups, 0.01, 0, given_labels)
        assert split is not None
        assert split[1].tolist() == expected


@pytest.mark.parametrize(
    ("names", "values"),
    [("ab", [1, 2]), ("aabb", [1, 1, 1, 1]), ("abbbb", [1, 2, 3, 4, 5]), ("abc", [1, 2, 3])],
)
def test_validation_that_cannot_be_spared_is_none(names: str, values: list[float]) -> None:
    labels = np.array(values, dtype=np.float64)[:, None]
    assert validation_split(np.array(list(names), dtype=object), 0.15, 0, labels) is None


def test_one_group_cannot_be_divided() -> None:
    groups = np.array(["a"] * 5, dtype=object)
    with pytest.raises(ConfigError, match="two groups"):
        inner_splits(groups, 4)
    with pytest.raises(ConfigError, match="two groups"):
        validation_split(groups, 0.2, 0)


@pytest.mark.parametrize("scheme", list(SCHEMES))
def test_training_divides_as_the_audit_looks_at_it(scheme: str) -> None:
    """The fold that a model gets has the divisions that the audit measures, clip by clip."""
    manifest = cases.manifest()
    folds = make_folds(manifest, FoldParams(schemes=[scheme]))
    labels = cases.labels(manifest[manifest["player"] != "p3"])
    clips = manifest["clip"].tolist()
    values, dimensions = label_matrix(labels, "rating", clips)
    view = View(np.zeros((len(clips), 1), np.float32), clips, "toy")
    probe = cases.params().probe
    study = Study(view, Labels(values, dimensions), manifest, probe, RunParams())
    made = make_scheme(study, folds, scheme)
    assert made
    for fold in made:
        train, _ = train_test(folds, manifest, scheme, int(fold.name.split("/")[1]))
        used, cut = Selection(probe, labels).divided(manifest, scheme, train)
        names = np.array(clips, dtype=object)[fold.train]
        assert used.tolist() == names.tolist()
        assert len(cut.inner) == len(fold.inner)
        for ours, theirs in zip(
            [*cut.inner, cut.validation], [*fold.inner, fold.validation], strict=True
        ):
            assert ours is not None
            assert theirs is not None
            assert [side.tolist() for side in ours] == [list(side) for side in theirs]
