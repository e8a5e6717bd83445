"""The clips on which two runs can be compared: the same ones, with the same ratings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.compare.runs import Run
from pianoeval.corpora.manifest import label_matrix
from pianoeval.errors import BadInputError, ConfigError
from pianoeval.evaluate.comparisons import UNITS
from pianoeval.evaluate.protocol.groups import Clips, group_labels
from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.evaluate.statistics.pairs import Design, Index, make_design
from pianoeval.evaluate.tables import (
    ModelKey,
    common_clips,
    encode_predictions,
    positions,
    prediction_matrices,
)

Pair = tuple[str, str]
GROUPS = ("segment", "content_group", "movement", "player", "is_score_render")


@dataclass(frozen=True, eq=False)
class Aligned:
    """One scheme of two runs on their common clips.

    Attributes
    ----------
    design : Design
        Groups as in A; two clips are a pair where both runs tested both in one fold.
    y : float64, shape (n, D)
    predictions : dict of (float64 (n, D), float64 (n, D))
        Of A and of B, by the names of their rows.
    n_known : int
        Rated clips of either run, of which ``design`` has those that every row predicted.
    unit : (str, int64 (n,)) or None
        Name and codes of what the scheme holds out, where that is coarser than content groups.
    same_folds : bool
    """

    scheme: str
    design: Design
    y: Array
    predictions: dict[Pair, tuple[Array, Array]]
    n_known: int
    unit: tuple[str, Index] | None
    same_folds: bool


class Ratings:
    """Ratings that two runs share.

    Raises
    ------
    BadInputError
        The runs predict other labels, or a clip of both has other ratings.
    """

    def __init__(self, a: Run, b: Run) -> None:
        if a.task != b.task:
            raise BadInputError(
                f"A predicts '{a.task}', B predicts '{b.task}': nothing can be paired",
                where="probe.task", next_step="compare runs of one task",
            )  # fmt: skip
        self.clips = [sorted(map(str, run.manifest["clip"])) for run in (a, b)]
        self.values, self.dimensions = label_matrix(a.labels, a.task, self.clips[0])
        other, names = label_matrix(b.labels, b.task, self.clips[1])
        if not self.dimensions or set(names) != set(self.dimensions):
            differing = sorted(set(names) ^ set(self.dimensions))
            raise BadInputError(
                f"the rated dimensions differ: {', '.join(differing) or 'there are none'}",
                where=f"task '{a.task}'", next_step="compare runs on one version of the corpus",
            )  # fmt: skip
        other = other[:, [names.index(name) for name in self.dimensions]]
        names_a, names_b = (np.array(clips, dtype=object) for clips in self.clips)
        common, one, two = np.intersect1d(names_a, names_b, return_indices=True)
        _check_equal(self.values[one], other[two], self.dimensions, common)
        #: Rated clips of either run: what a comparison could at best have.
        self.known = {
            clip
            for clips, table in ((names_a, self.values), (names_b, other))
            for clip in clips[np.isfinite(table).any(axis=1)]
        }


def _check_equal(one: Array, other: Array, dimensions: Sequence[str], clips: Clips) -> None:
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    if same.all():
        return
    row, column = (int(i) for i in np.argwhere(~same)[0])
    raise BadInputError(
        f"the ratings differ: {dimensions[column]} is {one[row, column]:g} in A and "
        f"{other[row, column]:g} in B ({int((~same).any(axis=1).sum())} clips differ)",
        where=str(clips[row]), next_step="compare runs on one version of the ratings",
    )  # fmt: skip


class Side:
    """Predictions of one run as matrices."""

    def __init__(self, run: Run, clips: list[str], dimensions: list[str], rows: set[str]) -> None:
        self.run, self.clips, self.shape = run, clips, (len(clips), len(dimensions))
        self.rows = {name: run.rows[name] for name in rows}
        views = {key.features for key in self.rows.values()}
        self.encoded = {
            view: encode_predictions(view, table, run.task, clips, dimensions)
            for view, table in run.predictions.items()
            if view in views
        }

    def tested(self, scheme: str) -> pd.Series:
        """Fold that tests each clip, in the order of their names."""
        folds = self.run.folds[self.run.folds["scheme"] == scheme]
        return folds.set_index(folds["clip"].astype(str))["fold"].sort_index()

    def matrices(self, scheme: str) -> dict[str, Array]:
        """Rows of one scheme on the clips of ``tested``; a row without predictions is left out."""
        fold = self.tested(scheme)
        at = positions(self.clips, list(fold.index))
        if (at < 0).any():
            raise BadInputError(
                "the folds name a clip that the manifest lacks", next_step="dvc repro",
                where=f"{fold.index[int(np.argmax(at < 0))]} in run '{self.run.name}'",
            )  # fmt: skip
        found: dict[ModelKey, Array] = prediction_matrices(
            self.encoded, scheme, at, fold.to_numpy(np.int64), self.shape
        )
        return {name: found[key] for name, key in self.rows.items() if key in found}


def align(
    a: Side, b: Side, ratings: Ratings, scheme: str, pairs: Sequence[Pair], subset: str,
    min_players: int, scheme_b: str = "",
) -> Aligned | None:  # fmt: skip
    """One scheme on the clips that every row of ``pairs`` predicted; None without such rows.

    ``scheme_b`` is that of B where it is another one: what a scheme takes away from the other.

    Raises
    ------
    ConfigError
        The corpus has no deadpan clips, so that ``human`` is no subset of it.
    BadInputError
        No clip is in both.
    CorruptDataError
        Predictions were made on other folds than the run's.
    """
    scheme_b = scheme_b or scheme
    found = a.matrices(scheme), b.matrices(scheme_b)
    usable = [(one, two) for one, two in pairs if one in found[0] and two in found[1]]
    if not usable:
        return None
    tested = a.tested(scheme), b.tested(scheme_b)
    clips = np.intersect1d(tested[0].index.to_numpy(), tested[1].index.to_numpy())
    at = [fold.index.get_indexer(pd.Index(clips)) for fold in tested]
    y = ratings.values[positions(ratings.clips[0], list(clips))]
    matrices = [
        {name: m[rows] for name, m in side.items()} for side, rows in zip(found, at, strict=True)
    ]
    keep = _complete(matrices[0], {one for one, _ in usable}, y)
    keep &= _complete(matrices[1], {two for _, two in usable}, y)
    deadpan = a.run.manifest.set_index("clip")["is_score_render"].astype(bool).reindex(clips)
    known = ratings.known
    if subset == "human":
        if not deadpan.any():
            raise ConfigError("the corpus has no deadpan clips to leave out", allowed="all",
                              where="--subset", next_step="leave --subset out")  # fmt: skip
        keep &= ~deadpan.to_numpy()
        known = known - set(deadpan.index[deadpan.to_numpy()])
    if not keep.any():
        raise BadInputError(f"no rated clip has predictions of A and of B under '{scheme}'")
    folds = [fold.to_numpy()[rows][keep] for fold, rows in zip(tested, at, strict=True)]
    together, same = joint_folds(folds[0], folds[1])
    part = pd.Series(together, index=pd.Index(clips[keep], name="clip"), name="fold")
    design = make_design(a.run.manifest, part, min_players)
    return Aligned(
        scheme, design, y[keep],
        {(one, two): (matrices[0][one][keep], matrices[1][two][keep]) for one, two in usable},
        len(known), _unit(scheme, design, a.run.manifest), same,
    )  # fmt: skip


def _unit(scheme: str, design: Design, manifest: pd.DataFrame) -> tuple[str, Index] | None:
    if scheme not in UNITS:
        return None
    labels = group_labels(manifest[manifest["clip"].isin(design.clips)], UNITS[scheme])
    return UNITS[scheme], np.unique(labels.loc[list(design.clips)], return_inverse=True)[1]


def _complete(matrices: dict[str, Array], names: set[str], y: Array) -> NDArray[np.bool_]:
    """Rated clips that all named rows predicted in full."""
    chosen = {ModelKey("", name, None): matrices[name] for name in names}
    return common_clips(chosen, y)


def joint_folds(one: NDArray[np.int64], other: NDArray[np.int64]) -> tuple[NDArray[np.int64], bool]:
    """Which clips both runs tested together, as codes, and whether the folds are the same.

    Folds are the same when they hold the same clips, whatever their numbers.
    """
    both, code = np.unique(np.stack([one, other]), axis=1, return_inverse=True)
    same = both.shape[1] == len(np.unique(one)) == len(np.unique(other))
    return code.reshape(-1).astype(np.int64), same


def differing_groups(a: Run, b: Run) -> dict[str, int]:
    """Clips of both runs whose group or file is another, by column."""
    columns = [*GROUPS, "sha256"]
    one, other = (run.manifest.set_index("clip")[columns] for run in (a, b))
    common = one.index.intersection(other.index)
    one, other = one.loc[common].astype(object), other.loc[common].astype(object)
    differs = ~((one == other) | (one.isna() & other.isna()))
    return {name: int(differs[name].sum()) for name in columns if differs[name].any()}
