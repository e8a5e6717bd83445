"""What training heads together saves against ``torch.nn``, one by one, on random pitch contours.

    python benchmarks/heads.py [--clips 2610] [--seeds 1] [--epochs 2] [--workers 2]
        [--threads 1]

Three models, three dimensions, clips of 30 s at 172 frames a second, 8:1:1, ten batches an epoch.
Both draw a chunk a clip and epoch, judge the same chunks of the held clips after every epoch and
those of the reported clips at the end. Prints wall and processor seconds. Training stops nowhere
early. ``workers`` are threads that train replicas, ``threads`` those of torch in the plain loop.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from pianoeval.features.sequences import Sequences
from pianoeval.heads.base import HeadFold
from pianoeval.heads.registry import train_heads
from pianoeval.losses.continuous import weighted_contrastive
from pianoeval.params import RunParams
from pianoeval.params_contrast import HeadParams

APPROACHES = ("pcconv", "contrastive", "joint")
N_DIMENSIONS = 3


def make_fold(n: int) -> HeadFold:
    """Random notes of half a second, and ratings that mean nothing."""
    rng = np.random.default_rng(0)
    length = rng.integers(4200, 6200, n)
    notes = rng.integers(55, 80, int(length.sum()) // 86 + 1) / 127
    values = np.repeat(notes, 86)[: length.sum()].astype(np.float32)[:, None]
    frames = Sequences(values, np.cumsum(length) - length, length)
    fit, train = int(0.8 * n), int(0.9 * n)
    split = (np.arange(fit), np.arange(fit, train))
    y = rng.random((train, N_DIMENSIONS))
    return HeadFold("random/0", frames, np.arange(train), np.arange(train, n), y, split)


class Plain:
    """One head and dimension as a plain loop trains it."""

    def __init__(self, fold: HeadFold, head: HeadParams, dimension: int) -> None:
        self.fold, self.head, self.y = fold, head, torch.from_numpy(fold.y[:, dimension]).float()
        layers: list[nn.Module] = []
        for n_in, n_out in ((1, 4), (4, 8), (8, 16)):
            layers += [nn.Conv1d(n_in, n_out, 7, 3), nn.BatchNorm1d(n_out), nn.ReLU()]
        self.encoder = nn.Sequential(*layers)
        self.pcconv = nn.Sequential(nn.Conv1d(16, 1, 35), nn.BatchNorm1d(1), nn.ReLU())
        self.linear = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 1), nn.Sigmoid())
        self.rng = np.random.default_rng(0)

    def run(self) -> None:
        """Both phases of ``contrastive``, the one of others."""
        if self.head.approach == "contrastive":
            self._phase([*self.encoder.parameters()], rates=False, contrasts=True)
            self.encoder.requires_grad_(False)
            self._phase([*self.linear.parameters()], rates=True, contrasts=False)
        elif self.head.approach == "joint":
            learns = [*self.encoder.parameters(), *self.linear.parameters()]
            self._phase(learns, rates=True, contrasts=True)
        else:
            learns = [*self.encoder.parameters(), *self.pcconv.parameters()]
            self._phase(learns, rates=True, contrasts=False)
        self._judge(self.fold.test, 500)

    def _phase(self, learns: list[nn.Parameter], *, rates: bool, contrasts: bool) -> None:
        descent = torch.optim.SGD(learns, lr=0.005, momentum=0.9, weight_decay=1e-5)
        fit, held = self.fold.validation
        for _ in range(self.head.epochs):
            for module in (self.encoder, self.pcconv, self.linear):
                module.train()
            for places in np.array_split(self.rng.permutation(fit), 10):
                spare = self.fold.frames.length[places] - 1000
                first = (self.rng.random(len(places)) * (spare + 1)).astype(np.int64)
                x, y = self._cut(self.fold.train[places], first), self.y[places]
                rated, codes = self._rated(x)
                loss = (rated - y).square().mean() if rates else torch.zeros(())
                if contrasts:
                    order = torch.from_numpy(self.rng.permutation(len(y)))
                    pairs = torch.stack([order, order.roll(-1)], dim=1)[None]
                    valid = torch.ones(1, len(y), dtype=torch.bool)
                    loss = (
                        loss + weighted_contrastive(codes[None], y[None], valid, 5, 1.0, pairs)[0]
                    )
                descent.zero_grad()
                loss.backward()
                descent.step()
            self._judge(self.fold.train[held], 1000)

    def _rated(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.encoder(x)
        codes = out.mean(dim=2)
        plain = self.head.approach == "pcconv"
        return (self.pcconv(out)[:, 0, 0] if plain else self.linear(codes)[:, 0]), codes

    def _judge(self, clips: np.ndarray, hop: int) -> None:
        for module in (self.encoder, self.pcconv, self.linear):
            module.eval()
        owner, first = [], []
        for clip in clips:
            spare = int(self.fold.frames.length[clip]) - 1000
            starts = sorted({*range(0, spare + 1, hop), spare})
            owner += [clip] * len(starts)
            first += starts
        with torch.no_grad():
            for at in range(0, len(owner), 256):
                here = slice(at, at + 256)
                self._rated(self._cut(np.array(owner[here]), np.array(first[here])))

    def _cut(self, clips: np.ndarray, first: np.ndarray) -> Tensor:
        frames = self.fold.frames
        rows = (frames.start[clips] + first)[:, None] + np.arange(1000)
        return torch.from_numpy(frames.values[rows, 0])[:, None]


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, cores = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cores


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=2610)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    fold, run, n = make_fold(args.clips), RunParams(workers=args.workers), args.epochs
    heads = [HeadParams(approach=a, epochs=n, contrast_epochs=n) for a in APPROACHES]
    warm = [head.model_copy(update={"epochs": 1, "contrast_epochs": 1}) for head in heads]
    train_heads([make_fold(60)], warm, [0], run)

    def one_by_one() -> None:
        for _ in range(args.seeds):
            for head in heads:
                for dimension in range(N_DIMENSIONS):
                    Plain(fold, head, dimension).run()

    torch.set_num_threads(args.threads)
    apart = measured(one_by_one)
    together = measured(lambda: train_heads([fold], heads, [*range(args.seeds)], run))
    print(f"{args.seeds * 9} replicas, {n} epochs, {args.workers} workers: ", end="")
    print(f"together {together[0]:.1f} s wall, {together[1]:.1f} s processor; ", end="")
    print(f"one by one {apart[0]:.1f} s, {apart[1]:.1f} s; ", end="")
    print(f"ratio {apart[0] / together[0]:.2f} wall, {apart[1] / together[1]:.2f} processor")


if __name__ == "__main__":
    main()
