"""Rankers under every scheme: what they say of the reported pairs, and the codes they learned.

What a ranker found in one scheme is an item of the cache, named by all that it read: views, labels,
raters' errors, groups, folds and parameters.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from pianoeval.cache import Item, ItemCache, item_key
from pianoeval.evaluate.protocol.groups import GROUP_COLUMNS
from pianoeval.features.note_store import NOTES
from pianoeval.features.views import SYMBOLIC, View, load_view
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.progress import Meter
from pianoeval.provenance import sha256_bytes
from pianoeval.rankers.base import RankFold, RankPrediction
from pianoeval.rankers.registry import RANKERS
from pianoeval.rankings import POINT, Ranker, rank_schemes, usable_rankers
from pianoeval.threads import one_thread
from pianoeval.training.adapted import take_audio
from pianoeval.training.rankfolds import Takes, make_rank_folds, make_takes

_log = logging.getLogger(__name__)
STEP = "rank"
CODE_VERSION = 1
MARGIN = "margin/"  # before a dimension, in columns of the table of pairs
SELECTION = "selection"
PAIR_COLUMNS = ("ranker", "scheme", "fold", "first", "second")
CODE_COLUMNS = ("ranker", "scheme", "fold", "branch", "clip")
_OF_MIDI = (SYMBOLIC, NOTES)
# Columns that decide who is compared and who trains with whom.
_DECIDING = ["clip", "sha256", "parent", "take", "is_score_render", *GROUP_COLUMNS]
_Found = tuple[pd.DataFrame, pd.DataFrame, list[dict[str, Any]]]


@dataclass(frozen=True)
class Ranked:
    """Tables of pairs and codes; see :func:`rank_corpus`."""

    pairs: pd.DataFrame
    codes: pd.DataFrame


@one_thread()
def rank_corpus(
    params: Params,
    paths: CorpusPaths,
    manifest: pd.DataFrame,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    cache: ItemCache,
) -> Ranked:
    """Every ranker whose views are on the axes, under every scheme of ``rank.schemes``.

    Returns
    -------
    Ranked
        ``pairs``: ``ranker, scheme, fold, first, second`` and ``margin/<dimension>``, float32, the
        log-odds that the first take has the higher label. ``attrs``: ``dimensions``, and
        ``selection``, records of what was chosen in each fold. ``codes``: ``ranker, scheme, fold,
        branch, clip`` and ``v000`` …, float32, NaN beyond a code's length.
        Both without rows where nothing can be ranked.

    Raises
    ------
    BadInputError
        The views of a ranker have no clip in common.
    PianoevalError
        Features are missing or damaged, or training diverged.
    """
    usable, left_out = usable_rankers(params)
    for name, reason in left_out.items():
        _log.warning("ranker %s is left out: %s", name, reason)
    schemes = [s for s in rank_schemes(params) if s in set(folds["scheme"])]
    pairs: list[pd.DataFrame] = []
    codes: list[pd.DataFrame] = []
    selection: list[dict[str, Any]] = []
    dimensions: list[str] = []
    with Meter("rank", len(usable) * len(schemes), unit="rankers") as meter:
        for ranker in usable.values():
            if manifest["midi_path"].isna().all() and set(_OF_MIDI) & {*ranker.features.values()}:
                _log.warning("ranker %s is left out: no clip has MIDI", ranker.name)
                continue
            takes = make_takes(
                load_views(ranker, params, paths, manifest), manifest, labels, params
            )
            takes = replace(takes, audio=take_audio(ranker, takes.clips, params, paths))
            dimensions = takes.dimensions
            for scheme in schemes:
                found = _ranked(ranker, takes, scheme, params, manifest, folds, cache)
                pairs.append(found[0])
                codes.append(found[1])
                selection += found[2]
                meter.advance()
    joined = _joined(pairs, PAIR_COLUMNS)
    joined.attrs = {"dimensions": dimensions, SELECTION: selection}
    return Ranked(joined, _joined(codes, CODE_COLUMNS))


def load_views(
    ranker: Ranker, params: Params, paths: CorpusPaths, manifest: pd.DataFrame
) -> list[View]:
    """The ranker's views, with frames or notes if, and only if, it attends to them."""
    reads_frames = any(
        point.approach == "siamese" and point.comparison == "attention"
        for point in ranker.params.points().values()
    )
    found = []
    for name, features in ranker.features.items():
        block = params.views[features][name]
        # A view brings its sequences for the models that read them.
        framed = block.model_copy(update={"models": ["attention" if reads_frames else "ridge"]})
        views = {**params.views, features: {**params.views[features], name: framed}}
        wanted = params.model_copy(update={"views": views})
        found.append(load_view(features, name, wanted, paths, manifest["clip"].tolist()))
    return found


