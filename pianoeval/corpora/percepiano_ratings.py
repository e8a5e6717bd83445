"""PercePiano's labels: the published means, and the raw ratings behind them.

The rules of upstream's ``labels/map_midi_to_label.py`` reproduce the 1,202 published means to the
last bit, and are kept: an answer 0 or none is missing; a row with an answer above 7 is dropped
whole. Two things upstream does are not copied: about 2,200 exact duplicates of rows are counted
once, and zeros are left out of the standard deviation (upstream's counts them as ratings of 0).
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pandas as pd

from pianoeval.corpora.percepiano_names import DIMENSIONS
from pianoeval.errors import BadInputError

log = logging.getLogger(__name__)

LABELS_FILE = "label_2round_mean_reg_19_with0_rm_highstd0.json"
RATINGS_FILE = "labels/total_2rounds.csv"
SCALE = 7.0
_NEXT = "pianoeval corpus get percepiano"
RATING_COLUMNS = ["clip", "rater", "dimension", "value"]


def read_means(path: Path) -> dict[str, list[float]]:
    """Mean rating / 7 by clip, 19 values in the order of ``DIMENSIONS``.

    The file at the root of the repository is meant: the copy in ``labels/`` lacks 13 clips. Its
    20th number is an index of the player, not a rating, and is dropped.

    Raises
    ------
    BadInputError
        Not JSON, or a row without 20 numbers in [0, 1].
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInputError(
            f"not readable as JSON ({error})", where=path, next_step=_NEXT
        ) from error
    if not isinstance(table, dict):
        raise BadInputError("not a table of labels by clip", where=path, next_step=_NEXT)
    means: dict[str, list[float]] = {}
    for key, row in table.items():
        if not _is_label_row(row):
            raise BadInputError(
                f"'{key}' needs {len(DIMENSIONS)} means in [0, 1] and a player index",
                where=path, next_step=_NEXT,
            )  # fmt: skip
        means[key.strip()] = [float(value) for value in row[: len(DIMENSIONS)]]
    return means


def _is_label_row(row: object) -> bool:
    if not isinstance(row, list) or len(row) != len(DIMENSIONS) + 1:
        return False
    return all(isinstance(value, int | float) and 0 <= value <= 1 for value in row[:-1])


def read_ratings(path: Path, clips: set[str]) -> pd.DataFrame:
    """Raw ratings of ``clips``: columns ``clip, rater, dimension, value`` (rating / 7).

    Exact duplicates (same rater, clip and nineteen answers) are counted once; a rater who heard
    a clip again and answered otherwise keeps both answers.

    Raises
    ------
    BadInputError
        The columns are not upstream's.
    """
    table = _read_csv(path)
    questions = [name for name in table.columns if name.startswith("Question_")][: len(DIMENSIONS)]
    names = [dimension.name for dimension in DIMENSIONS]
    wide = table[questions].apply(pd.to_numeric, errors="coerce").set_axis(names, axis=1)
    wide.insert(0, "rater", table["user"].str.strip())
    wide.insert(0, "clip", table["filename"].map(_clip_of))
    wrong = (wide[names] > SCALE).any(axis=1)
    wide = wide[~wrong]
    wide[names] = wide[names].where(wide[names] > 0)
    empty = wide[names].isna().all(axis=1)
    wide = wide[~empty]
    doubled = wide.duplicated()
    wide = wide[~doubled]
    unrated = ~wide["clip"].isin(clips)
    log.info(
        "%d rating rows: %d above the scale, %d empty, %d exact duplicates, "
        "%d of no rated clip (%d names)",
        len(table), wrong.sum(), empty.sum(), doubled.sum(), unrated.sum(),
        wide.loc[unrated, "clip"].nunique(),
    )  # fmt: skip
    long: pd.DataFrame = wide[~unrated].melt(["clip", "rater"], names, "dimension", "value")
    long = long.dropna()
    long["value"] /= SCALE
    long["dimension"] = pd.Categorical(long["dimension"], names)
    long = long.sort_values(["clip", "dimension", "rater", "value"], ignore_index=True)
    long["dimension"] = long["dimension"].astype(str)
    return long[RATING_COLUMNS]


def label_table(means: dict[str, list[float]], ratings: pd.DataFrame) -> pd.DataFrame:
    """The label table: published means, with raters and their spread from the raw ratings.

    ``n_raters`` counts people; ``sd`` is the sample standard deviation over people (a person's
    repeated ratings of a clip are averaged first), missing when one person rated.
    """
    by_person = ratings.groupby(["clip", "dimension", "rater"])["value"].mean()
    spread = by_person.groupby(["clip", "dimension"]).agg(["count", "std"])
    table = pd.DataFrame(
        [
            (clip, "rating", dimension.name, value, dimension.low_pole, dimension.high_pole,
             dimension.higher_is_better)
            for clip, row in means.items()
            for dimension, value in zip(DIMENSIONS, row, strict=True)
        ],
        columns=["clip", "task", "dimension", "value", "low_pole", "high_pole", "higher_is_better"],
    )  # fmt: skip
    keys = pd.MultiIndex.from_frame(table[["clip", "dimension"]])
    found = spread.reindex(keys)
    table["n_raters"] = found["count"].fillna(0).to_numpy().astype(int)
    table["sd"] = found["std"].to_numpy()
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadInputError(
            f"not readable as CSV ({error})", where=path, next_step=_NEXT
        ) from error
    questions = [name for name in table.columns if name.startswith("Question_")]
    missing = {"user", "filename"} - set(table.columns)
    if missing or len(questions) < len(DIMENSIONS):
        raise BadInputError(
            "not the raw ratings of PercePiano", where=path,
            allowed="columns user, filename and 19 Question_…", next_step=_NEXT,
        )  # fmt: skip
    return table


def _clip_of(filename: str) -> str:
    """``Schubert_D960_mv2_8bars_score_01.wav`` names the clip ``…_Score_01``."""
    stem = filename.strip().rsplit(".", 1)[0] if filename.strip().endswith(".wav") else filename
    return stem.strip().replace("_score", "_Score")
