"""Tables of the stage ``contrast``: each the one it should be, of this corpus and these folds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pianoeval.contrasts import usable_heads
from pianoeval.errors import CorruptDataError, quoted
from pianoeval.joins import SOURCE
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.rankings import POINT, table_source
from pianoeval.tablefile import read_table

HEAD_COLUMNS = ("head", "scheme", "fold", "seed", "dimension", "clip")
PREDICTED = "predicted"


def read_heads(
    paths: CorpusPaths, params: Params, folds: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions and codes.

    Raises
    ------
    MissingAssetError
        One of them is not there.
    CorruptDataError
        One is not what was written, has changed places with another, is of a head that the
        parameters do not name, of other folds, or not finite.
    """
    predictions = _read(paths, paths.head_predictions, (*HEAD_COLUMNS, PREDICTED))
    latents = _read(paths, paths.head_latents, HEAD_COLUMNS)
    for table, path in ((predictions, paths.head_predictions), (latents, paths.head_latents)):
        _check_heads(table, path, params, paths)
        _check_folds(table, path, folds, paths)
    finite = np.isfinite(predictions[PREDICTED].to_numpy(np.float64))
    if not finite.all():
        raise CorruptDataError(
            f"a prediction of '{predictions['head'][int(np.argmin(finite))]}' is not finite",
            where=paths.head_predictions, next_step=_again(paths),
        )  # fmt: skip
    return predictions, latents


def value_columns(latents: pd.DataFrame) -> list[str]:
    """Columns of a code's values, ``v000`` …"""
    return [str(name) for name in latents.columns if name not in HEAD_COLUMNS]


def _again(paths: CorpusPaths) -> str:
    return f"dvc repro contrast@{paths.corpus}"


def _read(paths: CorpusPaths, path: Path, columns: Sequence[str]) -> pd.DataFrame:
    table, mine = read_table(path, _again(paths)), table_source(paths.corpus, path)
    source = table.attrs.get(SOURCE, mine)
    if source != mine or list(table.columns[: len(columns)]) != list(columns):
        what = f"the table '{source}'" if source != mine else "the table of something else"
        raise CorruptDataError(
            what, where=path, allowed=f"'{mine}', with {', '.join(columns)}",
            next_step=f"rm -r {quoted(paths.contrast)} && {_again(paths)}",
        )  # fmt: skip
    return table


def _check_heads(table: pd.DataFrame, path: Path, params: Params, paths: CorpusPaths) -> None:
    usable = usable_heads(params)[0]
    for name in table["head"].unique():
        base, _, point = str(name).partition(POINT)
        if base not in usable or (point and point not in usable[base].points()):
            raise CorruptDataError(
                f"what a head '{name}' found", where=path,
                allowed=", ".join(usable) or "none: contrast.heads has none that can be used",
                next_step=_again(paths),
            )  # fmt: skip


def _check_folds(table: pd.DataFrame, path: Path, folds: pd.DataFrame, paths: CorpusPaths) -> None:
    tested_in = folds.set_index(["scheme", "clip"])["fold"]
    cells = table[["scheme", "fold", "clip"]].drop_duplicates()
    found = tested_in.reindex(pd.MultiIndex.from_frame(cells[["scheme", "clip"]]))
    wrong = found.to_numpy() != cells["fold"].to_numpy()
    if wrong.any():
        clip, fold, scheme = cells.loc[wrong, ["clip", "fold", "scheme"]].iloc[0]
        raise CorruptDataError(
            f"'{clip}' is not of fold {fold} of '{scheme}'", where=path,
            allowed="the folds as they are now", next_step=_again(paths),
        )  # fmt: skip