def _ranked(
    ranker: Ranker, takes: Takes, scheme: str, params: Params, manifest: pd.DataFrame,
    folds: pd.DataFrame, cache: ItemCache,
) -> _Found:  # fmt: skip
    """One ranker under one scheme, from the cache or trained."""
    key = rank_key(ranker, takes, scheme, params, manifest, folds)
    item = cache.get(STEP, key)
    if item is not None:
        return _unpack(item, "pairs"), _unpack(item, "codes"), item.meta[SELECTION]
    cut = make_rank_folds(takes, manifest, folds, scheme, params)
    points = ranker.params.points()
    found = _train(ranker, cut, params)
    rows: list[pd.DataFrame] = []
    codes: list[pd.DataFrame] = []
    selection: list[dict[str, Any]] = []
    for number, fold in enumerate(cut):
        best = _best([found[name][number] for name in points])
        for place, name in enumerate(points):
            one = found[name][number]
            if name:
                rows.append(_pair_rows(f"{ranker.name}{POINT}{name}", fold, one, takes))
            if place == best:
                rows.append(_pair_rows(ranker.name, fold, one, takes))
                codes += _code_rows(ranker.name, fold, one, takes)
                selection.append(_told(ranker.name, fold, name, one))
    tables = _joined(rows, PAIR_COLUMNS), _joined(codes, CODE_COLUMNS)
    arrays = {"pairs": _packed(tables[0]), "codes": _packed(tables[1])}
    cache.put(STEP, key, arrays, {"ranker": ranker.name, "scheme": scheme, SELECTION: selection})
    return *tables, selection


def _train(
    ranker: Ranker, cut: Sequence[RankFold], params: Params
) -> dict[str, list[RankPrediction]]:
    """Predictions of every point in every fold; points of one approach train together."""
    points = ranker.params.points()
    found: dict[str, list[RankPrediction]] = {}
    for approach in dict.fromkeys(point.approach for point in points.values()):
        alike = {name: point for name, point in points.items() if point.approach == approach}
        predicted = RANKERS[approach](cut, list(alike.values()), params.run) if cut else []
        found |= dict(zip(alike, predicted, strict=True)) if cut else {name: [] for name in alike}
    return found


def _best(points: Sequence[RankPrediction]) -> int:
    """The point of best accuracy on validation pairs; the first where there are none."""
    values = np.array([one.validation for one in points])
    return int(np.nanargmax(values)) if np.isfinite(values).any() else 0


def rank_key(
    ranker: Ranker, takes: Takes, scheme: str, params: Params, manifest: pd.DataFrame,
    folds: pd.DataFrame,
) -> str:  # fmt: skip
    """Key of what a ranker found under a scheme."""

    def digest(*parts: bytes) -> str:
        return sha256_bytes(b"|".join(parts))

    of_scheme = folds[folds["scheme"] == scheme]
    inputs = {
        "features": digest(takes.x.tobytes(), str(takes.x.shape).encode()),
        "labels": digest(takes.y.tobytes(), "|".join(takes.dimensions).encode()),
        "errors": digest(takes.error.tobytes()),
        "clips": digest("|".join(takes.clips).encode()),
        "groups": digest(manifest[_DECIDING].to_csv(index=False).encode()),
        "folds": digest(of_scheme.to_csv(index=False).encode()),
    }
    approaches = {point.approach for point in ranker.params.points().values()}
    if "kernel" in approaches and len(takes.widths) > 1:
        inputs["widths"] = digest(str(takes.widths).encode())  # where one view ends
    if takes.sequences is not None:
        inputs["sequences"] = takes.sequences.digest()
    if takes.audio is not None:
        inputs["audio"] = takes.audio.digest()
    rank, probe = params.rank, params.probe
    config: Mapping[str, object] = {
        "ranker": ranker.params,
        "name": ranker.name,
        "scheme": scheme,
        "piece": rank.piece,
        "takes": [rank.takes, rank.learn_from],
        "task": probe.task,
        "inner_folds": probe.ridge.inner_folds,
        "validation": [probe.mlp.validation_fraction, probe.mlp.seed],
    }
    return item_key(STEP, CODE_VERSION, inputs, config)


def _told(name: str, fold: RankFold, point: str, one: RankPrediction) -> dict[str, Any]:
    scheme, number = fold.name.rsplit("/", 1)
    accuracy = one.validation if np.isfinite(one.validation) else None
    return {
        "ranker": name, "scheme": scheme, "fold": int(number), "point": point,
        "validation": accuracy, **one.selection,
    }  # fmt: skip


def _pair_rows(name: str, fold: RankFold, one: RankPrediction, takes: Takes) -> pd.DataFrame:
    scheme, number = fold.name.rsplit("/", 1)
    clips = np.array(takes.clips, dtype=object)
    first, second = fold.pairs.T
    head = pd.DataFrame(
        {"ranker": name, "scheme": scheme, "fold": int(number),
         "first": clips[first], "second": clips[second]}
    )  # fmt: skip
    columns = [f"{MARGIN}{dimension}" for dimension in takes.dimensions]
    margins = pd.DataFrame(one.margins.astype(np.float32), columns=columns)
    return pd.concat([head, margins], axis=1)


def _code_rows(name: str, fold: RankFold, one: RankPrediction, takes: Takes) -> list[pd.DataFrame]:
    scheme, number = fold.name.rsplit("/", 1)
    clips = np.array(takes.clips, dtype=object)[fold.test]
    tables = []
    for branch, values in one.codes.items():
        head = pd.DataFrame(
            {"ranker": name, "scheme": scheme, "fold": int(number), "branch": branch, "clip": clips}
        )
        columns = [f"v{column:03d}" for column in range(values.shape[1])]
        tables.append(pd.concat([head, pd.DataFrame(values, columns=columns)], axis=1))
    return tables


def _joined(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """One table; its named columns alone, and no row, where there is none."""
    full = [table for table in tables if len(table)]
    if full:
        return pd.concat(full, ignore_index=True)
    kinds = {name: "int64" if name == "fold" else "str" for name in columns}
    return pd.DataFrame({name: pd.Series([], dtype=kind) for name, kind in kinds.items()})


def _packed(table: pd.DataFrame) -> np.ndarray:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def _unpack(item: Item, name: str) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(item.arrays[name].tobytes()))
