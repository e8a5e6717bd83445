"""What the codes of heads look like: how classes of labels lie apart, in order, and on a map.

A code means something beside codes of the same network only, so every measure is taken of the
reported clips of one fold, seed and dimension, and then averaged over folds. Classes are
``contrast.bins`` equal parts of 0..1; labels on another scale are first brought to 0..1 by their
extremes in the corpus. Distances are also given relative to the spread of the codes, the root of
their mean squared distance from their centre: a code that is twice as large is no clearer.

A measure that no network of a fold has, as too few classes are in it, is averaged over the other
folds. One that some network alone lacks, as its code has collapsed, is lacking in its mean: what is
left would be the mean of the folds in which training went well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.builder import n_workers
from pianoeval.corpora.manifest import label_matrix
from pianoeval.evaluate.contrast.latent import (
    class_distances,
    classes_of,
    davies_bouldin,
    interpretability,
    is_collapsed,
    silhouette,
    surface_order,
    tsne_map,
)
from pianoeval.evaluate.contrast.read import value_columns
from pianoeval.evaluate.contrast.trial import is_point
from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.evaluate.tables import MEAN, positions
from pianoeval.params import Params

Measured = dict[tuple[str, str, str, str], dict[int, dict[int, float]]]  # by seed and fold

DISTANCE_COLUMNS = [
    "scheme", "head", "dimension", "bins", "class_a", "class_b", "distance", "relative",
    "n_surfaces", "n_a", "n_b",
]  # fmt: skip
MAP_COLUMNS = [
    "scheme", "head", "fold", "seed", "dimension", "bins", "perplexity", "clip", "class", "x", "y",
]  # fmt: skip
MAPPED = 3  # dimensions of which maps are drawn, the first ones
_KEYS = ["scheme", "head", "dimension", "seed", "fold"]


@dataclass(frozen=True, eq=False)
class Codes:
    """Rows for ``contrastive.csv``, and the tables of class distances and maps."""

    rows: list[dict[str, Any]]
    distances: pd.DataFrame
    maps: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Cell:
    """Codes of one network: one head, scheme, dimension, seed and fold.

    Attributes
    ----------
    codes : float32, shape (n, values)
    y : float64, shape (n, D)
        Labels in 0..1 of all dimensions.
    own : int
        Column of the dimension that was learned.
    """

    scheme: str
    head: str
    dimension: str
    seed: int
    fold: int
    clips: NDArray[np.object_]
    codes: NDArray[np.float32]
    y: Array
    own: int


@dataclass(eq=False)
class _Surface:
    """Class distances of one head, scheme and dimension, network after network."""

    distance: list[Array] = field(default_factory=list)
    relative: list[Array] = field(default_factory=list)
    sizes: dict[int, NDArray[np.int64]] = field(default_factory=dict)  # by fold


def analyse_codes(
    latents: pd.DataFrame, dimensions: Sequence[str], labels: pd.DataFrame, params: Params
) -> Codes:
    """Measures, class distances and maps of the codes of all heads.

    Parameters
    ----------
    latents : DataFrame
        As the stage ``contrast`` writes it. Of points of sweeps only the Davies-Bouldin index is
        taken.
    dimensions : sequence of str
        All that heads learned, in their order.
    labels : DataFrame
    params : Params
    """
    bins = params.contrast.bins
    found: Measured = {}
    surfaces: dict[tuple[str, str, str], _Surface] = {}
    for cell in cells(latents, dimensions, labels, params.probe.task):
        for measure, value in _measures(cell, params).items():
            of_seeds = found.setdefault((cell.scheme, cell.head, cell.dimension, measure), {})
            of_seeds.setdefault(cell.seed, {})[cell.fold] = value
        if not is_point(cell.head):
            one = surfaces.setdefault((cell.scheme, cell.head, cell.dimension), _Surface())
            _add_surface(one, cell, bins)
    mapped = cells(_mapped(latents, dimensions), dimensions, labels, params.probe.task)
    with ThreadPoolExecutor(max(1, n_workers(params.run))) as pool:
        parts = list(pool.map(lambda cell: list(_map_rows(cell, params)), mapped))
    drawn = [row for part in parts for row in part]
    return Codes(
        _rows(found, dimensions),
        pd.DataFrame(_distance_rows(surfaces), columns=DISTANCE_COLUMNS),
        pd.DataFrame(drawn, columns=MAP_COLUMNS),
    )


def cells(
    latents: pd.DataFrame, dimensions: Sequence[str], labels: pd.DataFrame, task: str
) -> Iterator[Cell]:
    """Networks in the order of the table; codes end where a network's values do."""
    if latents.empty:
        return
    clips = sorted(latents["clip"].unique())
    y, names = label_matrix(labels, task, [str(clip) for clip in clips])
    y = unit_labels(labels[labels["task"] == task], y[:, [names.index(d) for d in dimensions]],
                    dimensions)  # fmt: skip
    row = positions(clips, latents["clip"])
    named = latents["clip"].to_numpy(dtype=object)
    values = latents[value_columns(latents)].to_numpy(np.float32)
    for key, rows in latents.groupby(_KEYS, sort=False, observed=True).indices.items():
        scheme, head, dimension, seed, fold = cast(tuple[str, str, str, int, int], key)
        codes = values[rows]
        codes = codes[:, np.isfinite(codes).all(axis=0)]
        yield Cell(
            str(scheme), str(head), str(dimension), int(seed), int(fold), named[rows], codes,
            y[row[rows]], list(dimensions).index(str(dimension)),
        )  # fmt: skip


