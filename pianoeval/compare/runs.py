"""The tables of one run: ratings, folds and the predictions that a comparison needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import pandas as pd
from pydantic import ValidationError

from pianoeval.compare.places import PARAMS, Place
from pianoeval.corpora.manifest import read_labels, read_manifest
from pianoeval.errors import BadInputError, ConfigError, CorruptDataError
from pianoeval.evaluate.predicted import VIEW
from pianoeval.evaluate.protocol.baselines import LOOKUPS, TRAINING_MEAN, lookup_predictions
from pianoeval.evaluate.protocol.controls import base_view
from pianoeval.evaluate.tables import ModelKey
from pianoeval.fusions import is_fusion
from pianoeval.params import EvaluateParams
from pianoeval.params_fusion import FUSION
from pianoeval.paths import CorpusPaths
from pianoeval.tablefile import read_table

T = TypeVar("T")
_BASELINES = {"none": (TRAINING_MEAN,), "lookup": tuple(LOOKUPS)}


@dataclass(frozen=True, eq=False)
class Run:
    """What is compared of one run.

    Attributes
    ----------
    name, version : str
        Place as it was given, and its commit (empty for a folder).
    task : str
        Which labels its models predict.
    ratings : DataFrame or None
        Raw ratings, where they were asked for and the corpus has them.
    predictions : dict of DataFrame
        By view.
    rows : dict of ModelKey
        By name: ``features/model``, with the seed where there are several.
    """

    name: str
    version: str
    task: str
    manifest: pd.DataFrame
    labels: pd.DataFrame
    folds: pd.DataFrame
    ratings: pd.DataFrame | None
    predictions: dict[str, pd.DataFrame]
    rows: dict[str, ModelKey]

    @property
    def schemes(self) -> list[str]:
        return [str(scheme) for scheme in dict.fromkeys(self.folds["scheme"])]


def setting(params: Mapping[str, Any], key: str, place: Place) -> Any:
    """A dotted key of raw parameters; raises ConfigError where it is absent."""
    found: Any = params
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            raise ConfigError(f"parameter '{key}' is not there", where=place.where(PARAMS))
        found = found[part]
    return found


def evaluate_settings(params: Mapping[str, Any], place: Place) -> EvaluateParams:
    """Draws, confidence and margins of a run; keys that only its own version knew are left out."""
    block = setting(params, "evaluate", place)
    known = {key: value for key, value in block.items() if key in EvaluateParams.model_fields}
    try:
        return EvaluateParams.model_validate(known)
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(["evaluate", *map(str, fault["loc"])])
        where = place.where(PARAMS)
        raise ConfigError(f"parameter '{name}': {fault['msg'].lower()}", where=where) from error


def is_special(features: str) -> bool:
    """A control, a point of a learning curve or of one instrument: no model offered for use."""
    key = ModelKey(features, "", None)
    return key.is_control or key.is_curve


def load_run(
    place: Place, params: Mapping[str, Any], corpus: str, row: str | None, with_ratings: bool
) -> Run:
    """Read the tables of a run.

    Parameters
    ----------
    row : str or None
        ``features/model``: only its file of predictions is read. None: those of all features on
        the run's axes.
    with_ratings : bool
        Read the raw ratings too.

    Raises
    ------
    MissingAssetError
        A file is not there; the message has the command that brings it.
    ConfigError
        The row is not there; the message lists those that are.
    CorruptDataError, BadInputError
        A table cannot be read.
    """
    paths = CorpusPaths(corpus, Path())
    ingested, cut = f"ingest@{corpus}", f"folds@{corpus}"

    def table(path: Path, stage: str, reader: Callable[[Path], T]) -> T:
        return _read(place, path, stage, reader)

    manifest = table(paths.manifest, f"degrade@{corpus}", read_manifest)
    labels = table(paths.labels, f"degrade@{corpus}", read_labels)
    folds = table(paths.folds, cut, read_table)
    ratings = None
    if with_ratings and place.has(_posix(paths.ratings), ingested):
        ratings = table(paths.ratings, ingested, read_table)
    task = str(setting(params, "probe.task", place))
    predictions: dict[str, pd.DataFrame] = {}
    if row is not None and row.split("/")[0] in _BASELINES:
        predictions = lookup_predictions(manifest, labels, folds, task)
    else:
        for source in _sources(params, place, row):
            stage = f"fuse@{corpus}" if source == FUSION else f"probe@{corpus}-{source}"
            found = table(paths.predictions(source), stage, read_table)
            predictions |= _views(found, place.where(_posix(paths.predictions(source))))
    rows = row_names(predictions, task)
    if row is not None and row not in rows:
        raise _unknown_row(place, row, rows)
    return Run(place.name, place.version, task, manifest, labels, folds, ratings, predictions, rows)


def _posix(path: Path) -> str:
    return PurePosixPath(path).as_posix()


def _read(place: Place, path: Path, stage: str, reader: Callable[[Path], T]) -> T:
    """A table through its reader; faults name the file of the run, not the local copy."""
    relative = _posix(path)
    try:
        return reader(place.file(relative, stage))
    except (CorruptDataError, BadInputError) as error:
        where = place.where(relative)
        raise type(error)(error.what, where=where, next_step=f"dvc repro {stage}") from error


def _views(table: pd.DataFrame, where: str) -> dict[str, pd.DataFrame]:
    """One file of predictions as views."""
    if VIEW not in table.columns:
        raise CorruptDataError(f"predictions lack {VIEW}", where=where, next_step="dvc repro")
    return {str(v): part.drop(columns=VIEW) for v, part in table.groupby(VIEW, sort=False)}


def _sources(params: Mapping[str, Any], place: Place, row: str | None) -> Sequence[str]:
    """Files of predictions that are needed: that of the row's view, else all."""
    chosen = [str(name) for name in setting(params, "axes.features", place)]
    if row is None:
        return [*chosen, *([FUSION] if _has_fusions(params, chosen) else [])]
    view = base_view(row.split("/")[0])
    if is_fusion(view):
        return [FUSION]
    views = setting(params, "views", place)
    return [name for name in chosen if view in (views.get(name) or {})] or chosen


