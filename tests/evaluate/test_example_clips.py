"""The clips that are shown: best and worst by RMSE, one a segment."""

from __future__ import annotations

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import root_mean_squared_error

from pianoeval.evaluate.diagnostics.examples import clip_rmse, examples
from pianoeval.evaluate.diagnostics.judged import Judged
from pianoeval.evaluate.statistics.pairs import make_design


@pytest.fixture
def judged(random_state: np.random.Generator) -> Judged:
    manifest = cases.manifest(n_movements=2, n_segments=3)
    manifest = manifest.sort_values("clip", ignore_index=True)
    design = make_design(manifest, pd.Series(0, index=manifest["clip"]))
    y = random_state.normal(size=(len(manifest), 2))
    models = {"x/ridge": y + random_state.normal(size=y.shape), "y/ridge": y}
    return Judged(["timing", "pedal"], manifest, design, y, models, np.ones(2, bool), None)


def test_rmse_of_a_clip(judged: Judged) -> None:
    judged.y[4, 1] = np.nan
    found = clip_rmse(judged.y, judged.models["x/ridge"])
    y, p = judged.y[4], judged.models["x/ridge"][4]
    assert found[4] == pytest.approx(abs(y[0] - p[0]))
    wanted = root_mean_squared_error(judged.y[5], judged.models["x/ridge"][5])
    assert found[5] == pytest.approx(wanted)


def test_three_best_and_three_worst_of_different_segments(judged: Judged) -> None:
    judged.y[4, 1] = np.nan
    found = pd.DataFrame(examples(judged))
    assert found["kind"].tolist() == ["best"] * 3 + ["worst"] * 3
    assert set(found["model"]) == {"x/ridge"}  # the first is the best model
    rmse = pd.DataFrame(
        {"clip": judged.manifest["clip"], "segment": judged.manifest["segment"],
         "rmse": clip_rmse(judged.y, judged.models["x/ridge"])}
    )  # fmt: skip
    each = rmse.sort_values("rmse").groupby("segment", sort=False)
    best = each.head(1).nsmallest(3, "rmse")["clip"].tolist()
    worst = each.tail(1).nlargest(3, "rmse")["clip"].tolist()
    assert found["clip"].tolist() == best + worst
    segment = judged.manifest.set_index("clip")["segment"]
    assert found["segment"].tolist() == segment.loc[found["clip"]].tolist()


def test_an_example_shows_what_was_rated(judged: Judged) -> None:
    judged.y[4] = [0.25, np.nan]
    judged.models["x/ridge"][4] = [0.25, 0.5]
    first = examples(judged)[0]
    assert first["clip"] == judged.manifest["clip"].iloc[4]
    assert first["rmse"] == 0.0
    assert first["rated"] == {"timing": 0.25}
    assert first["predicted"] == {"timing": 0.25}


def test_equal_errors_are_ordered_by_name(judged: Judged) -> None:
    """So that the same numbers always show the same clips."""
    for p in judged.models.values():
        p[:] = judged.y
    names = [row["clip"] for row in examples(judged)[:3]]
    assert names == sorted(judged.manifest.groupby("segment")["clip"].min())[:3]


@pytest.mark.parametrize(
    ("segments", "players", "wanted"),
    [(3, 1, (2, 1)), (1, 3, (1, 1)), (1, 1, (1, 0)), (2, 3, (2, 2))],
)
def test_no_clip_is_best_and_worst(segments: int, players: int, wanted: tuple[int, int]) -> None:
    manifest = cases.manifest(1, segments, players).sort_values("clip", ignore_index=True)
    design = make_design(manifest, pd.Series(0, index=manifest["clip"]))
    y = np.zeros((len(manifest), 1))
    p = np.arange(len(manifest), dtype=float)[:, None]
    small = Judged(["timing"], manifest, design, y, {"x/ridge": p}, np.ones(1, bool), None)
    found = pd.DataFrame(examples(small))
    assert not found["clip"].duplicated().any()
    kinds = found["kind"].value_counts()
    assert (kinds["best"], kinds.get("worst", 0)) == wanted
