"""Groups of clips: what belongs together, and what must therefore stay on one side of a split."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.errors import BadInputError, CorruptDataError, PianoevalError

Clips = NDArray[np.object_]
GROUP_COLUMNS = ("segment", "content_group", "movement", "composition", "player")
DEADPAN_PLAYER = "(deadpan)"
UNKNOWN_PLAYER = "unknown"  # what a corpus calls a player that it does not know


class CannotCutError(BadInputError):
    """A scheme that this corpus does not allow; recorded and skipped, never replaced."""


class LeakError(PianoevalError):
    """Training shares with the test clips what the scheme does not declare."""


def families(manifest: pd.DataFrame) -> pd.Series:
    """Root of each clip's chain of parents, indexed by clip: all versions of one take.

    Raises
    ------
    CorruptDataError
        If versions of one take differ in a group column, or the chain is a circle.
    """
    pairs = zip(manifest["clip"], manifest["parent"], strict=True)
    parent = {clip: above for clip, above in pairs if isinstance(above, str)}
    roots: dict[str, str] = {}
    for clip in manifest["clip"]:
        root, steps = clip, 0
        while root in parent:
            root, steps = parent[root], steps + 1
            if steps > len(parent):
                raise CorruptDataError("the parents of this clip form a circle", where=clip)
        roots[clip] = root
    family = manifest["clip"].map(roots)
    for column in GROUP_COLUMNS:
        values = manifest[column].astype(object).where(manifest[column].notna(), "")
        differing = values.groupby(family).nunique() > 1
        if differing.any():
            take = str(differing.index[differing.to_numpy()][0])
            raise CorruptDataError(
                f"versions of one take differ in '{column}'",
                where=take,
                next_step="ingest the corpus again",
            )
    return pd.Series(family.to_numpy(), index=manifest["clip"].to_numpy(), name="family")


def takes(manifest: pd.DataFrame) -> pd.Series:
    """Takes, indexed by clip: families, merged where player, segment and take number are the same.

    One performance may be there several times, rendered with other soundfonts or recorded again
    from its MIDI. A clip of an unknown player is merged with none.
    """
    family = families(manifest)
    player = players(manifest)
    known = (player.notna() & manifest["segment"].notna() & manifest["take"].notna()).to_numpy()
    parts = [player, manifest["segment"].astype(object), manifest["take"].astype(object)]
    names = np.full(len(manifest), None, dtype=object)
    names[known] = [
        "\0".join(map(str, row)) for row in zip(*(p[known] for p in parts), strict=True)
    ]
    merged = _merge(family.to_numpy(dtype=object), names)
    return pd.Series(merged, index=family.index, name="take")


def players(manifest: pd.DataFrame) -> pd.Series:
    """Player of each row; None where unknown, ``(deadpan)`` of a rendering without one.

    ``unknown`` is nobody's name: two such clips may be of two people, or of one who is known.
    """
    player = manifest["player"].astype(object)
    player = player.where(player.notna() & (player != UNKNOWN_PLAYER), None)
    return player.mask(player.isna() & manifest["is_score_render"].astype(bool), DEADPAN_PLAYER)


def group_labels(manifest: pd.DataFrame, column: str, *, link: bool = False) -> pd.Series:
    """Groups of one column, indexed by clip; for players see :func:`players`.

    Parameters
    ----------
    manifest : DataFrame
        Columns ``clip, parent, sha256, is_score_render`` and the group columns.
    column : str
        A group column, ``family`` or ``take``.
    link : bool
        Merge groups that contain byte-identical clips.

    Raises
    ------
    CannotCutError
        If some clip has no group.
    """
    clips = manifest["clip"].to_numpy()
    if column in ("family", "take"):
        return families(manifest) if column == "family" else takes(manifest)
    values = players(manifest) if column == "player" else manifest[column].astype(object)
    missing = values.isna()
    if missing.any():
        known = "known player" if column == "player" else column
        raise CannotCutError(f"{int(missing.sum())} of {len(clips)} clips have no {known}")
    labels = values.astype(str).to_numpy(dtype=object)
    if link:
        labels = _merge(labels, manifest["sha256"].astype(object).to_numpy())
    return pd.Series(labels, index=clips, name=column)


def _merge(labels: Clips, digests: Clips) -> Clips:
    """Merge groups that share a digest; a merged group is named after its members."""
    shared = pd.Series(digests).duplicated(keep=False).to_numpy() & ~pd.isna(digests)
    leader = {label: label for label in labels[shared]}

    def find(label: str) -> str:
        while leader[label] != label:
            label = leader[label]
        return label

    first: dict[str, str] = {}
    for label, digest in sorted(zip(labels[shared], digests[shared], strict=True)):
        one, other = find(label), find(first.setdefault(digest, label))
        leader[max(one, other)] = min(one, other)
    members: dict[str, list[str]] = {}
    for label in sorted(leader):
        members.setdefault(find(label), []).append(label)
    name = {label: "+".join(members[find(label)]) for label in leader}
    return np.array([name.get(label, label) for label in labels], dtype=object)


def check_groups(manifest: pd.DataFrame) -> None:
    """Clips are named once, takes are consistent, a segment lies in one content group.

    Raises
    ------
    CorruptDataError
    """
    if manifest["clip"].duplicated().any():
        twice = str(manifest.loc[manifest["clip"].duplicated(), "clip"].iloc[0])
        raise CorruptDataError("the manifest lists this clip twice", where=twice)
    families(manifest)
    groups = manifest.dropna(subset=["segment"]).groupby("segment")["content_group"].nunique()
    if (groups > 1).any():
        segment = str(groups.index[(groups > 1).to_numpy()][0])
        raise CorruptDataError("this segment lies in two content groups", where=segment)
