"""Every model against every other: paired differences, their intervals and tests.

One row a pair of models, scheme and metric; differences are a − b, and above 0 a is better.

p_permutation       models exchanged within whole content groups (``significance.sign_flip``). The
                    contributions of the groups sum to the difference: for pooled R² the mean over
                    dimensions of (sse_b − sse_a) / SST, for pairwise accuracy of (hits_a −
                    hits_b) / pairs. Corrected over all pairs of models of the scheme and metric
                    (q_permutation).
…_cluster           t and Wilcoxon on each content group's own mean difference, every group counting
                    the same: the mean squared error in units of the dimension's variance, or the
                    share of pairs
…_clip              t, Wilcoxon and d on each clip's squared error, averaged over dimensions. This
                    is what is published for PercePiano; it takes clips as independent, though they
                    share notes and players, so its p is too small. On every clip of the subset,
                    whatever the metric of the row.
r_a, r_b, cohen_q, williams_…
                    correlation with the ratings over all rated cells, after centring each dimension
                    of ratings and of predictions on its mean; Williams' test with n = clips. It
                    ignores the content groups too.
unit, n_units, n_units_ahead, n_units_behind, p_unit
                    the groups that a scheme holds out (movements), in how many of them a is ahead
                    and behind, and the sign-flip test over them: what a claim about other movements
                    rests on

Training is not repeated: no test here knows how a model varies with its training clips.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.evaluate.paired import Items, Places, clip_columns, correlation_columns, make_items
from pianoeval.evaluate.protocol.groups import group_labels
from pianoeval.evaluate.statistics import significance
from pianoeval.evaluate.statistics.bootstrap import Resampled
from pianoeval.evaluate.statistics.metrics import Array, margin_name
from pianoeval.evaluate.statistics.pairs import Design, Index
from pianoeval.evaluate.tables import ModelKey
from pianoeval.evaluate.verdicts import verdict
from pianoeval.params import EvaluateParams

COMPARISON_COLUMNS = [
    "scheme", "subset", "metric", "a", "b", "value_a", "value_b", "difference", "ci_low",
    "ci_high", "interval", "p_permutation", "q_permutation", "smallest_p", "n_clips", "n_clusters",
    "t_cluster", "p_t_cluster", "p_wilcoxon_cluster", "t_clip", "p_t_clip", "p_wilcoxon_clip",
    "cohen_d_clip", "r_a", "r_b", "cohen_q", "williams_t", "williams_p", "unit", "n_units",
    "n_units_ahead", "n_units_behind", "p_unit", "verdict",
]  # fmt: skip
# What a scheme holds out that is coarser than the content groups it is tested on.
UNITS = {"movement": "movement", "movement_player": "movement", "composition": "composition"}
HEADLINE_MARGIN = 0.05
CHUNK_PAIRS = 64


def compared_metrics(subset: str, has_human: bool, margins: Sequence[float]) -> list[str]:
    """Metrics that are compared on a subset: R² on all clips, ranking on human ones.

    Deadpan renderings are easy to tell from performances, so ranking is compared without them;
    on all clips only where a corpus has none. The margin is .05, or the smallest above 0.
    """
    found = ["r2_pooled"] if subset == "all" else []
    if margins and subset == ("human" if has_human else "all"):
        above = sorted(m for m in margins if m > 0) or [0.0]
        found.append(margin_name(HEADLINE_MARGIN if HEADLINE_MARGIN in margins else above[0]))
    return found


def compared_models(
    keys: Iterable[ModelKey], views: Mapping[str, Mapping[str, Any]]
) -> list[ModelKey]:
    """Baselines, and the models of each features' first view; ``views`` as in the parameters.

    Controls and learning curves are views of their own and so never among them.
    """
    first = {next(iter(found)) for found in views.values() if found}
    return [key for key in keys if key.is_baseline or key.features in first]


def model_names(keys: Sequence[ModelKey]) -> list[str]:
    """``features/model``, with the seed where a model has several."""
    plain = [f"{key.features}/{key.model}" for key in keys]
    return [
        f"{name} (seed {key.seed})" if plain.count(name) > 1 else name
        for name, key in zip(plain, keys, strict=True)
    ]


def comparisons_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a table with the columns ``COMPARISON_COLUMNS``."""
    return pd.DataFrame(list(rows), columns=COMPARISON_COLUMNS)


