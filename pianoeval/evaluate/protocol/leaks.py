"""Leak audit: which groups stand on both sides of a split, and whether the scheme admits it.

Every scheme declares the overlaps it has by design (``splits.SCHEMES``): player folds share the
music, segment folds share notes and players. What is selected inside the training side may share
what its own division declares (``splits.inner_declared``). Any other overlap stops the run.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pandas as pd

from pianoeval.errors import CorruptDataError
from pianoeval.evaluate.protocol.duplicates import Notes
from pianoeval.evaluate.protocol.groups import LeakError as LeakError
from pianoeval.evaluate.protocol.overlaps import (
    TRAIN_TEST,
    TRAIN_VALIDATION,
    VALIDATION_TEST,
    Groups,
    Overlap,
    Part,
    Selection,
    audited_groups,
    measure,
)
from pianoeval.evaluate.protocol.splits import SCHEMES

LEAK_COLUMNS = [
    "scheme", "part", "column", "declared", "overlap", "worst_fold", "example", "kept",
]  # fmt: skip
_SIDES = {
    TRAIN_TEST: ("training", "test"),
    TRAIN_VALIDATION: ("fitting", "validation"),
    VALIDATION_TEST: ("validation", "test"),
}
_ADVICE = {
    "sha256": "the files are the same: remove one, or give both clips the same {kept}",
    "performance": "the files hold one performance: remove one, or give both clips the same {kept}",
    "take": "give both clips the same {kept}, or other take numbers if they are two takes",
    "music": "the clips play the same notes: give both the same segment",
}


def overlap_matrix(
    folds: pd.DataFrame,
    manifest: pd.DataFrame,
    selection: Selection | None = None,
    notes: Notes | None = None,
) -> pd.DataFrame:
    """What the two sides share, for every scheme, part and column.

    Parameters
    ----------
    selection : Selection, optional
        Without it the parts with validation are left out.
    notes : Notes, optional
        Without it the columns ``performance`` and ``music`` are left out.

    Returns
    -------
    DataFrame
        ``scheme, part, column, declared``; ``overlap``: share of the clips of the second side,
        over all folds, whose group is also on the first, among those whose group is known, empty
        where none is; ``worst_fold``: the largest share in one division; ``example``: a group that
        overlaps, and what was not checked; ``kept``: the columns by which the sides were divided.
        ``family`` is the take with its degraded versions, ``take`` also with other renders of it.
    """
    return _matrix(folds, manifest, selection, notes)[0]


def _matrix(
    folds: pd.DataFrame,
    manifest: pd.DataFrame,
    selection: Selection | None,
    notes: Notes | None,
) -> tuple[pd.DataFrame, list[Overlap]]:
    """The overlap matrix, and what was counted behind each of its rows."""
    groups = audited_groups(manifest, notes)
    rows: list[tuple[Any, ...]] = []
    counted: list[Overlap] = []
    for part in measure(folds, manifest, groups, selection):
        kept = _kept(part.kept)
        for column, overlap in part.overlaps.items():
            worst = overlap.worst if overlap.known else math.nan
            remark = _remark(part, overlap, groups[column])
            numbers = (overlap.declared, overlap.share, worst)
            rows.append((part.scheme, part.part, column, *numbers, remark, kept))
            counted.append(overlap)
    return pd.DataFrame(rows, columns=LEAK_COLUMNS), counted


def _kept(kept: Counter[str]) -> str:
    """The columns that divisions kept together, with how many divisions if they differ."""
    every = sum(kept.values())
    return ", ".join(
        name if n == every else f"{name} ({n} of {every})" for name, n in sorted(kept.items())
    )


def _remark(part: Part, overlap: Overlap, groups: Groups) -> str | None:
    """A group that overlaps, the clips that were not checked, and why no clip was."""
    remarks = [groups.names[overlap.example]] if overlap.example is not None else []
    if overlap.known < overlap.asked:
        unknown = 1 - overlap.known / overlap.asked
        remarks.append(f"{unknown:.1%} of the clips {groups.gap}")
    if not overlap.asked:
        remarks.append(f"not divided: {'; '.join(dict.fromkeys(part.reasons))}")
    return "; ".join(remarks) or None


def audit(
    folds: pd.DataFrame,
    manifest: pd.DataFrame,
    selection: Selection | None = None,
    notes: Notes | None = None,
) -> pd.DataFrame:
    """The overlap matrix, if nothing overlaps that is not declared.

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
    matrix, counted = _matrix(folds, manifest, selection, notes)
    for position, overlap in enumerate(counted):
        if overlap.leak:
            groups = audited_groups(manifest, notes)[str(matrix["column"].iloc[position])]
            raise _leak_error(matrix.iloc[position], overlap, groups, manifest)
    return matrix


def _leak_error(
    leak: pd.Series, overlap: Overlap, groups: Groups, manifest: pd.DataFrame
) -> LeakError:
    """What is shared, by which two clips, and which columns of the corpus to correct."""
    if overlap.example is None or overlap.rows is None:
        raise ValueError("a leak has an example")
    scheme, column = str(leak["scheme"]), str(leak["column"])
    first, second = _SIDES[str(leak["part"])]
    one, other = (str(manifest["clip"].iloc[row]) for row in overlap.rows)
    columns = SCHEMES[scheme].columns
    kept = " and ".join(columns)
    where = f"{kept} (or piece)" if "movement" in columns else kept
    mend = _ADVICE.get(
        column, f"give clips of one {column} the same {{kept}}: correct the column {where}"
    )
    return LeakError(
        f"under scheme '{scheme}', {column} '{groups.names[overlap.example]}' is in {first} and "
        f"{second} ({overlap.share:.1%} of the {second} clips), with clips {one} ({first}) and "
        f"{other} ({second})",
        where="folds",
        allowed=", ".join(sorted(SCHEMES[scheme].declared)) or "no overlap",
        next_step=f"{mend.format(kept=kept)} of the corpus, or take '{scheme}' out of "
        "folds.schemes; then dvc repro",
    )


def as_mapping(matrix: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """Scheme → column → share of test clips, for the summary; None: not checked."""
    return parts_mapping(matrix).get(TRAIN_TEST, {})


def parts_mapping(matrix: pd.DataFrame) -> dict[str, dict[str, dict[str, float | None]]]:
    """Part → scheme → column → share of the clips of the second side; None: not checked."""
    out: dict[str, dict[str, dict[str, float | None]]] = {}
    columns = ["part", "scheme", "column", "overlap"]
    for part, scheme, column, overlap in matrix[columns].itertuples(index=False):
        shares = out.setdefault(str(part), {}).setdefault(str(scheme), {})
        shares[str(column)] = None if math.isnan(overlap) else float(overlap)
    return out
