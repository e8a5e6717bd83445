"""Replicas that train together: a fold, a point of a sweep and a seed each."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pianoeval.errors import PianoevalError
from pianoeval.models.base import Float64, Rows
from pianoeval.params_rank import RankerParams
from pianoeval.rankers.adam import Adam
from pianoeval.rankers.networks import KNOBS, Network, Shape, Weights
from pianoeval.rankers.outcome import Outcome
from pianoeval.rankers.pairs import pair_accuracy
from pianoeval.rankers.sampling import Batch, Material, Takes, dropout_factors

_log = logging.getLogger(__name__)
# Reported pairs that are compared at a time: a pair has values of its own in some comparisons.
_PAIRS_AT_ONCE = 4096


@dataclass(frozen=True)
class Job:
    """One replica: which point, which fold of the material, which seed."""

    point: int
    fold: int
    seed: int


def shape_of(material: Material) -> Shape:
    """Shape of the networks that read ``material``."""
    frames = material.frames
    return Shape(
        material.x.shape[2], material.y.shape[2], int(material.n_pieces.max()),
        0 if frames is None else frames.values.shape[3],
    )  # fmt: skip


class Replicas:
    """Replicas that train together, those of most steps an epoch first."""

    def __init__(
        self, network: Network, material: Material, points: Sequence[RankerParams],
        jobs: Sequence[Job],
    ) -> None:  # fmt: skip
        self.network, self.material, self.params = network, material, material.params
        self.jobs = sorted(jobs, key=lambda job: -material.n_batches(job.fold))
        self.fold = torch.tensor([job.fold for job in self.jobs])
        self.seed = torch.tensor([job.seed for job in self.jobs])
        self.knobs = {
            name: torch.tensor([float(getattr(points[job.point], name)) for job in self.jobs])
            for name in KNOBS
        }
        shape = shape_of(material)
        first = [network.initial(shape, j.seed, material.fit_labels[j.fold]) for j in self.jobs]
        self.weights = {name: torch.stack([one[name] for one in first]) for name in first[0]}
        self.best = {name: value.clone() for name, value in self.weights.items()}
        self.best_accuracy = torch.full((len(self.jobs),), -torch.inf, dtype=torch.float64)
        self.best_epoch = torch.zeros(len(self.jobs), dtype=torch.int64)
        self.adam = Adam(
            self._trained(self.weights), self.knobs["learning_rate"], self.knobs["weight_decay"]
        )

    def run(self) -> dict[Job, Outcome]:
        """Train until every replica has stopped."""
        finished: dict[Job, Outcome] = {}
        for epoch in range(1, self.params.max_epochs + 1):
            for step, n in enumerate(self._steps()):
                self._step(self.batch(epoch, step, n))
            self.network.after_epoch(self.weights, partial(self._all_batches, epoch))
            if epoch < self.network.first_epoch:
                continue
            self._validate(epoch)
            done = epoch - self.best_epoch >= self.params.patience
            if epoch == self.params.max_epochs:
                done = torch.ones_like(done)
            for slot in torch.nonzero(done).flatten().tolist():
                finished[self.jobs[slot]] = self._outcome(slot)
            if bool(done.all()):
                break
            if bool(done.any()):
                self._keep(~done)
        return finished

    def _trained(self, weights: Weights) -> Weights:
        return {name: value for name, value in weights.items() if name not in self.network.fixed}

    def _steps(self) -> Iterator[int]:
        """How many of the replicas, the first ones, have a batch left at each step."""
        counts = [self.material.n_batches(job.fold) for job in self.jobs]
        return (sum(count > step for count in counts) for step in range(counts[0]))

    def _all_batches(self, epoch: int) -> Iterator[Batch]:
        """Every batch of an epoch, of all replicas; nothing is real where one has none left."""
        return (self.batch(epoch, step, len(self.jobs)) for step in range(
            self.material.n_batches(self.jobs[0].fold)))  # fmt: skip

    def batch(self, epoch: int, step: int, n: int) -> Batch:
        """Batch number ``step`` of the first ``n`` replicas."""
        size, m = self.params.batch_segments, self.material
        segments = torch.zeros((n, size), dtype=torch.int64)
        there = torch.zeros((n, size), dtype=torch.bool)
        for slot, job in enumerate(self.jobs[:n]):
            order = m.order(job.fold, epoch, job.seed)[step * size : (step + 1) * size]
            segments[slot, : len(order)] = torch.from_numpy(order)
            there[slot, : len(order)] = True
        fold = self.fold[:n]
        at = (fold[:, None], segments)
        rows, mask, single = m.rows[at], m.mask[at] & there[..., None], m.single[at]
        spot = (fold[:, None, None], rows)
        pair = m.pair[at].masked_fill(~there[..., None], 0)
        progress = (epoch - 1) / self.params.max_epochs
        knobs = {name: value[:n] for name, value in self.knobs.items()}

        def dropout(width: int, stream: int) -> Tensor:
            key, lists = (epoch, step, stream), (size, m.n_takes)
            return dropout_factors(key, self.seed[:n], knobs["dropout"], lists, width)

        return Batch(
            takes=m.takes(fold, rows.flatten(1)),
            mask=mask,
            single=single & there[..., None],
            y=m.y[spot].masked_fill(~mask[..., None], 0.0),
            piece=m.piece[at],
            n_pieces=m.n_pieces[fold],
            label_weight=None if m.label_weight is None else m.label_weight[spot],
            target=m.target[pair],
            weight=m.pair_weights(pair, progress),
            progress=progress,
            knobs=knobs,
            dropout=dropout,
        )

    def _step(self, batch: Batch) -> None:
        n = len(batch.mask)
        weights = {name: value[:n].detach() for name, value in self.weights.items()}
        leaves = {name: v.requires_grad_() for name, v in self._trained(weights).items()}
        total = self.network.loss(weights, batch).sum()
        # What a loss does not read, as heads of a point without them, stays as it is.
        found = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
        self.adam.step(dict(zip(leaves, found, strict=True)))

    @torch.no_grad()
    def _validate(self, epoch: int) -> None:
        """Accuracy on validation pairs; where it is the best so far, keep the weights."""
        m, folds = self.material, [job.fold for job in self.jobs]
        rows = _padded([m.held[f] for f in folds])
        places = _padded([m.held_places[f] for f in folds])
        margins = self.network.margins(
            self.weights, m.takes(self.fold, rows), places[:, :, 0], places[:, :, 1]
        ).numpy()
        for slot, job in enumerate(self.jobs):
            pairs = m.held_pairs[job.fold]
            values = margins[slot, : len(pairs)].astype(np.float64)
            if not np.isfinite(values).all():
                raise PianoevalError(
                    f"a ranker diverged in fold {m.folds[job.fold].name}", where="rank.rankers",
                    next_step="lower learning_rate of the ranker in params.yaml",
                )  # fmt: skip
            accuracy = pair_accuracy(values, pairs)
            if accuracy > self.best_accuracy[slot]:
                self.best_accuracy[slot], self.best_epoch[slot] = accuracy, epoch
                for name, value in self.weights.items():
                    self.best[name][slot] = value[slot]

    @torch.no_grad()
    def _outcome(self, slot: int) -> Outcome:
        """What the best weights say of the held and the reported pairs."""
        m, job = self.material, self.jobs[slot]
        fold = m.folds[job.fold]
        weights = {name: value[slot : slot + 1] for name, value in self.best.items()}
        at = self.fold[slot : slot + 1]

        def takes(rows: Rows) -> Takes:
            return m.takes(at, torch.from_numpy(rows)[None])

        held = _margins(self.network, weights, takes(m.held[job.fold]), m.held_places[job.fold])
        test = takes(fold.test)
        reported = _margins(self.network, weights, test, fold.places)
        apart = _asymmetry(self.network, weights, test, fold.places)
        codes = {b: v[0].numpy() for b, v in self.network.codes(weights, test).items()}
        epoch = int(self.best_epoch[slot])
        _log.debug("%s, seed %d: epoch %d", fold.name, job.seed, epoch)
        return Outcome(
            m.held_pairs[job.fold], held, reported, codes, epoch,
            apart,
        )  # fmt: skip

    def _keep(self, kept: Tensor) -> None:
        self.jobs = [job for job, stays in zip(self.jobs, kept.tolist(), strict=True) if stays]
        self.fold, self.seed = self.fold[kept], self.seed[kept]
        self.knobs = {name: value[kept] for name, value in self.knobs.items()}
        self.weights = {name: value[kept] for name, value in self.weights.items()}
        self.best = {name: value[kept] for name, value in self.best.items()}
        self.best_accuracy, self.best_epoch = self.best_accuracy[kept], self.best_epoch[kept]
        self.adam.keep(kept, self._trained(self.weights))


def _parts(places: Rows) -> Iterator[tuple[Tensor, Tensor]]:
    """First and second of some pairs at a time, (1, P) each."""
    for start in range(0, max(len(places), 1), _PAIRS_AT_ONCE):
        pair = torch.from_numpy(places[start : start + _PAIRS_AT_ONCE])[None]
        yield pair[:, :, 0], pair[:, :, 1]


def _margins(network: Network, weights: Weights, takes: Takes, places: Rows) -> Float64:
    """Margins of one replica's pairs, (pairs, D)."""
    parts = [network.margins(weights, takes, *pair)[0] for pair in _parts(places)]
    return torch.cat(parts).double().numpy()


def _asymmetry(network: Network, weights: Weights, takes: Takes, places: Rows) -> float | None:
    """Share of one replica's pairs and dimensions that the two orders decide differently."""
    found = [(network.asymmetry(weights, takes, *p), p[0].shape[1]) for p in _parts(places)]
    total = [float(one[0]) * n for one, n in found if one is not None]
    return sum(total) / len(places) if total else None


def _padded(parts: Sequence[Rows]) -> Tensor:
    """Rows (…) of replicas side by side; padding is 0, the first take of any."""
    out = np.zeros((len(parts), max(len(p) for p in parts), *parts[0].shape[1:]), np.int64)
    for number, part in enumerate(parts):
        out[number, : len(part)] = part
    return torch.from_numpy(out)
