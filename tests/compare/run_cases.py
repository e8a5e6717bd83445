"""Small runs for the tests of `pianoeval compare`: the tables that the stages before it write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.paths import CorpusPaths
from pianoeval.tablefile import write_table
from tests.evaluate import evaluation_cases as cases

CORPUS = "toy"
DIMENSIONS = ("timing", "pedal")


def raw_params(**changes: Any) -> dict[str, Any]:
    """``params.yaml`` of a run; ``changes`` replace whole blocks."""
    blocks: dict[str, Any] = {
        "axes": {
            "corpus": [CORPUS], "instrument": ["piano"], "encoder": ["mel"],
            "features": ["symbolic", "mel"],
        },
        "views": {
            "symbolic": {"symbolic": {"models": ["ridge"]}},
            "mel": {"mel": {"models": ["ridge"]}, "mel-1": {"models": ["ridge"]}},
        },
        "folds": {"schemes": ["segment", "movement"], "n_folds": 4},
        "evaluate": {"n_bootstrap": 1000, "margins": [0.0, 0.05]},
    }  # fmt: skip
    loaded = cases.params(**blocks).model_dump(mode="json")
    return loaded | {name: loaded[name] | values for name, values in changes.items()}


def corpus_tables(
    n_movements: int = 3, n_segments: int = 4, n_players: int = 7
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Manifest and labels; two content groups a movement."""
    manifest = cases.manifest(n_movements, n_segments, n_players)
    return manifest, cases.labels(manifest, DIMENSIONS)


def write_run(
    folder: Path,
    noise: float = 0.03,
    *,
    params: dict[str, Any] | None = None,
    tables: tuple[pd.DataFrame, pd.DataFrame] | None = None,
    drop: tuple[str, ...] = (),
) -> CorpusPaths:
    """A workspace after its probes; ``noise`` is that of the view ``mel`` alone.

    ``drop`` names clips that no model of the run predicts.
    """
    params = raw_params() if params is None else params
    manifest, labels = tables or corpus_tables()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dvc.yaml").touch()
    text = yaml.safe_dump(params, sort_keys=False)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    paths = CorpusPaths(CORPUS, folder)
    paths.clips.mkdir(parents=True, exist_ok=True)
    write_table(manifest, paths.manifest)  # reading checks it
    write_table(labels, paths.labels)
    folds = make_folds(manifest, cases.params(folds=params["folds"]).folds)
    write_table(folds, paths.folds)
    paths.predictions("mel").parent.mkdir(parents=True, exist_ok=True)
    for source, views in params["views"].items():
        parts = []
        for i, view in enumerate(views):
            sd = noise if view == "mel" else 0.04
            table = cases.predictions(labels, folds, sd, seed=i + 10 * len(source))
            parts.append(table[~table["clip"].isin(drop)].assign(features=view))
        write_table(pd.concat(parts, ignore_index=True), paths.predictions(source))
    return paths


def wide(table: pd.DataFrame, clips: list[str], column: str) -> np.ndarray:
    """A long table as (clips, dimensions)."""
    found = table.pivot(index="clip", columns="dimension", values=column)
    return found.loc[clips, list(DIMENSIONS)].to_numpy(np.float64)


def predicted(paths: CorpusPaths, view: str, scheme: str, clips: list[str]) -> np.ndarray:
    """Predictions of a view, read without the package."""
    table = pd.read_parquet(paths.predictions(view.split("-")[0]))
    table = table[(table["features"] == view) & (table["scheme"] == scheme)]
    return wide(table, clips, "prediction")
