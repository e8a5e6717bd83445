"""Latent maps: does a space of features know the piece, or the playing?"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import eigh

from pianoeval.evaluate.diagnostics.jsonable import number
from pianoeval.evaluate.diagnostics.neighbours import neighbourhood
from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.evaluate.tables import positions
from pianoeval.features.views import load_view
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths

COMPONENTS = 64  # distances are taken in these: they hold what varies, and cost nothing
COLUMNS = ["view", "clip", "x", "y"]


def latent_maps(
    paths: CorpusPaths,
    params: Params,
    manifest: pd.DataFrame,
    y: Array,
    predicted: Collection[str],
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Map and neighbourhoods of the first view of each source of features.

    Parameters
    ----------
    paths, params
    manifest : DataFrame
    y : float64, shape (clips of the manifest, D)
        Ratings; clips without any are left out of the map.
    predicted : collection of str
        Views with predictions. Where nothing was predicted from a view, there may be no features.

    Returns
    -------
    map : DataFrame
        Columns ``view, clip, x, y``: the first two principal components.
    found : list of dict
        ``view, source, description, n_clips, components, explained`` (share of the variance on
        each axis), ``explained_kept`` (on all components), ``neighbours``.

    Raises PianoevalError if features cannot be read.
    """
    rated = np.isfinite(y).any(axis=1)
    part = manifest[rated].reset_index(drop=True)
    mean = np.nanmean(y[rated], axis=1) if rated.any() else np.zeros(0)
    tables, found = [pd.DataFrame(columns=COLUMNS)], []
    for source in params.axes.features:
        name = next(iter(params.views[source]))
        if name not in predicted:
            found.append(_nothing(name, source, "nothing was predicted from this view"))
            continue
        view = load_view(source, name, params, paths, part["clip"].tolist())
        scores, share = principal_components(view.x, COMPONENTS)
        if scores.shape[1] < 2:
            found.append(_nothing(name, source, "fewer than two directions vary"))
            continue
        row = positions(part["clip"].tolist(), view.clips)
        axes = {"view": name, "clip": view.clips, "x": scores[:, 0], "y": scores[:, 1]}
        tables.append(pd.DataFrame(axes))
        near = neighbourhood(scores, pd.DataFrame(part.iloc[row]), mean[row])
        found.append(_described(name, source, view.description, share, len(row), near))
    return pd.concat(tables[1:] or tables, ignore_index=True), found


def _described(
    view: str, source: str, description: str, share: Array, n_clips: int, near: dict[str, Any]
) -> dict[str, Any]:
    return {
        "view": view,
        "source": source,
        "description": description,
        "n_clips": n_clips,
        "components": len(share),
        "explained": [number(float(share[0])), number(float(share[1]))],
        "explained_kept": number(float(share.sum())),
        "neighbours": near,
    }


def _nothing(view: str, source: str, reason: str) -> dict[str, Any]:
    empty = ("description", "components", "explained", "explained_kept", "neighbours")
    head: dict[str, Any] = {"view": view, "source": source, "n_clips": 0}
    return head | dict.fromkeys(empty) | {"reason": reason}


def standardised(x: NDArray[np.float32]) -> Array:
    """Columns with mean 0 and variance 1; NaN becomes the column's median; constant columns go."""
    z = x.astype(np.float64)
    z = z[:, np.isfinite(z).any(axis=0)]
    gaps = np.isnan(z)
    for column in np.flatnonzero(gaps.any(axis=0)):
        z[gaps[:, column], column] = np.nanmedian(z[:, column])
    mean, spread = z.mean(axis=0), z.std(axis=0)
    varies = spread > 1e-9 * np.maximum(np.abs(mean), 1e-30)
    z = z[:, varies]
    z -= mean[varies]
    z /= spread[varies]
    return z


def principal_components(x: NDArray[np.float32], n_components: int) -> tuple[Array, Array]:
    """Scores of standardised features on their leading principal components.

    A matrix that is wider than long goes through its Gram matrix (Jolliffe 2002, section 3.5). The
    largest absolute score of each component is positive, so that signs do not depend on the
    linear-algebra library.

    Parameters
    ----------
    x : float32, shape (n, p)
    n_components : int

    Returns
    -------
    scores : float64, shape (n, k)
        k ≤ ``n_components``: directions without variance are left out.
    share : float64, shape (k,)
        Of the total variance.
    """
    z = standardised(x)
    n, p = z.shape
    if n < 2 or p == 0:
        return np.zeros((n, 0)), np.zeros(0)
    square = z @ z.T if p > n else z.T @ z
    last = len(square) - 1
    wanted = (max(0, len(square) - n_components), last)
    values, vectors = eigh(square, subset_by_index=wanted)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = values > 1e-10 * values[0]
    values, vectors = values[kept], vectors[:, kept]
    scores = vectors * np.sqrt(values) if p > n else z @ vectors
    largest = np.abs(scores).argmax(axis=0)
    scores = scores * np.sign(scores[largest, np.arange(scores.shape[1])])
    return scores, values / np.trace(square)
