"""Lists, pairs, random streams and scaling of the batches that networks learn from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_toys import small, toy_fold, with_frames

from pianoeval.errors import ConfigError
from pianoeval.losses.pairwise import all_pairs
from pianoeval.params_rank import PairParams
from pianoeval.rankers.contrastive import Contrastive
from pianoeval.rankers.features import MOST_FRAMES, scaled_features, scaled_frames
from pianoeval.rankers.lists import closeness, fold_lists, longest_list, split_of
from pianoeval.rankers.pairs import training_pairs
from pianoeval.rankers.replicas import Job, Replicas
from pianoeval.rankers.sampling import Material, dropout_factors


@given(st.integers(0, 1000), st.integers(0, 2))
@settings(max_examples=15, deadline=None)
def test_lists_hold_every_take_and_pair_once(seed: int, extra: int) -> None:
    fold = toy_fold(seed=seed)
    rng = np.random.default_rng(seed)
    fit = np.sort(rng.choice(len(fold.train), 25, replace=False))
    longest = longest_list(fold, fit) + extra
    found = fold_lists(fold, fit, PairParams(), longest)
    assert sorted(found.rows[found.mask]) == sorted(fold.train[fit])
    assert found.single.sum() == len(np.unique(fold.identity[fold.train[fit]]))
    first, second = (one.numpy() for one in all_pairs(longest))
    expected = training_pairs(fold, fit, PairParams())
    seen = set()
    for segment, numbers in enumerate(found.pair):
        for place, number in enumerate(numbers):
            if number == 0:
                continue
            seen.add(int(number))
            rows = found.rows[segment, [first[place], second[place]]]
            assert fold.train[expected.first[number - 1]] == rows[0]
            assert fold.train[expected.second[number - 1]] == rows[1]
            assert found.mask[segment, first[place]]
            assert found.mask[segment, second[place]]
    assert seen == set(range(1, len(expected) + 1))


def test_byte_identical_takes_are_no_pair_and_count_once() -> None:
    fold = toy_fold()
    fit = split_of(fold)[0]
    found = fold_lists(fold, fit, PairParams(), 5)
    assert found.mask[0].sum() == 4
    assert found.single[0].sum() == 3
    assert (found.pair[0] > 0).sum() == 5  # of 6 pairs of four takes one is of copies


def _replicas(fold_seeds: list[int], **changes: object) -> Replicas:
    params = small(**changes)
    folds = [toy_fold(n_test=4 + s, seed=s) for s in fold_seeds]
    material = Material(folds, params, frames=False)
    jobs = [Job(0, number, 42) for number in range(len(folds))]
    return Replicas(Contrastive(params), material, [params], jobs)


def test_an_epoch_visits_every_segment_once_and_shows_no_other_label() -> None:
    replicas = _replicas([0, 3])
    seen: list[list[float]] = [[], []]
    for step, n in enumerate(replicas._steps()):
        batch = replicas.batch(2, step, n)
        assert torch.isfinite(batch.y).all()
        for slot in range(n):
            seen[slot] += batch.y[slot][batch.mask[slot]][:, 0].tolist()
    for slot, job in enumerate(replicas.jobs):
        labels = replicas.material.fit_labels[job.fold][:, 0]
        np.testing.assert_allclose(sorted(seen[slot]), sorted(labels), atol=1e-6)


def test_targets_of_a_batch_are_those_of_its_labels() -> None:
    replicas = _replicas([0, 3], pairs={"smoothing": 0.1})
    first, second = all_pairs(replicas.material.n_takes)
    n_pairs = 0
    for step, n in enumerate(replicas._steps()):
        batch = replicas.batch(1, step, n)
        apart = batch.y[:, :, first] - batch.y[:, :, second]
        counted = batch.weight > 0
        assert ((batch.target > 0.5) == (apart > 0))[counted].all()
        values = batch.target[counted]
        assert torch.isclose(values, torch.where(values > 0.5, 0.9, 0.1)).all()
        there = batch.mask[:, :, first] & batch.mask[:, :, second]
        assert not (counted & ~there[..., None]).any()
        n_pairs += int(counted.any(-1).sum())
    assert n_pairs == sum(len(one.pairs) for one in replicas.material.lists)


def test_curriculum_tilts_from_large_to_small_differences() -> None:
    replicas = _replicas([0], pairs={"curriculum": "hard"})
    m = replicas.material
    pair = torch.arange(1, len(m.weight))
    apart = torch.from_numpy(np.abs(m.lists[0].pairs.difference))
    start, middle, end = (m.pair_weights(pair, t) for t in (0.0, 0.5, 1.0))
    torch.testing.assert_close(middle, m.weight[pair])
    for weights in (start, end):
        torch.testing.assert_close(weights.mean(dim=0), m.weight[pair].mean(dim=0))
    order = apart[:, 0].argsort()
    assert (start[order, 0].diff() >= -1e-6).all()
    assert (end[order, 0].diff() <= 1e-6).all()
    assert start[order[-1], 0] > 1.9


def test_equal_differences_are_equally_close() -> None:
    fold = toy_fold()
    pairs = training_pairs(fold, split_of(fold)[0], PairParams())
    same = replace(pairs, difference=np.sign(pairs.difference) * 0.1)
    np.testing.assert_allclose(closeness(same)[same.weight > 0], 0.5)


def test_dropout_does_not_depend_on_company() -> None:
    seeds, rate = torch.tensor([1, 2, 1]), torch.tensor([0.5, 0.2, 0.0])
    found = dropout_factors((3, 1, 0), seeds, rate, (4, 5), 6)
    alone = dropout_factors((3, 1, 0), seeds[1:2], rate[1:2], (4, 5), 6)
    assert torch.equal(found[1], alone[0])
    longer = dropout_factors((3, 1, 0), seeds, rate, (4, 7), 6)
    inside = longer.reshape(3, 4, 7, 6)[:, :, :5].reshape(3, 20, 6)
    assert torch.equal(found, inside)
    assert set(found[0].unique().tolist()) == {0.0, 2.0}
    assert (found[2] == 1).all()
    assert not torch.equal(found, dropout_factors((3, 2, 0), seeds, rate, (4, 5), 6))
    assert not torch.equal(found, dropout_factors((3, 1, 1), seeds, rate, (4, 5), 6))


def test_centring_takes_the_mean_of_the_takes_that_are_compared() -> None:
    fold = toy_fold()
    fit, held = split_of(fold)
    z = scaled_features(fold, fit, held, centre=True)
    for rows in (fold.train[fit], fold.train[held], fold.test):
        for segment in np.unique(fold.segment[rows]):
            mean = z[rows[fold.segment[rows] == segment]].mean(axis=0)
            np.testing.assert_allclose(mean, 0, atol=1e-5)
    spread = np.sqrt(np.square(z[fold.train[fit]]).mean(axis=0))
    np.testing.assert_allclose(spread, 1, rtol=1e-5)


def test_scaling_is_learned_on_fit_takes_alone() -> None:
    fold = toy_fold()
    fit, held = split_of(fold)
    before = scaled_features(fold, fit, held, centre=False)
    x = fold.x.copy()
    outside = np.concatenate([fold.train[held], fold.test])
    x[outside] *= 7
    after = scaled_features(replace(fold, x=x), fit, held, centre=False)
    np.testing.assert_array_equal(before[fold.train[fit]], after[fold.train[fit]])
    assert not np.allclose(before[outside], after[outside])


@pytest.mark.parametrize("centre", [False, True])
def test_frames_are_shortened_by_neighbours(centre: bool) -> None:
    fold = with_frames(toy_fold())
    assert fold.sequences is not None
    found = scaled_frames(fold, *split_of(fold), centre=centre)
    shown = np.minimum(fold.sequences.length, MOST_FRAMES)
    rows = np.concatenate([fold.train, fold.test])
    np.testing.assert_array_equal(found.real.sum(dim=1)[rows], shown[rows])
    assert (found.values[~found.real] == 0).all()
    assert fold.sequences.length.max() > MOST_FRAMES


def test_frames_that_are_not_there_say_how_to_get_them() -> None:
    fold = toy_fold()
    with pytest.raises(ConfigError, match="no frames") as error:
        scaled_frames(fold, *split_of(fold), centre=False)
    assert "pool.sequence_hz" in str(error.value)


def test_a_fold_without_validation_pairs_is_refused() -> None:
    fold = toy_fold()
    assert fold.validation is not None
    fit, held = fold.validation
    once = np.unique(fold.segment[fold.train[held]], return_index=True)[1]
    for split in (None, (fit, held[once]), (fit[:1], held)):
        with pytest.raises(ConfigError, match="validation pairs"):
            split_of(replace(fold, validation=split))
