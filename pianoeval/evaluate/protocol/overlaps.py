"""What two sides of a split share: measured for every group column, in every part of a scheme.

``train-test`` is the reported split, ``train-validation`` what models are fitted on against what
they are selected on (ridge's inner folds and the MLP's validation group, as training cuts them),
``validation-test`` what they are selected on against test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.corpora.manifest import label_matrix
from pianoeval.evaluate.protocol.duplicates import Notes
from pianoeval.evaluate.protocol.groups import (
    GROUP_COLUMNS,
    CannotCutError,
    Clips,
    group_labels,
    players,
)
from pianoeval.evaluate.protocol.inner import Divisions, divide
from pianoeval.evaluate.protocol.splits import SCHEMES, inner_declared, train_test
from pianoeval.params import ProbeParams

TRAIN_TEST, TRAIN_VALIDATION, VALIDATION_TEST = "train-test", "train-validation", "validation-test"
PARTS = (TRAIN_TEST, TRAIN_VALIDATION, VALIDATION_TEST)
AUDITED = ("family", "take", "sha256", *GROUP_COLUMNS)
IN_NOTES = ("performance", "music")

Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Groups:
    """One audited column.

    Attributes
    ----------
    codes : int, shape (clips,)
        Group of each row of the manifest; -1 where it is unknown.
    names : list of str
    gap : str
        Why it is unknown.
    """

    codes: Rows
    names: list[str]
    gap: str


@dataclass(frozen=True, eq=False)
class Division:
    """Two sets of clips (rows of the manifest) that may share ``declared`` columns only."""

    part: str
    first: Rows
    second: Rows
    kept: str
    declared: frozenset[str]


@dataclass(frozen=True, eq=False)
class Selection:
    """How training selects: its parameters, and the labels that say which clips it can use.

    Where no clip has a label of the task, every clip counts.
    """

    probe: ProbeParams
    labels: pd.DataFrame

    def divided(self, manifest: pd.DataFrame, scheme: str, train: Clips) -> tuple[Clips, Divisions]:
        """Training clips that models learn from, and how they are divided again."""
        clips, y = train, None
        if (self.labels["task"] == self.probe.task).any():
            values, _ = label_matrix(self.labels, self.probe.task, train.tolist())
            usable = ~np.isnan(values).any(axis=1)
            clips, y = train[usable], values[usable]
        return clips, divide(manifest, scheme, clips, y, self.probe)


@dataclass
class Overlap:
    """What the second sides of some divisions share with the first, counted in clips.

    ``known`` and ``asked`` are clips of second sides, with a group and all of them. ``example`` is
    the code of a group that overlaps and ``rows`` a clip of it on either side, of a leak if any.
    """

    shared: int = 0
    known: int = 0
    asked: int = 0
    worst: float = 0.0
    leak: bool = False
    _declared: bool = True
    example: int | None = None
    rows: tuple[int, int] | None = None

    def add(self, division: Division, groups: Groups, column: str) -> None:
        """Count one division."""
        seen = np.zeros(len(groups.names) + 1, bool)
        seen[groups.codes[division.first]] = True
        seen[-1] = False  # where codes of -1 point: an unknown group overlaps nothing
        codes = groups.codes[division.second]
        shared, known = seen[codes], int((codes >= 0).sum())
        self.shared, self.known = self.shared + int(shared.sum()), self.known + known
        self.asked += len(codes)
        declared = column in division.declared
        self._declared &= declared
        if not shared.any():
            return
        self.worst = max(self.worst, float(shared.sum() / known))
        if self.example is None or (not declared and not self.leak):
            row = int(division.second[shared][0])
            self.example = int(groups.codes[row])
            self.rows = int(division.first[groups.codes[division.first] == self.example][0]), row
        self.leak |= not declared

    @property
    def declared(self) -> bool:
        """Whether every division admits what it shares, or would if it shared something."""
        return not self.leak if self.shared else self._declared and self.asked > 0

    @property
    def share(self) -> float:
        """Share of the clips of second sides whose group is known; NaN where none is."""
        return self.shared / self.known if self.known else np.nan


@dataclass(frozen=True, eq=False)
class Part:
    """One part of one scheme: an overlap a column, and the columns that divisions keep together.

    ``reasons`` tell why training sides could not be divided.
    """

    scheme: str
    part: str
    overlaps: dict[str, Overlap]
    kept: Counter[str]
    reasons: list[str]


def audited_groups(manifest: pd.DataFrame, notes: Notes | None) -> dict[str, Groups]:
    """Every audited column; ``performance`` and ``music`` only where notes were read."""
    found: dict[str, Groups] = {}
    for column in AUDITED:
        try:
            labels = group_labels(manifest, column).to_numpy(dtype=object)
        except CannotCutError:
            found_in = players(manifest) if column == "player" else manifest[column]
            labels = found_in.astype(object).to_numpy()
        found[column] = _coded(labels, f"have no {column}")
    if notes is not None:
        reasons = ", ".join(sorted(set(notes.unchecked.values())))
        for column in IN_NOTES:
            labels = getattr(notes, column).loc[list(manifest["clip"])].to_numpy(dtype=object)
            found[column] = _coded(labels, f"not checked ({reasons})")
    return found


def _coded(labels: Clips, gap: str) -> Groups:
    codes, names = pd.factorize(labels)
    return Groups(codes.astype(np.intp), [str(name) for name in names], gap)


def measure(
    folds: pd.DataFrame,
    manifest: pd.DataFrame,
    groups: dict[str, Groups],
    selection: Selection | None,
) -> Iterator[Part]:
    """Every part of every scheme of ``folds``; those with validation only with ``selection``."""
    for scheme in dict.fromkeys(folds["scheme"].astype(str)):
        parts = {
            part: Part(scheme, part, {column: Overlap() for column in groups}, Counter(), [])
            for part in (PARTS if selection is not None else PARTS[:1])
        }
        for division in _divisions(folds, manifest, scheme, selection):
            if isinstance(division, str):
                for part in PARTS[1:]:
                    parts[part].reasons.append(division)
                continue
            parts[division.part].kept[division.kept] += 1
            for column, labels in groups.items():
                parts[division.part].overlaps[column].add(division, labels, column)
        yield from parts.values()


def _divisions(
    folds: pd.DataFrame, manifest: pd.DataFrame, scheme: str, selection: Selection | None
) -> Iterator[Division | str]:
    """All divisions of one scheme; a reason where a training side cannot be divided again."""
    spec = SCHEMES[scheme]
    kept = " and ".join(spec.columns)
    row = pd.Series(np.arange(len(manifest), dtype=np.intp), index=manifest["clip"].to_numpy())
    for number in sorted(set(folds.loc[folds["scheme"] == scheme, "fold"])):
        train, test = train_test(folds, manifest, scheme, int(number))
        tested = row.loc[list(test)].to_numpy()
        yield Division(TRAIN_TEST, row.loc[list(train)].to_numpy(), tested, kept, spec.declared)
        if selection is None:
            continue
        try:
            clips, cut = selection.divided(manifest, scheme, train)
        except CannotCutError as reason:
            yield reason.what
            continue
        used = row.loc[list(clips)].to_numpy()
        declared = inner_declared(cut.column)
        for fit, held in [*cut.inner, *([] if cut.validation is None else [cut.validation])]:
            yield Division(TRAIN_VALIDATION, used[fit], used[held], cut.column, declared)
            yield Division(VALIDATION_TEST, used[held], tested, kept, spec.declared)
