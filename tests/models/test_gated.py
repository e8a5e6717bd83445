"""The gated unit: its equations written out, what it learns from, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from probe_data import make_fold

from pianoeval.errors import ConfigError
from pianoeval.models.base import Fold
from pianoeval.models.gated import GatedUnit, predict_gated
from pianoeval.params import MlpParams

PARAMS = MlpParams(hidden=8, learning_rate=0.01, max_epochs=60, patience=20)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("widths", [[4, 3], [4, 3, 2]])
def test_the_unit_is_what_the_equations_say(widths: list[int]) -> None:
    unit = GatedUnit(widths, 2, PARAMS).double()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, sum(widths)))
    mask = rng.random((6, 8))
    weights = {name: value.detach().numpy() for name, value in unit.named_parameters()}
    parts = np.split(x, np.cumsum(widths)[:-1], axis=1)
    heard = [
        np.tanh(part @ weights[f"views.{i}.weight"].T + weights[f"views.{i}.bias"])
        for i, part in enumerate(parts)
    ]
    gates = sigmoid(x @ weights["gates.weight"].T)
    if len(widths) == 2:
        h = gates * heard[0] + (1 - gates) * heard[1]
    else:
        h = sum(gates[:, 8 * i : 8 * i + 8] * part for i, part in enumerate(heard))
    expected = (h * mask) @ weights["head.weight"].T + weights["head.bias"]
    found = unit(torch.from_numpy(x), torch.from_numpy(mask)).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def two_views(fold: Fold, seed: int = 5) -> list[Fold]:
    """The fold's features, and a second view that is noise."""
    noise = np.random.default_rng(seed).normal(size=(len(fold.x), 4)).astype(np.float32)
    return [fold, replace(fold, x=noise)]


def test_it_learns_and_repeats_itself() -> None:
    fold = make_fold(n_clips=120, n_test=30)
    views = two_views(fold)
    first, again = predict_gated(views, PARAMS), predict_gated(views, PARAMS)
    assert first.values.tobytes() == again.values.tobytes()
    assert first.selection == again.selection
    assert first.selection["validation_r2"][0] > 0.3
    other = predict_gated(views, PARAMS.model_copy(update={"seed": 1}))
    assert other.values.tobytes() != first.values.tobytes()
    assert sum(first.selection["shares"]) == pytest.approx(1, abs=1e-5)


def test_test_clips_teach_nothing() -> None:
    """Other features of the test clips change their predictions alone, and nothing learned."""
    fold = make_fold()
    views = two_views(fold)
    before = predict_gated(views, PARAMS)
    moved = views[0].x.copy()
    moved[fold.test[0]] += 3
    after = predict_gated([replace(views[0], x=moved), views[1]], PARAMS)
    assert after.selection["epoch"] == before.selection["epoch"]
    np.testing.assert_allclose(after.values[1:], before.values[1:], rtol=1e-6, atol=1e-9)
    assert np.abs(after.values[0] - before.values[0]).max() > 1e-6


def test_missing_values_and_other_losses_are_taken() -> None:
    fold = make_fold()
    x = fold.x.copy()
    x[::7, 2] = np.nan
    params = PARAMS.model_copy(update={"loss": "ccc", "max_epochs": 3})
    found = predict_gated(two_views(replace(fold, x=x)), params)
    assert np.isfinite(found.values).all()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"x": np.zeros((60, 0), np.float32)}, "vectors"),
        ({"validation": None}, "validation group"),
    ],
)
def test_what_it_cannot_read_is_refused(change: dict[str, Any], text: str) -> None:
    fold = replace(make_fold(), **change)
    with pytest.raises(ConfigError, match=text) as caught:
        predict_gated([fold, fold], PARAMS)
    assert "fusion.views" in str(caught.value)
