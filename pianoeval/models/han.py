"""Training of the hierarchical attention network (``models.han_net``), one a fold and seed.

Adam on the mean squared error of standardised labels, its rate falling along half a cosine
(Loshchilov & Hutter, ICLR 2017, eq. 5, without restarts) over ``max_epochs``; the epoch is the one
with the best R² (mean over dimensions) on the fold's validation group, which lies inside its
training clips. Notes and labels are standardised on the training clips without that group; a value
that does not exist becomes the median of these. Batches hold clips of like length, so that little
is padded.

Everything random comes from (seed, purpose): folds are trained apart, in any process, with the same
result.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from joblib import Parallel, delayed, effective_n_jobs
from numpy.typing import NDArray
from torch import Tensor, nn

from pianoeval.errors import ConfigError, PianoevalError
from pianoeval.features.sequences import Sequences
from pianoeval.models.base import Float64, Fold, FoldPrediction, Rows, Standardiser
from pianoeval.models.han_net import Han, NoteBatch
from pianoeval.params import HanParams, RunParams

_log = logging.getLogger(__name__)
_WEIGHTS, _ORDER, _DROPOUT = 0, 1, 2  # purposes of the random streams
LARGEST = 5.0  # standard deviations at which note values are cut: 1 ms of a key is log2 −10
MARKS = ("beat", "measure")
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Clips:
    """Standardised notes of all clips of a fold, with their hierarchy.

    ``values`` : float32 (rows, features); ``start, length`` : int64 (clips,)
    ``beat, measure`` : int64 (rows,), from 0 without gaps within each clip
    """

    values: NDArray[np.float32]
    start: Ints
    length: Ints
    beat: Ints
    measure: Ints

    @classmethod
    def of(cls, sequences: Sequences, scaler: Standardiser) -> Clips:
        """Clips as the network reads them.

        Raises
        ------
        ConfigError
            Rows are not marked with beats and measures.
        """
        if absent := [mark for mark in MARKS if mark not in sequences.marks]:
            raise ConfigError(
                f"han reads beats and measures, and these sequences have no {absent[0]}",
                where="views.*.models", allowed="han for views of notes",
                next_step="take it out of the view",
            )  # fmt: skip
        values = np.clip(scaler.transform(sequences.values), -LARGEST, LARGEST)
        beat, measure = (sequences.marks[mark].astype(np.int64) for mark in MARKS)
        for clip in range(len(sequences)):
            rows = sequences.rows(clip)
            # A beat lies in one measure; marks that disagree are cut where either changes.
            both = np.stack([measure[rows], beat[rows]], axis=1)
            beat[rows] = _steps(np.any(np.diff(both, axis=0) != 0, axis=1))
            measure[rows] = _steps(np.diff(both[:, 0]) != 0)
        return cls(values.astype(np.float32), sequences.start, sequences.length, beat, measure)

    def batch(self, clips: Ints) -> NoteBatch:
        """Some clips, padded."""
        length = self.length[clips]
        place = np.arange(int(length.max()))[None, :]
        there = place < length[:, None]
        row = np.where(there, self.start[clips][:, None] + place, self.start[clips][:, None])
        beat = np.where(there, self.beat[row], 0)
        measure = np.where(there, self.measure[row], 0)
        beats, measures = beat.max(axis=1) + 1, measure.max(axis=1) + 1
        of_beat = np.zeros((len(clips), int(beats.max())), np.int64)
        of_beat[np.arange(len(clips))[:, None], beat] = measure
        # Padding was written to beat 0, whose measure is 0 too.
        parts = (beat, measure, of_beat, length, beats, measures)
        return NoteBatch(torch.from_numpy(self.values[row]), *map(torch.from_numpy, parts))


def _steps(changes: NDArray[np.bool_]) -> Ints:
    return np.concatenate([[0], np.cumsum(changes)]).astype(np.int64)


def batches_of(length: Ints, size: int, rng: np.random.Generator) -> list[Ints]:
    """Positions of clips in batches of like length, in random order; each position once."""
    # Lengths are blurred, so that the same clips do not always meet.
    order = np.argsort(length * rng.uniform(0.9, 1.1, len(length)), kind="stable")
    parts = [order[begin : begin + size] for begin in range(0, len(order), size)]
    return [parts[number] for number in rng.permutation(len(parts))]


def predict_han(folds: Sequence[Fold], params: HanParams, run: RunParams) -> list[FoldPrediction]:
    """One network a fold and seed; the mean over seeds.

    Raises
    ------
    ConfigError
        A fold without usable validation group, or sequences without beats and measures.
    PianoevalError
        The loss diverged.
    """
    jobs = [(fold, params.seed + number) for fold in folds for number in range(params.n_seeds)]
    workers = min(int(effective_n_jobs(run.workers or -1)), len(jobs))
    if workers > 1:
        found = Parallel(n_jobs=workers)(delayed(train_fold)(*job, params) for job in jobs)
    else:
        found = [train_fold(*job, params) for job in jobs]
    parts = [found[at : at + params.n_seeds] for at in range(0, len(found), params.n_seeds)]
    return [_mean(part) for part in parts]


def _mean(parts: Sequence[FoldPrediction]) -> FoldPrediction:
    names = parts[0].selection
    chosen = {name: [part.selection[name][0] for part in parts] for name in names}
    return FoldPrediction(np.mean([part.values for part in parts], axis=0), chosen)


def train_fold(fold: Fold, seed: int, params: HanParams) -> FoldPrediction:
    """Train one network and predict the test clips of its fold."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            return _Training(fold, seed, params).run()
    finally:
        torch.set_num_threads(before)


