"""Losses: values by hand, literal twins, gradients, and what happens where nothing varies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from pianoeval.features.layers import Layering
from pianoeval.losses import bootstrap
from pianoeval.losses.regression import ccc, huber, hybrid, loss_of, mae, mse, output_gradient
from pianoeval.models.base import Fold
from pianoeval.models.mlp import predict_mlp
from pianoeval.models.network import write_gradients
from pianoeval.params import LayerMlpParams, LossName, MlpParams, ModelName, ProbeParams
from pianoeval.provenance import config_hash
from pianoeval.training.fitted import model_key
from tests.models.probe_data import make_fold

NAMES: tuple[LossName, ...] = (
    "mse", "mae", "huber", "ccc", "hybrid", "bootstrap", "bootstrap_soft", "bootstrap_hard"
)  # fmt: skip
SMALL = MlpParams(hidden=16, learning_rate=3e-3, batch_size=8, max_epochs=12, patience=6)


def params(name: LossName, delta: float = 0.7, alpha: float = 0.3) -> MlpParams:
    return SMALL.model_copy(
        update={"loss": name, "huber_delta": delta, "hybrid_alpha": alpha, "bootstrap_beta": alpha}
    )


def tensor(*rows: list[float]) -> Tensor:
    """One fold of the given rows."""
    return torch.tensor([rows], dtype=torch.float64)


def every(x: Tensor) -> Tensor:
    return torch.ones(x.shape[:2], dtype=torch.bool)


# By hand ---------------------------------------------------------------------------------------

OUTPUT, TARGET = tensor([1.0], [2.0], [6.0]), tensor([1.0], [3.0], [2.0])


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        (mse, (0 + 1 + 16) / 3),
        (mae, (0 + 1 + 4) / 3),
        # e = 0, 1, 4: 0, 1/2, 2 (4 − 1)
        (lambda *b: huber(*b, 2.0), (0 + 0.5 + 6) / 3),
        # means 3 and 2, variances 14/3 and 2/3, covariance 1/3: 1 − (2/3) / (14/3 + 2/3 + 1)
        (ccc, 1 - (2 / 3) / (19 / 3)),
        (lambda *b: hybrid(*b, 0.25), 0.25 * 17 / 3 + 0.75 * (17 / 19)),
        (lambda *b: bootstrap.squared(*b, 0.25), 0.25 * 17 / 3),
    ],
)
def test_values_by_hand(loss: Callable[..., Tensor], value: float) -> None:
    assert float(loss(OUTPUT, TARGET, every(OUTPUT))) == pytest.approx(value, abs=1e-15)


def test_concordance_of_lines_by_hand() -> None:
    """y = x: 0. y = −x, centred: 2. y = x + 1 with variance 2/3: 1 / (4/3 + 1)."""
    x = tensor([-1.0], [0.0], [1.0])
    found = [float(ccc(x, y, every(x))) for y in (x, -x, x + 1)]
    assert found == pytest.approx([0.0, 2.0, 3 / 7], abs=1e-15)


def test_bootstrapped_targets_by_hand() -> None:
    """ŷ = ln 3 and y = −ln 3: q = 3/4, t = 1/4; half of each is 1/2, half certain is 5/8."""
    output, target = tensor([np.log(3)]), tensor([-np.log(3)])
    soft = -0.5 * np.log(3 / 4) - 0.5 * np.log(1 / 4)
    hard = -5 / 8 * np.log(3 / 4) - 3 / 8 * np.log(1 / 4)
    found = [float(f(output, target, every(output), 0.5)) for f in (bootstrap.soft, bootstrap.hard)]
    assert found == pytest.approx([soft, hard], abs=1e-15)


# Literal twins ---------------------------------------------------------------------------------


def literal(name: str, x: np.ndarray, y: np.ndarray, delta: float, alpha: float) -> float:
    """One fold, (rows, dimensions), value by value as the definitions say."""
    errors = [float(a - b) for a, b in zip(x.ravel(), y.ravel(), strict=True)]
    if name == "mse":
        return sum(e * e for e in errors) / len(errors)
    if name == "mae":
        return sum(abs(e) for e in errors) / len(errors)
    if name == "huber":
        return sum(
            e * e / 2 if abs(e) <= delta else delta * (abs(e) - delta / 2) for e in errors
        ) / len(errors)  # fmt: skip
    if name == "hybrid":
        whole, rest = literal("mse", x, y, delta, alpha), literal("ccc", x, y, delta, alpha)
        return alpha * whole + (1 - alpha) * rest
    if name == "bootstrap":  # with the term that is 0
        return alpha * literal("mse", x, y, delta, alpha) + (1 - alpha) * literal(
            "mse", x, x, delta, alpha
        )
    if name.startswith("bootstrap"):  # Reed et al. 2014, eqs. 6 and 7, of two classes
        total = 0.0
        for a, b in zip(x.ravel(), y.ravel(), strict=True):
            q, t = (1 / (1 + np.exp(-float(v))) for v in (a, b))
            mine = q if name == "bootstrap_soft" else float(q >= 0.5)
            for label, own, chance in ((t, mine, q), (1 - t, 1 - mine, 1 - q)):
                total -= (alpha * label + (1 - alpha) * own) * np.log(chance)
        return total / x.size
    found = []
    for a, b in zip(x.T, y.T, strict=True):  # Lin 1989, eq. 1 with sample moments
        covariance = ((a - a.mean()) * (b - b.mean())).mean()
        found.append(1 - 2 * covariance / (a.var() + b.var() + (a.mean() - b.mean()) ** 2))
    return float(np.mean(found))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_literal_twin_fold_by_fold(name: LossName, seed: int) -> None:
    """Folds of unequal length in one batch; what pads them is not counted, whatever it is."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 3, 9, 4))
    lengths = [9, 5, 2]
    counted = torch.tensor([[row < n for row in range(9)] for n in lengths])
    for fold, n in enumerate(lengths):
        x[fold, n:], y[fold, n:] = 1e6, -1e6
    found = loss_of(params(name))(torch.tensor(x), torch.tensor(y), counted)
    expected = [literal(name, x[f, :n], y[f, :n], 0.7, 0.3) for f, n in enumerate(lengths)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


@given(
    hnp.arrays(np.float64, (6, 2), elements=st.floats(-5, 5)),
    hnp.arrays(np.float64, (6, 2), elements=st.floats(-5, 5)),
    st.sampled_from(NAMES),
)
@settings(max_examples=60, deadline=None)
def test_bounds(x: np.ndarray, y: np.ndarray, name: LossName) -> None:
    batch = torch.tensor(x[None]), torch.tensor(y[None]), torch.ones(1, 6, dtype=torch.bool)
    found = loss_of(params(name))(*batch)
    assert torch.isfinite(found).all()
    assert float(found) >= 0
    if name == "ccc":
        assert float(found) <= 2 + 1e-12
    assert torch.isfinite(output_gradient(loss_of(params(name)), *batch)).all()


# Gradients -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_gradcheck(name: LossName) -> None:
    torch.manual_seed(1)  # no error lies at 0 or at delta, where mae and huber bend
    x = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    y = torch.randn(2, 5, 3, dtype=torch.float64)
    counted = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    assert torch.autograd.gradcheck(lambda z: loss_of(params(name))(z, y, counted), x)


@pytest.mark.parametrize("name", NAMES)
def test_folds_and_padding_do_not_touch_each_other(name: LossName) -> None:
    torch.manual_seed(2)
    x, y = torch.randn(2, 2, 5, 3, dtype=torch.float64)
    counted = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    loss = loss_of(params(name))
    together = output_gradient(loss, x, y, counted)
    alone = output_gradient(loss, x[1:, :3], y[1:, :3], counted[1:, :3])
    torch.testing.assert_close(together[1:, :3], alone)
    assert (together[1, 3:] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_finite_where_nothing_varies(name: LossName) -> None:
    loss = loss_of(params(name))
    varied, level = tensor([1.0], [2.0], [4.0]), tensor([2.0], [2.0], [2.0])
    one = tensor([3.0])
    pairs = [
        (varied, varied), (level, level), (varied, level), (level, varied),
        (level, level + 1e-12), (one, one), (one, one + 1), (0 * level, 0 * level),
    ]  # fmt: skip
    for output, target in pairs:
        for kind in (torch.float32, torch.float64):
            x, y = output.to(kind), target.to(kind)
            value, gradient = loss(x, y, every(x)), output_gradient(loss, x, y, every(x))
            assert torch.isfinite(value).all(), (name, output, target)
            assert torch.isfinite(gradient).all(), (name, output, target)
            if output is target and not name.startswith("bootstrap_"):
                assert float(value) == 0.0
                assert (gradient == 0).all()


def test_a_constant_target_has_no_concordance() -> None:
    varied, level = tensor([1.0], [2.0], [4.0]), tensor([2.0], [2.0], [2.0])
    assert float(ccc(varied, level, every(level))) == pytest.approx(1.0, abs=1e-12)
    assert output_gradient(ccc, varied, level, every(level)).abs().max() < 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_the_network_equal_autograd(name: LossName) -> None:
    torch.manual_seed(3)
    weights = [torch.randn(s, dtype=torch.float64) for s in
               ((2, 5, 4), (2, 1, 4), (2, 4, 3), (2, 1, 3))]  # fmt: skip
    z, y = torch.randn(2, 6, 5, dtype=torch.float64), torch.randn(2, 6, 3, dtype=torch.float64)
    counted = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    mask = (torch.rand(6, 4) < 0.7).double() / 0.7
    loss = loss_of(params(name))
    gradients = [torch.full_like(w, torch.nan) for w in weights]
    with torch.no_grad():
        write_gradients(gradients, weights, z, y, counted, mask, loss)
    leaves = [w.clone().requires_grad_() for w in weights]
    hidden = torch.relu((z @ leaves[0] + leaves[1]) * mask)
    total = loss(hidden @ leaves[2] + leaves[3], y, counted).sum()
    for ours, expected in zip(gradients, torch.autograd.grad(total, leaves), strict=True):
        torch.testing.assert_close(ours, expected)


# Bootstrapped targets ----------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.2, 0.8, 1.0])
def test_the_form_for_regression_is_a_share_of_mse(beta: float) -> None:
    """Value and gradient; and so is a softened target, whether or not it is held fixed."""
    torch.manual_seed(4)
    x, y = torch.randn(2, 1, 7, 3, dtype=torch.float64)
    batch = (x, y, every(x))
    assert float(bootstrap.squared(*batch, beta)) == pytest.approx(beta * float(mse(*batch)))
    whole = output_gradient(mse, *batch)
    form = output_gradient(lambda *b: bootstrap.squared(*b, beta), *batch)
    torch.testing.assert_close(form, beta * whole)

    def softened(output: Tensor, target: Tensor, counted: Tensor) -> Tensor:
        return mse(output, beta * target + (1 - beta) * output.detach(), counted)

    torch.testing.assert_close(output_gradient(softened, *batch), beta * whole)


def test_adam_does_not_see_the_share() -> None:
    """But for its weight decay, and a constant of 1e-8."""
    fold = make_fold()
    chosen = SMALL.model_copy(update={"weight_decay": 0.0})
    share = chosen.model_copy(update={"loss": "bootstrap", "bootstrap_beta": 0.3})
    np.testing.assert_allclose(values(fold, share), values(fold, chosen), atol=1e-4)


def test_where_reeds_forms_are_least() -> None:
    """At the label for β = 1, farther from the mean than it below."""
    y = 0.8
    grid = torch.linspace(-4, 4, 1601, dtype=torch.float64)

    def least(loss: Callable[..., Tensor], beta: float) -> float:
        target = tensor([y])
        found = [float(loss(tensor([float(v)]), target, every(target), beta)) for v in grid]
        return float(grid[int(np.argmin(found))])

    for loss in (bootstrap.soft, bootstrap.hard):
        assert least(loss, 1.0) == pytest.approx(y, abs=0.01)
        assert y + 0.1 < least(loss, 0.8) < 3.9


# In training -----------------------------------------------------------------------------------


def values(fold: Fold, chosen: MlpParams, layers: LayerMlpParams | None = None) -> np.ndarray:
    return np.asarray(predict_mlp([fold], chosen, layers)[0].values)


def test_mse_by_hand_and_by_autograd_train_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fold = make_fold()
    by_hand = values(fold, SMALL)
    monkeypatch.setattr("pianoeval.models.mlp.loss_of", lambda chosen: mse)
    other = SMALL.model_copy(update={"loss": "mae"})  # anything but mse goes through autograd
    np.testing.assert_allclose(values(fold, other), by_hand, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_learns(name: LossName) -> None:
    fold = make_fold(n_clips=300, n_test=80)
    truth = make_fold(n_clips=300, n_test=0).y[fold.test]
    chosen = MlpParams(learning_rate=2e-3, max_epochs=60, loss=name, bootstrap_beta=0.95)
    error = values(fold, chosen) - truth
    assert 1 - (error**2).sum() / ((truth - truth.mean(0)) ** 2).sum() > 0.4


def test_losses_differ_and_their_parameters_matter() -> None:
    fold = make_fold()
    chosen = [params(name) for name in NAMES] + [params("huber", 0.1), params("hybrid", 0.7, 0.9)]
    found = [values(fold, one) for one in chosen]
    for i, one in enumerate(found):
        for other in found[i + 1 :]:
            assert np.abs(one - other).max() > 1e-5
    # Outliers are what huber cuts; without any within reach it is half of mse, and Adam does not
    # see the half.
    wide = values(fold, params("huber", 1e6))
    np.testing.assert_allclose(wide, found[0], atol=1e-3)


def test_a_loss_serves_the_layers_too() -> None:
    layered = replace(make_fold(n_features=8), layering=Layering(2, 4))
    both = [values(layered, params(name), LayerMlpParams()) for name in ("mse", "ccc")]
    assert np.abs(both[0] - both[1]).max() > 1e-5


# Items that were there before losses could be chosen ----------------------------------------------


def probe(**mlp: object) -> ProbeParams:
    blocks = {"ridge": {"lambdas": [1.0]}, "mlp": mlp, "extra_trees": {}, "boosting": {}}
    return ProbeParams.model_validate(blocks | {"ensemble": ["ridge"]})


def key(chosen: ProbeParams, model: ModelName) -> str:
    study = SimpleNamespace(probe=chosen, part=None, renders=None)
    return model_key(study, {"features": "0"}, model)  # type: ignore[arg-type]


FORMER: dict[ModelName, str] = {
    "ridge": "89277d46f93df59ccef6c9ce350aed9f0b329cc851379c64510dbd054f5c3e86",
    "mlp": "c651b11c4bf52a7034c7b694048e764614b0304f4e77408eec2e9587f324238b",
    "layer_mlp": "4bec7dcc81b6ce33e2c43b559a9a2df2fcb6c06ae07e1cc823e9ba1ec7c9ade0",
}


@pytest.mark.parametrize("model", FORMER)
def test_items_of_the_default_keep_their_keys(model: ModelName) -> None:
    """Keys as the code before losses gave them; what mse does not read is in none."""
    assert key(probe(), model) == FORMER[model]
    assert key(probe(loss="mse", huber_delta=3.0, bootstrap_beta=0.1), model) == FORMER[model]
    assert config_hash({"probe": probe()}) == "321303afa454"


def test_a_loss_and_its_own_parameters_are_in_the_keys() -> None:
    chosen = [
        {"loss": "mse"}, {"loss": "mae"}, {"loss": "ccc"}, {"loss": "huber"}, {"loss": "hybrid"},
        {"loss": "huber", "huber_delta": 2.0}, {"loss": "hybrid", "hybrid_alpha": 0.1},
        {"loss": "bootstrap"}, {"loss": "bootstrap_soft"}, {"loss": "bootstrap_hard"},
        {"loss": "bootstrap_hard", "bootstrap_beta": 0.9},
    ]  # fmt: skip
    for model in ("mlp", "layer_mlp"):
        assert len({key(probe(**one), model) for one in chosen}) == len(chosen)
    assert key(probe(loss="ccc", huber_delta=2.0), "mlp") == key(probe(loss="ccc"), "mlp")
    assert key(probe(loss="ccc"), "ridge") == FORMER["ridge"]


def test_parameters_survive_being_written_and_read() -> None:
    for one in (MlpParams(), params("huber"), params("hybrid"), params("mae")):
        again = MlpParams.model_validate(one.model_dump(mode="json"))
        assert (again.loss, again.hidden) == (one.loss, one.hidden)
        assert again.model_dump() == one.model_dump()
    with pytest.raises(ValueError, match="loss"):
        MlpParams.model_validate({"loss": "median"})
