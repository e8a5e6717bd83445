"""Leak audit: which groups stand on both sides of a split, and whether the scheme admits it.

Every scheme declares the overlaps it has by design (``splits.SCHEMES``): player folds share the
music, segment folds share notes and players. Any other overlap stops the run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pianoeval.errors import CorruptDataError, PianoevalError
from pianoeval.evaluate.groups import GROUP_COLUMNS, CannotCutError, group_labels
from pianoeval.evaluate.splits import SCHEMES, make_folds, train_test
from pianoeval.params import FoldParams

AUDITED = ("family", "sha256", *GROUP_COLUMNS)
LEAK_COLUMNS = ["scheme", "column", "declared", "overlap", "worst_fold", "example"]


class LeakError(PianoevalError):
    """Training shares with the test clips what the scheme does not declare."""


def _labels(manifest: pd.DataFrame) -> dict[str, pd.Series]:
    """Every audited column by clip; a column with gaps keeps them, and a gap overlaps nothing."""
    found: dict[str, pd.Series] = {}
    for column in AUDITED:
        try:
            found[column] = group_labels(manifest, column)
        except CannotCutError:
            values = manifest[column].astype(object)
            found[column] = pd.Series(values.to_numpy(), index=manifest["clip"].to_numpy())
    return found


def overlap_matrix(folds: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """What training shares with the test clips, for every scheme and group column.

    Returns
    -------
    DataFrame
        ``scheme, column, declared``; ``overlap``: share of test clips, over all folds, whose group
        is also in training; ``worst_fold``: the largest share in one fold; ``example``: a group
        that overlaps, or None. ``family`` is the take with all its versions, ``sha256`` the file.
    """
    labels = _labels(manifest)
    rows = []
    for scheme, part in folds.groupby("scheme", sort=False):
        sides = [
            train_test(folds, manifest, str(scheme), int(n)) for n in sorted(set(part["fold"]))
        ]
        for column, groups in labels.items():
            shares, sizes, example = [], [], None
            for train, test in sides:
                seen = set(groups.loc[list(train)].dropna())
                shared = groups.loc[list(test)].isin(seen)
                shares.append(float(shared.mean()))
                sizes.append(len(test))
                if example is None and shared.any():
                    example = str(groups.loc[list(test)][shared.to_numpy()].iloc[0])
            overlap = float(np.average(shares, weights=sizes))
            declared = column in SCHEMES[str(scheme)].declared
            rows.append((scheme, column, declared, overlap, max(shares), example))
    return pd.DataFrame(rows, columns=LEAK_COLUMNS)


def audit(folds: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """The overlap matrix, if nothing overlaps that the scheme does not declare.

    Raises
    ------
    LeakError
        Naming scheme, column, a group that stands on both sides, and two clips of it.
    CorruptDataError
        If the folds name clips that the manifest lacks, or test a clip twice.
    """
    unknown = set(folds["clip"]) - set(manifest["clip"])
    if unknown:
        raise CorruptDataError(
            f"folds name {len(unknown)} clips that the manifest lacks",
            where=min(unknown),
            next_step="dvc repro folds",
        )
    twice = folds.duplicated(["scheme", "clip"])
    if twice.any():
        raise CorruptDataError(
            "this clip is tested twice under one scheme",
            where=str(folds.loc[twice, "clip"].iloc[0]),
            next_step="dvc repro folds",
        )
    matrix = overlap_matrix(folds, manifest)
    leaks = matrix[(matrix["overlap"] > 0) & ~matrix["declared"]]
    if len(leaks):
        raise _leak_error(leaks.iloc[0], folds, manifest)
    return matrix


def _leak_error(leak: pd.Series, folds: pd.DataFrame, manifest: pd.DataFrame) -> LeakError:
    """What is shared, by which two clips, and which columns of the corpus to correct."""
    scheme, column, group = str(leak["scheme"]), str(leak["column"]), str(leak["example"])
    labels = _labels(manifest)[column].astype(str)
    part = folds[folds["scheme"] == scheme]
    members = part[part["clip"].map(labels) == group].sort_values(["fold", "clip"])
    kept = " and ".join(SCHEMES[scheme].columns)
    where = f"{kept} (or piece)" if "movement" in SCHEMES[scheme].columns else kept
    sides = members.drop_duplicates("fold")["clip"].tolist()[:2]
    return LeakError(
        f"under scheme '{scheme}', {column} '{group}' is in training and test "
        f"({float(leak['overlap']):.1%} of the test clips), with clips {' and '.join(sides)}",
        where="folds",
        allowed=", ".join(sorted(SCHEMES[scheme].declared)) or "no overlap",
        next_step=f"give clips of one {column} the same {kept}: correct the column {where} of the "
        f"corpus, or take '{scheme}' out of folds.schemes; then dvc repro",
    )


def make_audited_folds(manifest: pd.DataFrame, params: FoldParams) -> pd.DataFrame:
    """Folds of every scheme that the corpus allows, none of which leaks.

    The audit runs here so that a leak stops the pipeline before anything is trained on it.

    Raises
    ------
    LeakError, CorruptDataError
        As :func:`audit`.
    """
    folds = make_folds(manifest, params)
    audit(folds, manifest)
    return folds


def as_mapping(matrix: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Scheme → column → share of test clips, for the summary."""
    out: dict[str, dict[str, float]] = {}
    columns: Sequence[str] = ("scheme", "column", "overlap")
    for scheme, column, overlap in matrix[list(columns)].itertuples(index=False):
        out.setdefault(str(scheme), {})[str(column)] = float(overlap)
    return out
