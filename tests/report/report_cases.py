"""Results as `pianoeval.evaluate` writes them, with the magnitudes known for PercePiano.

Means follow published and measured values (lookups, symbolic ensemble, reliability); the spread
over dimensions and the predictions are drawn from a seeded generator.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd

from pianoeval.report import CorpusReport
from pianoeval.report.data import RESULT_COLUMNS

DIMENSIONS = {
    "timing": ("stable", "unstable"), "articulation_length": ("short", "long"),
    "articulation_touch": ("soft", "hard"), "pedal_amount": ("dry", "wet"),
    "pedal_clarity": ("clean", "blurred"), "timbre_variety": ("even", "colourful"),
    "timbre_depth": ("shallow", "rich"), "timbre_brightness": ("bright", "dark"),
    "timbre_loudness": ("soft", "loud"), "dynamic_sophistication": ("mellow", "raw"),
    "dynamic_range": ("little", "large"), "pace": ("fast", "slow"), "space": ("flat", "spacious"),
    "balance": ("disproportioned", "balanced"), "drama": ("pure", "dramatic"),
    "mood_valence": ("optimistic", "dark"), "mood_energy": ("low", "high"),
    "mood_imagination": ("honest", "imaginative"), "interpretation": ("doubtful", "convincing"),
}  # fmt: skip
SCHEMES = ("segment", "content", "player", "movement", "movement_player")
CLUSTERS = {"segment": 99, "content": 45, "player": 31, "movement": 4, "movement_player": 35}
_R2 = {
    ("symbolic", "ensemble"): (0.577, 0.517, 0.43, 0.171, 0.12),
    ("symbolic", "boosting"): (0.559, 0.485, 0.41, 0.123, 0.09),
    ("symbolic", "ridge"): (0.487, 0.434, 0.35, -0.049, -0.11),
    ("mel", "ridge"): (0.21, 0.15, 0.18, -0.24, -0.29),
    ("mel", "mlp"): (0.24, 0.17, 0.20, -0.21, -0.25),
    ("none", "training_mean"): (-0.009, -0.039, -0.012, -0.133, -0.14),
    ("lookup", "movement_mean"): (0.22, 0.19, 0.215, -0.133, -0.14),
    ("lookup", "player_mean"): (0.05, 0.02, -0.012, -0.15, -0.14),
    ("lookup", "movement_player_mean"): (0.315, 0.28, 0.215, -0.133, -0.14),
    ("lookup", "segment_mean"): (-0.009, 0.10, 0.237, -0.133, -0.14),
}
_LAYERS = {"1": 0.26, "2": 0.31, "3": 0.345, "4": 0.355, "5": 0.34, "6": 0.32, "ctx": 0.29}


def _r2_table() -> dict[tuple[str, str], tuple[float, ...]]:
    table = dict(_R2)
    for layer, value in _LAYERS.items():
        drop = np.array([0.0, 0.05, 0.04, 0.44, 0.5])
        table[(f"transkun-{layer}", "ridge")] = tuple(value - drop)
        table[(f"transkun-{layer}", "mlp")] = tuple(value - 0.025 - drop)
    return table


def _pairwise(r2: float) -> float:
    return 0.52 + 0.2 * np.sqrt(max(r2 + 0.35, 0.0) / 1.35)


def _rows(corpus: str, shift: float, rng: np.random.Generator) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for (features, model), values in _r2_table().items():
        baseline = features in ("lookup", "none")
        for scheme, value in zip(SCHEMES, values, strict=True):
            mean = value + (0 if baseline else shift)
            width = 0.5 / np.sqrt(CLUSTERS[scheme])
            found = {"r2_pooled": mean, "r2_fold_mean": mean - 0.02 - width / 2}
            pair = 0.5 if baseline and "player" not in model else _pairwise(mean)
            found |= {"pairwise_0": pair, "pairwise_005": pair * 1.05, "pairwise_010": pair * 1.1}
            found |= {"spearman": np.sqrt(max(mean, 0.01))}
            for metric, subset in itertools.product(found, ("all", "human")):
                centre = found[metric] - (0.03 if subset == "human" else 0)
                offsets = rng.normal(0, 0.06, len(DIMENSIONS))
                offsets -= offsets.mean()
                names = ["mean"]
                if metric in ("r2_pooled", "pairwise_005"):
                    names += list(DIMENSIONS)
                for i, dimension in enumerate(names):
                    v = centre + (0 if dimension == "mean" else offsets[i - 1])
                    w = width * (0.3 if metric != "r2_pooled" else 1.0)
                    has_interval = dimension == "mean" and features != "none"
                    rows.append({
                        "scheme": scheme, "subset": subset, "features": features, "model": model,
                        "dimension": dimension, "metric": metric, "value": v,
                        "ci_low": v - w if has_interval else np.nan,
                        "ci_high": v + 0.7 * w if has_interval else np.nan,
                        "interval": "content×player" if has_interval else "",
                        "n_clips": 1202 if subset == "all" else 1073,
                        "n_clusters": CLUSTERS[scheme],
                    })  # fmt: skip
    for subset, metric, value in (
        ("all", "r2_pooled", 0.717), ("human", "r2_pooled", 0.681),
        ("human", "pairwise_005", 0.785), ("human", "pairwise_0", 0.72),
        ("human", "pairwise_010", 0.84),
    ):  # fmt: skip
        names = ["mean", *DIMENSIONS] if metric == "r2_pooled" else ["mean"]
        for scheme, dimension in itertools.product(SCHEMES, names):
            v = value if dimension == "mean" else value + rng.uniform(-0.12, 0.1)
            rows.append({
                "scheme": scheme, "subset": subset, "features": "ceiling", "model": "icc_1k",
                "dimension": dimension, "metric": metric, "value": v, "ci_low": np.nan,
                "ci_high": np.nan, "interval": "", "n_clips": 1202, "n_clusters": CLUSTERS[scheme],
            })  # fmt: skip
    common = {
        "corpus": corpus, "task": "rating", "seed": "42", "config_hash": "3f9c2a71bb04",
        "commit": "a1b2c3d4e5f6",
    }  # fmt: skip
    return [{**common, **row} for row in rows]


def make_results(
    corpus: str = "percepiano", shift: float = 0.0, seed: int = 7, *, ceilings: bool = True
) -> pd.DataFrame:
    rows = _rows(corpus, shift, np.random.default_rng(seed))
    rows = [row for row in rows if ceilings or row["features"] != "ceiling"]
    return pd.DataFrame(rows, columns=list(RESULT_COLUMNS))


def make_clips(
    corpus: str, n_clips: int, seed: int = 3
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Manifest, labels and the symbolic ensemble's predictions."""
    rng = np.random.default_rng(seed)
    clips = [f"clip_{i:04d}" for i in range(n_clips)]
    manifest = pd.DataFrame({
        "clip": clips, "corpus": corpus, "corpus_version": "e672299", "licence": "MIT",
        "movement": [f"m{i % 4}" for i in range(n_clips)],
        "composition": [f"c{i % 3}" for i in range(n_clips)],
        "segment": [f"s{i % 99}" for i in range(n_clips)],
        "content_group": [f"g{i % 45}" for i in range(n_clips)],
        "player": [f"p{i % 31}" for i in range(n_clips)], "is_score_render": False,
    })  # fmt: skip
    labels, predictions = [], []
    for dimension, (low, high) in DIMENSIONS.items():
        rated = np.clip(rng.normal(0.55, 0.13, n_clips), 0.1, 0.95)
        predicted = 0.55 + 0.45 * (rated - 0.55) + rng.normal(0, 0.07, n_clips)
        labels.append(pd.DataFrame({
            "clip": clips, "task": "rating", "dimension": dimension, "value": rated,
            "low_pole": low, "high_pole": high,
        }))  # fmt: skip
        predictions.append(pd.DataFrame({
            "clip": clips, "scheme": "movement", "fold": 0, "model": "ensemble", "seed": 42,
            "task": "rating", "dimension": dimension, "prediction": predicted.astype("float32"),
        }))  # fmt: skip
    return manifest, pd.concat(labels), pd.concat(predictions)


