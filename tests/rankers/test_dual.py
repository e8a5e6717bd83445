"""Approach dual: the reversed gradient, pieces told and hidden, and what reaches its codes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from rank_toys import accuracy, small, toy_fold, truth_of
from torch.nn import functional

from pianoeval.params import RunParams
from pianoeval.params_rank import RankerParams
from pianoeval.rankers.base import RankFold, RankPrediction
from pianoeval.rankers.dual import Dual, piece_loss, predict_dual, ramp, reverse
from pianoeval.rankers.registry import RANKERS
from pianoeval.rankers.replicas import Job, Replicas
from pianoeval.rankers.sampling import Batch, Material


def dual(**changes: object) -> RankerParams:
    return small(approach="dual", **changes)


def trained(fold: RankFold, params: RankerParams) -> RankPrediction:
    return predict_dual([fold], [params], RunParams())[0][0]


def test_reversal_turns_and_scales_gradients(random_state: np.random.Generator) -> None:
    x = torch.tensor(random_state.normal(size=(3, 2, 4)), requires_grad=True)
    weight = torch.tensor(random_state.normal(size=(3, 2, 4)))
    mu = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)

    def cost(values: torch.Tensor) -> torch.Tensor:
        return (torch.sin(values) * weight).sum()

    assert torch.equal(reverse(x, mu), x)
    (found,) = torch.autograd.grad(cost(reverse(x, mu)), x)
    for index in np.ndindex(3, 2, 4):
        step = torch.zeros(3, 2, 4, dtype=torch.float64)
        step[index] = 1e-6
        slope = (cost(x.detach() + step) - cost(x.detach() - step)) / 2e-6
        assert float(found[index]) == pytest.approx(-float(mu[index[0]] * slope), abs=1e-8)


def test_ramp_of_ganin() -> None:
    for p in (0.0, 0.1, 0.35, 1.0):
        assert ramp(p) == pytest.approx(2 / (1 + np.exp(-10 * p)) - 1) == np.tanh(5 * p)
    assert ramp(0.0) == 0.0


def test_piece_loss_reads_its_own_classes(random_state: np.random.Generator) -> None:
    logits = torch.tensor(random_state.normal(size=(2, 5, 4)), requires_grad=True)
    piece = torch.tensor([[0, 1, 1, 0, 1], [3, 2, 0, 1, 2]])
    valid = torch.tensor([[True] * 5, [True, True, True, False, False]])
    found = piece_loss(logits, piece, torch.tensor([2, 4]), valid)
    wanted = [
        functional.cross_entropy(logits[0, :, :2], piece[0]),
        functional.cross_entropy(logits[1, :3], piece[1, :3]),
    ]
    torch.testing.assert_close(found, torch.stack(wanted))
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert not gradient[0, :, 2:].any()
    assert not gradient[1, 3:].any()
    nobody = piece_loss(logits, piece, torch.tensor([2, 4]), torch.zeros_like(valid))
    assert nobody.tolist() == [0.0, 0.0]


def first_step(params: RankerParams, epoch: int) -> tuple[Dual, Replicas, Batch]:
    network, fold = Dual(params), toy_fold()
    runs = Replicas(network, Material([fold], params, False), [params], [Job(0, 0, 1)])
    return network, runs, runs.batch(epoch, 0, 1)


def gradients(params: RankerParams, epoch: int) -> dict[str, torch.Tensor]:
    network, runs, batch = first_step(params, epoch)
    names = [name for name in runs.weights if name not in network.fixed]
    leaves = [runs.weights[name].requires_grad_() for name in names]
    total = network.loss(runs.weights, batch).sum()
    return dict(zip(names, torch.autograd.grad(total, leaves, materialize_grads=True), strict=True))


def test_the_adversary_learns_and_the_style_is_turned_away() -> None:
    """λ changes nothing but the style's gradient, in proportion, and nothing in the first epoch."""
    none, one, two = (gradients(dual(adversary_weight=w), 4) for w in (0.0, 1.0, 2.0))
    for name in none:
        if name.startswith("shared"):
            assert (one[name] - none[name]).abs().max() > 1e-6
            torch.testing.assert_close(
                two[name] - none[name], 2 * (one[name] - none[name]), atol=2e-6, rtol=1e-3
            )
        else:
            assert torch.equal(none[name], one[name])
    assert none["adversary.out.w"].abs().max() > 1e-4
    first = [gradients(dual(adversary_weight=w), 1) for w in (0.0, 2.0)]
    assert all(torch.equal(first[0][name], first[1][name]) for name in first[0])


def test_the_reversed_gradient_is_that_of_the_adversary() -> None:
    """A step of the style along its reversed gradient makes the adversary's task harder."""
    params = dual(adversary_weight=1.0, spread_weight=0.0, contrast="none", dropout=0.0)
    network, runs, batch = first_step(params, 4)
    none = gradients(params.model_copy(update={"adversary_weight": 0.0}), 4)
    some = gradients(params, 4)
    before = network.loss(runs.weights, batch)
    for name in some:
        if name.startswith("shared"):
            runs.weights[name] = runs.weights[name] - 0.05 * (some[name] - none[name])
    # Scores alone would not tell: the adversary's own loss is what is asked for.
    runs.weights["head.w"], runs.weights["head.b"] = (
        torch.zeros_like(runs.weights[name]) for name in ("head.w", "head.b")
    )
    blank = first_step(params, 4)[1].weights
    blank["head.w"], blank["head.b"] = runs.weights["head.w"], runs.weights["head.b"]
    assert network.loss(runs.weights, batch) > network.loss(blank, batch)
    assert torch.isfinite(before).all()


