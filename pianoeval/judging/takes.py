"""Files ranked by an exported ranker, with what is known about each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pianoeval.cache import ItemCache
from pianoeval.corpora.fetch import MEDIA_SUFFIXES, list_folder
from pianoeval.errors import BadInputError, ConfigError
from pianoeval.features.views import SYMBOLIC
from pianoeval.judging.context import differing, unlike
from pianoeval.judging.files import Recording
from pianoeval.judging.ranking import Ranking, rank_takes
from pianoeval.judging.same_piece import check_same_piece
from pianoeval.judging.scoring import features_of
from pianoeval.models.base import Float32
from pianoeval.params import Params
from pianoeval.training.ranker import ExportedRanker

_NEXT = "name two takes of one piece or more, as: pianoeval rank A.wav B.wav --model DIR"


@dataclass(frozen=True)
class Take:
    """One file; ``distance`` and ``inside`` as of ``judging.context.Notes``."""

    recording: Recording
    distance: float
    inside: bool
    texts: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Ranked:
    """Takes of one piece.

    Attributes
    ----------
    takes : list of Take
    rankings : list of Ranking
        A dimension each, of the takes in this order.
    failed : dict
        Why other files were not ranked.
    texts : list of str
        What concerns all takes.
    """

    takes: list[Take]
    rankings: list[Ranking]
    failed: dict[str, str]
    texts: list[str]


def files_in(folder: Path) -> list[str]:
    """Recordings below a folder, in the order of their names; raises BadInputError."""
    if not folder.is_dir():
        raise BadInputError("no such folder", where=folder, next_step=_NEXT)
    names = [n for n in list_folder(folder) if Path(n).suffix.lower() in MEDIA_SUFFIXES]
    if not names:
        raise BadInputError(
            "no recordings below this folder", where=folder,
            allowed=" ".join(sorted(MEDIA_SUFFIXES)), next_step=_NEXT,
        )  # fmt: skip
    return [str(folder / name) for name in names]


def chosen_dimensions(model: ExportedRanker, asked: Sequence[str]) -> list[str]:
    """The dimensions that were asked for, all without any; raises ConfigError."""
    for name in asked:
        if name not in model.dimensions:
            raise ConfigError(
                f"the ranker has no dimension '{name}'", where="--dimension",
                allowed=", ".join(model.dimensions), next_step="name one of these",
            )  # fmt: skip
    return [name for name in model.dimensions if not asked or name in asked]


def rank_files(
    model: ExportedRanker,
    recordings: Sequence[Recording],
    settings: Params,
    cache: ItemCache,
    score_midi: Path | None = None,
    dimensions: Sequence[str] = (),
    unread: Mapping[str, str] | None = None,
) -> Ranked:
    """Compare takes of one piece.

    Parameters
    ----------
    settings, score_midi
        As of :func:`~pianoeval.judging.scoring.judge`.
    dimensions : sequence of str
        Only these; all without any.
    unread : mapping, optional
        Why files that were named too could not be read; goes into ``failed``.

    Raises
    ------
    BadInputError
        Fewer than two takes, or files that do not play the same piece.
    ConfigError
        An unknown dimension.
    PianoevalError
        What concerns no single file: weights or fonts that are absent, a full disk.
    """
    chosen = chosen_dimensions(model, dimensions)
    unread = dict(unread or {})
    _two(len(recordings), unread)
    same = check_same_piece(recordings, settings.midi, score_midi)
    x, names, failed = _features(model, recordings, settings, cache, score_midi)
    failed = {**failed, **unread}
    _two(len(names), failed)
    by_name = {one.name: one for one in recordings}
    scores, left_out = model.scores(x)
    keep = [model.dimensions.index(name) for name in chosen]
    entries = [model.config["dimensions"][d] for d in keep]
    rankings = rank_takes(scores[:, keep], left_out[:, :, keep], entries, model.config["quality"])
    largest = float(model.config["training"]["distance"]["largest"])
    shares = [float(d) / largest if largest > 0 else float(d > 0) for d in model.distance(x)]
    takes = [
        _take(model.config, by_name[name], share, score_midi is not None)
        for name, share in zip(names, shares, strict=True)
    ]
    return Ranked(takes, rankings, failed, same.texts)


def _two(n: int, failed: Mapping[str, str]) -> None:
    if n < 2:
        told = "".join(f"\n  {name}: {reason}" for name, reason in failed.items())
        what = "1 take cannot be ranked alone" if n else "no take can be ranked"
        raise BadInputError(f"{what}{told}", next_step=_NEXT)


def _features(
    model: ExportedRanker, recordings: Sequence[Recording], settings: Params, cache: ItemCache,
    score_midi: Path | None,
) -> tuple[Float32, list[str], dict[str, str]]:  # fmt: skip
    """Columns of all views side by side, of the files that have all of them."""
    symbolic = [view["inputs"]["source"] == SYMBOLIC for view in model.config["views"]]
    if score_midi is not None and not any(symbolic):
        raise BadInputError(
            "the ranker listens to audio and reads no score", where="--score-midi",
            next_step="leave --score-midi out",
        )  # fmt: skip
    left, parts = list(recordings), []
    failed: dict[str, str] = {}
    for view, of_notes in zip(model.config["views"], symbolic, strict=True):
        score = score_midi if of_notes else None
        x, names, bad = features_of(view, left, settings, cache, score)
        failed |= bad
        left = [one for one in left if one.name not in bad]
        parts.append((x, {name: row for row, name in enumerate(names)}))
    names = [one.name for one in left]
    joined = [x[[row[name] for name in names]] for x, row in parts]
    return np.concatenate(joined, axis=1), names, failed


def _take(config: Mapping[str, Any], one: Recording, share: float, has_score: bool) -> Take:
    told = [
        text
        for view in config["views"]
        for text in differing({**config, "inputs": view["inputs"]}, one, has_score)
    ]
    texts = list(dict.fromkeys(told))
    inside = share <= 1.0
    return Take(one, share, inside, texts if inside else [unlike(share), *texts])