def compare_models(
    scheme: str,
    subset: str,
    metric: str,
    design: Design,
    y: Array,
    predictions: Mapping[ModelKey, Array],
    means: Mapping[ModelKey, Mapping[str, Resampled]],
    averaged: NDArray[np.bool_],
    manifest: pd.DataFrame,
    params: EvaluateParams,
) -> list[dict[str, Any]]:
    """Compare every pair of models on one set of clips by one metric.

    Parameters
    ----------
    scheme, subset, metric : str
        ``metric`` is ``r2_pooled`` or the pairwise accuracy of one of ``params.margins``.
    design : Design
    y : float64, shape (n, D)
        NaN = not rated.
    predictions : mapping of float64, shape (n, D)
        By model, in the order of the pairs.
    means : mapping
        By model and metric: the mean over dimensions, resampled; the last value is used. A model
        whose metric is absent or undefined is left out.
    averaged : bool, shape (D,)
        Dimensions that may enter the mean of the metric.
    manifest : DataFrame
    params : EvaluateParams

    Returns
    -------
    list of dict with the keys ``COMPARISON_COLUMNS``
    """
    keys = [key for key in predictions if _is_defined(means[key].get(metric))]
    if len(keys) < 2:
        return []
    first, second = np.array(list(combinations(range(len(keys)), 2)), dtype=np.intp).T
    chosen = {key: predictions[key] for key in keys}
    found: dict[str, Any] = {"scheme": scheme, "subset": subset, "metric": metric}
    drawn = [means[key][metric] for key in keys]
    found |= value_columns(model_names(keys), drawn, first, second, params.confidence)
    items = make_items(metric, design, y, averaged, params.margins)
    unit = held_out_unit(scheme, design, manifest)
    found |= group_columns(items, design, chosen, first, second, unit, params)
    found |= clip_columns(y, chosen, first, second)
    found |= correlation_columns(y, chosen, first, second)
    return verdict_rows(found, len(first), params.confidence)


def _is_defined(one: Resampled | None) -> bool:
    return one is not None and bool(np.isfinite(one.value[-1]))


def value_columns(
    names: Sequence[str], drawn: Sequence[Resampled], first: Places, second: Places,
    confidence: float,
) -> dict[str, Any]:  # fmt: skip
    """What is compared, and the paired differences with their limits."""
    name = np.array(names, dtype=object)
    value = np.array([one.value[-1] for one in drawn])
    low, high = _intervals(drawn, first, second, confidence)
    return {
        "a": name[first], "b": name[second], "value_a": value[first], "value_b": value[second],
        "difference": value[first] - value[second], "ci_low": low, "ci_high": high,
        "interval": np.where(np.isfinite(low), drawn[0].method, ""),
    }  # fmt: skip


def verdict_rows(found: Mapping[str, Any], n_pairs: int, confidence: float) -> list[dict[str, Any]]:
    """Columns, or one value for all pairs, as rows of plain values, each with its verdict."""
    columns = {
        name: values.tolist() if isinstance(values, np.ndarray) else [values] * n_pairs
        for name, values in found.items()
    }
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    return [row | {"verdict": verdict(row, confidence)} for row in rows]


def _intervals(
    drawn: Sequence[Resampled], first: Places, second: Places, confidence: float
) -> tuple[Array, Array]:
    """Limits of the paired differences, many at once."""
    limits = []
    for start in range(0, len(first), CHUNK_PAIRS):
        chunk = slice(start, start + CHUNK_PAIRS)
        paired = [
            drawn[a].minus(drawn[b]) for a, b in zip(first[chunk], second[chunk], strict=True)
        ]
        together = dataclasses.replace(
            paired[0],
            value=np.array([one.value[-1] for one in paired]),
            draws=np.stack([one.draws[-1] for one in paired]),
            jackknife=np.stack([one.jackknife[-1] for one in paired]),
        )
        limits.append(np.stack(together.interval(confidence)))
    low, high = np.concatenate(limits, axis=1)
    return low, high


def held_out_unit(scheme: str, design: Design, manifest: pd.DataFrame) -> tuple[str, Index] | None:
    """Name and codes (n,) of what the scheme holds out, where that is more than content groups."""
    if scheme not in UNITS:
        return None
    labels = group_labels(manifest[manifest["clip"].isin(design.clips)], UNITS[scheme])
    return UNITS[scheme], np.unique(labels.loc[list(design.clips)], return_inverse=True)[1]


def group_columns(
    items: Items,
    design: Design,
    predictions: Mapping[Any, Array],
    first: Places,
    second: Places,
    unit: tuple[str, Index] | None,
    params: EvaluateParams,
) -> dict[str, Any]:
    """Permutation, t and Wilcoxon over content groups, and signs over held-out units."""

    def differences(of: Callable[[Array, Index], Array], code: Index) -> Array:
        per_model = np.stack([of(p, code) for p in predictions.values()], axis=1)
        return per_model[:, first] - per_model[:, second]

    draws, seed = params.n_bootstrap, params.seed
    present = items.present(design.cluster)
    gains = differences(items.gains, design.cluster)[present]
    levels = differences(items.levels, design.cluster)[present]
    p = significance.sign_flip(gains, draws, seed)
    smallest = [significance.smallest_p(int(n), draws) for n in (gains != 0.0).sum(axis=0)]
    t, p_t = significance.paired_t(levels)
    found: dict[str, Any] = {
        "p_permutation": p, "q_permutation": significance.benjamini_hochberg(p),
        "smallest_p": np.array(smallest), "n_clusters": len(levels), "t_cluster": t,
        "p_t_cluster": p_t, "p_wilcoxon_cluster": significance.paired_wilcoxon(levels),
        "unit": "", "n_units": 0, "n_units_ahead": 0, "n_units_behind": 0,
        "p_unit": np.full(len(first), np.nan),
    }  # fmt: skip
    if unit is not None:
        held_out = differences(items.gains, unit[1])[items.present(unit[1])]
        found |= {
            "unit": unit[0], "n_units": len(held_out), "n_units_ahead": (held_out > 0).sum(axis=0),
            "n_units_behind": (held_out < 0).sum(axis=0),
            "p_unit": significance.sign_flip(held_out, draws, seed),
        }  # fmt: skip
    return found
