"""What every probe is given and what it returns.

A :class:`Fold` holds the features of all clips and the labels of its training clips *only*: the
labels of the reported clips are out of reach, so nothing (λ, epoch, PCA, imputation) can be chosen
on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas

from pianoeval.features.layers import Layering
from pianoeval.features.sequences import Sequences

Rows = NDArray[np.int64]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# A column whose standard deviation is below this share of its largest value is rounding, not
# information.
_CONSTANT = 1e-7


@dataclass(frozen=True, eq=False)
class Standardiser:
    """Imputation and scaling learned on training rows.

    Attributes
    ----------
    median, mean, inverse_scale : float64, shape (features,)
        Missing values become ``median``; ``mean`` and scale are those of the imputed columns.
        ``inverse_scale`` is 0 for a column that is constant or wholly missing in the training
        rows: it carries no information there, and 0 after centring is the same as leaving it out.
    """

    median: Float64
    mean: Float64
    inverse_scale: Float64

    @classmethod
    def fit(cls, x: Float32) -> Standardiser:
        """Learn from ``x``, shape (rows, features); NaN marks a missing value."""
        wide = x.astype(np.float64)
        median = np.zeros(x.shape[1])
        missing = np.isnan(wide)
        for column in np.flatnonzero(missing.any(axis=0)):
            present = wide[~missing[:, column], column]
            if present.size:
                median[column] = np.median(present)
            wide[missing[:, column], column] = median[column]
        mean = wide.mean(axis=0)
        largest = np.abs(wide).max(axis=0)
        wide -= mean
        scale = np.sqrt(np.einsum("ij,ij->j", wide, wide) / len(wide))
        informative = scale > _CONSTANT * largest
        inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=informative)
        return cls(median, mean, inverse)

    def transform(self, x: Float32) -> Float64:
        """Standardised copy of ``x``, float64, same shape, free of NaN."""
        z = x.astype(np.float64)
        missing = np.isnan(z)
        if missing.any():
            z = np.where(missing, self.median, z)
        z -= self.mean
        z *= self.inverse_scale
        return z


@dataclass(frozen=True, eq=False)
class Fold:
    """One fold of one scheme.

    Attributes
    ----------
    name : str
        ``scheme/fold``, for messages.
    x : float32, shape (clips, features)
        Features of all clips, shared by the folds; NaN = missing.
    train, test : int64
        Rows of ``x`` that may be learned from, and that must be predicted.
    y : float64, shape (len(train), dimensions)
        Labels of the training rows, in their order.
    inner : list of (fit, held)
        Positions within ``train``: the group-aware inner folds on which λ is chosen.
    validation : (fit, held)
        Positions within ``train``: one group-aware split, for early stopping.
    layering : Layering, optional
        How the columns of ``x`` divide into layers, if they do.
    sequences : Sequences, optional
        Frames or notes of all clips, in the rows of ``x``.
    groups : int64, shape (len(train),), optional
        Which training clips are of one group of those that the scheme holds out.
    """

    name: str
    x: Float32
    train: Rows
    test: Rows
    y: Float64
    inner: Sequence[tuple[Rows, Rows]] = field(default_factory=list)
    validation: tuple[Rows, Rows] | None = None
    layering: Layering | None = None
    sequences: Sequences | None = None
    groups: Rows | None = None

    @property
    def n_train(self) -> int:
        """Number of training clips."""
        return len(self.train)

    @property
    def is_wide(self) -> bool:
        """More features than training clips: work on the Gram matrix."""
        return bool(self.x.shape[1] > self.n_train)

    def standardised(self) -> Float64:
        """Training rows, then test rows, scaled by the training rows: (n_train + n_test, p)."""
        scaler = Standardiser.fit(self.x[self.train])
        return scaler.transform(self.x[np.concatenate([self.train, self.test])])

    @cached_property
    def gram(self) -> Float64:
        """Inner products of :meth:`standardised`, training rows first; computed once a fold.

        Ridge (dual form) and PCA need nothing else of a view that is wider than it is long.
        """
        z = self.standardised()
        upper = blas.dsyrk(1.0, z.T, trans=True)  # z.T is Fortran-ordered: no copy, half the work
        return np.asarray(np.triu(upper) + np.triu(upper, 1).T, dtype=np.float64)

    def principal_components(self, n_components: int) -> Float64:
        """PCA scores fitted on the training rows: (n_train + n_test, ≤ n_components), float64.

        Signs are fixed (largest absolute training score positive), so results do not depend on the
        linear-algebra library.
        """
        n = self.n_train
        centred = centre_gram(self.gram, np.arange(n), np.arange(len(self.gram)))
        values, vectors = np.linalg.eigh(centred[:n])
        keep = np.argsort(values)[::-1][:n_components]
        keep = keep[values[keep] > 1e-10 * values.max()]
        vectors = vectors[:, keep] / np.sqrt(values[keep])
        vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(keep))])
        return np.asarray(centred @ vectors, dtype=np.float64)


def centre_gram(gram: Float64, fit: Rows, out: Rows) -> Float64:
    """Inner products of rows ``out`` with rows ``fit`` after subtracting the mean of ``fit``.

    (z_o − μ)·(z_f − μ) = K_of − mean_f' K_of' − mean_f' K_f'f + mean K_ff, μ the mean of ``fit``.
    """
    block = gram[np.ix_(out, fit)]
    inside = gram[np.ix_(fit, fit)]
    return np.asarray(
        block - block.mean(axis=1, keepdims=True) - inside.mean(axis=0) + inside.mean(),
        dtype=np.float64,
    )


@dataclass(frozen=True, eq=False)
class FoldPrediction:
    """Predictions for a fold's test rows and what was chosen on the way.

    Attributes
    ----------
    values : float64, shape (n_test, dimensions)
    selection : dict
        Hyper-parameters chosen inside the training clips, e.g. ``{"lambda": [...]}``.
    """

    values: Float64
    selection: dict[str, list[float]] = field(default_factory=dict)
