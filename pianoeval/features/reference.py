"""Features beside those of the score played without expression: a clip and its deadpan rendering.

A loud clip may be a loud piece or a loud pianist. What the same pipeline makes of the score alone,
on the same instrument, says which. Blocks of a view:

own         the clip's features
difference  the clip's minus those of its rendering
ratio       log of the clip's spread over time over that of its rendering (``std`` alone)
score       those of its rendering: a description of the music, the same for all of its players

A rendering is a clip of the corpus with ``is_score_render`` that names the same score. Of several
the one counts whose MIDI has the file name of the score, else their mean. A clip without a
rendering has NaN there, which models replace by the median of the training side, and 1 in a column
of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.errors import ConfigError

OWN = ["own"]
# Symbolic features that are compared with the score already; features.symbolic names them so.
RELATIVE = "rel_"
# Added to both spreads of a ratio: below it a value does not vary, whoever plays.
_STILL = 1e-4


def renderings(manifest: pd.DataFrame) -> dict[str, list[str]]:
    """Deadpan renderings of the score of each clip, for the clips that have any.

    Parameters
    ----------
    manifest : DataFrame
        Columns ``clip, midi_path, score_path, is_score_render`` are read.
    """
    flat = manifest[manifest["is_score_render"].astype(bool) & manifest["score_path"].notna()]
    of_score: dict[str, list[str]] = {}
    for score, rows in flat.groupby("score_path", sort=False):
        file = PurePosixPath(str(score)).name
        same = [isinstance(p, str) and PurePosixPath(p).name == file for p in rows["midi_path"]]
        of_score[str(score)] = (rows[same] if any(same) else rows)["clip"].astype(str).tolist()
    pairs = zip(manifest["clip"], manifest["score_path"], strict=True)
    return {str(c): of_score[s] for c, s in pairs if isinstance(s, str) and s in of_score}


def referenced(
    own: pd.DataFrame,
    blocks: Sequence[str],
    of: Mapping[str, Sequence[str]],
    *,
    base: pd.DataFrame,
    spread: NDArray[np.bool_],
    view: str,
) -> pd.DataFrame:
    """The blocks of a view side by side, in the order in which they are named.

    Parameters
    ----------
    own : DataFrame of float32, indexed by clip
        The block ``own``.
    of : mapping of list of str
        As :func:`renderings` gives it.
    base : DataFrame of float32, indexed by clip
        What is compared with the rendering's; the columns of ``own`` that are not relative already.
    spread : bool, shape (columns of base,)
        Which of them are standard deviations over time.

    Returns
    -------
    DataFrame of float32
        The clips of ``own``; columns are numbered.

    Raises
    ------
    ConfigError
        A block named twice, a ratio of features without spreads, or no clip has a rendering.
    """
    _check(blocks, spread, view)
    score = _of_renderings(base, own.index, of)
    away = score.isna().all(axis=1).to_numpy()
    if away.all():
        raise ConfigError(
            f"blocks {', '.join(blocks)}: no clip has a deadpan rendering of its score",
            where=f"views.*.{view}.blocks", allowed="own",
            next_step="name score_path and is_score_render in the corpus (docs/corpora.md), or set"
            " blocks: [own] in params.yaml",
        )  # fmt: skip
    mine, theirs = base.to_numpy(np.float64), score.to_numpy(np.float64)
    made: dict[str, Callable[[], NDArray[np.float64]]] = {
        "own": lambda: own.to_numpy(np.float64),
        "difference": lambda: mine - theirs,
        "ratio": lambda: np.log((mine[:, spread] + _STILL) / (theirs[:, spread] + _STILL)),
        "score": lambda: theirs,
    }
    parts = [made[block]() for block in blocks]
    if away.any() and set(blocks) != set(OWN):
        parts.append(away[:, None].astype(np.float64))
    return pd.DataFrame(np.concatenate(parts, axis=1).astype(np.float32), index=own.index)


def _check(blocks: Sequence[str], spread: NDArray[np.bool_], view: str) -> None:
    where = f"views.*.{view}.blocks"
    if len(set(blocks)) < len(blocks):
        raise ConfigError(
            f"blocks {', '.join(blocks)}", where=where, allowed="each at most once",
            next_step="edit params.yaml",
        )  # fmt: skip
    if "ratio" in blocks and not spread.any():
        raise ConfigError(
            "a ratio is one of spreads over time, and these features have none", where=where,
            allowed="own, difference, score; ratio with std among pool.stats and the view's stats",
            next_step="edit params.yaml",
        )  # fmt: skip


def _of_renderings(
    base: pd.DataFrame, clips: pd.Index, of: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """Features of the renderings of each clip, averaged; NaN where there is none."""
    row = {clip: number for number, clip in enumerate(base.index)}
    values = base.to_numpy(np.float64)
    found = np.full((len(clips), values.shape[1]), np.nan)
    for number, clip in enumerate(clips):
        rows = [row[name] for name in of.get(str(clip), ()) if name in row]
        if rows:
            found[number] = values[rows].mean(axis=0)
    return pd.DataFrame(found, index=clips)