def make_summary(*, simulated: bool = False) -> dict[str, Any]:
    leaks = {
        "segment": {"segment": 0.0, "content_group": 0.41, "movement": 1.0, "player": 1.0},
        "content": {"segment": 0.0, "content_group": 0.0, "movement": 1.0, "player": 1.0},
        "player": {"segment": 1.0, "content_group": 1.0, "movement": 1.0, "player": 0.0},
        "movement": {"segment": 0.0, "content_group": 0.0, "movement": 0.0, "player": 0.7},
        "movement_player": {"segment": 0.0, "content_group": 0.0, "movement": 0.0, "player": 0.0},
    }
    return {
        "notes": ["timbre_brightness and mood_valence have no within-segment reliability."],
        "skipped": {"composition": "only three compositions"},
        "quarantined": {"clip_9999": "no notes"},
        "simulated": simulated,
        "leaks": leaks,
        "bootstrap": {
            "method": "BCa, clusters = content groups",
            "draws": 10000,
            "confidence": 0.95,
            "seed": 42,
        },
        "size": {"clip": 1202, "segment": 99, "movement": 4, "player": 31},
        "sizes": [
            {"scheme": s, "subset": "all", "folds": 4, "clips": 1202, "clusters": 45, "pairs": 6000}
            for s in SCHEMES
        ],
        "headlines": {
            "movement": {
                "all": {
                    "r2_pooled": {
                        **_advantage(0.304, 0.151, 0.482),
                        "audio_minus_symbolic": {
                            "audio": {"features": "transkun-4", "model": "ridge"},
                            "symbolic": {"features": "symbolic", "model": "ensemble"},
                            "value": -0.256,
                            "ci_low": -0.4,
                            "ci_high": 0.012,
                        },
                    }
                }
            },
            "player": {"human": {"pairwise_005": _advantage(0.06, 0.02, 0.09)}},
        },
        "reliability": {}
        if simulated
        else {
            "all": {
                d: {
                    "icc_11": 0.25,
                    "icc_1k": 0.72,
                    "split_half": 0.75,
                    "within_share": 0.59,
                    "within_reliability": 0.53,
                }
                for d in DIMENSIONS
            }
        },
    }


def _advantage(value: float, low: float, high: float) -> dict[str, Any]:
    # On new movements every lookup falls back to the training mean, which is then named.
    mean = {"features": "none", "model": "training_mean"}
    lookup = {"features": "lookup", "model": "movement_player_mean"}
    return {
        "best": {"features": "symbolic", "model": "ensemble"},
        "baseline": mean if value > 0.1 else lookup,
        "advantage": {"value": value, "ci_low": low, "ci_high": high},
    }


def make_report(
    corpus: str = "percepiano", *, n_clips: int = 1202, shift: float = 0.0, simulated: bool = False
) -> CorpusReport:
    manifest, labels, predictions = make_clips(corpus, n_clips)
    results = make_results(corpus, shift, ceilings=not simulated)
    summary = make_summary(simulated=simulated)
    return CorpusReport(corpus, results, summary, manifest, labels, {"symbolic": predictions})
