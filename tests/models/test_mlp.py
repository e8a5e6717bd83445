"""The batched perceptron against autograd and a literal single-fold training loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from probe_data import make_fold

from pianoeval.errors import ConfigError, PianoevalError
from pianoeval.models.base import Fold, Standardiser
from pianoeval.models.mlp import predict_mlp
from pianoeval.models.network import dropout_masks, epoch_order, initial_weights, write_gradients
from pianoeval.params import MlpParams

SMALL = MlpParams(hidden=16, learning_rate=3e-3, batch_size=8, max_epochs=40, patience=6)


def three_folds() -> list[Fold]:
    """Folds of one feature matrix with different numbers of training clips."""
    base = make_fold(n_clips=80)
    folds = [base]
    for seed, drop in ((1, 9), (2, 22)):
        keep = np.arange(drop, base.n_train)
        held = keep[::5] - drop
        split = (np.setdiff1d(np.arange(len(keep)), held), held)
        folds.append(
            replace(base, name=f"toy/{seed}", train=base.train[keep], y=base.y[keep],
                    validation=split)
        )  # fmt: skip
    return folds


def literal(fold: Fold, params: MlpParams) -> tuple[np.ndarray, int]:
    """Eq. 2 and 3 with torch.nn, torch.optim.Adam and autograd, one fold, in float64."""
    assert fold.validation is not None
    fit, held = fold.validation
    scaler = Standardiser.fit(fold.x[fold.train[fit]])
    z = {k: torch.tensor(scaler.transform(fold.x[rows])) for k, rows in
         {"fit": fold.train[fit], "held": fold.train[held], "test": fold.test}.items()}  # fmt: skip
    centre, spread = fold.y[fit].mean(axis=0), fold.y[fit].std(axis=0)
    if not params.standardise_labels:
        centre, spread = 0 * centre, 0 * spread + 1
    y_fit = torch.tensor((fold.y[fit] - centre) / spread)
    y_held = torch.tensor((fold.y[held] - centre) / spread)
    weights = initial_weights(fold.x.shape[1], fold.y.shape[1], params)
    w1, b1, w2, b2 = (torch.nn.Parameter(w.double()) for w in weights)
    adam = torch.optim.Adam(
        [w1, b1, w2, b2], lr=params.learning_rate, weight_decay=params.weight_decay
    )
    best, best_epoch, output = -np.inf, 0, np.empty(0)
    for epoch in range(1, params.max_epochs + 1):
        order, masks = epoch_order(len(fit), epoch, params), dropout_masks(epoch, params)
        for start in range(0, len(fit), params.batch_size):
            rows = order[start : start + params.batch_size]
            hidden = torch.relu((z["fit"][rows] @ w1 + b1) * next(masks)[: len(rows)])
            loss = ((hidden @ w2 + b2 - y_fit[rows]) ** 2).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
        with torch.no_grad():
            guess = torch.relu(z["held"] @ w1 + b1) @ w2 + b2
            total = ((y_held - y_held.mean(0)) ** 2).sum(0)
            r2 = float((1 - ((guess - y_held) ** 2).sum(0) / total).mean())
            if r2 > best:
                best, best_epoch = r2, epoch
                output = (torch.relu(z["test"] @ w1 + b1) @ w2 + b2).numpy()
            elif epoch - best_epoch >= params.patience:
                break
    return output * spread + centre, best_epoch


def test_gradients_equal_autograd() -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    weights = [draw(2, 5, 4), draw(2, 1, 4), draw(2, 4, 3), draw(2, 1, 3)]
    z, y = draw(2, 6, 5), draw(2, 6, 3)
    counted = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    mask = (torch.rand((6, 4), generator=generator) < 0.7).double() / 0.7
    gradients = [torch.full_like(w, torch.nan) for w in weights]
    write_gradients(gradients, weights, z, y, counted, mask)
    leaves = [w.clone().requires_grad_() for w in weights]
    loss = torch.zeros((), dtype=torch.float64)
    for fold, rows in enumerate((6, 4)):
        hidden = torch.relu((z[fold, :rows] @ leaves[0][fold] + leaves[1][fold]) * mask[:rows])
        guess = hidden @ leaves[2][fold] + leaves[3][fold]
        loss = loss + ((guess - y[fold, :rows]) ** 2).mean()
    for ours, expected in zip(gradients, torch.autograd.grad(loss, leaves), strict=True):
        torch.testing.assert_close(ours, expected)


def test_one_step_by_hand() -> None:
    """One feature, one hidden unit, z = 2, y = 1, W1 = 1, b1 = 0, W2 = 3, b2 = 0: ŷ = 6."""
    one = torch.ones((1, 1, 1))
    weights = [one, 0 * one, 3 * one, 0 * one]
    gradients = [torch.empty_like(one) for _ in weights]
    write_gradients(gradients, weights, 2 * one, one, torch.tensor([[True]]), torch.ones((1, 1)))
    assert [float(g) for g in gradients] == [60.0, 30.0, 20.0, 10.0]


@pytest.mark.parametrize("standardise", [True, False])
def test_equals_the_literal_loop(standardise: bool) -> None:
    params = SMALL.model_copy(update={"standardise_labels": standardise})
    for fold, ours in zip(three_folds(), predict_mlp(three_folds(), params), strict=True):
        expected, epoch = literal(fold, params)
        assert ours.selection["epoch"] == [epoch]
        np.testing.assert_allclose(ours.values, expected, atol=2e-5)


def test_batched_equals_one_by_one() -> None:
    together = predict_mlp(three_folds(), SMALL)
    for fold, batched in zip(three_folds(), together, strict=True):
        alone = predict_mlp([fold], SMALL)[0]
        np.testing.assert_allclose(batched.values, alone.values, atol=1e-6)
        assert batched.selection["epoch"] == alone.selection["epoch"]


def test_order_and_memory_limit_change_nothing() -> None:
    together = predict_mlp(three_folds(), SMALL)
    backwards = predict_mlp(three_folds()[::-1], SMALL)[::-1]
    wide = make_fold(n_features=30_000)  # 9 MB a fold, so that 1 MB holds one fold at a time
    for a, b in zip(together, backwards, strict=True):
        np.testing.assert_allclose(a.values, b.values, atol=1e-6)
    brief = SMALL.model_copy(update={"max_epochs": 2})
    split = predict_mlp([wide, wide], brief.model_copy(update={"memory_mb": 1}))
    joint = predict_mlp([wide, wide], brief)
    np.testing.assert_allclose(split[1].values, joint[1].values, atol=1e-6)


def test_deterministic_and_seeded() -> None:
    first, again = (predict_mlp(three_folds(), SMALL)[0].values for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = predict_mlp(three_folds(), SMALL.model_copy(update={"seed": 1}))[0].values
    assert np.abs(first - other).max() > 1e-4


def test_units_of_the_labels_do_not_matter() -> None:
    fold = make_fold()
    scaled = replace(fold, y=fold.y * [1, 10, 100] + [0, -3, 7])
    ours, other = predict_mlp([fold], SMALL)[0].values, predict_mlp([scaled], SMALL)[0].values
    np.testing.assert_allclose(other, ours * [1, 10, 100] + [0, -3, 7], rtol=1e-4, atol=1e-4)


def test_number_of_threads_is_put_back() -> None:
    before = torch.get_num_threads()
    predict_mlp([make_fold()], SMALL)
    assert torch.get_num_threads() == before


def test_early_stopping_counts_from_the_best_epoch() -> None:
    impatient = predict_mlp([make_fold()], SMALL.model_copy(update={"max_epochs": 400}))[0]
    assert impatient.selection["epoch"][0] < 400 - SMALL.patience
    assert impatient.selection["validation_r2"][0] > 0


def test_learns_a_linear_truth() -> None:
    fold = make_fold(n_clips=300, n_test=80)
    params = MlpParams(learning_rate=2e-3, max_epochs=60)
    full = make_fold(n_clips=300, n_test=0)  # the same draw, with every label
    truth = full.y[fold.test]
    error = predict_mlp([fold], params)[0].values - truth
    assert 1 - (error**2).sum() / ((truth - truth.mean(0)) ** 2).sum() > 0.5


def test_missing_features_are_imputed() -> None:
    fold = make_fold()
    x = fold.x.copy()
    x[::4, 2] = np.nan
    holed = replace(fold, x=x)
    expected, _ = literal(holed, SMALL)
    np.testing.assert_allclose(predict_mlp([holed], SMALL)[0].values, expected, atol=2e-5)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="no validation group"):
        predict_mlp([replace(make_fold(), validation=None)], SMALL)
    constant = replace(make_fold(), y=np.full((45, 3), 0.5))
    with pytest.raises(ConfigError, match="varies"):
        predict_mlp([constant], SMALL)
    with pytest.raises(PianoevalError, match="diverged"):
        predict_mlp([make_fold()], SMALL.model_copy(update={"learning_rate": 1e30}))
    assert predict_mlp([], SMALL) == []
