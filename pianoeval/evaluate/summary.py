"""The summary of an evaluation: what won, by how much, against what, and what it cannot show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pianoeval.evaluate import leaks
from pianoeval.evaluate.bootstrap import Resampled
from pianoeval.evaluate.splits import SCHEMES
from pianoeval.evaluate.state import Evaluation, Headline
from pianoeval.evaluate.tables import ModelKey

FEW_CLUSTERS = 10


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if math.isfinite(value) else None


def _entry(key: ModelKey, found: Resampled, confidence: float) -> dict[str, Any]:
    low, high = found.interval(confidence)
    return {
        "features": key.features,
        "model": key.model,
        "seed": key.seed,
        "value": _number(found.value[0]),
        "ci_low": _number(low[0]),
        "ci_high": _number(high[0]),
    }


def _difference(paired: Resampled, confidence: float) -> dict[str, Any]:
    low, high = paired.interval(confidence)
    values = {"value": paired.value[0], "ci_low": low[0], "ci_high": high[0]}
    return {name: _number(value) for name, value in values.items()}


def _audio_minus_symbolic(
    found: Mapping[ModelKey, Resampled], models: Sequence[ModelKey], confidence: float
) -> dict[str, Any] | None:
    """Paired difference of the best model of either kind; ``models`` stand best first."""
    audio = next((key for key in models if not key.is_symbolic), None)
    symbolic = next((key for key in models if key.is_symbolic), None)
    if audio is None or symbolic is None:
        return None
    return {
        "audio": dict(vars(audio)),
        "symbolic": dict(vars(symbolic)),
        **_difference(found[audio].minus(found[symbolic]), confidence),
    }


def headline(
    means: Mapping[ModelKey, Mapping[str, Resampled]],
    ceilings: Mapping[str, float],
    confidence: float,
) -> Headline:
    """Best model, best baseline and ceiling of each metric, and their distance.

    Parameters
    ----------
    means : mapping
        By model and metric: the mean over dimensions, resampled.
    ceilings : mapping of float, by metric
    confidence : float

    Returns
    -------
    dict
        By metric: ``best``, ``best_by_features`` and ``baseline`` (value and interval),
        ``n_compared`` (models the best was chosen from), ``advantage`` (best − baseline, paired
        BCa interval), ``ceiling``, ``share_of_way`` (from baseline 0 to ceiling 1),
        ``audio_minus_symbolic`` (best audio − best symbolic model, paired in the same way; None
        unless there are both).
    """
    metrics = list(dict.fromkeys(name for found in means.values() for name in found))
    return {metric: _line(means, metric, ceilings.get(metric), confidence) for metric in metrics}


def _line(
    means: Mapping[ModelKey, Mapping[str, Resampled]],
    metric: str,
    ceiling: float | None,
    confidence: float,
) -> dict[str, Any]:
    found = {key: r[metric] for key, r in means.items() if math.isfinite(r[metric].value[0])}
    order = sorted(found, key=lambda key: (-found[key].value[0], str(key)))
    models = [key for key in order if not key.is_baseline]
    baselines = [key for key in order if key.is_baseline]
    by_features: dict[str, ModelKey] = {}
    for key in models:
        by_features.setdefault(key.features, key)
    line: dict[str, Any] = {
        "best": _entry(models[0], found[models[0]], confidence) if models else None,
        "n_compared": len(models),
        "best_by_features": {
            name: _entry(key, found[key], confidence) for name, key in by_features.items()
        },
        "baseline": _entry(baselines[0], found[baselines[0]], confidence) if baselines else None,
        "ceiling": None if ceiling is None else _number(ceiling),
        "advantage": None,
        "share_of_way": None,
        "audio_minus_symbolic": _audio_minus_symbolic(found, models, confidence),
    }
    if models and baselines:
        difference = found[models[0]].minus(found[baselines[0]])
        line["advantage"] = _difference(difference, confidence)
        room = (ceiling or math.nan) - found[baselines[0]].value[0]
        line["share_of_way"] = _number(difference.value[0] / room) if room > 0 else None
    return line


def summarise(
    state: Evaluation, matrix: pd.DataFrame, skipped: Mapping[str, str]
) -> dict[str, Any]:
    """Everything beside the table of results.

    Returns
    -------
    dict
        ``corpus, task, commit, simulated, size, bootstrap, sizes, headlines`` (scheme → subset →
        metric), ``skipped`` (scheme → reason), ``leaks`` (scheme → column → share of test clips),
        ``declared_overlaps``, ``reliability`` (subset → dimension), ``ranking_excluded``,
        ``reliability_unknown``, ``notes`` (sentences).
    """
    manifest, params = state.manifest, state.params
    columns = ("segment", "content_group", "movement", "composition", "player")
    return {
        "corpus": state.corpus,
        "task": state.task,
        "commit": state.commit,
        "simulated": is_simulated(state),
        "size": {"clip": len(manifest)} | {c: int(manifest[c].nunique()) for c in columns},
        "bootstrap": {
            "method": "BCa, clusters = content groups",
            "draws": params.n_bootstrap,
            "confidence": params.confidence,
            "seed": params.seed,
        },
        "sizes": [vars(size) for size in state.sizes],
        "headlines": state.headlines,
        "skipped": dict(skipped),
        "leaks": leaks.as_mapping(matrix),
        "declared_overlaps": {
            scheme: sorted(SCHEMES[scheme].declared) for scheme in dict.fromkeys(matrix["scheme"])
        },
        "reliability": {
            subset: {
                str(name): {str(k): _number(v) for k, v in row.items()}
                for name, row in table.to_dict("index").items()
            }
            for subset, table in state.reliability.items()
        },
        "ranking_excluded": state.unreliable,
        "reliability_unknown": state.unknown_reliability,
        "notes": notes(state),
    }


def is_simulated(state: Evaluation) -> bool:
    """Synthetic performances whose labels nobody rated: the truth is known, the ceiling is 1."""
    return state.ratings is None and bool((state.manifest["source"] == "synthetic").all())


def notes(state: Evaluation) -> list[str]:
    """What a reader must know, in sentences."""
    out = [*_cluster_notes(state), *_scheme_notes(state)]
    if is_simulated(state):
        out.append(
            "Labels are the severities that were put in, so they have no rater noise and every "
            "ceiling is 1; no ceiling rows are given."
        )
    elif state.ratings is None:
        out.append("There are no raw ratings, so no ceiling can be computed.")
    if state.unreliable:
        out.append(
            f"Raters do not agree within segments on {', '.join(state.unreliable)} (reliability "
            f"below {state.params.min_within_reliability:g}): left out of mean pairwise accuracy."
        )
    if state.unknown_reliability:
        out.append(
            "How far raters agree within segments is unknown (one rater a clip, or one clip a "
            f"segment) for {', '.join(state.unknown_reliability)}: kept in mean pairwise accuracy, "
            "without a ceiling."
        )
    for scheme, count in state.dropped.items():
        out.append(
            f"{scheme}: {count} labelled clips lack a prediction of some model and are left out "
            "for all."
        )
    for scheme, metric in sorted({(s, m) for s, m, _ in state.undefined}):
        names = sorted(n for s, m, n in state.undefined if (s, m) == (scheme, metric))
        out.append(f"{scheme}: {metric} is undefined for some model on {', '.join(names)}.")
    out.append(
        "Rank correlations carry no interval: they are not functions of sums over content groups."
    )
    return out


def _cluster_notes(state: Evaluation) -> list[str]:
    out = [
        "Intervals resample content groups. Players recur in many of them, so the intervals are "
        "narrower than they would be for new players."
    ]
    few = {size.clusters for size in state.sizes if size.clusters < FEW_CLUSTERS}
    for clusters in sorted(few):
        out.append(
            f"{clusters} content groups: intervals over so few clusters are rough and tend to be "
            "too narrow."
        )
    return out


def _scheme_notes(state: Evaluation) -> list[str]:
    movements = int(state.manifest["movement"].nunique())
    schemes = {size.scheme for size in state.sizes}
    out = []
    if schemes & {"movement", "movement_player"} and movements < FEW_CLUSTERS:
        out.append(
            f"{movements} movements: the movement folds show how models carry over to these "
            f"{movements}. Intervals over so few cannot support a claim about music in general."
        )
    if schemes & {"player", "movement_player", "leave_one_player_out", "random"}:
        out.append(
            "Pairs are compared inside one fold only: under player folds the two clips of a pair "
            "otherwise come from models with different training means, and any model that shrinks "
            "towards its mean would rank them backwards."
        )
    for size in state.sizes:
        if size.subset == "all" and size.pairs == 0:
            out.append(f"{size.scheme}: no two clips of one segment share a fold, so no pairs.")
    return out
