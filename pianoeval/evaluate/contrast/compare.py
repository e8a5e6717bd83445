"""Heads against each other and against the best baseline: paired differences of R².

As in ``evaluate.comparisons``, of what a head scores when it is trained once: value and difference
are means over seeds, and so is each content group's contribution in the permutation test. Each
dimension whose labels vary is compared, and the mean over them. q is over all pairs and dimensions
of a scheme; of the means over all pairs. ``n_seeds_ahead`` counts the seeds with which a scores
more than b with the same seed. Points of a sweep are compared with nothing. The baseline is the
best on the clips that are compared, so its side is flattered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.evaluate.comparisons import (
    group_columns,
    held_out_unit,
    value_columns,
    verdict_rows,
)
from pianoeval.evaluate.contrast.rows import HEADLINE, Judged
from pianoeval.evaluate.contrast.trial import Trial, is_point
from pianoeval.evaluate.paired import Items
from pianoeval.evaluate.scoring import TIE_DIGITS
from pianoeval.evaluate.statistics.bootstrap import Resampled
from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.evaluate.statistics.significance import benjamini_hochberg
from pianoeval.evaluate.tables import MEAN
from pianoeval.params import EvaluateParams

COMPARED_COLUMNS = [
    "scheme", "dimension", "metric", "a", "b", "value_a", "value_b", "difference", "ci_low",
    "ci_high", "interval", "p_permutation", "q_permutation", "smallest_p", "n_clusters",
    "t_cluster", "p_t_cluster", "p_wilcoxon_cluster", "n_seeds", "n_seeds_ahead", "unit",
    "n_units", "n_units_ahead", "n_units_behind", "p_unit", "verdict",
]  # fmt: skip
Places = NDArray[np.intp]


def compare_heads(
    judged: Judged, manifest: pd.DataFrame, params: EvaluateParams
) -> list[dict[str, Any]]:
    """Comparisons of one trial, columns ``COMPARED_COLUMNS``: dimensions, then their mean."""
    trial = judged.trial
    heads = [n for n in trial.heads if not is_point(n) and _is_defined(judged, n)]
    keys = [*heads, *_best_baseline(judged)]
    pairs = [(a, b) for a, b in combinations(range(len(keys)), 2) if a < len(heads)]
    if not pairs:
        return []
    first, second = np.array(pairs, dtype=np.intp).T
    found = [
        _columns(judged, keys, place, first, second, manifest, params)
        for place in [*np.flatnonzero(trial.varied).tolist(), len(trial.dimensions)]
    ]
    single, mean = found[:-1], found[-1]
    if len(trial.dimensions) == 1:
        single = []  # the mean over one dimension is that dimension
    elif single:
        p = np.concatenate([columns["p_permutation"] for columns in single])
        for columns, q in zip(single, np.split(benjamini_hochberg(p), len(single)), strict=True):
            columns["q_permutation"] = q
    rows = [
        row for columns in [*single, mean]
        for row in verdict_rows(columns, len(first), params.confidence)
    ]  # fmt: skip
    return [{name: row[name] for name in COMPARED_COLUMNS} for row in rows]


def _is_defined(judged: Judged, name: str) -> bool:
    return bool(np.isfinite(judged.headline[name].value[-1]))


def _best_baseline(judged: Judged) -> list[str]:
    """The highest mean; of equal ones the training mean, then by name."""
    known = [name for name in judged.trial.baselines if _is_defined(judged, name)]

    def place(name: str) -> tuple[float, bool, str]:
        value = float(judged.headline[name].value[-1])
        return (-round(value, TIE_DIGITS), not name.startswith("none/"), name)

    return [min(known, key=place)] if known else []


def _columns(
    judged: Judged, keys: Sequence[str], place: int, first: Places, second: Places,
    manifest: pd.DataFrame, params: EvaluateParams,
) -> dict[str, Any]:  # fmt: skip
    """Columns of one dimension, or of the mean where ``place`` is behind the last."""
    trial = judged.trial
    names = [*trial.dimensions, MEAN]
    drawn = [_one(judged.headline[key], place) for key in keys]
    ahead, several = _seeds_ahead(judged, keys, place, first, second)
    found: dict[str, Any] = {
        "scheme": trial.scheme, "dimension": names[place], "metric": HEADLINE,
        "n_seeds": several, "n_seeds_ahead": ahead,
        # Tests over clips take them as independent; heads are not published with any.
        "t_clip": np.nan, "p_t_clip": np.nan,
    }  # fmt: skip
    found |= value_columns(keys, drawn, first, second, params.confidence)
    used = np.full(len(trial.dimensions), place == len(trial.dimensions))
    if not used.any():
        used[place] = True
    unit = held_out_unit(trial.scheme, trial.design, manifest)
    found |= group_columns(
        make_items(trial, used), trial.design, {key: trial.of(key) for key in keys}, first, second,
        unit, params,
    )  # fmt: skip
    return found


def _one(drawn: Resampled, place: int) -> Resampled:
    part = slice(place, place + 1)
    return replace(
        drawn, value=drawn.value[part], draws=drawn.draws[part], jackknife=drawn.jackknife[part]
    )


def _seeds_ahead(
    judged: Judged, keys: Sequence[str], place: int, first: Places, second: Places
) -> tuple[NDArray[np.int64], int]:
    """In how many seeds a is above b, and how many there are; a baseline is the same in all."""
    several = len(judged.trial.seeds)
    values = np.array([np.broadcast_to(judged.of_seeds[key][:, place], (several,)) for key in keys])
    above = values[first] > values[second]
    return np.asarray(above.sum(axis=1), dtype=np.int64), several


def make_items(trial: Trial, used: NDArray[np.bool_]) -> Items:
    """Clips scored by their squared error, a mean over seeds: predictions (seeds, n, D)."""
    y = trial.y
    rated = np.isfinite(y)
    mean = np.where(rated, y, 0.0).sum(axis=0) / np.maximum(rated.sum(axis=0), 1)
    total = (np.where(rated, y - mean, 0.0) ** 2).sum(axis=0)
    use = used & (total > 0)
    kept = rated[:, use]

    def score(p: Array) -> Array:
        return -np.where(kept, ((y - p)[:, :, use] ** 2).mean(axis=0), 0.0)

    return Items(np.arange(len(y)), kept.astype(np.float64), total[use], score)


def compared_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a table with the columns ``COMPARED_COLUMNS``."""
    return pd.DataFrame(list(rows), columns=COMPARED_COLUMNS)
