"""What ``layer_mlp`` learned of layers is kept beside its predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pianoeval.cache import ItemCache
from pianoeval.features.layers import Layering
from pianoeval.features.views import View
from pianoeval.params import ProbeParams, RunParams
from pianoeval.tablefile import write_table
from pianoeval.training.crossval import Labels, Study
from pianoeval.training.fitted import LAYER_WEIGHTS, fit_inputs, model_key
from pianoeval.training.predict import predict_view

PROBE = ProbeParams.model_validate(
    {
        "ridge": {"lambdas": [1.0, 100.0], "inner_folds": 2},
        "mlp": {"hidden": 4, "learning_rate": 1e-3, "max_epochs": 3, "patience": 2},
        "extra_trees": {}, "boosting": {}, "ensemble": ["ridge"],
    }
)  # fmt: skip


@pytest.fixture
def study() -> Study:
    rows = [
        {"clip": f"s{s}_p{p}", "sha256": f"{s}{p}", "composition": "c", "movement": "m",
         "segment": f"s{s}", "content_group": f"s{s}", "player": f"p{p}", "parent": None,
         "is_score_render": False, "take": "1"}
        for s in range(6) for p in range(3)
    ]  # fmt: skip
    manifest = pd.DataFrame(rows)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(len(manifest), 7)).astype(np.float32)
    view = View(x, manifest["clip"].tolist(), "toy", layers=["9", "10"], layering=Layering(2, 3))
    return Study(view, Labels(x[:, :2] * 0.1 + 0.5, ["a", "b"]), manifest, PROBE, RunParams())


def folds_of(study: Study) -> pd.DataFrame:
    rows = study.manifest[["clip"]].assign(scheme="segment")
    return rows.assign(fold=[int(name[1]) % 2 for name in study.manifest["segment"]])


def test_weights_come_with_training_and_from_the_cache(study: Study, tmp_path: Path) -> None:
    folds, cache = folds_of(study), ItemCache(tmp_path)
    inputs = fit_inputs(study, folds)
    first = predict_view("toy", study, folds, ["ridge", "layer_mlp"], inputs, cache)
    again = predict_view("toy", study, folds, ["ridge", "layer_mlp"], inputs, cache)
    pd.testing.assert_frame_equal(first, again)
    assert first.attrs == again.attrs
    weights = pd.DataFrame(first.attrs[LAYER_WEIGHTS])
    assert set(weights["layer"]) == {"9", "10"}
    assert set(weights["fold"]) == {0, 1}
    np.testing.assert_allclose(weights.groupby("fold")["weight"].sum(), 1.0)
    write_table(first, tmp_path / "predictions.parquet")
    assert pd.read_parquet(tmp_path / "predictions.parquet").attrs == first.attrs


def test_key_follows_both_blocks_of_parameters(study: Study) -> None:
    inputs = fit_inputs(study, folds_of(study))
    keys = {
        model_key(
            Study(study.view, study.labels, study.manifest,
                  ProbeParams.model_validate(PROBE.model_dump() | change), study.run),
            inputs, "layer_mlp",
        )
        for change in ({}, {"layer_mlp": {"learning_rate": 0.1}},
                       {"mlp": PROBE.mlp.model_dump() | {"seed": 1}})
    }  # fmt: skip
    assert len(keys) == 3
