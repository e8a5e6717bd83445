"""The plain control of heads: ridge regression on what the same frames are like over a clip.

Of every value of a frame: mean, standard deviation and quantiles; of differences between
neighbouring frames mean size, standard deviation and quantiles of size; and the share of zeros. Of
a pitch these are of voiced frames, so the share of zeros is that of unvoiced ones. It hears which
pitches occur and how much they move, and nothing of their order beyond a frame. λ is chosen on the
held clips, for each dimension; then all training clips are learned from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import svd

from pianoeval.heads.base import HeadFold, HeadPrediction
from pianoeval.heads.sampling import Material, frames_of
from pianoeval.models.base import Float32, Float64, Rows, Standardiser
from pianoeval.params_contrast import HeadParams

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_OF_STEPS = (0.5, 0.9, 0.99)
PENALTIES = np.logspace(-5, 3, 33)  # times the number of clips


def fit_statistics(
    folds: Sequence[HeadFold], head: HeadParams, seeds: Sequence[int]
) -> list[HeadPrediction]:
    """One prediction a fold, the same for every seed: nothing is drawn.

    Its penalty is in ``selection`` as ``lambda``; there are no latents.

    Raises
    ------
    ConfigError
        More components than frames have values.
    """
    plain: Float32 | None = None
    found = []
    for fold in folds:
        material = Material(fold, head)
        if head.components:
            table = _table(material)
        else:
            plain = table = _table(material) if plain is None else plain
        found.append(_fitted(fold, table, len(seeds)))
    return found


def clip_statistics(frames: Float32, pitch: int = -1) -> Float32:
    """Statistics of one clip's frames (n, channels), channel by channel; NaN where there is none.

    Of channel ``pitch`` zeros are no values.
    """
    wide = np.ascontiguousarray(frames.T, np.float64)
    there = wide != 0
    found = _of_channels(wide, np.diff(wide), there)
    if pitch >= 0:
        voiced, one = there[pitch], wide[pitch]
        steps = np.diff(one)[voiced[1:] & voiced[:-1]]
        found[pitch] = _of_channels(one[None, voiced], steps[None], voiced[None])[0]
    return found.astype(np.float32).reshape(-1)


def _of_channels(values: Float64, steps: Float64, there: NDArray[np.bool_]) -> Float64:
    """Statistics of each channel, (channels, statistics); values and steps (channels, frames)."""
    spread = steps.std(axis=1) if steps.shape[1] else np.full(len(steps), np.nan)
    share = 1 - there.mean(axis=1)
    sized = _moments(np.abs(steps), _OF_STEPS)
    return np.column_stack([_moments(values, _QUANTILES), sized, share, spread])


def _moments(values: Float64, quantiles: Sequence[float]) -> Float64:
    """Mean, standard deviation and quantiles of each row."""
    if not values.shape[1]:
        return np.full((len(values), 2 + len(quantiles)), np.nan)
    found = np.quantile(values, quantiles, axis=1)
    return np.column_stack([values.mean(axis=1), values.std(axis=1), found.T])


def _table(material: Material) -> Float32:
    clips = np.arange(len(material.fold.frames))
    return np.stack([clip_statistics(one, material.pitch) for one in frames_of(material, clips)])


def _fitted(fold: HeadFold, table: Float32, n_seeds: int) -> HeadPrediction:
    fit, held = fold.validation
    tried = _ridge(table, fold.train[fit], fold.y[fit], fold.train[held])
    errors = np.square(tried - fold.y[held]).mean(axis=1)  # (penalties, dimensions)
    best = errors.argmin(axis=0)
    every = np.arange(fold.n_dimensions)
    final = _ridge(table, fold.train, fold.y, fold.test)[best, :, every]

    def each(values: Float64) -> Float64:
        return np.repeat(values[None], n_seeds, axis=0)

    return HeadPrediction(
        predicted=each(final),
        latents=np.zeros((n_seeds, fold.n_dimensions, len(fold.test), 0), np.float32),
        validation=each(errors[best, every]),
        selection={"lambda": each(PENALTIES[best])},
    )


def _ridge(table: Float32, train: Rows, y: Float64, out: Rows) -> Float64:
    """Predictions with every penalty, (penalties, len(out), dimensions)."""
    scaler = Standardiser.fit(table[train])
    u, s, v = svd(scaler.transform(table[train]), full_matrices=False)
    middle = y.mean(axis=0)
    turned = u.T @ (y - middle)
    seen = scaler.transform(table[out]) @ v.T
    shrunk = s / (s**2 + PENALTIES[:, None] * len(train))
    return np.asarray(
        np.einsum("ok,pk,kd->pod", seen, shrunk, turned, optimize=True) + middle, np.float64
    )