def _has_fusions(params: Mapping[str, Any], chosen: Sequence[str]) -> bool:
    """Whether some fusion has all its members among the chosen features; older runs have none."""
    views = params.get("views") or {}
    known = {view for name in chosen for view in views.get(name) or {}}
    fused = ((params.get("fusion") or {}).get("views") or {}).values()
    return any({m.partition("/")[0] for m in block["members"]} <= known for block in fused)


def row_names(predictions: Mapping[str, pd.DataFrame], task: str) -> dict[str, ModelKey]:
    """Every row of the predictions by name; the seed is named only where there are several."""
    keys: list[ModelKey] = []
    for view, table in predictions.items():
        part = table.loc[table["task"] == task, ["model", "seed"]].drop_duplicates()
        for model, seed in zip(part["model"], part["seed"], strict=True):
            keys.append(ModelKey(view, str(model), None if pd.isna(seed) else int(seed)))
    count = pd.Series([f"{key.features}/{key.model}" for key in keys], dtype=object).value_counts()
    names = {}
    for key in keys:
        name = f"{key.features}/{key.model}"
        names[name if count[name] == 1 else f"{name} (seed {key.seed})"] = key
    return names


def _unknown_row(place: Place, row: str, near: Mapping[str, ModelKey]) -> ConfigError:
    """The rows there are: of the file that was read, and the baselines."""
    baselines = [f"{view}/{model}" for view, models in _BASELINES.items() for model in models]
    known = list(dict.fromkeys([*near, *baselines]))
    return ConfigError(
        f"run '{place.name}' has no row '{row}'", allowed=", ".join(known),
        next_step=f"name one of these: {place.name}:{known[0]}",
    )  # fmt: skip
