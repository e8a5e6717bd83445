"""Folds: which clips are tested together, and what training must therefore not contain.

A scheme names the manifest columns whose groups stay on one side. Groups are spread over folds by
size, largest first (longest-processing-time rule, Graham 1969, SIAM J. Appl. Math. 17, 416-429);
the seed only breaks ties. Folds depend on the set of rows, never on their order.

Groups that contain byte-identical clips are merged, except under ``segment`` and ``random``, which
exist to be compared with published splits and declare that leak (see ``leaks``). A version of a
clip (degraded, re-rendered) carries the groups of the clip it came from; this is checked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.errors import ConfigError
from pianoeval.evaluate.protocol.groups import CannotCutError, Clips, check_groups, group_labels
from pianoeval.params import FoldParams

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SchemeSpec:
    """One way of cutting folds.

    Attributes
    ----------
    columns : tuple of str
        Columns whose groups may not stand on both sides; two columns make cells of their product.
    declared : frozenset of str
        Columns that do overlap between training and test, by design; any other overlap is a leak.
    leave_one_out : int
        Up to this many groups of the first column, each is a fold of its own.
    link : bool
        Merge groups that contain byte-identical clips, outside and in nested selection.
    """

    columns: tuple[str, ...]
    declared: frozenset[str] = field(default_factory=frozenset)
    leave_one_out: int = 0
    link: bool = True


# `performance` and `music` are what the notes themselves say (see ``duplicates``).
_MUSIC = frozenset({"segment", "content_group", "movement", "composition", "music"})
_COPIES = frozenset({"sha256", "performance"})
SCHEMES: dict[str, SchemeSpec] = {
    "segment": SchemeSpec(
        ("segment",),
        _COPIES | {"content_group", "movement", "composition", "music", "player"},
        link=False,
    ),
    "content": SchemeSpec(("content_group",), frozenset({"movement", "composition", "player"})),
    "player": SchemeSpec(("player",), _MUSIC),
    "movement": SchemeSpec(("movement",), frozenset({"composition", "player"}), 12),
    "movement_player": SchemeSpec(("movement", "player"), frozenset({"composition"}), 12),
    "composition": SchemeSpec(("composition",), frozenset({"player"}), 12),
    "leave_one_player_out": SchemeSpec(("player",), _MUSIC, 10**9),
    "random": SchemeSpec(("take",), _MUSIC | _COPIES | {"player"}, link=False),
}

# From the most to the least telling.
_TELLING = (
    "movement", "movement_player", "composition", "player", "leave_one_player_out", "content",
    "segment",
)  # fmt: skip

_INNER: dict[str, tuple[str, ...]] = {
    "segment": ("segment", "family"),
    "content": ("content_group", "family"),
    "player": ("player", "content_group", "family"),
    "leave_one_player_out": ("player", "content_group", "family"),
    "movement": ("movement", "content_group", "family"),
    "composition": ("composition", "movement", "content_group", "family"),
    "movement_player": ("movement", "content_group", "family"),
    "random": ("family",),
}
# What clips divided by a column may share: as under the scheme that keeps this column together.
# Versions of one take are the finest division; other renders of the take may then be on both sides.
_INNER_DECLARED = {
    "segment": SCHEMES["segment"].declared,
    "content_group": SCHEMES["content"].declared,
    "player": SCHEMES["player"].declared,
    "movement": SCHEMES["movement"].declared,
    "composition": SCHEMES["composition"].declared,
    "family": SCHEMES["random"].declared | {"take"},
}


def balanced_folds(labels: pd.Series, n_folds: int, seed: int) -> pd.Series:
    """Spread groups over folds so that folds hold about as many clips each.

    Returns
    -------
    Series of int, indexed like ``labels``.
    """
    sizes = labels.value_counts().sort_index()
    order = np.random.default_rng(seed).permutation(len(sizes))
    by_size = order[np.argsort(-sizes.to_numpy()[order], kind="stable")]
    load = np.zeros(min(n_folds, len(sizes)), dtype=np.int64)
    fold_of: dict[str, int] = {}
    for position in by_size:
        smallest = int(np.argmin(load))
        fold_of[str(sizes.index[position])] = smallest
        load[smallest] += int(sizes.iloc[position])
    return labels.map(fold_of).astype(np.int64)


def _folds_of(labels: pd.Series, spec: SchemeSpec, params: FoldParams) -> pd.Series:
    """Leave-one-out where the scheme asks for it and the groups are few, else balanced folds."""
    names = sorted(set(labels))
    if len(names) < 2:
        raise CannotCutError(f"all clips share one {labels.name}: {names[0] if names else 'none'}")
    if len(names) <= spec.leave_one_out:
        return labels.map({name: i for i, name in enumerate(names)}).astype(np.int64)
    return balanced_folds(labels, params.n_folds, params.seed)


def cut_scheme(manifest: pd.DataFrame, scheme: str, params: FoldParams) -> pd.DataFrame:
    """Folds of one scheme, in the order of clip names.

    Returns
    -------
    DataFrame with columns ``scheme, fold, clip, group``; ``fold`` is where the clip is tested.

    Raises
    ------
    CannotCutError
        If the corpus has too few groups, or some fold would leave nothing to train on.
    """
    spec = _spec(scheme)
    check_groups(manifest)
    manifest = manifest.sort_values("clip")
    labels = group_labels(manifest, spec.columns[0], link=spec.link)
    fold, group = _folds_of(labels, spec, params), labels
    if len(spec.columns) == 2:
        second = group_labels(manifest, spec.columns[1], link=spec.link)
        across = _folds_of(second, SchemeSpec((spec.columns[1],)), params)
        cell = fold * (int(across.max()) + 1) + across
        fold = cell.map({value: i for i, value in enumerate(sorted(set(cell)))}).astype(np.int64)
        group = labels + " | " + second
    folds = pd.DataFrame(
        {"scheme": scheme, "fold": fold.to_numpy(), "clip": fold.index, "group": group.to_numpy()}
    )
    for number in sorted(set(folds["fold"])):
        if (left := len(train_test(folds, manifest, scheme, int(number))[0])) < 2:
            kept = f"{left} clip" if left else "nothing"
            raise CannotCutError(f"fold {number} would leave {kept} to train on")
    return folds


def _spec(scheme: str) -> SchemeSpec:
    if scheme not in SCHEMES:
        raise ConfigError(f"unknown scheme '{scheme}'", allowed=", ".join(SCHEMES))
    return SCHEMES[scheme]


def _cut_all(
    manifest: pd.DataFrame, params: FoldParams
) -> tuple[list[pd.DataFrame], dict[str, str]]:
    parts: list[pd.DataFrame] = []
    skipped: dict[str, str] = {}
    for scheme in params.schemes:
        try:
            parts.append(cut_scheme(manifest, scheme, params))
        except CannotCutError as reason:
            skipped[scheme] = str(reason)
    return parts, skipped


def make_folds(manifest: pd.DataFrame, params: FoldParams) -> pd.DataFrame:
    """Folds of every scheme that the corpus allows; ``skipped_schemes`` tells why one is absent.

    Returns
    -------
    DataFrame with columns ``scheme, fold, clip, group``.
    """
    parts, skipped = _cut_all(manifest, params)
    for scheme, reason in skipped.items():
        logger.warning("scheme '%s' is skipped: %s", scheme, reason)
    empty = pd.DataFrame({"scheme": [], "fold": np.zeros(0, np.int64), "clip": [], "group": []})
    return pd.concat(parts, ignore_index=True) if parts else empty


def wide_folds(folds: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Folds for people to read: ``clip``, and for each scheme the fold that tests it."""
    table = manifest[["clip"]].sort_values("clip", ignore_index=True)
    for scheme in dict.fromkeys(folds["scheme"]):
        tested = folds[folds["scheme"] == scheme].set_index("clip")["fold"]
        table[str(scheme)] = table["clip"].map(tested).astype("Int64")
    return table


