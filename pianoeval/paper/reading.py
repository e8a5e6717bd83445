"""What one run says: values of its results, and paired differences from its predictions."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.compare.align import Aligned, Pair, Ratings, Side, align
from pianoeval.compare.paired import Comparison, compare_rows
from pianoeval.compare.places import Place, read_params
from pianoeval.compare.runs import Run, evaluate_settings, load_run, setting
from pianoeval.evaluate.tables import MEAN
from pianoeval.params import EvaluateParams
from pianoeval.report.data import read_results
from pianoeval.report.words import scheme_rank

METRIC = "r2_pooled"


@dataclass(frozen=True)
class Value:
    """A number of the results; NaN where there is no interval."""

    value: float
    low: float = math.nan
    high: float = math.nan
    n_clips: int = 0
    n_clusters: int = 0


NOTHING = Value(math.nan)


class Reading:
    """One corpus of a run.

    Parameters
    ----------
    place : Place
        A workspace, or the revision of an experiment.
    corpus : str

    Raises
    ------
    MissingAssetError
        It has no results.
    """

    def __init__(self, place: Place, corpus: str) -> None:
        self.place, self.corpus = place, corpus
        self.params = read_params(place)
        path = place.file(f"reports/{corpus}/results.csv", f"evaluate@{corpus}")
        self.values = _values(
            read_results(path, corpus), str(setting(self.params, "probe.task", place))
        )

    @functools.cached_property
    def settings(self) -> EvaluateParams:
        return evaluate_settings(self.params, self.place)

    @functools.cached_property
    def run(self) -> Run:
        """Predictions, ratings and folds."""
        return load_run(self.place, self.params, self.corpus, None, with_ratings=True)

    @functools.cached_property
    def ratings(self) -> Ratings:
        return Ratings(self.run, self.run)

    @property
    def schemes(self) -> list[str]:
        return sorted({key[0] for key in self.values}, key=scheme_rank)

    def value(self, scheme: str, row: str, dimension: str = MEAN) -> Value:
        """Pooled R² of ``view/model``; NaN where there is none."""
        return self.values.get((scheme, row, dimension), NOTHING)

    def has(self, row: str) -> bool:
        return any(key[1] == row for key in self.values)

    def lookup(self, scheme: str) -> float:
        """The best of what does not listen."""
        return self._best(scheme, ("lookup/", "none/"))

    def ceiling(self, scheme: str) -> float:
        """What the labels' noise leaves to be reached."""
        return self._best(scheme, ("ceiling/icc_1k", "ceiling/exact_labels"))

    def _best(self, scheme: str, starts: tuple[str, ...]) -> float:
        found = [
            one.value for (name, row, dimension), one in self.values.items()
            if name == scheme and dimension == MEAN and row.startswith(starts)
        ]  # fmt: skip
        return max(found, default=math.nan)

    def aligned(self, scheme: str, pairs: Sequence[Pair]) -> Aligned | None:
        """The clips that all rows of ``pairs`` predicted; None where one predicts nothing."""
        rows = {name for pair in pairs for name in pair}
        if not rows <= set(self.run.rows):
            return None
        side = Side(self.run, self.ratings.clips[0], self.ratings.dimensions, rows)
        least = self.settings.min_players
        found = align(side, side, self.ratings, scheme, pairs, "all", least)
        return found if found is not None and len(found.predictions) == len(set(pairs)) else None

    def compared(self, scheme: str, pair: Pair) -> Comparison | None:
        """``pair[1] − pair[0]``, the mean over dimensions."""
        aligned = self.aligned(scheme, [pair])
        return None if aligned is None else self.of(aligned, np.ones(aligned.y.shape[1], bool))

    def of(self, aligned: Aligned, dimensions: NDArray[np.bool_]) -> Comparison:
        """The same for chosen dimensions of clips that are aligned."""
        (found,) = compare_rows(aligned, METRIC, self.settings, dimensions)
        return found


def _values(results: pd.DataFrame, task: str) -> dict[tuple[str, str, str], Value]:
    """Pooled R² of all clips by scheme, ``view/model`` and dimension.

    A model of several seeds has a row for each, named as in ``pianoeval compare``.
    """
    part = results[
        (results["metric"] == METRIC) & (results["subset"] == "all") & (results["task"] == task)
    ]
    seeds = part.groupby(["features", "model"])["seed"].nunique()
    found = {}
    for row in part.to_dict("records"):
        name = f"{row['features']}/{row['model']}"
        if seeds[row["features"], row["model"]] > 1:
            name += f" (seed {row['seed']})"
        found[row["scheme"], name, row["dimension"]] = Value(
            row["value"], row["ci_low"], row["ci_high"], int(row["n_clips"]), int(row["n_clusters"])
        )
    return found


def other_views(params: Mapping[str, Any], wanted: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Views of a run that are not what the table takes them for: a sentence each."""
    from pianoeval.params import ViewParams

    notes = []
    for features, block in wanted.items():
        own = (params.get("views") or {}).get(features) or {}
        for name, fields in block.items():
            if name not in own:
                continue
            one, other = (
                ViewParams.model_validate({**raw, "models": ["ridge"]}).model_dump()
                for raw in (own[name], fields)
            )
            differing = [key for key in one if one[key] != other[key]]
            if differing:
                said = ", ".join(f"{key} {one[key]}, here {other[key]}" for key in differing)
                notes.append(f"View {name} of this run is another one than the table's: {said}.")
    return notes
