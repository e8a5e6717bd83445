"""Files of predictions: all that the axes name, and each that of its own features."""

from __future__ import annotations

import pandas as pd

from pianoeval.errors import CorruptDataError, MissingAssetError
from pianoeval.joins import SOURCE
from pianoeval.params_fusion import FUSION
from pianoeval.paths import CorpusPaths
from pianoeval.tablefile import read_table

VIEW = "features"  # column of a predictions file that names the view


def read_predictions(paths: CorpusPaths, features: list[str]) -> dict[str, pd.DataFrame]:
    """Predictions of every view of ``features``.

    Raises
    ------
    MissingAssetError
        One of the files is absent: the folder is the output of several stages, and DVC cannot
        tell a part of it from the whole.
    CorruptDataError
        A file is that of other features: two have changed places.
    """
    absent = [name for name in features if not paths.predictions(name).is_file()]
    if absent:
        targets = " ".join(
            f"fuse@{paths.corpus}" if name == FUSION else f"probe@{paths.corpus}-{name}"
            for name in absent
        )
        raise MissingAssetError(
            f"no predictions of {', '.join(absent)}", where=paths.predictions(absent[0]),
            next_step=f"dvc pull {targets}   (or: dvc repro {targets})",
        )  # fmt: skip
    found: dict[str, pd.DataFrame] = {}
    for name in features:
        table = read_table(paths.predictions(name))
        if table.attrs.get(SOURCE, name) != name:
            raise CorruptDataError(
                f"predictions of '{table.attrs[SOURCE]}'", where=paths.predictions(name),
                allowed=f"those of '{name}'", next_step="dvc checkout   (or: dvc repro)",
            )  # fmt: skip
        found |= {str(v): part.drop(columns=VIEW) for v, part in table.groupby(VIEW, sort=False)}
    return found
