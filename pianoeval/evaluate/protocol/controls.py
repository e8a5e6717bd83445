"""Controls: labels that cannot be learned honestly, and smaller training sides.

A control is trained and evaluated on labels y'[i] = y[source(i)] of other clips, through the same
features, folds and selection as the model that it stands beside. What it scores was not heard.

``shuffled_labels``
    A uniform permutation over single clips: y' is independent of everything about a clip. Clips,
    not takes or groups, are permuted, because whole takes would carry the severity of their
    degraded versions along, and whole segments the music: both can be recognised. Byte-identical
    clips on both sides of a fold have independent y', so that finding a copy again gains nothing.
``swapped_pieces``
    Every segment has a partner segment in another movement, and each clip takes the label of a
    random clip of it: all that can be learned is which piece is heard, nothing of who plays or
    how. Segments keep the neighbours of their content group and movement as far as sizes allow.

Where there is one movement only, partners lie in another content group, then in another segment.
Predictions of a control are named ``<view>:<control>``, those of a point of the learning curve
``<view>:train_<percent of the training clips>``, those on single instruments
``<view>:<on, without or only>_<instrument>`` (``training.renders``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.errors import ConfigError, CorruptDataError
from pianoeval.evaluate.protocol.groups import CannotCutError, Clips, families, group_labels

SHUFFLED_LABELS = "shuffled_labels"
SWAPPED_PIECES = "swapped_pieces"
CONTROLS = (SHUFFLED_LABELS, SWAPPED_PIECES)
MARK = ":"
_CURVE = re.compile(r"train_([1-9][0-9]?)")
_RENDER = re.compile(r"(on|without|only)_(.+)")
_UNITS = ("movement", "content_group", "segment")  # coarsest first
# A part of the training side may miss the wanted number of clips by this share of it.
_TOLERANCE = 0.25


def base_view(features: str) -> str:
    """The view that a control or a point of a learning curve belongs to; else the name itself."""
    return features.split(MARK, 1)[0]


def control_of(features: str) -> str | None:
    """Which label control this is, one of ``CONTROLS``; None for anything else."""
    suffix = features.partition(MARK)[2]
    return suffix if suffix in CONTROLS else None


def fraction_of(features: str) -> float | None:
    """Share of the training clips of a point of a learning curve (.25 of ``x:train_25``)."""
    found = _CURVE.fullmatch(features.partition(MARK)[2])
    return int(found[1]) / 100 if found else None


def curve_view(view: str, percent: int) -> str:
    """Name of a point of the learning curve of ``view``."""
    return f"{view}{MARK}train_{percent}"


def render_view(view: str, how: str, instrument: str) -> str:
    """Name of the row of ``view`` on one instrument; ``how`` is on, without or only."""
    return f"{view}{MARK}{how}_{instrument}"


def render_of(features: str) -> tuple[str, str] | None:
    """How and on which instrument a row was tested (``("without", "grand")``); None for others."""
    found = _RENDER.fullmatch(features.partition(MARK)[2])
    return (found[1], found[2]) if found else None


def label_sources(
    manifest: pd.DataFrame, clips: Sequence[str], control: str, seed: int
) -> NDArray[np.intp]:
    """Whose label each clip takes.

    Parameters
    ----------
    manifest : DataFrame
        Columns ``clip`` and, for ``swapped_pieces``, ``segment, content_group, movement``.
    clips : sequence of str
        All labelled clips of the corpus, each once. The answer depends on the set of them and
        on the seed, not on their order nor on that of the manifest.
    control : str
        One of ``CONTROLS``.

    Returns
    -------
    intp, shape (clips,)
        Positions within ``clips``.

    Raises
    ------
    ConfigError
        An unknown control.
    CorruptDataError
        A clip is listed twice, or is not in the manifest.
    CannotCutError
        ``swapped_pieces`` of clips of one segment.
    """
    if control not in CONTROLS:
        raise ConfigError(f"unknown control '{control}'", allowed=", ".join(CONTROLS))
    names = np.array(list(clips), dtype=object)
    if len(set(names)) < len(names):
        raise CorruptDataError("a clip is listed twice", next_step="ingest the corpus again")
    order = np.array(sorted(range(len(names)), key=lambda i: str(names[i])), dtype=np.intp)
    random = np.random.default_rng([seed, CONTROLS.index(control)])
    if control == SHUFFLED_LABELS:
        within = random.permutation(len(order))
    else:
        within = _swapped(_units(manifest, names[order]), random)
    sources = np.empty(len(order), dtype=np.intp)
    sources[order] = order[within]
    return sources


def relabel(
    manifest: pd.DataFrame,
    clips: Sequence[str],
    values: NDArray[np.float64],
    control: str,
    seed: int,
) -> NDArray[np.float64]:
    """Labels of ``clips`` as ``control`` exchanges them, shape (clips, dimensions).

    Parameters
    ----------
    clips : sequence of str
        All clips of the corpus, labelled or not, so that every view exchanges labels alike.
    values : float64, shape (clips, dimensions)
        NaN = not rated. A clip without any label takes no part and stays without.

    Raises
    ------
    ConfigError, CorruptDataError, CannotCutError
        As :func:`label_sources`.
    """
    labelled = np.flatnonzero(np.isfinite(values).any(axis=1))
    sources = label_sources(manifest, [clips[int(row)] for row in labelled], control, seed)
    exchanged = values.copy()
    exchanged[labelled] = values[labelled[sources]]
    return exchanged


def _units(manifest: pd.DataFrame, clips: Clips) -> pd.DataFrame:
    """Segment, content group and movement of each clip, in the order of ``clips``."""
    rows = manifest[manifest["clip"].isin(clips)]
    if len(rows) != len(clips):
        absent = sorted(set(clips) - set(rows["clip"]))
        raise CorruptDataError(
            "the manifest does not list every labelled clip once",
            where=absent[0] if absent else str(rows["clip"].iloc[0]),
            next_step="ingest the corpus again",
        )
    return pd.DataFrame(
        {unit: group_labels(rows, unit).loc[list(clips)].to_numpy(dtype=object) for unit in _UNITS}
    )


def _swapped(units: pd.DataFrame, random: np.random.Generator) -> NDArray[np.intp]:
    """Source of each row: clips of the partner segment in random order, used about equally."""
    rows_of = units.groupby("segment").indices
    sources = np.empty(len(units), dtype=np.intp)
    for name, partner in _partners(units.drop_duplicates("segment"), random).items():
        rows = rows_of[name]
        sources[rows] = np.resize(random.permutation(rows_of[partner]), len(rows))
    return sources


def _partners(segments: pd.DataFrame, random: np.random.Generator) -> dict[str, str]:
    """Partner of each segment, in another group of the coarsest unit that has two.

    Segments stand in a seeded order that keeps content groups and movements together, the largest
    first. With n of them and m in the largest group, the partner lies m places on (cyclically):
    places of one group differ by less than m, so it is in another group if m ≤ n − m. If one group
    holds more than half, its segments go through the others more than once; those go to it.
    """
    segments = segments.sort_values("segment").iloc[random.permutation(len(segments))]
    unit = next((name for name in _UNITS if segments[name].nunique() > 1), None)
    if unit is None:
        raise CannotCutError("all labelled clips share one segment: there is none to swap it with")
    keys = [
        segments.groupby(name, sort=False)[name].transform("size").mul(-1) for name in _UNITS[:2]
    ]
    first = [pd.Series(pd.factorize(segments[name])[0], segments.index) for name in _UNITS[:2]]
    order = np.lexsort((first[1], keys[1], first[0], keys[0]))
    names = segments["segment"].to_numpy(dtype=object)[order]
    n, m = len(names), int(segments[unit].value_counts().max())
    place = np.arange(n)
    partner = (place + m) % n
    if m > n - m:
        partner = np.where(place < m, m + place % (n - m), place - m)
    return dict(zip(names, names[partner], strict=True))


def part_of_training(
    manifest: pd.DataFrame, clips: Clips, fraction: float, seed: int
) -> NDArray[np.bool_]:
    """A share of the training clips for a learning curve: whole content groups.

    Content groups stand in a seeded order, and their takes (with all versions) in a seeded order
    inside; the part is the beginning of this row, so that smaller parts lie within larger ones.
    Only the last group of a part may be taken in part, by whole takes: a single group can hold
    more clips than a small part may.

    Parameters
    ----------
    clips : array of str
        Training clips of one fold; their order does not matter.
    fraction : float
        Wanted share of them, 0..1.

    Returns
    -------
    bool, shape (clips,)

    Raises
    ------
    CannotCutError
        Takes are too few or too large to come near the share.
    """
    rows = manifest[manifest["clip"].isin(clips)].sort_values("clip")
    table = pd.DataFrame({"group": group_labels(rows, "content_group"), "take": families(rows)})
    random = np.random.default_rng(seed)
    takes = table.groupby("take").agg(group=("group", "first"), size=("group", "size")).sort_index()
    groups = random.permutation(sorted(set(takes["group"])))
    place = {name: i for i, name in enumerate(groups)}
    inside = random.permutation(len(takes))
    order = np.lexsort((inside, takes["group"].map(place).to_numpy()))
    total = np.cumsum(takes["size"].to_numpy()[order])
    wanted = fraction * len(clips)
    last = int(np.abs(total - wanted).argmin())
    if abs(total[last] - wanted) > _TOLERANCE * wanted:
        raise CannotCutError(
            f"whole takes give {total[last]} of {len(clips)} training clips where"
            f" {wanted:.0f} are wanted"
        )
    kept = set(takes.index[order[: last + 1]])
    chosen: NDArray[np.bool_] = table["take"].isin(kept).loc[list(clips)].to_numpy()
    return chosen
