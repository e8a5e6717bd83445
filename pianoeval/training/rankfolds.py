"""Folds of rankers: takes, their labels and errors, and the pairs that are reported."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pianoeval.corpora.manifest import label_matrix
from pianoeval.errors import BadInputError
from pianoeval.evaluate.protocol.groups import UNKNOWN_PLAYER, CannotCutError, group_labels
from pianoeval.evaluate.protocol.inner import divide
from pianoeval.evaluate.protocol.splits import train_test
from pianoeval.evaluate.statistics.pairs import same_group_pairs
from pianoeval.features.sequences import Sequences
from pianoeval.features.views import View
from pianoeval.models.base import Float32, Float64, Rows
from pianoeval.params import Params
from pianoeval.params_rank import PairParams
from pianoeval.rankers.audio import TakeAudio
from pianoeval.rankers.base import RankFold
from pianoeval.rankers.pairs import training_pairs

_log = logging.getLogger(__name__)
_ALL_PAIRS = PairParams()


@dataclass(frozen=True, eq=False)
class Takes:
    """Takes of a corpus with what rankers read of them.

    Attributes
    ----------
    clips : list of str
    x : float32, shape (clips, features)
    y, error : float64, shape (clips, dimensions)
        Labels, NaN for a clip without; and their standard errors, NaN where they are unknown.
    dimensions : list of str
    segment, piece, identity : int64, shape (clips,)
        See :class:`~pianoeval.rankers.base.RankFold`.
    learned, reported : bool, shape (clips,)
        Takes that may be learned from, and those that are compared in the report.
    sequences : Sequences, optional
    audio : TakeAudio, optional
        Of rankers that adapt an encoder.
    player, movement : int64, shape (clips,), optional
        As in :class:`~pianoeval.rankers.base.RankFold`.
    widths : tuple of int
        Columns of each view.
    """

    clips: list[str]
    x: Float32
    y: Float64
    error: Float64
    dimensions: list[str]
    segment: Rows
    piece: Rows
    identity: Rows
    learned: np.ndarray
    reported: np.ndarray
    sequences: Sequences | None = None
    audio: TakeAudio | None = None
    player: Rows | None = None
    movement: Rows | None = None
    widths: tuple[int, ...] = ()


def make_takes(
    views: Sequence[View], manifest: pd.DataFrame, labels: pd.DataFrame, params: Params
) -> Takes:
    """Takes that all views have, their columns side by side.

    Raises
    ------
    BadInputError
        The views have no clip in common, none of these has a label, or one has some labels only.
    """
    common = set.intersection(*(set(view.clips) for view in views))
    clips = [clip for clip in manifest["clip"] if clip in common]
    if not clips:
        raise BadInputError(
            "these views have no clip in common", where="rank.rankers",
            next_step="name other views in params.yaml",
        )  # fmt: skip
    rows = [_positions(view.clips, clips) for view in views]
    x = np.concatenate([v.x[r] for v, r in zip(views, rows, strict=True)], axis=1)
    y, dimensions = label_matrix(labels, params.probe.task, clips)
    _check_labels(y, clips, params.probe.task)
    table = manifest.set_index("clip").loc[clips].reset_index()
    human = ~table["is_score_render"].to_numpy(dtype=bool)
    ordered = [v.sequences.take(r) for v, r in zip(views, rows, strict=True) if v.sequences]
    rank = params.rank
    return Takes(
        clips, np.ascontiguousarray(x), y, _errors(labels, params.probe.task, clips, dimensions),
        dimensions, _codes(table["segment"].astype(str)),
        _codes(group_labels(table, rank.piece)), _codes(table["sha256"]),
        human | (rank.learn_from == "all"), human | (rank.takes == "all"),
        ordered[0] if ordered else None, player=_known_codes(table["player"]),
        movement=_known_codes(table["movement"]), widths=tuple(v.x.shape[1] for v in views),
    )  # fmt: skip


def _check_labels(y: Float64, clips: list[str], task: str) -> None:
    """Refuse what the probes refuse too; see :func:`make_takes`."""
    missing = np.isnan(y)
    if missing.all():
        raise BadInputError(
            f"no clip of these views has a label of the task {task}", where="rank.rankers",
            next_step="label clips that have these features, or change probe.task in params.yaml",
        )  # fmt: skip
    partly = np.flatnonzero(missing.any(axis=1) & ~missing.all(axis=1))
    if len(partly):
        raise BadInputError(
            f"{len(partly)} clips are labelled in part", where=clips[partly[0]],
            next_step="label every dimension of a clip, or leave the clip out of the labels",
        )  # fmt: skip


def _positions(of: Sequence[str], clips: Sequence[str]) -> Rows:
    row = {clip: number for number, clip in enumerate(of)}
    return np.array([row[clip] for clip in clips], dtype=np.int64)


def _codes(values: pd.Series) -> Rows:
    return np.unique(values.to_numpy(dtype=object).astype(str), return_inverse=True)[1].astype(
        np.int64
    )


def _known_codes(values: pd.Series) -> Rows:
    """As :func:`_codes`; -1 where there is no value, or a player that is not known."""
    unknown = values.isna() | (values == UNKNOWN_PLAYER)
    return np.where(unknown, -1, _codes(values)).astype(np.int64)


def _errors(labels: pd.DataFrame, task: str, clips: list[str], dimensions: list[str]) -> Float64:
    """Standard error of each label: spread of its raters over the root of their number."""
    rows = labels[labels["task"] == task]
    error: pd.Series = rows["sd"].astype("float64") / np.sqrt(rows["n_raters"].astype("float64"))
    wide = rows.assign(error=error).pivot(index="clip", columns="dimension", values="error")
    return wide.reindex(index=clips, columns=dimensions).to_numpy(np.float64)


def make_rank_folds(
    takes: Takes, manifest: pd.DataFrame, folds: pd.DataFrame, scheme: str, params: Params
) -> list[RankFold]:
    """Folds of a scheme that have a pair to report and can be learned in; others are named."""
    found: list[RankFold] = []
    left_out: dict[str, list[str]] = {}  # a line a reason: a small corpus has many such folds
    for number in sorted(set(folds.loc[folds["scheme"] == scheme, "fold"])):
        fold = _fold(takes, manifest, folds, scheme, int(number), params)
        if isinstance(fold, str):
            left_out.setdefault(fold, []).append(str(number))
        else:
            found.append(fold)
    for reason, numbers in left_out.items():
        _log.warning("rank: left out under '%s', folds %s: %s", scheme, ", ".join(numbers), reason)
    return found


def _fold(
    takes: Takes, manifest: pd.DataFrame, folds: pd.DataFrame, scheme: str, number: int,
    params: Params,
) -> RankFold | str:  # fmt: skip
    """One fold, or why there is none."""
    row_of = {clip: row for row, clip in enumerate(takes.clips)}
    labelled = ~np.isnan(takes.y).any(axis=1)
    train_clips, test_clips = train_test(folds, manifest, scheme, number)
    train = _rows(train_clips, row_of, labelled & takes.learned)
    test = _rows(test_clips, row_of, labelled & takes.reported)
    inside = same_group_pairs(takes.segment[test], takes.identity[test].astype(object))
    if not len(inside):
        return "no two takes of one segment to compare"
    if len(train) < 2:
        return f"{len(train)} takes to learn from"
    y = takes.y[train]
    names = np.array([takes.clips[row] for row in train], dtype=object)
    try:
        cut = divide(manifest, scheme, names, y, params.probe)
    except CannotCutError as reason:
        return reason.what
    fold = RankFold(
        f"{scheme}/{number}", takes.x, takes.segment, takes.piece, takes.identity, train, test,
        y, takes.error[train], test[inside], cut.inner, cut.validation, takes.sequences,
        cut.groups, takes.audio, takes.player, takes.movement, takes.widths,
    )  # fmt: skip
    return _with_pairs_to_stop_on(fold)


def _rows(clips: np.ndarray, row_of: dict[str, int], usable: np.ndarray) -> Rows:
    rows = [row_of[clip] for clip in clips if clip in row_of]
    return np.array([row for row in rows if usable[row]], dtype=np.int64)


def _with_pairs_to_stop_on(fold: RankFold) -> RankFold | str:
    """The fold whose validation group holds pairs of unequal labels.

    The group of the probes may be one player, of whom no two takes are of one segment; then an
    inner fold of more groups stands in for it, or else some of the training segments.
    """
    splits = [fold.validation, *fold.inner] if fold.validation else list(fold.inner)
    for split in [*splits, *_by_segments(fold.segment[fold.train])]:
        parts = [training_pairs(fold, part, _ALL_PAIRS) for part in split]
        if all((pairs.weight > 0).any() for pairs in parts):
            if split is not fold.validation:
                _log.warning(
                    "rank: fold %s: the validation group holds no pairs; %d other takes stand in",
                    fold.name, len(split[1]),
                )  # fmt: skip
            return replace(fold, validation=split)
    return "fewer than two segments with takes of unequal labels to learn from"


def _by_segments(segment: Rows) -> list[tuple[Rows, Rows]]:
    """Every fourth segment held, from each of the first four on."""
    names = np.unique(segment)
    held = [np.isin(segment, names[first::4]) for first in range(4)]
    return [(np.flatnonzero(~one), np.flatnonzero(one)) for one in held]
