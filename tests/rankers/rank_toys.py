"""Takes of toy segments with a known order, for the tests of the networks of rankers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pianoeval.features.sequences import Sequences
from pianoeval.params_rank import RankerParams
from pianoeval.rankers.base import RankFold


def toy_fold(
    n_segments: int = 14, takes: int = 5, seed: int = 0, n_test: int = 4, shift: float = 0.0,
    spread: float = 1.0,
) -> RankFold:  # fmt: skip
    """Labels are linear in two features beside a level of the segment; others are noise.

    The last ``n_test`` segments are reported, the three before them are the validation group. The
    first segment lacks a take, and its last two takes are byte-identical. ``shift`` is added to the
    labels of reported takes, of which a ranker must see nothing. ``spread`` is that of the levels.
    """
    rng = np.random.default_rng(seed)
    segment = np.repeat(np.arange(n_segments), takes)[1:]
    level = spread * rng.normal(size=n_segments)[segment]
    x = rng.normal(size=(len(segment), 6)).astype(np.float32) * 3 + 5
    x[:, 4] += 10 * level
    y = np.stack([0.1 * x[:, 0], 0.1 * x[:, 1] - 0.1 * x[:, 0]], axis=1) + level[:, None]
    identity = np.arange(len(segment))
    identity[takes - 2] = identity[takes - 3]
    x[takes - 2] = x[takes - 3]
    test = np.flatnonzero(segment >= n_segments - n_test)
    train = np.flatnonzero(segment < n_segments - n_test)
    y[test] += shift * rng.normal(size=(len(test), 2))
    held = segment[train] >= n_segments - n_test - 3
    first, second = np.triu_indices(len(test), 1)
    same = segment[test[first]] == segment[test[second]]
    pairs = np.stack([test[first[same]], test[second[same]]], axis=1)
    split = (np.flatnonzero(~held), np.flatnonzero(held))
    error = np.full((len(train), 2), 0.1)
    return RankFold(
        f"toy/{seed}", x, segment, segment // 2, identity, train, test, y[train], error, pairs,
        [split], split,
    )  # fmt: skip


def with_frames(fold: RankFold, seed: int = 0) -> RankFold:
    """The fold with ragged frames, whose mean is the take's features."""
    rng = np.random.default_rng(seed)
    length = rng.integers(1, 50, len(fold.x))
    frames = []
    for row, n in zip(fold.x, length, strict=True):
        noise = rng.normal(size=(n, fold.x.shape[1]))
        frames.append(row + noise - noise.mean(axis=0))
    start = np.cumsum(length) - length
    return replace(
        fold, sequences=Sequences(np.concatenate(frames).astype(np.float32), start, length)
    )


def small(**changes: Any) -> RankerParams:
    """Parameters that train in a blink."""
    values = {
        "views": ["symbolic"], "hidden": 16, "projection": 8, "batch_segments": 3,
        "max_epochs": 6, "patience": 6, "dropout": 0.2, "bins": 5, **changes,
    }  # fmt: skip
    return RankerParams(**values)


def accuracy(fold: RankFold, margins: np.ndarray, truth: np.ndarray) -> float:
    """Share of the reported pairs in the order of ``truth`` (clips, dimensions)."""
    apart = truth[fold.pairs[:, 0]] - truth[fold.pairs[:, 1]]
    return float(((margins > 0) == (apart > 0)).mean())


def truth_of(fold: RankFold) -> np.ndarray:
    """The order that the labels have within segments, of every clip: (clips, 2)."""
    return np.stack([fold.x[:, 0], fold.x[:, 1] - fold.x[:, 0]], axis=1)
