"""Rows of single instruments are scored with intervals and are no models of their own."""

from __future__ import annotations

from typing import Any

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest
from evaluation_cases import evaluate_corpus

from pianoeval.evaluate.results import evaluate_state
from pianoeval.evaluate.state import row_hashes
from pianoeval.evaluate.tables import ModelKey

EXTRA = ("mel:on_piano", "mel:without_piano", "mel:only_piano")


@pytest.fixture(scope="module")
def inputs() -> dict[str, Any]:
    found = cases.evaluation_inputs(
        4,
        views={name: {name: {"models": ["ridge"]}} for name in ("symbolic", "mel")},
        evaluate={"n_bootstrap": 150},
    )  # fmt: skip
    rated, folds = found["labels"], found["folds"]
    for i, name in enumerate(("mel", *EXTRA)):
        noise = 0.05 if name == "mel" else 0.005 + 0.01 * i  # the extra rows would win
        found["predictions"][name] = cases.predictions(rated, folds, noise=noise, seed=i + 1)
    return found


def test_what_rows_are(inputs: dict[str, Any]) -> None:
    for name in EXTRA:
        key = ModelKey(name, "ridge", 0)
        assert key.is_curve
        assert not key.is_control
        assert not key.is_baseline
    assert not ModelKey("mel", "ridge", 0).is_curve


def test_rows_are_scored_and_take_part_in_nothing(inputs: dict[str, Any]) -> None:
    results, summary = evaluate_corpus(**inputs)
    y = inputs["labels"].set_index(["clip", "dimension"])["value"]
    for name in EXTRA:
        rows = results[results["features"] == name]
        assert set(rows["metric"]) == {"r2_pooled", "pairwise_005"}
        mean = rows.query("dimension == 'mean' and metric == 'r2_pooled' and subset == 'all'")
        assert (mean["ci_low"] < mean["value"]).all()
        assert (mean["value"] < mean["ci_high"]).all()
        for scheme, value in mean.set_index("scheme")["value"].items():
            every = inputs["predictions"][name]
            table = every[every["scheme"] == scheme]
            truth = y.loc[list(zip(table["clip"], table["dimension"], strict=True))].to_numpy()
            errors = pd.Series((truth - table["prediction"].to_numpy()) ** 2)
            by = table["dimension"].to_numpy()
            total = pd.Series(truth).groupby(by).transform(lambda v: (v - v.mean()) ** 2)
            r2 = 1 - errors.groupby(by).sum() / total.groupby(by).sum()
            assert value == pytest.approx(r2.mean(), abs=1e-6)
    text = str(summary)
    assert not any(name in text for name in EXTRA)
    without = {k: v for k, v in inputs["predictions"].items() if k not in EXTRA}
    plain, before = evaluate_corpus(**(inputs | {"predictions": without}))
    kept = results[~results["features"].isin(EXTRA)].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, plain)
    assert summary == before


def test_a_row_that_lacks_clips_takes_none_from_the_models(inputs: dict[str, Any]) -> None:
    fewer = dict(inputs["predictions"])
    table = fewer[EXTRA[0]]
    fewer[EXTRA[0]] = table[table["clip"] != table["clip"].iloc[0]]
    state = evaluate_state(**(inputs | {"predictions": fewer}))
    assert not state.dropped
    n = {row[4]: row[12] for row in state.rows if row[6] == "mean" and row[3] == "all"}
    assert n[EXTRA[0]] == n["mel"] - 1


def test_rows_have_the_hash_of_their_view_and_their_own(inputs: dict[str, Any]) -> None:
    hashes = row_hashes(inputs["params"], "toy", ["mel", *EXTRA])
    assert len(set(hashes.values())) == 1 + 1 + len(EXTRA)  # baselines, the view, its rows
    assert np.unique([len(value) for value in hashes.values()]).size == 1
