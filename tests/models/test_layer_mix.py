"""The weighted sum of layers against autograd, a literal training loop and a planted truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from probe_data import make_fold

from pianoeval.errors import ConfigError
from pianoeval.features.layers import Layering
from pianoeval.models.base import Fold, Standardiser
from pianoeval.models.layer_mix import mix, write_mix_gradient
from pianoeval.models.mlp import predict_mlp
from pianoeval.models.network import dropout_masks, epoch_order, initial_weights
from pianoeval.params import LayerMlpParams, MlpParams

SMALL = MlpParams(hidden=16, learning_rate=3e-3, batch_size=8, max_epochs=30, patience=30)
LAYERS = LayerMlpParams(learning_rate=0.05)


def layered(informative: int = 1, n_layers: int = 3, width: int = 4, n_clips: int = 80) -> Fold:
    """The truth lies in one layer; the others are noise; two columns belong to no layer."""
    base = make_fold(n_clips=n_clips, n_features=width)
    rng = np.random.default_rng(5)
    parts = [rng.normal(size=base.x.shape).astype(np.float32) for _ in range(n_layers)]
    parts[informative] = base.x
    rest = rng.normal(size=(n_clips, 2)).astype(np.float32)
    return replace(base, x=np.hstack([*parts, rest]), layering=Layering(n_layers, width))


def test_sum_by_hand() -> None:
    """Logits 0 and ln 3 are weights 1/4 and 3/4."""
    a = torch.log(torch.tensor([[[1.0, 3.0]]]))
    z = torch.tensor([[[4.0, 8.0, 12.0, 16.0, 9.0]]])
    torch.testing.assert_close(mix(a, z, Layering(2, 2)), torch.tensor([[[10.0, 14.0, 9.0]]]))


def test_gradient_equals_autograd() -> None:
    torch.manual_seed(0)
    a = torch.randn(2, 1, 3, dtype=torch.float64, requires_grad=True)
    z, back = torch.randn(2, 5, 14, dtype=torch.float64), torch.randn(2, 5, 4, dtype=torch.float64)
    layering = Layering(3, 4)
    expected = torch.autograd.grad((mix(a, z, layering)[..., :4] * back).sum(), a)[0]
    found = torch.full_like(a, torch.nan)
    with torch.no_grad():
        write_mix_gradient(found, a, z, back, layering)
    torch.testing.assert_close(found, expected)


def literal(fold: Fold) -> np.ndarray:
    """One fold in float64 with autograd: softmax, weighted sum, perceptron, Adam."""
    assert fold.validation is not None
    assert fold.layering is not None
    fit, held = fold.validation
    n, width = fold.layering
    scaler = Standardiser.fit(fold.x[fold.train[fit]])

    def inputs(rows: np.ndarray) -> torch.Tensor:
        return torch.tensor(scaler.transform(fold.x[rows]))

    centre, spread = fold.y[fit].mean(axis=0), fold.y[fit].std(axis=0)
    y_fit, y_held = (torch.tensor((fold.y[rows] - centre) / spread) for rows in (fit, held))
    w1, b1, w2, b2 = (
        torch.nn.Parameter(w.double())
        for w in initial_weights(width + 2, fold.y.shape[1], SMALL)
    )  # fmt: skip
    a = torch.nn.Parameter(torch.zeros(n, dtype=torch.float64))
    adam = torch.optim.Adam(
        [{"params": [w1, b1, w2, b2]},
         {"params": [a], "lr": LAYERS.learning_rate, "weight_decay": 0.0}],
        lr=SMALL.learning_rate, weight_decay=SMALL.weight_decay,
    )  # fmt: skip

    def hidden(z: torch.Tensor) -> torch.Tensor:
        stacked = z[:, : n * width].reshape(len(z), n, width)
        total = (a.softmax(0)[None, :, None] * stacked).sum(1)
        return torch.cat([total, z[:, n * width :]], 1) @ w1 + b1

    best, output = -np.inf, np.empty(0)
    for epoch in range(1, SMALL.max_epochs + 1):
        order, masks = epoch_order(len(fit), epoch, SMALL), dropout_masks(epoch, SMALL)
        for start in range(0, len(fit), SMALL.batch_size):
            rows = order[start : start + SMALL.batch_size]
            active = torch.relu(hidden(inputs(fold.train[fit][rows])) * next(masks)[: len(rows)])
            loss = ((active @ w2 + b2 - y_fit[rows]) ** 2).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
        with torch.no_grad():
            guess = torch.relu(hidden(inputs(fold.train[held]))) @ w2 + b2
            total = ((y_held - y_held.mean(0)) ** 2).sum(0)
            if (r2 := float((1 - ((guess - y_held) ** 2).sum(0) / total).mean())) > best:
                best = r2
                output = (torch.relu(hidden(inputs(fold.test))) @ w2 + b2).numpy()
    return output * spread + centre


def test_equals_the_literal_loop_alone_and_among_others() -> None:
    fold = layered()
    other = replace(fold, name="toy/other", train=fold.train[9:], y=fold.y[9:],
                    validation=(np.arange(20), np.arange(20, 30)))  # fmt: skip
    expected = literal(fold)
    for folds in ([fold], [other, fold]):
        ours = predict_mlp(folds, SMALL, LAYERS)[-1]
        np.testing.assert_allclose(ours.values, expected, atol=2e-5)


@pytest.mark.parametrize("informative", [0, 2])
def test_the_layer_that_knows_gets_the_weight(informative: int) -> None:
    fold = layered(informative, n_clips=200)
    found = predict_mlp([fold], SMALL, LAYERS)[0].selection["layer_weights"]
    assert sum(found) == pytest.approx(1.0)
    assert int(np.argmax(found)) == informative
    assert found[informative] > 0.9


def test_layers_that_are_one_share_the_weight() -> None:
    fold = layered()
    same = replace(fold, x=np.hstack([fold.x[:, 4:8]] * 3 + [fold.x[:, 12:]]))
    found = predict_mlp([same], SMALL, LAYERS)[0].selection["layer_weights"]
    np.testing.assert_allclose(found, 1 / 3, atol=1e-5)


def test_features_without_layers_are_refused() -> None:
    with pytest.raises(ConfigError, match="these features have none"):
        predict_mlp([make_fold()], SMALL, LAYERS)
