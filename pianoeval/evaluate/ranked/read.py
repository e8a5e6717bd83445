"""Tables of the stage ``rank``: each the one it should be, of this corpus and of these folds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pianoeval.errors import CorruptDataError, quoted
from pianoeval.evaluate.ranked.matching import PAIR_COLUMNS
from pianoeval.joins import SOURCE
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.rankings import POINT, table_source, usable_rankers
from pianoeval.tablefile import read_table

CODE_COLUMNS = ("ranker", "scheme", "fold", "branch", "clip")


def read_ranks(
    paths: CorpusPaths, params: Params, folds: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pairs and codes.

    Raises
    ------
    MissingAssetError
        One of them is not there.
    CorruptDataError
        One is not what was written, has changed places with another, or holds codes of a ranker
        that the parameters do not name or of other folds. Of pairs, see
        :func:`~pianoeval.evaluate.ranked.matching.make_contest`.
    """
    pairs = _read(paths, paths.rank_pairs, PAIR_COLUMNS)
    codes = _read(paths, paths.rank_codes, CODE_COLUMNS)
    usable, again = usable_rankers(params)[0], _again(paths)
    known = [str(name).partition(POINT)[0] in usable for name in codes["ranker"]]
    if not all(known):
        raise CorruptDataError(
            f"codes of a ranker '{codes['ranker'][known.index(False)]}'", where=paths.rank_codes,
            allowed=", ".join(usable) or "none: rank.rankers has none that can be used",
            next_step=again,
        )  # fmt: skip
    tested_in = folds.set_index(["scheme", "clip"])["fold"]
    of_code = pd.MultiIndex.from_frame(codes[["scheme", "clip"]])
    wrong = tested_in.reindex(of_code).to_numpy() != codes["fold"].to_numpy()
    if wrong.any():
        clip, fold, scheme = codes.loc[wrong, ["clip", "fold", "scheme"]].iloc[0]
        raise CorruptDataError(
            f"'{clip}' is not of fold {fold} of '{scheme}'", where=paths.rank_codes,
            allowed="codes of the folds as they are now", next_step=again,
        )  # fmt: skip
    return pairs, codes


def _again(paths: CorpusPaths) -> str:
    return f"dvc repro rank@{paths.corpus}"


def _read(paths: CorpusPaths, path: Path, columns: Sequence[str]) -> pd.DataFrame:
    table, mine = read_table(path, _again(paths)), table_source(paths.corpus, path)
    source = table.attrs.get(SOURCE, mine)
    if source != mine or list(table.columns[: len(columns)]) != list(columns):
        what = f"the table '{source}'" if source != mine else "the table of something else"
        raise CorruptDataError(
            what, where=path, allowed=f"'{mine}', with {', '.join(columns)}",
            next_step=f"rm -r {quoted(paths.ranks)} && {_again(paths)}",
        )  # fmt: skip
    return table
