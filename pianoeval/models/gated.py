r"""The gated multimodal unit: how much of each view is heard is learned, clip by clip.

Arevalo, Solorio, Montes-y-Gómez and González, "Gated Multimodal Units for Information Fusion",
2017, section 3.1. Of views :math:`x_1 … x_k`

.. math:: h_i = \tanh(W_i x_i + b_i), \quad z_i = \sigma(Y_i [x_1, …, x_k]), \quad
          h = \sum_i z_i \odot h_i, \quad \hat y = V\,\mathrm{Dropout}(h) + c

and of two views one gate, :math:`h = z \odot h_1 + (1 - z) \odot h_2`, as there. All else is the
perceptron's (``models.mlp``, ``probe.mlp``): width, dropout, Adam, early stopping on the validation
group by R², inputs and labels standardised on the clips that it is fitted on.

Random numbers come from streams keyed by (seed, purpose, epoch): a fold gives the same bits whether
it is trained alone or after others.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pianoeval.errors import ConfigError, PianoevalError
from pianoeval.losses.regression import loss_of
from pianoeval.models.base import Fold, FoldPrediction, Standardiser
from pianoeval.models.network import dropout_masks, epoch_order
from pianoeval.params import MlpParams

_log = logging.getLogger(__name__)
_INIT = 0  # purpose of the random stream, as in models.network


class GatedUnit(nn.Module):
    """The unit and the linear layer behind it.

    Parameters
    ----------
    widths : sequence of int
        Values of each view.
    n_outputs : int
    params : MlpParams
        ``hidden`` and ``seed`` are read.
    """

    def __init__(self, widths: Sequence[int], n_outputs: int, params: MlpParams) -> None:
        super().__init__()
        self.widths, hidden = list(widths), params.hidden
        n_gates = 1 if len(widths) == 2 else len(widths)
        self.views = nn.ModuleList(nn.Linear(width, hidden) for width in widths)
        self.gates = nn.Linear(sum(widths), n_gates * hidden, bias=False)
        self.head = nn.Linear(hidden, n_outputs)
        rng = np.random.default_rng([params.seed, _INIT])
        with torch.no_grad():
            for layer in [*self.views, self.gates, self.head]:
                for weight in layer.parameters():
                    bound = np.float32(layer.in_features**-0.5)
                    drawn = (2 * rng.random(tuple(weight.shape), dtype=np.float32) - 1) * bound
                    weight.copy_(torch.from_numpy(drawn))

    def shares(self, x: Tensor) -> Tensor:
        """Gates of the views: (rows, all values) → (views, rows, hidden)."""
        open_ = torch.sigmoid(self.gates(x))
        if len(self.widths) == 2:
            return torch.stack([open_, 1 - open_])
        return torch.stack(open_.chunk(len(self.widths), dim=1))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(rows, all values) → (rows, outputs); ``mask`` (rows, hidden) is dropout's."""
        heard = torch.stack(
            [torch.tanh(view(part)) for view, part in
             zip(self.views, torch.split(x, self.widths, dim=1), strict=True)]
        )  # fmt: skip
        h = (self.shares(x) * heard).sum(dim=0)
        out: Tensor = self.head(h if mask is None else h * mask)
        return out


