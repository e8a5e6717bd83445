"""From tables of predictions and of ranked pairs to contests: every row on the same pairs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.errors import BadInputError, CorruptDataError
from pianoeval.evaluate.ranked.contest import Contest, Entry, Kind, pair_places, rows_of
from pianoeval.evaluate.ranked.setting import Setting
from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.evaluate.statistics.pairs import Design, Index, make_design
from pianoeval.evaluate.tables import (
    ModelKey,
    Predictions,
    common_clips,
    positions,
    prediction_matrices,
)
from pianoeval.params_rank import RankerParams
from pianoeval.rankings import POINT

logger = logging.getLogger(__name__)
PAIR_COLUMNS = ("ranker", "scheme", "fold", "first", "second")
MARGIN = "margin/"  # before the name of a dimension


def ranker_entry(name: str, rankers: Mapping[str, RankerParams]) -> Entry:
    """The row of a ranker or of a point of its sweep.

    Raises
    ------
    CorruptDataError
        The parameters have no such ranker.
    """
    base = name.partition(POINT)[0]
    if base not in rankers:
        raise CorruptDataError(
            f"pairs of a ranker '{base}'", where="ranked pairs",
            allowed=", ".join(rankers) or "none: rank.rankers is empty", next_step="dvc repro",
        )  # fmt: skip
    block = rankers[base]
    kind: Kind = "point" if POINT in name else "ranker"
    return Entry(kind, "+".join(block.views), name, block.seed)


def check_pairs(table: pd.DataFrame, dimensions: Sequence[str]) -> None:
    """Raise CorruptDataError unless the table of pairs has its columns."""
    wanted = [*PAIR_COLUMNS, *(MARGIN + name for name in dimensions)]
    if missing := [name for name in wanted if name not in table.columns]:
        raise CorruptDataError(
            f"ranked pairs lack {', '.join(missing)}", where="ranked pairs",
            allowed=", ".join(wanted), next_step="dvc repro",
        )  # fmt: skip


def make_contest(
    setting: Setting,
    scheme: str,
    folds: pd.DataFrame,
    views: Mapping[str, Predictions],
    ranked: pd.DataFrame,
) -> Contest:
    """The contest under one scheme.

    Takes that some model did not predict are left out, as in ``results.csv``, and so are those of
    which some ranker says nothing; ``setting.dropped`` is told how many of either.

    Parameters
    ----------
    setting : Setting
    scheme : str
    folds : DataFrame
        Of this scheme.
    views : mapping of Predictions
        Models and baselines, encoded.
    ranked : DataFrame
        Pairs of this scheme, as the stage ``rank`` writes them.

    Raises
    ------
    BadInputError
        There is no pair of which every row says something.
    CorruptDataError
        Pairs are not those of the folds, or one is there twice or missing.
    """
    folds = folds.sort_values("clip", ignore_index=True)
    row = positions(setting.clips, folds["clip"])
    y, fold = setting.values[row], folds["fold"].to_numpy(np.int64)
    matrices = prediction_matrices(views, scheme, row, fold, setting.values.shape)
    keep = common_clips(matrices, y)
    # A ranker learns from takes whose labels are complete, and is asked of no other.
    dropped = int((np.isfinite(y).any(axis=1) & ~keep).sum())
    deadpan = setting.manifest["is_score_render"].to_numpy(bool)[row]
    subset = "all"
    if setting.params.rank.takes == "human" and (keep & deadpan).any():
        subset, keep = "human", keep & ~deadpan
    covered = keep & _covered(setting, folds, keep, ranked)
    setting.dropped[scheme] = dropped + int((keep & ~covered).sum())
    design = _design(setting, folds, covered) if covered.any() else None
    if design is None or not len(design.pairs):
        raise BadInputError(
            f"no pair of takes under scheme '{scheme}' is known to every row",
            where=f"ranked pairs of {setting.corpus}",
            next_step=f"dvc repro rank@{setting.corpus}",
        )
    found = {_model_entry(key): p[covered] for key, p in matrices.items()}
    first, second = design.pairs.T
    margins = {entry: np.asarray(p[first] - p[second]) for entry, p in found.items()}
    margins |= _ranked_margins(setting, design, folds, ranked)
    return Contest(scheme, subset, design, y[covered], margins, found)


def _model_entry(key: ModelKey) -> Entry:
    kind: Kind = "baseline" if key.is_baseline else "model"
    return Entry(kind, key.features, key.model, key.seed)


def _design(setting: Setting, folds: pd.DataFrame, rows: NDArray[np.bool_]) -> Design:
    part = folds[rows].set_index("clip")["fold"]
    return make_design(setting.manifest, part, setting.params.evaluate.min_players)


def _covered(
    setting: Setting, folds: pd.DataFrame, keep: NDArray[np.bool_], ranked: pd.DataFrame
) -> NDArray[np.bool_]:
    """Takes that are in a pair of every ranker, or have no other to be compared with."""
    if not keep.any():
        return keep
    design = _design(setting, folds, keep)
    clips = folds["clip"].tolist()
    ends = np.stack([positions(clips, ranked[end]) for end in ("first", "second")])
    paired = np.zeros(len(clips), bool)
    paired[np.flatnonzero(keep)[np.unique(design.pairs)]] = True
    covered = np.ones(len(clips), bool)
    code = pd.factorize(ranked["ranker"])[0]
    for number in range(int(code.max(initial=-1)) + 1):
        known = np.unique(ends[:, code == number])
        here = np.zeros(len(clips), bool)
        here[known[known >= 0]] = True
        covered &= here
    return covered | ~paired


def _ranked_margins(
    setting: Setting, design: Design, folds: pd.DataFrame, ranked: pd.DataFrame
) -> dict[Entry, Array]:
    """Margins of every ranker and point, in the order and orientation of the design's pairs."""
    columns = [MARGIN + name for name in setting.dimensions]
    ends = [rows_of(design, ranked[c].to_numpy(dtype=object)) for c in ("first", "second")]
    place, sign = pair_places(design, *ends)
    _check_folds(design, folds, ranked, (ends[0] >= 0) & (ends[1] >= 0), place)
    values = ranked[columns].to_numpy(np.float64) * sign[:, None]
    code, names = pd.factorize(ranked["ranker"])
    found: dict[Entry, Array] = {}
    for number, name in enumerate(names):
        rows = np.flatnonzero((code == number) & (place >= 0))
        entry = ranker_entry(str(name), setting.params.rank.rankers)
        where = f"ranked pairs of {setting.corpus}, {name}"
        if len(np.unique(place[rows])) < len(rows):
            raise CorruptDataError("a pair is there twice", where=where, next_step="dvc repro")
        margins = np.full((len(design.pairs), len(columns)), np.nan)
        margins[place[rows]] = values[rows]
        if not np.isfinite(margins).all():
            one, other = design.clips[design.pairs[~np.isfinite(margins).all(axis=1)][0]]
            raise CorruptDataError(
                f"no margin of '{one}' and '{other}'", where=where,
                allowed="a finite margin of every pair of takes", next_step="dvc repro",
            )  # fmt: skip
        found[entry] = margins
    return found


def _check_folds(
    design: Design, folds: pd.DataFrame, ranked: pd.DataFrame, inside: NDArray[np.bool_],
    place: Index,
) -> None:  # fmt: skip
    """Pairs lie in the fold that is named as folds are now, and are pairs of the design."""
    tested_in = folds.set_index("clip")["fold"]
    named = ranked["fold"].to_numpy()
    wrong = inside & (place < 0)
    for end in ("first", "second"):
        wrong |= ranked[end].map(tested_in).to_numpy() != named
    if wrong.any():
        one, other, fold = ranked.loc[wrong, ["first", "second", "fold"]].iloc[0]
        raise CorruptDataError(
            f"'{one}' and '{other}' are no pair of fold {fold}", where="ranked pairs",
            allowed="two takes of one segment in one fold, as the folds are now",
            next_step="dvc repro",
        )  # fmt: skip
