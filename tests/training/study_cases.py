"""A corpus with a known truth, for the tests of controls and learning curves."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pianoeval.features.views import View
from pianoeval.params import ProbeParams, RunParams
from pianoeval.training.crossval import Labels, Study

DIMENSIONS = ["timing", "pedal"]
PROBE = ProbeParams.model_validate(
    {
        "ridge": {"lambdas": [0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0], "inner_folds": 3},
        "mlp": {}, "extra_trees": {}, "boosting": {}, "ensemble": ["ridge"],
    }
)  # fmt: skip
SCHEMES = ["segment", "content", "player", "movement", "movement_player"]


def make_manifest(n_movements: int = 3, n_segments: int = 6, n_players: int = 5) -> pd.DataFrame:
    """Every player plays every segment once; two neighbouring segments share notes."""
    rows = [
        {
            "clip": f"m{m}_s{s}_p{p}", "parent": None, "sha256": f"{m}{s}{p}",
            "is_score_render": False, "composition": "c", "movement": f"m{m}",
            "segment": f"m{m}_s{s}", "content_group": f"m{m}_g{s // 2}", "player": f"p{p}",
            "take": "1",
        }
        for m in range(n_movements) for s in range(n_segments) for p in range(n_players)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def make_study(manifest: pd.DataFrame, x: np.ndarray, y: np.ndarray) -> Study:
    """A study of all clips of the manifest."""
    view = View(x.astype(np.float32), manifest["clip"].tolist(), "toy")
    return Study(view, Labels(y, DIMENSIONS), manifest, PROBE, RunParams(workers=1))


def label_table(study: Study) -> pd.DataFrame:
    """The study's labels as the label table of its corpus."""
    rows = [
        {"clip": clip, "task": "rating", "dimension": name, "value": float(value)}
        for column, name in enumerate(DIMENSIONS)
        for clip, value in zip(study.view.clips, study.labels.values[:, column], strict=True)
    ]
    return pd.DataFrame(rows)


def r2_pooled(table: pd.DataFrame, study: Study, labels: Labels) -> dict[str, float]:
    """1 - SSE/SST over all folds of a scheme, mean over dimensions."""
    row = {clip: i for i, clip in enumerate(study.view.clips)}
    found = {}
    for scheme, part in table.groupby("scheme"):
        wide = part.pivot(index="clip", columns="dimension", values="prediction")[DIMENSIONS]
        y = labels.values[[row[clip] for clip in wide.index]]
        errors = ((y - wide.to_numpy()) ** 2).sum(axis=0)
        found[str(scheme)] = float(np.mean(1 - errors / ((y - y.mean(axis=0)) ** 2).sum(axis=0)))
    return found
