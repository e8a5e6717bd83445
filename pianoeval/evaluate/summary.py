"""The summary of an evaluation: what won, by how much, against what, and what it cannot show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pianoeval.evaluate.notes import is_simulated, notes
from pianoeval.evaluate.protocol import leaks
from pianoeval.evaluate.protocol.controls import SHUFFLED_LABELS, base_view
from pianoeval.evaluate.protocol.leaks import LeakError
from pianoeval.evaluate.protocol.null_labels import null_p
from pianoeval.evaluate.protocol.splits import SCHEMES
from pianoeval.evaluate.scoring import JACKKNIFE, Scored, best_of
from pianoeval.evaluate.state import Evaluation, Headline
from pianoeval.evaluate.statistics.bootstrap import Resampled
from pianoeval.evaluate.tables import ModelKey

# Of the test that shuffled labels cannot be predicted; p is exact, so few runs are stopped in vain.
NULL_DRAWS, NULL_LEVEL = 9999, 0.01
OneWay = Mapping[ModelKey, Mapping[str, Mapping[str, Sequence[float]]]]


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
    audio = next((key for key in models if not (key.is_symbolic or key.is_fusion)), None)
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
    one_way: OneWay,
) -> Headline:
    """Best model, best baseline and ceiling of each metric, and their distance.

    Parameters
    ----------
    means : mapping
        By model and metric: the mean over dimensions, resampled.
    ceilings : mapping of float, by metric
    confidence : float
    one_way : mapping
        By model and metric: limits when one factor alone is resampled.

    Returns
    -------
    dict
        By metric: ``best``, ``best_by_features`` and ``baseline`` (value and interval; ``best``
        also ``one_way`` {factor: limits}, of pooled R² and the headline's pairwise accuracy where
        two factors are resampled),
        ``n_compared`` (models the best was chosen from), ``advantage`` (best − baseline, paired
        BCa interval), ``ceiling``, ``share_of_way`` (from baseline 0 to ceiling 1),
        ``audio_minus_symbolic`` (best audio − best symbolic model, paired in the same way; None
        unless there are both).
    """
    metrics = list(dict.fromkeys(name for found in means.values() for name in found))
    lines = {m: _line(means, m, ceilings.get(m), confidence) for m in metrics}
    for metric, line in lines.items():
        best = line["best"]
        if best is not None:
            key = ModelKey(best["features"], best["model"], best["seed"])
            limits = one_way.get(key, {}).get(metric)
            if limits is not None:
                best["one_way"] = {f: [_number(x) for x in two] for f, two in limits.items()}
    return lines


def _line(
    means: Mapping[ModelKey, Mapping[str, Resampled]],
    metric: str,
    ceiling: float | None,
    confidence: float,
) -> dict[str, Any]:
    order = best_of(means, metric)
    found = {key: means[key][metric] for key in order}
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
        room = (math.nan if ceiling is None else ceiling) - found[baselines[0]].value[0]
        line["share_of_way"] = _number(difference.value[0] / room) if room > 0 else None
    return line


def control_lines(found: Scored, confidence: float) -> Headline:
    """Mean pooled R² of each control, ``<view>:<control>`` → ``r2_pooled``."""
    return {
        key.features: {"r2_pooled": _difference(means["r2_pooled"], confidence)}
        for key, means in found.means.items()
    }


def check_controls(found: Scored) -> None:
    """Nothing can be known of shuffled labels.

    Raises
    ------
    LeakError
        If mean pooled R² is above 0 and permutation says that this is not chance.
    """
    for key, means in found.means.items():
        value = means["r2_pooled"].value[0]
        if key.control != SHUFFLED_LABELS or not value > 0:
            continue
        p = null_p(found.y, found.predictions[key], found.design.fold, NULL_DRAWS, seed=0)
        if p <= NULL_LEVEL:
            raise LeakError(
                f"{base_view(key.features)}/{key.model} predicts shuffled labels (pooled R² "
                f"{value:.3f}, permutation p = {p:.2g}): test labels reach the training side",
                where=f"scheme '{found.problem.scheme}', subset '{found.problem.subset}'",
                allowed=f"R² of 0 or below, or p above {NULL_LEVEL:g}",
                next_step="look for test clips in training: in the features, in the folds, or in "
                "predictions made on other labels; then dvc repro",
            )


def summarise(state: Evaluation) -> dict[str, Any]:
    """Everything beside the table of results.

    Returns
    -------
    dict
        ``corpus, task, commit, simulated, size, bootstrap, sizes, headlines`` (scheme → subset →
        metric), ``controls`` (scheme → ``view:control`` → ``r2_pooled``), ``skipped`` (scheme →
        reason), ``leaks`` (scheme → column → share of test clips), ``declared_overlaps``,
        ``reliability`` (subset → dimension), ``ranking_excluded``,
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
            "method": _method(state),
            "rank_method": f"{JACKKNIFE} over content groups",
            "draws": params.n_bootstrap,
            "confidence": params.confidence,
            "seed": params.seed,
        },
        "sizes": [vars(size) for size in state.sizes],
        "headlines": state.headlines,
        "controls": state.controls,
        "skipped": state.skipped,
        "leaks": leaks.as_mapping(state.leaks),
        "declared_overlaps": {
            scheme: sorted(SCHEMES[scheme].declared)
            for scheme in dict.fromkeys(state.leaks["scheme"])
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


def _method(state: Evaluation) -> str:
    if any(size.players > 1 for size in state.sizes):
        return "BCa, pigeonhole bootstrap of content groups × players"
    return "BCa, clusters = content groups"