def test_a_known_order_is_learned() -> None:
    fold = toy_fold(n_segments=30, takes=8)
    params = dual(max_epochs=40, patience=20, learning_rate=1e-2, dropout=0.0)
    found = trained(fold, params)
    assert accuracy(fold, found.margins, truth_of(fold)) > 0.8
    assert {branch: code.shape for branch, code in found.codes.items()} == {
        "piece": (32, 8), "style": (32, 8), "features": (32, 6),
    }  # fmt: skip


def told_by(code: np.ndarray, wanted: np.ndarray) -> float:
    """R² of a straight line from a code."""
    design = np.column_stack([code, np.ones(len(code))])
    left = wanted - design @ np.linalg.lstsq(design, wanted, rcond=None)[0]
    return float(1 - left.var() / wanted.var())


def test_the_adversary_hides_what_the_piece_is_told_by() -> None:
    """Of the feature that differs between pieces alone, less is in the style of other pieces."""
    fold = toy_fold(n_segments=40, takes=8, n_test=12)
    fold = replace(fold, piece=fold.segment)
    params = dual(
        max_epochs=60, patience=60, learning_rate=5e-3, dropout=0.0, contrast="none",
        spread_weight=0.0, projection=4, sweep={"adversary_weight": [0.0, 0.3]},
    )  # fmt: skip
    points = list(params.points().values())
    free, hidden = (one[0] for one in predict_dual([fold], points, RunParams()))
    level = fold.x[fold.test, 4].astype(np.float64)
    assert told_by(hidden.codes["style"], level) < 0.5 * told_by(free.codes["style"], level)
    assert told_by(hidden.codes["piece"], level) > 0.7


def test_labels_of_reported_takes_are_out_of_reach() -> None:
    one, other = (trained(toy_fold(shift=shift), dual()) for shift in (0.0, 100.0))
    assert np.array_equal(one.margins, other.margins)
    for branch, code in one.codes.items():
        assert np.array_equal(code, other.codes[branch])


def test_alone_and_among_others() -> None:
    folds = [toy_fold(), toy_fold(n_test=6, seed=1)]
    points = [dual(adversary_weight=w, n_seeds=2) for w in (0.0, 1.0)]
    together = predict_dual(folds, points, RunParams())
    for point, row in zip(points, together, strict=True):
        for fold, found in zip(folds, row, strict=True):
            alone = trained(fold, point)
            np.testing.assert_allclose(found.margins, alone.margins, atol=2e-4)
            np.testing.assert_allclose(found.codes["style"], alone.codes["style"], atol=2e-4)


def test_the_same_again() -> None:
    one, other = (trained(toy_fold(), dual()) for _ in range(2))
    assert np.array_equal(one.margins, other.margins)


@pytest.mark.parametrize("contrast", ["infonce", "supcon", "triplet"])
@pytest.mark.parametrize("positives", ["piece", "labels"])
def test_contrasts(contrast: str, positives: str) -> None:
    """Of one branch each: pieces pull piece codes, like labels pull styles."""
    params = dual(contrast=contrast, positives=positives, adversary_weight=0.0)
    with_it, without = (
        gradients(params.model_copy(update={"contrast_weight": w}), 4) for w in (0.5, 0.0)
    )
    pulled, other = ("shared", "piece") if positives == "labels" else ("piece", "shared")
    assert not torch.equal(with_it[f"{pulled}.out.w"], without[f"{pulled}.out.w"])
    assert torch.equal(with_it[f"{other}.out.w"], without[f"{other}.out.w"])


@pytest.mark.parametrize("loss", ["mse", "mixed", "coral", "corn", "listmle"])
def test_every_kind_of_loss(loss: str) -> None:
    found = trained(toy_fold(), dual(loss=loss, imbalance="fds"))
    assert np.isfinite(found.margins).all()
    assert found.margins.any()


def test_takes_that_are_alike_are_finite() -> None:
    fold = toy_fold()
    fold = replace(fold, x=np.ones_like(fold.x))
    found = trained(fold, dual())
    assert np.isfinite(found.margins).all()
    assert all(np.isfinite(code).all() for code in found.codes.values())


def test_no_epoch_is_kept_before_the_ramp_has_risen() -> None:
    for epochs in (1, 2, 6, 60):
        first = Dual(dual(max_epochs=epochs)).first_epoch
        assert 1 <= first <= epochs
        assert first == epochs or ramp((first - 1) / epochs) >= 0.9
    found = trained(toy_fold(), dual(max_epochs=8, patience=1))
    assert found.selection["epoch"][0] >= Dual(dual(max_epochs=8)).first_epoch > 1


def test_components_keep_distances() -> None:
    fold = toy_fold()
    code = trained(fold, dual()).codes["features"]
    scaled = fold.x[fold.train[fold.validation[0]]]
    z = (fold.x[fold.test] - scaled.mean(axis=0)) / scaled.std(axis=0)
    apart = [np.square(v[:, None] - v).sum(axis=2) for v in (code, z)]
    np.testing.assert_allclose(*apart, rtol=1e-3, atol=1e-3)


def test_it_is_registered() -> None:
    assert RANKERS["dual"] is predict_dual
