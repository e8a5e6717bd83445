"""Training of adapters and scores, and what the adapted encoder hears of whole takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pianoeval.encoders.differentiable import Differentiable, spread
from pianoeval.encoders.exact import exact_float32
from pianoeval.encoders.lora import Lora, adapted, adapted_frames, adapters_of
from pianoeval.errors import PianoevalError
from pianoeval.losses.pairwise import logistic_loss, margin_loss
from pianoeval.models.base import Float64, Rows
from pianoeval.params_rank import LoraParams, RankerParams
from pianoeval.progress import Meter
from pianoeval.rankers.audio import TakeAudio, by_length
from pianoeval.rankers.base import RankFold
from pianoeval.rankers.lora_start import Batch, Batches, Start, validation_split
from pianoeval.rankers.pairs import TrainingPairs, pair_accuracy, training_pairs

BACKWARD = 3.0  # what a step costs beside a forward pass over the same audio


@dataclass(frozen=True, eq=False)
class Hearing:
    """What all folds share: takes, an encoder, and its pooled vectors while it is frozen.

    Attributes
    ----------
    frozen : float64, shape (clips, features)
        NaN in rows that no fold has.
    """

    audio: TakeAudio
    lora: LoraParams
    net: Differentiable
    frozen: Float64
    meter: Meter

    def crops(self, adapters: Lora, batch: Batch) -> Tensor:
        """Pooled vectors (takes, features) of a batch, with gradients to the adapters."""
        pairs = zip(batch.rows.tolist(), batch.places.tolist(), strict=True)
        crops = [self.audio.crop(row, place) for row, place in pairs]
        pooled: list[Tensor] = []
        order: list[Rows] = []
        for alike in by_length([len(crop) for crop in crops]):
            audio = torch.from_numpy(np.stack([crops[i] for i in alike]))
            frames = adapted_frames(self.net, adapters, audio.to(self.net.encoder.device))
            frames = frames.flatten(2)
            pooled.append(torch.cat([frames.mean(1), spread(frames, 1)], 1))
            order.append(alike)
        back = torch.from_numpy(np.argsort(np.concatenate(order)))
        return torch.cat(pooled)[back.to(pooled[0].device)]

    def takes(self, adapters: Lora, rows: Rows) -> Float64:
        """Pooled vectors of whole takes by the adapted encoder, shape (rows, features)."""
        with adapted(self.net, adapters) as encoder:
            return self.audio.pooled(
                encoder, rows, self.lora.batch_takes, partial(self.meter.advance, items=0)
            )


@dataclass(frozen=True, eq=False)
class Trained:
    """The best step of one network.

    Attributes
    ----------
    step : int
        0 = the frozen encoder was not beaten.
    accuracy : float
        On the validation pairs.
    margins : float64, shape (validation pairs, dimensions)
        Differences of scores.
    features : float64, shape (len(test), features)
    scores : float64, shape (len(test), dimensions)
    """

    step: int
    accuracy: float
    margins: Float64
    features: Float64
    scores: Float64


class _Network:
    """Adapters and scores with their optimiser, and the best they have been."""

    def __init__(
        self, fold: RankFold, params: RankerParams, hearing: Hearing, start: Start, seed: int
    ) -> None:
        lora, device = hearing.lora, hearing.net.encoder.device
        self.fold, self.params, self.hearing, self.start = fold, params, hearing, start
        self.adapters = adapters_of(
            hearing.net, lora.targets, lora.rank, lora.alpha, params.seed + seed
        )
        self.first = torch.from_numpy(start.weights).float().to(device)
        self.change = torch.nn.Parameter(torch.zeros_like(self.first))
        self.optimiser = torch.optim.AdamW(
            [*self.adapters.parameters(), self.change], lr=params.learning_rate,
            weight_decay=params.weight_decay,
        )  # fmt: skip

    def learn(self, batch: Batch) -> float:
        """One step; the loss before it."""
        with exact_float32():
            z = self.start.features_of_crops(self.hearing.crops(self.adapters, batch))
            scores = z @ (self.first + self.change)
            loss = _loss(scores, batch, self.params)
            self.optimiser.zero_grad()
            torch.autograd.backward(loss)
        self.optimiser.step()
        return float(loss.detach())

    def head(self) -> Float64:
        """Weights of the scores as they are now."""
        return np.asarray((self.first + self.change).detach().cpu().numpy(), dtype=np.float64)

    def features(self, rows: Rows, *, frozen: bool) -> Float64:
        hearing = self.hearing
        pooled = hearing.frozen[rows] if frozen else hearing.takes(self.adapters, rows)
        return self.start.features(pooled)

    def state(self) -> list[Tensor]:
        return [p.detach().clone() for p in (*self.adapters.parameters(), self.change)]

    @torch.no_grad()
    def restore(self, state: list[Tensor]) -> None:
        for parameter, value in zip((*self.adapters.parameters(), self.change), state, strict=True):
            parameter.copy_(value)


def train(
    fold: RankFold, params: RankerParams, hearing: Hearing, start: Start, seed: int
) -> Trained:
    """One network in one fold, from the frozen ranker on.

    Raises
    ------
    PianoevalError
        The loss is no finite number any more.
    """
    fit, held = validation_split(fold)
    lora, heard = hearing.lora, hearing.audio
    pairs = training_pairs(fold, held, params.pairs)
    network = _Network(fold, params, hearing, start, seed)
    batches = Batches(fold, fit, params, lora.batch_takes, seed)
    best_step, best_state = 0, network.state()
    best, margins = _look(network, held, pairs, frozen=True)
    without = 0
    for step in range(1, lora.steps + 1):
        batch = batches.draw()
        loss = network.learn(batch)
        if not np.isfinite(loss):
            raise PianoevalError(
                f"training of adapters diverged in fold {fold.name} at step {step}",
                where="rank.rankers", next_step="lower learning_rate in params.yaml",
            )  # fmt: skip
        learned = len(batch.rows) * heard.spec.chunk_s
        hearing.meter.advance(BACKWARD * learned, items=0)
        if step % lora.check_every and step < lora.steps:
            continue
        accuracy, found = _look(network, held, pairs, frozen=False)
        without += 1
        if accuracy > best:
            best, margins, best_step, best_state, without = (
                accuracy,
                found,
                step,
                network.state(),
                0,
            )
        if without >= params.patience:
            break
    network.restore(best_state)
    z = network.features(fold.test, frozen=best_step == 0)
    return Trained(best_step, best, margins, z, z @ network.head())


def _look(
    network: _Network, held: Rows, pairs: TrainingPairs, *, frozen: bool
) -> tuple[float, Float64]:
    """Accuracy on the validation pairs, and their differences of scores."""
    rows = network.fold.train[held]
    at = np.full(len(network.fold.train), -1, dtype=np.int64)
    at[held] = np.arange(len(held))
    z = network.features(rows, frozen=frozen)
    margins = (z[at[pairs.first]] - z[at[pairs.second]]) @ network.head()
    return pair_accuracy(margins, pairs), margins


def _loss(scores: Tensor, batch: Batch, params: RankerParams) -> Tensor:
    """Of one network: the losses' axis of replicas has one entry."""
    device = scores.device
    first, second = (torch.from_numpy(part).to(device) for part in (batch.first, batch.second))
    logit = (scores[first] - scores[second])[None]
    target, weight = (
        torch.from_numpy(part)[None].to(logit) for part in (batch.target, batch.weight)
    )
    if params.loss == "margin":
        return margin_loss(logit, target, weight, params.margin).sum()
    return logistic_loss(logit, target, weight).sum()
