"""Do predictions follow how difficult a piece is, and would note density and tempo do as well?

A piece is one value: the mean over its excerpts and performances. Pieces of one work share a level
(a sonata has one) and composers differ in style and level, so intervals resample works, and
composers, whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pianoeval.models.base import Float64
from pianoeval.params import Params
from pianoeval.transfer import published
from pianoeval.transfer.predict import Transferred
from pianoeval.transfer.statistics import interval, partial_spearman, spearman
from pianoeval.transfer.target import Target, usable, with_mean, with_overall

CONTROLS = ("note_density", "tempo")
MIN_PIECES = 5
COLUMNS = (
    "row", "dimension", "pieces", "works", "composers", "rho", "low", "high", "low_composers",
    "high_composers", "partial", "partial_low", "partial_high", "given", "published",
)  # fmt: skip


def difficulty_table(found: Sequence[Transferred], target: Target, params: Params) -> pd.DataFrame:
    """Spearman's ρ of each dimension, and of the mean of all, with the level of the piece.

    Returns
    -------
    DataFrame
        ``COLUMNS``. ``low, high`` by works, ``low_composers, high_composers`` by composers;
        ``partial`` is ρ given ``given``, interval by works. The controls are rows of their own
        under the row ``notes``. Without rows where fewer than five pieces have a level.
    """
    rows: list[dict[str, object]] = []
    for number, one in enumerate(found):
        human = usable(target, one.setting.target_clips, params.transfer.leave_out)
        human = human[human["level"].notna()]
        values = with_overall(one.values)[human["row"].to_numpy(dtype=int)]
        names = with_mean(one.setting.dimensions)
        pieces = _pieces(human, values, names)
        if len(pieces) < MIN_PIECES:
            return pd.DataFrame(columns=list(COLUMNS))
        if number == 0:
            there = [name for name in CONTROLS if pieces[name].notna().all()]
            rows += _rows("notes", pieces, there, [], params)
        rows += _rows(one.row.name, pieces, names, list(CONTROLS), params)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _pieces(human: pd.DataFrame, values: Float64, names: list[str]) -> pd.DataFrame:
    """One row a piece: mean of each place's mean, so that many performances weigh no more."""
    table = human[["movement", "segment", "composition", "composer", "level", *CONTROLS]]
    table = pd.concat([table, pd.DataFrame(values, index=table.index, columns=names)], axis=1)
    columns = ["level", *CONTROLS, *names]
    places = table.groupby(["movement", "segment"])[columns].mean()
    pieces = places.groupby("movement").mean()
    first = table.groupby("movement")[["composition", "composer"]].first()
    return pieces.join(first)


def _rows(
    row: str, pieces: pd.DataFrame, names: list[str], given: list[str], params: Params
) -> list[dict[str, object]]:
    if not names:
        return []
    p = params.transfer
    x, level = pieces[names].to_numpy(np.float64), pieces["level"].to_numpy(np.float64)
    given = [name for name in given if pieces[name].notna().all()]
    controls = pieces[given].to_numpy(np.float64)
    works, composers = pieces["composition"].tolist(), pieces["composer"].fillna("").tolist()

    def whole(rows: np.ndarray) -> Float64:
        return spearman(x[rows], level[rows])

    def part(rows: np.ndarray) -> Float64:
        return partial_spearman(x[rows], level[rows], controls[rows])

    rho, options = whole(np.arange(len(x))), (p.n_bootstrap, p.confidence, p.seed)
    low, high = interval(whole, works, *options)
    low_c, high_c = interval(whole, composers, *options)
    nothing = np.full(len(names), np.nan)
    partial, partial_low, partial_high = nothing, nothing, nothing
    if given:
        partial = part(np.arange(len(x)))
        partial_low, partial_high = interval(part, works, *options)
    return [
        {
            "row": row, "dimension": name, "pieces": len(pieces), "works": len(set(works)),
            "composers": len(set(composers)), "rho": rho[i], "low": low[i], "high": high[i],
            "low_composers": low_c[i], "high_composers": high_c[i], "partial": partial[i],
            "partial_low": partial_low[i], "partial_high": partial_high[i],
            "given": "+".join(given), "published": published.DIFFICULTY.get(name, np.nan),
        }
        for i, name in enumerate(names)
    ]  # fmt: skip
