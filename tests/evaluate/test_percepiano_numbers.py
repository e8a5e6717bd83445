"""Numbers that must come out of PercePiano, whoever computes them."""

from __future__ import annotations

from pathlib import Path

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest

from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.evaluate.statistics.ceiling import reliability, unreliable_dimensions


@pytest.fixture(scope="module")
def corpus(percepiano_source: Path) -> dict[str, pd.DataFrame]:
    return {
        name: pd.read_parquet(percepiano_source / f"{name}.parquet")
        for name in ("manifest", "labels", "ratings")
    }


def test_reliability(corpus: dict[str, pd.DataFrame]) -> None:
    manifest, ratings = corpus["manifest"], corpus["ratings"]
    everything = reliability(ratings, manifest.set_index("clip")["segment"])
    human = manifest[~manifest["is_score_render"]].set_index("clip")["segment"]
    expected = {
        "icc_11": (0.253, 0.226), "icc_1k": (0.717, 0.681), "split_half": (0.750, 0.709),
        "within_share": (0.590, 0.479), "within_reliability": (0.534, 0.362),
    }  # fmt: skip
    means = everything.mean(), reliability(ratings, human).mean()
    for name, values in expected.items():
        assert [m[name] for m in means] == pytest.approx(values, abs=0.01), name
    assert unreliable_dimensions(everything, 0.1) == ["timbre_brightness", "mood_valence"]


def test_baselines_and_ceilings(corpus: dict[str, pd.DataFrame]) -> None:
    params = cases.params(evaluate={"n_bootstrap": 100})
    manifest = corpus["manifest"]
    folds = make_folds(manifest, params.folds)
    results, summary = cases.evaluate_corpus(
        manifest, corpus["labels"], folds, {}, corpus["ratings"], params, "x"
    )
    means = results[results["dimension"] == "mean"]
    key = ["scheme", "subset", "model", "metric"]
    value = means.set_index(key)["value"].sort_index()
    assert value["movement", "all", "training_mean", "r2_pooled"] == pytest.approx(-0.133, abs=1e-3)
    assert value["movement", "all", "training_mean", "r2_fold_mean"] == pytest.approx(
        -0.357, abs=1e-3
    )
    assert value["segment", "all", "training_mean", "r2_pooled"] == pytest.approx(-0.009, abs=0.01)
    assert value["content", "all", "training_mean", "r2_pooled"] == pytest.approx(-0.039, abs=0.03)
    lookups = means[means["features"] == "lookup"]
    best = lookups.groupby(["scheme", "subset", "metric"])["value"].max()
    assert best["segment", "all", "r2_pooled"] == pytest.approx(0.315, abs=0.04)
    assert best["player", "all", "r2_pooled"] == pytest.approx(0.237, abs=0.06)
    assert best["movement", "all", "r2_pooled"] == pytest.approx(-0.133, abs=1e-3)
    assert best["segment", "all", "pairwise_005"] == pytest.approx(0.728, abs=0.02)
    assert best["player", "all", "pairwise_005"] == 0.5
    assert best["movement", "all", "pairwise_005"] == pytest.approx(0.592, abs=0.04)
    tops = [
        value["movement", "human", "within_segment", f"pairwise_{m}"] for m in ("0", "005", "010")
    ]
    # Means over the 17 dimensions that raters agree on; over all 19 they are about .03 lower.
    assert tops == pytest.approx([0.72, 0.785, 0.84], abs=0.03)
    assert summary["leaks"]["content"]["content_group"] == 0
    assert summary["leaks"]["segment"]["content_group"] > 0.5
    assert np.isfinite(results["value"]).all()
