"""Edges at which a summary could say more than the numbers: ties, missing ceilings, no interval."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import evaluation_cases as cases
import numpy as np
import pytest

from pianoeval.evaluate.notes import notes
from pianoeval.evaluate.results import evaluate_state
from pianoeval.evaluate.scoring import best_of
from pianoeval.evaluate.statistics.bootstrap import Resampled
from pianoeval.evaluate.tables import ModelKey


@pytest.fixture(scope="module")
def inputs() -> dict[str, Any]:
    return cases.evaluation_inputs(
        4, folds={"schemes": ["segment", "movement_player"], "n_folds": 4}
    )


def test_a_dimension_without_ceiling_leaves_the_mean_without_one(inputs: dict[str, Any]) -> None:
    """One rating of each clip's pedal: timing alone has a ceiling, and is not both."""
    ratings = inputs["ratings"].query("dimension == 'timing' or rater == 'r0'")
    results, summary = cases.evaluate_corpus(**{**inputs, "ratings": ratings})
    line = summary["headlines"]["segment"]["all"]["r2_pooled"]
    assert (line["ceiling"], line["share_of_way"]) == (None, None)
    rows = results.query("features == 'ceiling' and model == 'icc_1k'")
    assert set(rows["dimension"]) == {"timing"}
    assert set(results.query("model == 'icc_11'")["dimension"]) == {"timing", "mean"}


def test_the_training_mean_is_named_where_lookups_know_no_group(inputs: dict[str, Any]) -> None:
    """Movement and player of a test clip are both new, so every lookup is the training mean."""
    results, summary = cases.evaluate_corpus(**inputs)
    line = summary["headlines"]["movement_player"]["all"]["r2_pooled"]
    assert (line["baseline"]["features"], line["baseline"]["model"]) == ("none", "training_mean")
    tied = results.query(
        "scheme == 'movement_player' and model == 'content_mean' and metric == 'r2_pooled'"
        " and subset == 'all' and dimension == 'mean'"
    )
    assert tied["value"].item() == pytest.approx(line["baseline"]["value"])


def test_values_that_differ_by_rounding_alone_are_tied() -> None:
    def found(value: float) -> dict[str, Resampled]:
        one = np.full((1, 2), value)
        return {"r2_pooled": Resampled(one[0, :1], one.astype(np.float32), one, {"content": 2})}

    mean, lookup = ModelKey("none", "training_mean", None), ModelKey("lookup", "a_mean", None)
    assert best_of({lookup: found(0.1 + 1e-16), mean: found(0.1)}, "r2_pooled") == [mean, lookup]
    assert best_of({lookup: found(0.1 + 1e-6), mean: found(0.1)}, "r2_pooled") == [lookup, mean]


def test_one_content_group_is_told(inputs: dict[str, Any]) -> None:
    state = evaluate_state(**inputs)
    assert not any("is one content" in note for note in notes(state))
    state.sizes.append(replace(state.sizes[0], clusters=1))
    assert "There is one content group, so intervals and tests are not possible." in notes(state)