def unit_labels(labels: pd.DataFrame, y: Array, dimensions: Sequence[str]) -> Array:
    """Labels in 0..1: as they are if all of the corpus are, else between their extremes."""
    known = labels[labels["dimension"].isin(dimensions)]
    if known["value"].min() >= 0 and known["value"].max() <= 1:
        return y
    ends = known.groupby("dimension")["value"].agg(["min", "max"]).loc[list(dimensions)]
    low, high = ends["min"].to_numpy(np.float64), ends["max"].to_numpy(np.float64)
    return np.asarray((y - low) / np.where(high > low, high - low, 1.0))


def spread(codes: NDArray[np.float32]) -> float:
    """Root of the mean squared distance of codes from their centre."""
    away = codes.astype(np.float64) - codes.mean(axis=0, dtype=np.float64)
    return float(np.sqrt((away**2).sum(axis=1).mean()))


def _measures(cell: Cell, params: Params) -> dict[str, float]:
    """Of a point the index alone: what the study of margins and bins asks for."""
    codes, y, bins = cell.codes, cell.y[:, cell.own], params.contrast.bins
    found = {"davies_bouldin": davies_bouldin(codes, y, bins)}
    if is_point(cell.head):
        return found
    found |= {
        "silhouette": silhouette(codes, y, bins),
        "surface_order": surface_order(class_distances(codes, y, bins)),
    }
    if params.contrast.heads[cell.head].regularise != "none":
        found["interpretability"] = interpretability(codes, cell.y)
    return found


def _add_surface(one: _Surface, cell: Cell, bins: int) -> None:
    y = cell.y[:, cell.own]
    distance, size = class_distances(cell.codes, y, bins), spread(cell.codes)
    one.distance.append(distance)
    flat = is_collapsed(cell.codes)
    one.relative.append(np.full_like(distance, np.nan) if flat else distance / size)
    one.sizes[cell.fold] = np.bincount(classes_of(y, bins), minlength=bins)


def _mean(values: Sequence[Array]) -> Array:
    """Mean over what is defined; NaN where nothing is."""
    stacked = np.stack(values)
    known = np.isfinite(stacked)
    n = known.sum(axis=0)
    total = np.where(known, stacked, 0.0).sum(axis=0)
    return np.asarray(np.where(n > 0, total / np.maximum(n, 1), np.nan))


def _distance_rows(surfaces: Mapping[tuple[str, str, str], _Surface]) -> Iterator[dict[str, Any]]:
    for (scheme, head, dimension), one in surfaces.items():
        distance, relative = _mean(one.distance), _mean(one.relative)
        number = np.isfinite(np.stack(one.distance)).sum(axis=0)
        sizes = np.sum(list(one.sizes.values()), axis=0)
        for a, b in zip(*np.triu_indices(len(sizes), 1), strict=True):
            if np.isfinite(distance[a, b]):
                yield {
                    "scheme": scheme, "head": head, "dimension": dimension,
                    "bins": len(sizes), "class_a": a, "class_b": b,
                    "distance": distance[a, b], "relative": relative[a, b],
                    "n_surfaces": number[a, b], "n_a": sizes[a], "n_b": sizes[b],
                }  # fmt: skip


