"""Fusions among the results: compared, hashed, and described by the errors of their members."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest

from pianoeval.errors import MissingAssetError
from pianoeval.evaluate.corpus import comparisons
from pianoeval.evaluate.diagnostics.assemble import diagnose
from pianoeval.evaluate.diagnostics.fusions import fusion_weights
from pianoeval.evaluate.predicted import read_predictions
from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.evaluate.results import evaluate_state
from pianoeval.evaluate.summary import summarise
from pianoeval.evaluate.tables import results_table
from pianoeval.paths import CorpusPaths
from pianoeval.tablefile import write_table

MEMBERS = ["symbolic/ridge", "mel/ridge"]
METHODS = ["average", "stacked"]


@pytest.fixture(scope="module")
def evaluated() -> dict[str, Any]:
    """A fusion of two views, one of whose methods lacks a scheme, and one that cannot be used."""
    params = cases.params(
        axes={"corpus": ["toy"], "instrument": ["piano"], "encoder": ["mel"],
              "features": ["symbolic", "mel"]},
        views={name: {name: {"models": ["ridge"]}} for name in ("symbolic", "mel", "away")},
        fusion={"views": {"fusion": {"members": MEMBERS, "methods": METHODS},
                          "fusion-away": {"members": ["mel/ridge", "away/ridge"],
                                          "methods": ["average"]}}},
        folds={"schemes": ["movement", "player"]},
        evaluate={"n_bootstrap": 100},
    )  # fmt: skip
    manifest = cases.manifest()
    labels = cases.labels(manifest)
    folds = make_folds(manifest, params.folds)
    views = {
        name: cases.predictions(labels, folds, noise=sd, seed=i)
        for i, (name, sd) in enumerate((("symbolic", 0.05), ("mel", 0.06)))
    }
    mean = (views["symbolic"]["prediction"] + views["mel"]["prediction"]) / 2
    average = views["mel"].assign(model="average", prediction=mean)
    stacked = average.assign(model="stacked", prediction=mean * 0.9 + 0.05)
    stacked = stacked[stacked["scheme"] == "movement"]
    views["fusion"] = pd.concat([average, stacked], ignore_index=True)
    state = evaluate_state(manifest, labels, folds, views, cases.ratings(labels), params, "c")
    results = results_table(state.rows)
    return {
        "params": params, "state": state, "results": results, "views": views, "labels": labels,
        "found": diagnose(state, results, folds, {}, params),
    }  # fmt: skip


def residuals(evaluated: dict[str, Any], view: str, model: str, scheme: str) -> pd.DataFrame:
    table = evaluated["views"][view]
    part = table[(table["model"] == model) & (table["scheme"] == scheme)]
    p = part.pivot(index="clip", columns="dimension", values="prediction")
    y = evaluated["labels"].pivot(index="clip", columns="dimension", values="value")
    return y.loc[p.index, p.columns] - p


def test_errors_of_every_pair_are_correlated(evaluated: dict[str, Any]) -> None:
    """Members first, then methods; each number is Pearson's r of residuals, by numpy."""
    block = evaluated["found"]["schemes"]["movement"]["fusions"]
    assert list(block) == ["fusion"]
    found = block["fusion"]
    assert found["members"] == 2
    assert found["models"] == [*MEMBERS, "fusion/average", "fusion/stacked"]
    for i, j in combinations(range(4), 2):
        one, two = (
            residuals(evaluated, *found["models"][k].split("/"), "movement") for k in (i, j)
        )
        r = [np.corrcoef(one[d], two[d])[0, 1] for d in one.columns]
        assert found["matrix"][i][j] == pytest.approx(np.mean(r), abs=1e-6)
        assert found["ci_low"][i][j] <= found["matrix"][i][j] <= found["ci_high"][i][j]
        assert found["label_noise"][i][j] > 0
    assert found["matrix"][0][1] < 0.4  # their noise is apart
    assert found["matrix"][0][2] > 0.5  # half of the average is the member itself


def test_a_method_that_lacks_a_scheme_is_left_out_there(evaluated: dict[str, Any]) -> None:
    found = evaluated["found"]["schemes"]["player"]["fusions"]["fusion"]
    assert found["models"] == [*MEMBERS, "fusion/average"]
    json.dumps(evaluated["found"], allow_nan=False)


def test_a_fusion_is_a_source_of_its_own(evaluated: dict[str, Any]) -> None:
    """It may be the best model; it is neither the best audio nor the best symbolic one."""
    part = evaluated["found"]["schemes"]["movement"]
    assert part["best"].startswith("fusion/")
    assert len(part["models"]) == 3
    line = summarise(evaluated["state"])["headlines"]["movement"]["all"]["r2_pooled"]
    assert line["best"]["features"] == "fusion"
    assert line["audio_minus_symbolic"]["audio"]["features"] == "mel"
    assert line["audio_minus_symbolic"]["symbolic"]["features"] == "symbolic"
    alone = evaluated["results"].query("features == 'fusion' and scheme == 'movement'")
    assert set(alone["model"]) == set(METHODS)


def test_it_is_compared_with_its_members_and_the_lookups(evaluated: dict[str, Any]) -> None:
    table = comparisons(evaluated["state"], evaluated["params"])
    part = table[(table["scheme"] == "movement") & (table["metric"] == "r2_pooled")]
    pairs = {frozenset(pair) for pair in zip(part["a"], part["b"], strict=True)}
    for other in (*MEMBERS, "none/training_mean", "fusion/average"):
        assert frozenset({"fusion/stacked", other}) in pairs


def test_weights_are_summarised(tmp_path: Path) -> None:
    records = [
        {"features": "fusion", "model": model, "scheme": "movement", "fold": fold,
         "member": member, "dimension": dimension, "weight": weight}
        for fold in (0, 1)
        for model, dimension, weights in (
            ("average", "all", (0.5, 0.5)), ("stacked", "pedal", (0.1 + fold, 0.6)),
            ("stacked", "timing", (0.3, 0.0)),
        )
        for member, weight in zip(MEMBERS, weights, strict=True)
    ]  # fmt: skip
    table = pd.DataFrame({"features": ["fusion"]})
    table.attrs["fusion_weights"] = records
    write_table(table, tmp_path / "fusion.parquet")
    found = pd.DataFrame(fusion_weights(tmp_path / "fusion.parquet")).set_index(["model", "member"])
    assert found.loc[("stacked", "symbolic/ridge"), "mean"] == pytest.approx(1.8 / 4)
    assert found.loc[("stacked", "symbolic/ridge"), "high"] == pytest.approx(1.1)
    assert found.loc[("stacked", "mel/ridge"), "low"] == 0.0
    assert found.loc[("average", "mel/ridge"), "mean"] == 0.5
    assert (found["folds"] == 2).all()
    write_table(pd.DataFrame({"features": ["fusion"]}), tmp_path / "none.parquet")
    assert fusion_weights(tmp_path / "none.parquet") == []


def test_predictions_of_fusions_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(MissingAssetError, match="no predictions of fusion") as caught:
        read_predictions(CorpusPaths("toy", tmp_path), ["fusion"])
    assert "dvc repro fuse@toy" in str(caught.value)