class _Training:
    """A fold's data, its network and its optimiser."""

    def __init__(self, fold: Fold, seed: int, params: HanParams) -> None:
        fit, held = _split(fold)
        self.fold, self.params, self.seed = fold, params, seed
        sequences = _sequences(fold)
        self.fit, self.held = fold.train[fit], fold.train[held]
        rows = np.concatenate([np.arange(r.start, r.stop) for r in map(sequences.rows, self.fit)])
        self.clips = Clips.of(sequences, Standardiser.fit(sequences.values[rows]))
        self.centre, scale = fold.y[fit].mean(axis=0), fold.y[fit].std(axis=0)
        self.scale = np.where(scale > 0, scale, 1.0)
        # NaN wherever there is no label to learn from: a slip would poison the loss at once.
        self.y = torch.full((len(fold.x), fold.y.shape[1]), torch.nan)
        labels = (fold.y - self.centre) / self.scale
        self.y[fold.train] = torch.from_numpy(labels.astype(np.float32))
        torch.manual_seed(_stream(seed, _WEIGHTS))
        self.net = Han(sequences.dim, fold.y.shape[1], params)
        self.optimiser = torch.optim.Adam(
            self.net.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay
        )

    def run(self) -> FoldPrediction:
        """Epochs until the validation R² has not risen for ``patience`` of them."""
        best_r2, best_epoch, best = -np.inf, 0, self._state()
        for epoch in range(1, self.params.max_epochs + 1):
            self._train_epoch(epoch)
            r2 = _mean_r2(self.y[self.held].double().numpy(), self._predict(self.held), self.fold)
            if r2 > best_r2:
                best_r2, best_epoch, best = r2, epoch, self._state()
            if epoch - best_epoch >= self.params.patience:
                break
        self.net.load_state_dict(best)
        _log.debug("han %s: epoch %d, validation R² %.3f", self.fold.name, best_epoch, best_r2)
        values = self._predict(self.fold.test) * self.scale + self.centre
        chosen = {"epoch": [float(best_epoch)], "validation_r2": [float(best_r2)]}
        return FoldPrediction(values, chosen)

    def _state(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.net.state_dict().items()}

    def _train_epoch(self, epoch: int) -> None:
        self.net.train()
        done = (epoch - 1) / self.params.max_epochs
        for group in self.optimiser.param_groups:
            group["lr"] = self.params.learning_rate * (1 + np.cos(np.pi * done)) / 2
        torch.manual_seed(_stream(self.seed, _DROPOUT, epoch))
        rng = np.random.default_rng([self.seed, _ORDER, epoch])
        for part in batches_of(self.clips.length[self.fit], self.params.batch_size, rng):
            rows = self.fit[part]
            error = self.net(self.clips.batch(rows)) - self.y[rows]
            loss = error.square().mean()
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.net.parameters(), self.params.clip_norm)
            self.optimiser.step()

    @torch.no_grad()
    def _predict(self, rows: Rows) -> Float64:
        """Standardised predictions of clips, float64 (rows, dimensions)."""
        self.net.eval()
        out = np.empty((len(rows), self.y.shape[1]))
        for part in _in_order(self.clips.length[rows], self.params.batch_size):
            out[part] = self.net(self.clips.batch(rows[part])).double().numpy()
        return out


def _in_order(length: Ints, size: int) -> Iterator[Ints]:
    """Batches of like length, shortest first."""
    order = np.argsort(length, kind="stable")
    return (order[begin : begin + size] for begin in range(0, len(order), size))


def _stream(*key: int) -> int:
    """A seed for torch of its own for each key."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def _sequences(fold: Fold) -> Sequences:
    if fold.sequences is None:
        raise ConfigError(
            "han reads notes in their order, and these features have none",
            where="views.*.models", allowed="han for views of notes",
            next_step="take it out of the view",
        )  # fmt: skip
    return fold.sequences


def _split(fold: Fold) -> tuple[Rows, Rows]:
    if fold.validation is None:
        raise ConfigError(
            f"fold {fold.name} has no group to stop the training on",
            next_step="remove han from views.*.models in params.yaml, or label more clips",
        )
    return fold.validation


def _mean_r2(truth: Float64, output: Float64, fold: Fold) -> float:
    """R² averaged over the dimensions that vary; (rows, dimensions) each."""
    spread = np.square(truth - truth.mean(axis=0)).sum(axis=0)
    varies = spread > 0
    if not varies.any():
        raise ConfigError(
            f"no dimension varies within the validation group of fold {fold.name}",
            next_step="remove han from views.*.models in params.yaml, or label more clips",
        )
    r2 = float((1 - np.square(truth - output).sum(axis=0)[varies] / spread[varies]).mean())
    if not np.isfinite(r2):
        raise PianoevalError(
            f"han diverged in fold {fold.name}", next_step="lower probe.han.learning_rate"
        )
    return r2
