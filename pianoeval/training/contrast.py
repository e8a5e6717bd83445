"""Heads on frames under every scheme: what they predict out of fold, and the codes they learned.

What a head found in one scheme is an item of the cache, named by all that it read: frames, labels,
groups, folds and parameters. Heads of the same frames whose items are missing train as one job.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.cache import Item, ItemCache, item_key
from pianoeval.contrasts import contrast_schemes, usable_heads
from pianoeval.errors import PianoevalError
from pianoeval.evaluate.protocol.groups import GROUP_COLUMNS
from pianoeval.heads.base import HeadPrediction
from pianoeval.heads.frames import Source, load_frames, source_of
from pianoeval.heads.registry import train_heads
from pianoeval.params import HeadParams, Params
from pianoeval.params_contrast import SKYLINE
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import sha256_bytes
from pianoeval.rankings import POINT
from pianoeval.threads import one_thread
from pianoeval.training.headfolds import (
    Framed,
    Scaled,
    make_head_folds,
    wanted_dimensions,
    wanted_labels,
)
from pianoeval.training.headtables import COLUMNS, PREDICTED, Rows, joined, packed, unpacked

_log = logging.getLogger(__name__)
STEP = "contrast"
CODE_VERSION = 1
SELECTION, LOST = "selection", "lost"
# Columns that decide who trains with whom.
_DECIDING = ["clip", "sha256", "parent", "take", "is_score_render", *GROUP_COLUMNS]


@dataclass(frozen=True)
class Contrasted:
    """Tables of predictions and codes; see :func:`contrast_corpus`."""

    predictions: pd.DataFrame
    latents: pd.DataFrame


@dataclass(frozen=True)
class _Found:
    """What one head found under one scheme; ``lost``: points of its sweep that diverged."""

    predictions: pd.DataFrame
    latents: pd.DataFrame
    selection: list[dict[str, Any]]
    lost: list[str]


@one_thread()
def contrast_corpus(
    params: Params,
    paths: CorpusPaths,
    manifest: pd.DataFrame,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    cache: ItemCache,
) -> Contrasted:
    """Every head whose frames are here, under every scheme of ``contrast.schemes``.

    Returns
    -------
    Contrasted
        ``predictions``: ``head, scheme, fold, seed, dimension, clip, predicted`` (float64, in the
        units of the labels). ``attrs``: ``dimensions``, and ``selection``, records of what was
        chosen in each fold. ``latents``: the same first columns and ``v000`` …, float32, NaN
        beyond a code's length. Both without rows where no head can be used.

    Raises
    ------
    ConfigError, BadInputError
        See :func:`~pianoeval.training.headfolds.wanted_labels`.
    PianoevalError
        Frames are missing or damaged; or a head diverged, and every point of its sweep. Heads that
        trained beside it are kept in the cache.
    """
    heads, left_out = usable_heads(params)
    if not (manifest["midi_path"].notna() & manifest["audio_path"].isna()).any():
        silent = [name for name, head in heads.items() if head.store == SKYLINE]
        left_out |= dict.fromkeys(
            silent, "no clip has MIDI that was played, so there is no skyline"
        )
        heads = {name: head for name, head in heads.items() if name not in silent}
    if heads and not wanted_dimensions(labels, params):
        reason = f"none of contrast.dimensions ({', '.join(params.contrast.dimensions)}) is a label"
        left_out |= dict.fromkeys(heads, f"{reason} of this corpus; [] = all")
        heads = {}
    for name, reason in left_out.items():
        _log.warning("head %s is left out: %s", name, reason)
    schemes = [s for s in contrast_schemes(params) if s in set(folds["scheme"])]
    if heads and not schemes:
        named = ", ".join(params.contrast.schemes) or "none"
        _log.warning("heads are left out: no scheme of contrast.schemes (%s) was cut", named)
    found: dict[tuple[str, str], _Found] = {}
    dimensions: list[str] = []
    for group in _by_source(heads, params).values():
        frames, clips = load_frames(
            next(iter(group.values())), params, paths, manifest["clip"].tolist()
        )
        y, dimensions = wanted_labels(labels, clips, params)
        framed = Framed(clips, frames, y, dimensions)
        for scheme in schemes:
            made = _of_scheme(group, framed, scheme, params, manifest, folds, cache)
            found |= {(name, scheme): one for name, one in made.items()}
    for (name, scheme), one in found.items():
        for point in one.lost:
            _log.warning("head %s: %s is left out of scheme %s: diverged", name, point, scheme)
    ordered = [found[name, scheme] for name in heads for scheme in schemes]
    predictions = joined([one.predictions for one in ordered], [*COLUMNS, PREDICTED])
    selection = [record for one in ordered for record in one.selection]
    predictions.attrs = {"dimensions": dimensions, SELECTION: selection}
    return Contrasted(predictions, joined([one.latents for one in ordered], COLUMNS))


def _by_source(
    heads: Mapping[str, HeadParams], params: Params
) -> dict[Source, dict[str, HeadParams]]:
    groups: dict[Source, dict[str, HeadParams]] = {}
    for name, head in heads.items():
        groups.setdefault(source_of(head, params), {})[name] = head
    return groups


def _of_scheme(
    heads: Mapping[str, HeadParams], framed: Framed, scheme: str, params: Params,
    manifest: pd.DataFrame, folds: pd.DataFrame, cache: ItemCache,
) -> dict[str, _Found]:  # fmt: skip
    """Heads of one source under one scheme, from the cache or trained together."""
    common = _inputs(framed, manifest, folds, scheme)
    keys = {name: _key(name, head, common, scheme, params) for name, head in heads.items()}
    items = {name: cache.get(STEP, key) for name, key in keys.items()}
    missing = {name: heads[name] for name, item in items.items() if item is None}
    found = {name: _read(item) for name, item in items.items() if item is not None}
    if missing:
        cut = make_head_folds(framed, manifest, folds, scheme, params)
        for name, one in _trained(missing, cut, framed, params).items():
            arrays = {"predictions": packed(one.predictions), "latents": packed(one.latents)}
            meta = {"head": name, "scheme": scheme, SELECTION: one.selection, LOST: one.lost}
            cache.put(STEP, keys[name], arrays, meta)
            found[name] = one
        if diverged := [name for name in missing if name not in found]:
            raise PianoevalError(
                f"head {diverged[0]} diverged under scheme {scheme}",
                where=f"contrast.heads.{diverged[0]}",
                next_step="lower its learning_rate or contrast_learning_rate in params.yaml",
            )  # fmt: skip
    return found


def _trained(
    heads: Mapping[str, HeadParams], cut: Sequence[Scaled], framed: Framed, params: Params
) -> dict[str, _Found]:
    """Heads, and the points of their sweeps, as one job; without heads that diverged.

    A point that diverged in any fold, seed or dimension is no point: its rows would be of fewer
    clips than those of others.
    """
    seeds = params.contrast.seeds
    points = {
        (name, point): block for name, head in heads.items()
        for point, block in head.points().items()
    }  # fmt: skip
    made = train_heads([one.fold for one in cut], [*points.values()], seeds, params.run)
    of_point = dict(zip(points, made, strict=True)) if cut else {}
    found = {}
    for name, head in heads.items():
        sound = [point for point in head.points() if _is_sound(of_point.get((name, point), []))]
        if not sound:
            continue
        predictions, latents, selection = [], [], []
        for number, scaled in enumerate(cut):
            each = {point: of_point[name, point][number] for point in sound}
            best = _best([*each.values()])
            chosen = _composed([*each.values()], best)
            rows = {f"{name}{POINT}{point}": one for point, one in each.items() if point}
            for row, one in {name: chosen, **rows}.items():
                table = Rows(row, scaled, framed, seeds)
                predictions.append(table.predictions(one))
                latents.append(table.latents(one))
            selection += _told(name, scaled.fold.name, framed, seeds, [*each], best, chosen)
        found[name] = _Found(
            joined(predictions, [*COLUMNS, PREDICTED]), joined(latents, COLUMNS), selection,
            [point for point in head.points() if point not in sound],
        )  # fmt: skip
    return found


def _is_sound(folds: Sequence[HeadPrediction]) -> bool:
    return all(np.isfinite(one.validation).all() for one in folds)


def _best(points: Sequence[HeadPrediction]) -> NDArray[np.int64]:
    """For each dimension, the point of least error on validation clips, over the seeds."""
    error = np.array([one.validation.mean(axis=0) for one in points])
    return np.asarray(error.argmin(axis=0), np.int64)


def _composed(points: Sequence[HeadPrediction], best: NDArray[np.int64]) -> HeadPrediction:
    """Each dimension as its best point has it."""

    def of(name: str) -> NDArray[Any]:
        parts = [getattr(points[place], name)[:, d] for d, place in enumerate(best)]
        return np.stack(parts, axis=1)

    selection = {
        key: np.stack([points[place].selection[key][:, d] for d, place in enumerate(best)], axis=1)
        for key in points[0].selection
        if all(key in one.selection for one in points)
    }
    return HeadPrediction(of("predicted"), of("latents"), of("validation"), selection)


def _told(
    name: str, fold: str, framed: Framed, seeds: Sequence[int], points: Sequence[str],
    best: NDArray[np.int64], one: HeadPrediction,
) -> list[dict[str, Any]]:  # fmt: skip
    scheme, number = fold.rsplit("/", 1)
    return [
        {
            "head": name, "scheme": scheme, "fold": int(number), "seed": int(seed),
            "dimension": dimension, "point": points[best[d]],
            "validation": _finite(one.validation[s, d]),
            **{key: _finite(values[s, d]) for key, values in one.selection.items()},
        }
        for s, seed in enumerate(seeds)
        for d, dimension in enumerate(framed.dimensions)
    ]  # fmt: skip


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _inputs(
    framed: Framed, manifest: pd.DataFrame, folds: pd.DataFrame, scheme: str
) -> dict[str, str]:
    """Hashes of what all heads of one source read under a scheme."""

    def digest(*parts: bytes) -> str:
        return sha256_bytes(b"|".join(parts))

    return {
        "frames": framed.frames.digest(),
        "labels": digest(framed.y.tobytes(), "|".join(framed.dimensions).encode()),
        "clips": digest("|".join(framed.clips).encode()),
        "groups": digest(manifest[_DECIDING].to_csv(index=False).encode()),
        "folds": digest(folds[folds["scheme"] == scheme].to_csv(index=False).encode()),
    }


def _key(
    name: str, head: HeadParams, inputs: Mapping[str, str], scheme: str, params: Params
) -> str:
    """Key of what a head found under a scheme."""
    config: Mapping[str, object] = {
        "head": head,
        "name": name,
        "scheme": scheme,
        "seeds": params.contrast.seeds,
        "folds": params.contrast.folds,
        "validation": [params.contrast.validation_fraction, params.probe.mlp.seed],
        "task": params.probe.task,
    }
    return item_key(STEP, CODE_VERSION, inputs, config)


def _read(item: Item) -> _Found:
    tables = [unpacked(item.arrays[name]) for name in ("predictions", "latents")]
    return _Found(tables[0], tables[1], item.meta[SELECTION], item.meta[LOST])
