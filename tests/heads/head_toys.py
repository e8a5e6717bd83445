"""Small folds of frames, and heads written out with ``torch.nn``, one replica after another."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from pianoeval.features.sequences import Sequences
from pianoeval.heads.base import HeadFold
from pianoeval.heads.networks import Layout
from pianoeval.heads.sampling import Material, grid_of, pairs_of
from pianoeval.params_contrast import HeadParams

SMALL = {
    "channels": [3, 4], "kernel": 5, "stride": 2, "chunk_frames": 60, "hop_frames": 25,
    "batches": 3, "epochs": 4, "contrast_epochs": 3, "patience": 75, "learning_rate": 0.05,
}  # fmt: skip


def head(approach: str, **changes: object) -> HeadParams:
    return HeadParams(**{**SMALL, "approach": approach, **changes})


def fold(n: int = 30, dimensions: int = 2, width: int = 1, seed: int = 0) -> HeadFold:
    """Contours whose size of motion is the first rating; some are shorter than a chunk."""
    rng = np.random.default_rng(seed)
    length = rng.integers(40, 180, n)
    y = rng.random((n, dimensions))
    parts = []
    for clip in range(n):
        wave = np.sin(np.arange(length[clip]) * 0.7 + rng.random())[:, None]
        values = 0.5 + 0.3 * y[clip, 0] * wave + 0.02 * rng.random((length[clip], width))
        values[rng.random(length[clip]) < 0.1] = 0
        parts.append(values)
    frames = Sequences(np.concatenate(parts).astype(np.float32), np.cumsum(length) - length, length)
    fit, held, train = np.arange(n - 10), np.arange(n - 10, n - 5), np.arange(n - 5)
    return HeadFold("player/0", frames, train, np.arange(n - 5, n), y[: n - 5], (fit, held))


class Twin(nn.Module):
    """PCConvNet and ContrastiveCNN with the layers of ``torch.nn``."""

    def __init__(self, params: HeadParams, width: int, n_lenses: int, seed: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        ins = [width, *params.channels[:-1]]
        for n_in, n_out in zip(ins, params.channels, strict=True):
            conv = nn.Conv1d(n_in, n_out, params.kernel, params.stride)
            layers += [conv, nn.BatchNorm1d(n_out), nn.ReLU()]
        self.encoder = nn.Sequential(*layers)
        k = params.channels[-1]
        self.pcconv = nn.Sequential(
            nn.Conv1d(k, 1, params.stack_frames()), nn.BatchNorm1d(1), nn.ReLU()
        )
        self.linear = nn.Sequential(nn.Linear(k, k), nn.Linear(k, 1), nn.Sigmoid())
        self._start(Layout(params, width, n_lenses), seed)

    @torch.no_grad()
    def _start(self, layout: Layout, seed: int) -> None:
        row = layout.initial(seed)
        for number in range(len(layout.channels)):
            conv = self.encoder[3 * number]
            w = layout.get(row, f"{number}.w").reshape(len(conv.bias), layout.kernel, -1)
            conv.weight.copy_(w.permute(0, 2, 1))
            conv.bias.copy_(layout.get(row, f"{number}.bias"))
        last = layout.get(row, "pcconv.w").reshape(1, layout.frames_left, -1)
        self.pcconv[0].weight.copy_(last.permute(0, 2, 1))
        self.pcconv[0].bias.copy_(layout.get(row, "pcconv.bias"))
        for place, name in enumerate(["linear", "rating"]):
            self.linear[place].weight.copy_(layout.get(row, f"{name}.w"))
            self.linear[place].bias.copy_(layout.get(row, f"{name}.bias"))

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x).mean(dim=2)

    def rate(self, approach: str, x: torch.Tensor) -> torch.Tensor:
        if approach == "pcconv":
            return self.pcconv(self.encoder(x)).mean(dim=2)[:, 0]
        return self.linear(self.codes(x))[:, 0]


def literal_contrast(
    codes: torch.Tensor, labels: torch.Tensor, params: HeadParams, pairs: list[tuple[int, int]]
) -> torch.Tensor:
    """Equations 2 and 3, pair by pair."""
    total = codes.new_zeros(())
    for i, j in pairs:
        apart = (codes[i] - codes[j]).norm()
        bins = [min(int(float(labels[p]) * params.bins), params.bins - 1) for p in (i, j)]
        margin = abs(bins[0] - bins[1]) * params.margin
        same = bins[0] == bins[1]
        total = total + (0.5 * apart**2 if same else 0.5 * torch.relu(margin - apart) ** 2)
    return total / len(pairs)


def chunks_of(material: Material, clips: np.ndarray, hop: int) -> tuple[torch.Tensor, np.ndarray]:
    """Chunks of a grid, (chunks, channels, frames), cut one by one."""
    frames, t = material.fold.frames, material.head.chunk_frames
    owner, first = grid_of(frames.length[clips], t, hop)
    found = np.zeros((len(owner), material.width, t), np.float32)
    for row, (clip, start) in enumerate(zip(owner, first, strict=True)):
        part = frames.values[frames.rows(int(clips[clip]))][start : start + t]
        found[row, :, : len(part)] = part.T
    return torch.from_numpy(found), owner


def by_clip(values: torch.Tensor, owner: np.ndarray) -> torch.Tensor:
    return torch.stack([values[owner == clip].mean(dim=0) for clip in range(owner.max() + 1)])


class Sequential:
    """A head trained as the public code would, on the same chunks and pairs."""

    def __init__(self, one: HeadFold, params: HeadParams, dimension: int, seed: int) -> None:
        self.material, self.params, self.seed = Material(one, params), params, seed
        self.y = torch.from_numpy(one.y[one.validation[0], dimension]).float()
        self.y_held = torch.from_numpy(one.y[one.validation[1], dimension]).float()
        self.net = Twin(params, self.material.width, one.n_dimensions, seed)
        self.epoch, self.chosen = 0, []

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        """Predictions and codes of reported clips."""
        p, net = self.params, self.net
        if p.approach == "contrastive":
            self._phase(net.encoder, self._contrast, p.contrast_epochs, p.contrast_learning_rate)
            net.encoder.requires_grad_(False)
            self._phase(net.linear, self._squares, p.epochs, p.learning_rate)
        elif p.approach == "pcconv":
            self._phase(net, self._squares, p.epochs, p.learning_rate)
        else:
            self._phase(net, self._both, p.epochs, p.learning_rate)
        net.eval()
        with torch.no_grad():
            x, owner = chunks_of(self.material, self.material.fold.test, p.hop_frames)
            rated = by_clip(net.rate(p.approach, x), owner)
            return rated.numpy(), by_clip(net.codes(x), owner).numpy()

    def _phase(self, learns: nn.Module, loss, epochs: int, rate: float) -> None:
        p = self.params
        frozen = not next(self.net.encoder.parameters()).requires_grad
        parameters = [v for v in learns.parameters() if v.requires_grad]
        descent = torch.optim.SGD(
            parameters, lr=rate, momentum=p.momentum, weight_decay=p.weight_decay
        )
        best, least, at, began = None, np.inf, self.epoch, self.epoch
        while self.epoch - began < epochs and self.epoch - at < p.patience:
            self.epoch += 1
            self.net.train()
            if frozen:
                self.net.encoder.eval()
            for step, (chunks, places) in enumerate(self.material.batches(self.seed, self.epoch)):
                x, y = chunks.permute(2, 1, 0), self.y[places]
                pairs = pairs_of(self.seed, self.epoch, step, len(places)).tolist()
                descent.zero_grad()
                loss(x, y, pairs, None).backward()
                descent.step()
            self.net.eval()
            with torch.no_grad():
                x, owner = chunks_of(
                    self.material, self.material.held, max(p.hop_frames, p.chunk_frames)
                )
                n = len(self.y_held)
                every = [(i, j) for i in range(n) for j in range(i + 1, n)]
                now = float(loss(x, self.y_held, every, owner))
            if now < least:
                least, at, best = now, self.epoch, copy.deepcopy(self.net.state_dict())
        self.net.load_state_dict(best)
        self.chosen.append(at - began)

    def _squares(self, x, y, pairs, owner) -> torch.Tensor:
        rated = self.net.rate(self.params.approach, x)
        return ((rated if owner is None else by_clip(rated, owner)) - y).square().mean()

    def _contrast(self, x, y, pairs, owner) -> torch.Tensor:
        codes = self.net.codes(x)
        codes = codes if owner is None else by_clip(codes, owner)
        return literal_contrast(codes, y, self.params, pairs)

    def _both(self, x, y, pairs, owner) -> torch.Tensor:
        codes = self.net.codes(x)  # once: batch normalisation follows every pass
        rated = self.net.linear(codes)[:, 0]
        if owner is not None:
            codes, rated = by_clip(codes, owner), by_clip(rated, owner)
        weighed = self.params.contrast_weight * literal_contrast(codes, y, self.params, pairs)
        return (rated - y).square().mean() + weighed
