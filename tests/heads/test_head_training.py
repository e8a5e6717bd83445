"""Heads that train together against ``torch.nn`` and ``torch.optim.SGD``, one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from head_toys import Sequential, fold, head
from scipy.stats import spearmanr

from pianoeval.features.sequences import Sequences
from pianoeval.heads.base import HeadFold
from pianoeval.heads.registry import train_heads
from pianoeval.heads.replicas import Job, Replicas
from pianoeval.heads.sampling import Material
from pianoeval.params import RunParams

ONE, TWO = RunParams(workers=1), RunParams(workers=2)


@pytest.mark.parametrize(
    "params",
    [
        head("pcconv"),
        head("pcconv", epochs=12, patience=2, learning_rate=0.1),
        head("contrastive"),
        head("joint"),
        head("joint", batches=1, momentum=0.5, weight_decay=0.01, margin=0.5, bins=3),
    ],
    ids=lambda p: f"{p.approach}-{p.epochs}-{p.batches}",
)
def test_as_torch_trains_it(params) -> None:
    one = fold()
    made = train_heads([one], [params], [3], ONE)[0][0]
    for dimension in range(2):
        twin = Sequential(one, params, dimension, 3)
        predicted, codes = twin.run()
        np.testing.assert_allclose(made.predicted[0, dimension], predicted, rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(made.latents[0, dimension], codes, rtol=1e-3, atol=1e-4)
        names = ["contrast_epoch", "epoch"] if params.approach == "contrastive" else ["epoch"]
        assert [made.selection[name][0, dimension] for name in names] == twin.chosen


def test_a_frozen_encoder_stays_as_the_first_step_left_it() -> None:
    params = head("contrastive", epochs=5, contrast_epochs=2)
    replicas = Replicas(Material(fold(), params), [Job(params, 0)], 0)
    seen = []
    begin = replicas._begin

    def noted(slot: int, epoch: int) -> None:
        begin(slot, epoch)
        seen.append((replicas.rows[slot].clone(), replicas.running[slot].clone()))

    replicas._begin = noted  # type: ignore[method-assign]
    replicas.run()
    (row, running), layout = seen[0], replicas.layout
    assert torch.equal(replicas.rows[0, : layout.n_encoder], row[: layout.n_encoder])
    assert torch.equal(replicas.running[0], running)
    learned = slice(layout.n_pcconv, layout.n_linear)
    assert not torch.equal(replicas.rows[0, learned], row[learned])


def test_bits_do_not_depend_on_company_or_threads() -> None:
    folds = [fold(31), fold(37, seed=1)]
    heads = [
        head("pcconv"), head("joint"), head("joint", learning_rate=0.2), head("contrastive"),
        head("joint", margin=3.0, contrast_weight=0.2, bins=3), head("joint", contrast="rnc"),
        head("joint", epochs=2), head("joint", regularise="ar_vae"), head("joint", pairs="all"),
    ]  # fmt: skip
    together = train_heads(folds, heads, [0, 5], TWO)
    assert_same(train_heads(folds, heads, [0, 5], ONE), together)
    for number, one in enumerate(heads):
        for seed, kept in ((0, slice(0, 1)), (5, slice(1, 2))):
            alone = train_heads(folds[1:], [one], [seed], ONE)[0][0]
            with_all = together[number][1]
            assert np.array_equal(alone.predicted, with_all.predicted[kept])
            assert np.array_equal(alone.latents, with_all.latents[kept])
            assert np.array_equal(alone.validation, with_all.validation[kept])


def assert_same(first, second) -> None:
    for a, b in zip(first, second, strict=True):
        for x, y in zip(a, b, strict=True):
            assert np.array_equal(x.predicted, y.predicted)
            assert np.array_equal(x.latents, y.latents)
            assert x.selection.keys() == y.selection.keys()


def test_dimensions_and_shapes() -> None:
    one = fold(dimensions=3)
    heads = [head("statistics"), head("pcconv"), head("pcconv", channels=[2]), head("contrastive")]
    found = train_heads([one], heads, [0, 1], TWO)
    values = [0, 4, 2, 4]
    for (made,), k in zip(found, values, strict=True):
        assert made.predicted.shape == (2, 3, 5)
        assert made.predicted.dtype == np.float64
        assert made.latents.shape == (2, 3, 5, k)
        assert made.latents.dtype == np.float32
        assert made.validation.shape == (2, 3)
    assert set(found[3][0].selection) == {"epoch", "contrast_epoch"}
    assert not np.array_equal(found[1][0].predicted[0], found[1][0].predicted[1])
    assert train_heads([], heads, [0], ONE) == [[], [], [], []]


@pytest.mark.parametrize("approach", ["contrastive", "joint"])
def test_it_learns_what_can_be_heard(approach: str) -> None:
    one = fold(120, dimensions=1)
    rated = fold(120, dimensions=1).y
    assert np.array_equal(one.y, rated)
    params = head(approach, epochs=60, contrast_epochs=30, channels=[4, 8])
    made = train_heads([one], [params], [0], ONE)[0][0]
    assert made.validation[0, 0] < 0.3 * one.y.var()


@pytest.mark.parametrize("contrast", ["weighted", "max_margin", "n_pairs", "info_nce", "rnc"])
@pytest.mark.parametrize("pairs", ["sampled", "all"])
def test_every_contrast_trains(contrast: str, pairs: str) -> None:
    heads = [
        head(approach, contrast=contrast, pairs=pairs, epochs=2)
        for approach in ("contrastive", "joint")
    ]
    for (made,) in train_heads([fold()], heads, [0], ONE):
        assert np.isfinite(made.predicted).all()
        assert np.isfinite(made.latents).all()


def test_ratings_of_reported_clips_and_their_frames_decide_nothing() -> None:
    """Other sound in the reported clips: training is the same to the last bit."""
    one = fold(width=3)
    values = one.frames.values.copy()
    for clip in one.test:
        values[one.frames.rows(int(clip))] = 9
    other = HeadFold(
        one.name, Sequences(values, one.frames.start, one.frames.length), one.train, one.test,
        one.y, one.validation,
    )  # fmt: skip
    heads = [head("joint", store="mel", components=2), head("statistics", store="mel")]
    for (a,), (b,) in zip(
        train_heads([one], heads, [0], ONE), train_heads([other], heads, [0], ONE), strict=True
    ):
        assert np.array_equal(a.validation, b.validation)
        assert all(np.array_equal(a.selection[name], b.selection[name]) for name in a.selection)
        assert not np.array_equal(a.predicted, b.predicted)


@pytest.mark.parametrize("regularise", ["ar_vae", "i_vae"])
def test_regularised_values_follow_the_dimensions(regularise: str) -> None:
    params = head("joint", epochs=40, regularise=regularise, regularise_weight=0.3)
    plain = params.model_copy(update={"regularise": "none", "regularise_weight": 0.0})
    one = fold(120, dimensions=1)
    material = Material(one, params)
    follows = []
    for each in (params, plain):
        replicas = Replicas(material, [Job(each, 0)], 1)
        replicas.run()
        codes = replicas._rated(0, material.held)[1][:, 0]
        follows.append(spearmanr(codes, one.y[one.validation[1], 0]).statistic)
    assert follows[0] > 0.8
    assert follows[0] >= follows[1]


@pytest.mark.parametrize("wild", ["learning_rate", "contrast_learning_rate"])
def test_a_head_that_diverges_is_nothing_and_stops_no_other(wild: str) -> None:
    approach = "joint" if wild == "learning_rate" else "contrastive"
    tame = head(approach)
    alone = train_heads([fold()], [tame], [0], ONE)
    [lost], *beside = train_heads([fold()], [head(approach, **{wild: 1e30}), tame], [0], TWO)
    for values in (lost.predicted, lost.latents, lost.validation, *lost.selection.values()):
        assert np.isnan(values).all()
    assert_same(beside, alone)
    assert lost.predicted.shape == alone[0][0].predicted.shape
    assert lost.latents.shape == alone[0][0].latents.shape
    assert lost.selection.keys() == alone[0][0].selection.keys()


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_ratings_of_one_class(level: float) -> None:
    one = fold()
    one.y[:] = level
    heads = [
        head(approach, contrast=contrast) for approach in ("contrastive", "joint")
        for contrast in ("weighted", "max_margin", "n_pairs", "info_nce", "rnc")
    ]  # fmt: skip
    for (made,) in train_heads([one], [*heads, head("pcconv"), head("statistics")], [0], ONE):
        assert np.isfinite(made.predicted).all()
        assert np.isfinite(made.validation).all()


def test_clips_that_are_short_or_unvoiced() -> None:
    one = fold()
    length = one.frames.length.copy()
    length[[0, 22, 26]] = 1  # of each side
    values = one.frames.values.copy()
    for clip in (1, 21, 27):
        values[one.frames.rows(clip)] = 0
    frames = Sequences(values, one.frames.start, length)
    worse = HeadFold(one.name, frames, one.train, one.test, one.y, one.validation)
    heads = [head(approach) for approach in ("pcconv", "contrastive", "joint", "statistics")]
    for (made,) in train_heads([worse], heads, [0], ONE):
        assert np.isfinite(made.predicted).all()
        assert np.isfinite(made.latents).all()


def test_batches_of_few_clips_hold_two_at_least() -> None:
    one = fold()
    few = HeadFold(
        one.name, one.frames, one.train[:9], one.test, one.y[:9], (np.arange(5), np.arange(5, 9))
    )
    sizes = [len(places) for _, places in Material(few, head("joint", batches=10)).batches(0, 1)]
    assert sizes == [3, 2]


def test_training_ends_when_it_is_told_to() -> None:
    params = head("joint", epochs=10_000, patience=10_000)
    replicas = Replicas(Material(fold(), params), [Job(params, 0)], 0)
    asked = iter([False] * 5 + [True] * 5)
    assert replicas.run(lambda: next(asked)) == []