def _mapped(latents: pd.DataFrame, dimensions: Sequence[str]) -> pd.DataFrame:
    """What is drawn: the first scheme, its first fold and seed, the first dimensions."""
    if latents.empty:
        return latents
    heads = [name for name in latents["head"].unique() if not is_point(str(name))]
    chosen = (latents["scheme"] == latents["scheme"].iloc[0]) & latents["head"].isin(heads)
    chosen &= latents["dimension"].isin(list(dimensions)[:MAPPED])
    for column in ("fold", "seed"):
        chosen &= latents[column] == latents.loc[chosen, column].min()
    found: pd.DataFrame = latents[chosen]
    return found


def _map_rows(cell: Cell, params: Params) -> Iterator[dict[str, Any]]:
    """A row a clip; none where too few clips have no neighbourhood.

    The seed of the map is that of the network.
    """
    xy, perplexity = tsne_map(cell.codes, params.contrast.perplexities, cell.seed)
    if not np.isfinite(perplexity):
        return
    of_class = classes_of(cell.y[:, cell.own], params.contrast.bins)
    for clip, place, (x, y) in zip(cell.clips, of_class, xy, strict=True):
        yield {
            "scheme": cell.scheme, "head": cell.head, "fold": cell.fold, "seed": cell.seed,
            "dimension": cell.dimension, "bins": params.contrast.bins, "perplexity": perplexity,
            "clip": clip, "class": place, "x": x, "y": y,
        }  # fmt: skip


def _rows(found: Measured, dimensions: Sequence[str]) -> list[dict[str, Any]]:
    """Lines of each measure: seeds, their mean and sd, of each dimension and their mean."""
    tables: dict[tuple[str, str, str], dict[str, dict[int, float]]] = {}
    folds: dict[tuple[str, str, str], int] = {}
    known = _known_folds(found)
    for (scheme, head, dimension, measure), of_seeds in found.items():
        key, wanted = (scheme, head, measure), known[scheme, dimension, measure]
        kept = {
            seed: [value for fold, value in values.items() if fold in wanted]
            for seed, values in of_seeds.items()
        }
        folds[key] = max(folds.get(key, 0), *(len(values) for values in kept.values()))
        tables.setdefault(key, {})[dimension] = {
            seed: float(np.mean(values)) if values else float("nan")
            for seed, values in kept.items()
        }
    rows: list[dict[str, Any]] = []
    for (scheme, head, measure), table in tables.items():
        seeds = sorted(next(iter(table.values())))
        values = np.array([[table[d][s] for s in seeds] for d in dimensions])
        values = np.concatenate([values, values.mean(axis=0)[None]])
        cells_ = {"scheme": scheme, "head": head, "metric": measure, "interval": "",
                  "n_folds": folds[scheme, head, measure]}  # fmt: skip
        for dimension, line in zip([*dimensions, MEAN], values, strict=True):
            rows += _seed_rows({**cells_, "dimension": dimension}, seeds, line)
    return rows


def _known_folds(found: Measured) -> dict[tuple[str, str, str], set[int]]:
    """Folds in which any network has a measure, by scheme, dimension and measure."""
    known: dict[tuple[str, str, str], set[int]] = {}
    for (scheme, _, dimension, measure), of_seeds in found.items():
        folds = known.setdefault((scheme, dimension, measure), set())
        for values in of_seeds.values():
            folds |= {fold for fold, value in values.items() if np.isfinite(value)}
    return known


def _seed_rows(
    cells_: Mapping[str, Any], seeds: Sequence[int], line: Array
) -> Iterator[dict[str, Any]]:
    """What is undefined has no row, and neither has a mean over it."""
    for seed, value in zip(seeds, line, strict=True):
        if np.isfinite(value):
            yield {**cells_, "statistic": "seed", "value": value, "seed": seed}
    if np.isfinite(line).all():
        yield {**cells_, "statistic": "mean", "value": line.mean(), "n_seeds": len(line)}
        if len(line) > 1:
            yield {**cells_, "statistic": "sd", "value": line.std(ddof=1), "n_seeds": len(line)}