def predict_gated(folds: Sequence[Fold], params: MlpParams) -> FoldPrediction:
    """Train on one fold of several views, predict its test clips.

    Parameters
    ----------
    folds : sequence of Fold
        The same fold of each view: the same rows, labels and divisions.
    params : MlpParams

    Returns
    -------
    FoldPrediction
        ``selection`` has ``epoch``, ``validation_r2`` and ``shares``, the mean gate of each view
        over test clips and units.

    Raises
    ------
    ConfigError
        A view without vectors, or no validation group to stop on.
    PianoevalError
        The loss diverged.
    """
    first = folds[0]
    if any(fold.x.shape[1] == 0 for fold in folds):
        raise ConfigError(
            "gated fusion reads vectors, and a member's view has none", where="fusion.views",
            next_step="take gated out of its methods, or name members of other views",
        )  # fmt: skip
    if first.validation is None:
        raise ConfigError(
            f"fold {first.name} has no validation group for early stopping",
            next_step="take gated out of the methods in fusion.views, or label more clips",
        )
    fit, held = first.validation
    rows = [first.train[fit], first.train[held], first.test]
    parts = [_scaled(fold, rows) for fold in folds]
    x_fit, x_held, x_test = (torch.cat(views, dim=1) for views in zip(*parts, strict=True))
    y = first.y[fit]
    centre, spread = np.zeros(y.shape[1]), np.ones(y.shape[1])
    if params.standardise_labels:
        centre, spread = y.mean(axis=0), np.where(y.std(axis=0) > 0, y.std(axis=0), 1.0)
    scaled = torch.from_numpy(((first.y - centre) / spread).astype(np.float32))
    unit = GatedUnit([fold.x.shape[1] for fold in folds], y.shape[1], params)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums are then taken in one order, whatever the machine
    try:
        chosen = _train(unit, (x_fit, scaled[fit]), (x_held, scaled[held]), params, first.name)
        with torch.no_grad():
            values = unit(x_test).double().numpy() * spread + centre
            chosen["shares"] = unit.shares(x_test).double().mean(dim=(1, 2)).tolist()
    finally:
        torch.set_num_threads(threads)
    return FoldPrediction(values, chosen)


def _scaled(fold: Fold, rows: Sequence[np.ndarray]) -> list[Tensor]:
    scaler = Standardiser.fit(fold.x[rows[0]])
    return [torch.from_numpy(scaler.transform(fold.x[r]).astype(np.float32)) for r in rows]


def _train(
    unit: GatedUnit,
    fit: tuple[Tensor, Tensor],
    held: tuple[Tensor, Tensor],
    params: MlpParams,
    name: str,
) -> dict[str, list[float]]:
    """Fit until the validation R² rises no more; the unit keeps the best epoch's weights."""
    optimiser = torch.optim.Adam(
        unit.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay, fused=True
    )
    loss = loss_of(params)
    best_r2, best_epoch, best = -np.inf, 0, {k: v.clone() for k, v in unit.state_dict().items()}
    for epoch in range(1, params.max_epochs + 1):
        order = torch.from_numpy(epoch_order(len(fit[0]), epoch, params))
        masks = dropout_masks(epoch, params)
        for rows in torch.split(order, params.batch_size):
            optimiser.zero_grad()
            output = unit(fit[0][rows], next(masks)[: len(rows)])
            counted = torch.ones(1, len(rows), dtype=torch.bool)
            loss(output[None], fit[1][rows][None], counted).sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        r2 = _mean_r2(held[1].double(), unit(held[0]).detach().double(), name)
        if r2 > best_r2:
            best_r2, best_epoch = r2, epoch
            best = {k: v.clone() for k, v in unit.state_dict().items()}
        elif epoch - best_epoch >= params.patience:
            break
    unit.load_state_dict(best)
    _log.debug("gated %s: epoch %d, validation R² %.3f", name, best_epoch, best_r2)
    return {"epoch": [float(best_epoch)], "validation_r2": [float(best_r2)]}


def _mean_r2(truth: Tensor, output: Tensor, name: str) -> float:
    """R² averaged over the dimensions that vary; (rows, dimensions) each."""
    total = (truth - truth.mean(dim=0)).square().sum(dim=0)
    varies = total > 0
    if not bool(varies.any()):
        raise ConfigError(
            f"no dimension varies within the validation group of fold {name}",
            next_step="take gated out of the methods in fusion.views, or label more clips",
        )
    residual = (truth - output).square().sum(dim=0)
    r2 = float((1 - residual[varies] / total[varies]).mean())
    if not np.isfinite(r2):
        raise PianoevalError(
            f"gated fusion diverged in fold {name}", next_step="lower probe.mlp.learning_rate"
        )
    return r2
