"""Principal components of frames, learned on training clips."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np

from pianoeval.errors import ConfigError
from pianoeval.features.sequences import Sequences
from pianoeval.heads.base import HeadFold
from pianoeval.models.base import Float32, Float64, Rows

_ROWS = 4096  # frames at a time
# Of folds that are in use, by number of components: heads of other shapes, and the control, read
# the same ones, and moments of frames of 1,536 values take longer than many an epoch.
_KNOWN: WeakKeyDictionary[HeadFold, dict[int, Float32]] = WeakKeyDictionary()


def components_of(fold: HeadFold, n: int) -> Float32:
    """:func:`components` of a fold's frames by its training clips, made once; not to be changed."""
    known = _KNOWN.setdefault(fold, {})
    if n not in known:
        known[n] = components(fold.frames, fold.train, n)
    return known[n]


def components(frames: Sequences, train: Rows, n: int) -> Float32:
    """Scores of all frames on the first ``n`` components of the training clips' frames.

    Divided by one number, the standard deviation of the first: order and proportions stay. Signs
    are fixed (largest absolute weight positive).

    Returns
    -------
    float32, shape (rows, n)

    Raises
    ------
    ConfigError
        Frames have fewer values.
    """
    if n > frames.dim:
        raise ConfigError(
            f"{n} components of frames with {frames.dim} values", where="contrast.heads",
            allowed=f"at most {frames.dim}",
            next_step="lower components of the head in params.yaml",
        )  # fmt: skip
    mean, covariance = _moments(frames, train)
    values, vectors = np.linalg.eigh(covariance)
    chosen = np.argsort(values)[::-1][:n]
    basis = vectors[:, chosen]
    basis *= np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(n)])
    scale = float(np.sqrt(max(values[chosen[0]], np.finfo(float).tiny)))
    out = np.empty((len(frames.values), n), np.float32)
    turn = basis / scale
    for at in range(0, len(out), _ROWS):
        part = slice(at, at + _ROWS)
        out[part] = (frames.values[part].astype(np.float64) - mean) @ turn
    return out


def _moments(frames: Sequences, train: Rows) -> tuple[Float64, Float64]:
    total = np.zeros(frames.dim)
    n = int(frames.length[train].sum())
    for clip in train:
        total += frames.values[frames.rows(int(clip))].sum(axis=0, dtype=np.float64)
    mean = total / n
    covariance = np.zeros((frames.dim, frames.dim))
    # Of many clips at a time: a sum is as large as the product of some thousand frames takes.
    for some in np.array_split(train, max(1, n // _ROWS)):
        apart = np.concatenate([frames.values[frames.rows(int(clip))] for clip in some]) - mean
        covariance += apart.T @ apart
    return mean, covariance / n
