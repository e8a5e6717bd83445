"""Files beside the results, as evaluation writes them: seeded, with a few values set by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from report_cases import DIMENSIONS, SCHEMES, make_report

from pianoeval.report import CorpusReport
from pianoeval.report.extras import Beside

MODELS = ("symbolic/ensemble", "mel/mlp", "transkun-4/ridge")
NAMES = (*MODELS, "mel/ridge", "none/training_mean", "lookup/movement_mean")
COVARIATES = ("duration_s", "loudness_lufs", "note_density_hz")
CONTROLS = {"shuffled_labels": -0.21, "swapped_pieces": 0.08}


def control_rows(results: pd.DataFrame) -> pd.DataFrame:
    """Rows of two controls, two points of a learning curve, and a random encoder, on transkun-4."""
    own = results[(results["features"] == "transkun-4") & (results["model"] == "ridge")]
    mean = own[own["dimension"] == "mean"]
    made = [
        mean.assign(features=f"transkun-4:{name}", value=value, ci_low=value - 0.1,
                    ci_high=value + 0.05)
        for name, value in CONTROLS.items()
    ]  # fmt: skip
    made += [mean.assign(features=f"transkun-4:train_{p}", value=0.9) for p in (25, 50)]
    made.append(own.assign(features="transkun_random-4", value=own["value"] - 0.3))
    return pd.concat([results, *made], ignore_index=True)


def make_comparisons() -> pd.DataFrame:
    values = dict(zip(NAMES, (0.171, -0.21, -0.085, -0.24, -0.133, -0.13), strict=True))
    rows = []
    for scheme, (metric, subset) in itertools.product(
        SCHEMES, (("r2_pooled", "all"), ("pairwise_005", "human"))
    ):
        for a, b in itertools.combinations(NAMES, 2):
            gap = values[a] - values[b]
            rows.append({
                "scheme": scheme, "subset": subset, "metric": metric, "a": a, "b": b,
                "value_a": values[a], "value_b": values[b], "difference": gap,
                "ci_low": gap - 0.1, "ci_high": gap + 0.1, "interval": "content×player",
                "p_permutation": 0.0004 if abs(gap) > 0.1 else 0.4, "q_permutation": 0.012,
                "n_clips": 1202, "n_clusters": 45, "t_cluster": 2.5, "p_t_cluster": 0.016,
                "p_wilcoxon_cluster": 0.02, "t_clip": 9.5, "p_t_clip": 1e-9,
                "p_wilcoxon_clip": 1e-9, "cohen_d_clip": 0.28, "r_a": 0.6, "r_b": 0.5,
                "cohen_q": 0.14, "williams_t": 4.2, "williams_p": 2e-5,
                "verdict": f"{a} against {b}: {gap:+.3f}.",
            })  # fmt: skip
    return pd.DataFrame(rows)


def _scheme(rng: np.random.Generator, groups: dict[str, list[str]]) -> dict[str, Any]:
    deciles = np.linspace(-0.2, 0.2, 10)
    names = ["mean", *DIMENSIONS]
    residuals = [
        {"model": m, "covariate": c, "dimension": d, "spearman": 0.31 if c == "duration_s" else 0.0,
         "ci_low": 0.1 if c == "duration_s" else -0.1, "ci_high": 0.5, "spearman_abs": -0.2,
         "abs_ci_low": -0.3, "abs_ci_high": -0.1, "n": 1202}
        for m, c, d in itertools.product(MODELS, COVARIATES, names)
    ]  # fmt: skip
    errors = 0.55 + 0.1 * rng.random((3, 3))
    errors = (errors + errors.T) / 2
    np.fill_diagonal(errors, 1)
    return {
        "n_clips": 1202, "n_clusters": 45, "models": list(MODELS), "best": MODELS[0],
        "error_correlation": {
            "models": list(MODELS), "matrix": errors.tolist(),
            "ci_low": _blank_diagonal(errors - 0.1), "ci_high": _blank_diagonal(errors + 0.1),
            "label_noise": (errors - 0.2).tolist(), "beyond_noise": (errors - 0.3).tolist(),
        },
        "calibration": {
            m: {"slope": s, "intercept": 0.01, "slope_ci": [s - 0.2, s + 0.2], "centre": 0.55,
                "by_dimension": {d: {"slope": s, "intercept": 0.0} for d in DIMENSIONS},
                "bins": [{"predicted": float(p), "rated": float(s * p), "n": 2284}
                         for p in deciles]}
            for m, s in zip(MODELS, (0.93, 0.31, 0.52), strict=True)
        },
        "residuals": residuals,
        "groups": [
            {"model": m, "column": column, "group": group, "n": 40, "mean_rated": 0.55,
             "mean_predicted": 0.58, "bias": 0.03, "rmse": 0.11, "r2": None}
            for m in MODELS for column, found in groups.items() for group in found
        ],
        "pairs": {
            m: {"margin": 0.05, "n_pairs": 5624, "n_compared": 95608,
                "edges": [0, 0.05, 0.1, 0.2, None], "rated_bins": ["≤ 0.05", "0.05–0.1",
                "0.1–0.2", "> 0.2"], "counts": [[50, 0, 50]] * 4,
                "share_right": [0.52, 0.58, 0.67, 0.8], "ci_low": [0.5, 0.55, 0.63, 0.74],
                "ci_high": [0.54, 0.61, 0.71, 0.86], "ceiling": [0.6, 0.7, 0.8, 0.93],
                "confusion": [[60, 30, 10], [25, 50, 25], [10, 30, 60]]}
            for m in MODELS
        },
    }  # fmt: skip


def _blank_diagonal(matrix: np.ndarray[Any, Any]) -> list[list[float | None]]:
    return [
        [None if i == j else float(v) for j, v in enumerate(row)] for i, row in enumerate(matrix)
    ]


def make_diagnostics(views: tuple[str, ...] = ("symbolic", "transkun-4")) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    groups = {"movement": [f"m{i}" for i in range(4)], "player": [f"p{i}" for i in range(31)]}
    share = {"share": 0.61, "chance": 0.26}
    return {
        "task": "rating", "confidence": 0.95, "margin": 0.05, "metric": "r2_pooled",
        "covariates": {
            "duration_s": {"n": 1202, "source": "manifest"},
            "loudness_lufs": {"n": 0, "source": None, "reason": "no audio"},
            "note_density_hz": {"n": 1202, "source": "symbolic table"},
        },
        "schemes": {scheme: _scheme(rng, groups) for scheme in SCHEMES},
        "latent": [
            {"view": view, "source": view, "n_clips": 1202, "components": 64,
             "explained": [0.31, 0.12], "explained_kept": 0.97,
             "neighbours": {
                 "k": 10, "movement": share,
                 "player": {"share": 0.09, "chance": 0.03, "chance_given_movement": 0.05},
                 "segment": {"share": 0.44, "chance": 0.01, "chance_given_movement": 0.04},
                 "rating": {"spearman": 0.21, "spearman_in_segments": 0.12}}}
            for view in views
        ] + [{"view": "mel", "source": "mel", "n_clips": 0, "neighbours": None, "reason": "no"}],
        "examples": {},
        "layer_weights": [
            {"view": "transkun", "scheme": scheme, "layer": layer, "mean": mean, "low": mean - 0.1,
             "high": mean + 0.1, "folds": 4}
            for scheme in ("content", "movement") for layer, mean in (("1", 0.25), ("ctx", 0.75))
        ],
        "learning": [
            {"view": view, "scheme": scheme, "model": "ridge", "fraction": f,
             "n_train": round(900 * f), "value": top * f**0.5 - drop, "ci_low": top * f**0.5 - 0.2,
             "ci_high": top * f**0.5, "metric": "r2_pooled"}
            for (scheme, drop), (view, top), f in itertools.product(
                (("content", 0.1), ("movement", 0.3)), (("symbolic", 0.45), ("mel", 0.3)),
                (0.25, 0.5, 1.0))
        ],
    }  # fmt: skip


def make_latent(clips: list[str], views: tuple[str, ...]) -> pd.DataFrame:
    rng = np.random.default_rng(11)
    return pd.concat([
        pd.DataFrame({"view": view, "clip": clips, "x": rng.normal(0, 4, len(clips)),
                      "y": rng.normal(0, 2, len(clips))})
        for view in views
    ], ignore_index=True)  # fmt: skip


def with_beside(report: CorpusReport) -> CorpusReport:
    """The report with every file that evaluation writes."""
    views = ("symbolic", "transkun-4")
    clips = [] if report.manifest is None else [str(c) for c in report.manifest["clip"]]
    summary = dict(report.summary)
    headlines = {k: dict(v) for k, v in summary.get("headlines", {}).items()}
    for scheme in SCHEMES:
        entry = {**headlines.get(scheme, {}).get("all", {}).get("r2_pooled", {})}
        entry["best"] = {
            "features": "symbolic", "model": "ensemble", "value": 0.171, "ci_low": 0.02,
            "ci_high": 0.3, "interval": "content×player",
            "one_way": {"content": [0.06, 0.27], "player": [0.12, 0.21]},
        }  # fmt: skip
        place = headlines.setdefault(scheme, {})
        place["all"] = {**place.get("all", {}), "r2_pooled": entry}
    beside = Beside(make_comparisons(), make_diagnostics(views), make_latent(clips, views), None)
    return replace(
        report, results=control_rows(report.results), summary={**summary, "headlines": headlines},
        beside=beside,
    )  # fmt: skip


def make_full_report(**options: Any) -> CorpusReport:
    return with_beside(make_report(**options))
