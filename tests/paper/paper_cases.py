"""Small workspaces in which a table of the paper has been run: tables as the stages write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from workspaces import ROOT

from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.paper.recipes import Choice, Recipe
from pianoeval.paper.runs import params_text
from pianoeval.paper.tables import recipe_of
from pianoeval.params_file import load_params, parse_params
from pianoeval.paths import CorpusPaths
from pianoeval.tablefile import write_table
from tests.evaluate import evaluation_cases as cases

DATA: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
PARAMS = load_params(ROOT / "params.yaml")
CORPUS = "studio"
DIMENSIONS = ("timing", "pedal_clarity", "timbre_depth")
CHOICE = Choice(corpus=CORPUS, instruments=("grand", "upright", "worn_out"))
# Standard deviation of errors; ratings spread by about .09.
NOISE = 0.05


def recipe(name: str, choice: Choice = CHOICE) -> Recipe:
    return recipe_of(name, PARAMS, DATA, choice)


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Manifest and labels: six content groups of seven players each."""
    manifest = cases.manifest(3, 4, 7).assign(corpus=CORPUS)
    return manifest, cases.labels(manifest, DIMENSIONS)


def rows_of(made: Recipe) -> list[str]:
    """Every row of ours, parts too."""
    found = [row.ours for row in made.rows if row.ours]
    return list(dict.fromkeys(found + [part for row in made.rows for part in row.parts]))


def write_run(
    folder: Path, made: Recipe, noise: Mapping[str, float] | None = None,
    drop: Sequence[str] = (), changes: Mapping[str, Any] | None = None,
) -> CorpusPaths:  # fmt: skip
    """A workspace after the evaluation of a table.

    Parameters
    ----------
    noise : mapping
        Of single rows; ``NOISE`` for the others. Equal noise gives equal predictions.
    drop : sequence of str
        Rows that this run does not have.
    changes : mapping
        Blocks of ``params.yaml`` that are replaced.
    """
    params = yaml.safe_load(params_text([made], DATA)) | dict(changes or {})
    params["evaluate"] |= {"n_bootstrap": 100}
    folder.mkdir(parents=True)
    (folder / "dvc.yaml").touch()
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    loaded, (manifest, labels) = parse_params(params), tables()
    paths = CorpusPaths(CORPUS, folder)
    folds = make_folds(manifest, loaded.folds)
    rated = cases.ratings(labels)
    by_source: dict[str, dict[str, pd.DataFrame]] = {}
    for row in rows_of(made):
        if row in drop:
            continue
        view, _, model = row.partition("/")
        sd = (noise or {}).get(row, NOISE)
        table = cases.predictions(labels, folds, sd, seed=round(1e4 * sd)).assign(model=model)
        views = by_source.setdefault(_source(made, view), {})
        views[view] = pd.concat([views[view], table]) if view in views else table
    paths.clips.mkdir(parents=True)
    paths.source.mkdir()
    paths.predictions("x").parent.mkdir()
    for path, table in (
        (paths.manifest, manifest), (paths.labels, labels), (paths.folds, folds),
        (paths.ratings, rated),
    ):  # fmt: skip
        write_table(table, path)
    for source, views in by_source.items():
        parts = [table.assign(features=view) for view, table in views.items()]
        write_table(pd.concat(parts, ignore_index=True), paths.predictions(source))
    every = {view: table for views in by_source.values() for view, table in views.items()}
    results, _ = cases.evaluate_corpus(
        manifest=manifest, labels=labels, folds=folds, predictions=every, ratings=rated,
        params=loaded, commit="abc",
    )  # fmt: skip
    paths.results.mkdir(parents=True)
    results.to_csv(paths.results / "results.csv", index=False)
    return paths


def _source(made: Recipe, view: str) -> str:
    base = view.partition(":")[0]
    return next((name for name, block in made.views.items() if base in block), "fusion")


def matrix(paths: CorpusPaths, row: str, scheme: str) -> tuple[np.ndarray, np.ndarray]:
    """Ratings and predictions of a row (clips, dimensions), read without the package."""
    view, _, model = row.partition("/")
    labels = pd.read_parquet(paths.labels)
    for file in paths.predictions("x").parent.glob("*.parquet"):
        table = pd.read_parquet(file)
        part = table[
            (table["features"] == view) & (table["model"] == model) & (table["scheme"] == scheme)
        ]
        if len(part):
            p = part.pivot(index="clip", columns="dimension", values="prediction")
            y = labels.pivot(index="clip", columns="dimension", values="value")
            return (
                y.loc[p.index, list(DIMENSIONS)].to_numpy(float),
                p[list(DIMENSIONS)].to_numpy(float),
            )
    raise KeyError(row)


def r2(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Pooled R² of each dimension, by hand."""
    return 1 - ((y - p) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