def skipped_schemes(manifest: pd.DataFrame, params: FoldParams) -> dict[str, str]:
    """Schemes of ``params`` that this corpus does not allow, each with the reason."""
    return _cut_all(manifest, params)[1]


def train_test(
    folds: pd.DataFrame, manifest: pd.DataFrame, scheme: str, fold: int
) -> tuple[Clips, Clips]:
    """Training and test clips of one fold, each sorted by name.

    Under a scheme of two columns, training drops every clip that shares either column's group
    with a test clip.

    Returns
    -------
    train, test : arrays of str
    """
    spec = _spec(scheme)
    rows = folds[folds["scheme"] == scheme]
    test = np.sort(rows.loc[rows["fold"] == fold, "clip"].to_numpy(dtype=object))
    if not len(test):
        raise ConfigError(f"scheme '{scheme}' has no fold {fold}")
    keep = ~rows["clip"].isin(test).to_numpy()
    if len(spec.columns) > 1:
        for column in spec.columns:
            labels = group_labels(manifest, column, link=spec.link)
            held_out = set(labels.loc[list(test)])
            keep &= ~labels.loc[list(rows["clip"])].isin(held_out).to_numpy()
    return np.sort(rows.loc[keep, "clip"].to_numpy(dtype=object)), test


def inner_groups(
    manifest: pd.DataFrame, scheme: str, clips: Clips
) -> tuple[str, NDArray[np.object_]]:
    """How training clips are grouped again when something is selected inside them.

    By the scheme's own column (for ``movement_player`` the movement), so that selection faces the
    kind of novelty that the test does; where training holds fewer than two of its groups, by the
    next finer one: content groups, then takes.

    Returns
    -------
    column : str
    groups : array of str
        Group of each clip, in the order of ``clips``.

    Raises
    ------
    CannotCutError
        All clips are one take.
    """
    spec = _spec(scheme)
    rows = manifest[manifest["clip"].isin(clips)]
    for column in _INNER[scheme]:
        labels = group_labels(rows, column, link=spec.link)
        if labels.nunique() > 1:
            return column, labels.loc[list(clips)].to_numpy(dtype=object)
    raise CannotCutError(f"{len(clips)} training clips of one take cannot be divided again")


def inner_declared(column: str) -> frozenset[str]:
    """What clips on the two sides of a nested division by ``column`` share by design."""
    return _INNER_DECLARED[column]


def inner_folds(groups: NDArray[np.object_], n_folds: int, seed: int = 42) -> NDArray[np.int64]:
    """Fold number of each training clip, groups kept together, shape (clips,)."""
    labels = pd.Series(groups, name="group")
    return balanced_folds(labels, n_folds, seed).to_numpy(dtype=np.int64)


def most_telling(schemes: Iterable[str]) -> str | None:
    """Of the schemes that were run, the one that carries the headline; None without any."""
    names = list(schemes)
    return next((s for s in _TELLING if s in names), names[0] if names else None)
