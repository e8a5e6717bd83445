"""Views: the feature matrix that a model reads.

A view of the symbolic table is the table itself; one of notes, means and spreads of their columns,
and the notes themselves where a model reads sequences; one of an encoder is its pooled vectors of
the chosen layers, averaged over instruments. A value that does not exist (features relative to a
score that a clip does not have) stays NaN, and each distinct pattern of absence adds one indicator
column; models replace NaN by the median of the training clips of each fold, never by zero. A clip
whose features do not exist at all is left out of the view, by name.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.corpora.manifest import read_manifest
from pianoeval.errors import ConfigError, CorruptDataError, PianoevalError
from pianoeval.features.layers import Layering, layer_text, parse_layers
from pianoeval.features.note_store import NOTES, NoteStore
from pianoeval.features.pooling import PooledStore
from pianoeval.features.reference import OWN, RELATIVE, referenced, renderings
from pianoeval.features.sequences import Sequences
from pianoeval.features.viewsequences import read_sequences
from pianoeval.params import Layers, Params, ViewParams
from pianoeval.params_probe import READS_SEQUENCES
from pianoeval.paths import CorpusPaths
from pianoeval.tablefile import read_table

_log = logging.getLogger(__name__)
SYMBOLIC = "symbolic"
_NEXT_STEP = "dvc repro"


@dataclass(frozen=True, eq=False)
class View:
    """Features of clips.

    Attributes
    ----------
    x : float32, shape (clips, features)
        NaN = the value does not exist for this clip.
    clips : list of str
        Rows of ``x``, in the order in which they were asked for.
    description : str
        One line for the report.
    missing : list of str
        Clips that were asked for and have no features.
    layers : list of str
        Names of the layers whose values stand side by side; none of a symbolic view.
    layering : Layering, optional
        How the columns divide into these.
    sequences : Sequences, optional
        Frames or notes of each row of ``x``, where a model of the view reads them.
    renders : dict of float32, shape (clips, features)
        By instrument, where models learn from each of them; ``x`` is their mean.
    """

    x: NDArray[np.float32]
    clips: list[str]
    description: str
    missing: list[str] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    layering: Layering | None = None
    sequences: Sequences | None = None
    renders: dict[str, NDArray[np.float32]] = field(default_factory=dict)


def load_view(
    features: str, name: str, params: Params, paths: CorpusPaths, clips: list[str]
) -> View:
    """The view ``name`` of ``params.views[features]``, for ``clips``.

    Raises
    ------
    ConfigError
        No such view.
    PianoevalError
        Its table or store is not there, or holds none of the clips.
    CorruptDataError
        Infinite features, or a damaged store.
    """
    view = _find(features, name, params)
    if features == SYMBOLIC:
        found, description = _symbolic(name, view, paths)
        return _select(name, found, description, clips)
    if features == NOTES:
        return _notes(name, view, paths, clips)
    instruments = view.instruments or params.axes.instrument
    stores = [PooledStore(paths.pooled(features, instrument)) for instrument in instruments]
    beside = renderings(read_manifest(paths.manifest)) if view.blocks != OWN else {}
    found, description = _embedding(features, name, view, instruments, stores, beside)
    chosen = _select(name, found, description, clips)
    if view.blocks == OWN:  # else columns are no longer layer after layer
        layers, layering = _layers(view, stores[0])
        chosen = replace(chosen, layers=layers, layering=layering)
    chosen = replace(chosen, sequences=read_sequences(name, view, stores, chosen.clips))
    if view.renders == "each":
        pairs = zip(instruments, stores, strict=True)
        each = {
            piano: _embedding(features, name, view, [piano], [store], beside)[0]
            for piano, store in pairs
        }
        chosen = replace(
            chosen, renders={n: x.loc[chosen.clips].to_numpy() for n, x in each.items()}
        )
    return chosen


def _find(features: str, name: str, params: Params) -> ViewParams:
    views = params.views.get(features, {})
    if name not in views:
        raise ConfigError(
            f"no view '{name}'", where=f"views.{features}", allowed=", ".join(views) or "none",
            next_step="edit params.yaml",
        )  # fmt: skip
    return views[name]


def _symbolic(name: str, view: ViewParams, paths: CorpusPaths) -> tuple[pd.DataFrame, str]:
    """Features by clip, with indicators of absence, and their description."""
    table = read_table(paths.symbolic, _NEXT_STEP)
    if "clip" in table.columns:
        table = table.set_index("clip")
    found = with_indicators(table.astype(np.float32))
    text = f"{table.shape[1]} symbolic features"
    if view.blocks == OWN:
        return found, text
    alone = [str(column) for column in table if not str(column).startswith(RELATIVE)]
    found = referenced(
        found, view.blocks, renderings(read_manifest(paths.manifest)), view=name,
        base=table[alone].astype(np.float32), spread=np.zeros(len(alone), dtype=bool),
    )  # fmt: skip
    return found, f"{text}: {', '.join(view.blocks)}; {found.shape[1]} values"


def _notes(name: str, view: ViewParams, paths: CorpusPaths, clips: list[str]) -> View:
    """Vectors of notes, and their sequences if a model of the view reads them."""
    store = NoteStore(paths.notes)
    found = with_indicators(store.vectors(view.blocks))
    n_columns = len(store.columns(view.blocks))
    text = f"{n_columns} columns of notes ({', '.join(view.blocks)}), mean and std"
    chosen = _select(name, found, text, clips)
    if READS_SEQUENCES.isdisjoint(view.models):
        return chosen
    return replace(chosen, sequences=store.sequences(chosen.clips, view.blocks))


def with_indicators(table: pd.DataFrame) -> pd.DataFrame:
    """Append ``missing_0, missing_1, …``: one column for each distinct pattern of absent values."""
    absent = table.isna()
    incomplete = absent.loc[:, absent.any()]
    patterns = incomplete.T.drop_duplicates().T
    indicators = patterns.set_axis([f"missing_{i}" for i in range(patterns.shape[1])], axis=1)
    return pd.concat([table, indicators.astype(np.float32)], axis=1)


def _layers(view: ViewParams, store: PooledStore) -> tuple[list[str], Layering]:
    names = [store.layers[i] for i in parse_layers(view.layers, store.layers)]
    width = len(view.stats or store.stats) * int(store.layer(names[0]).shape[2])
    return names, Layering(len(names), width)


def _spreads(view: ViewParams, store: PooledStore, n_columns: int) -> NDArray[np.bool_]:
    """Which columns of a view's vectors are standard deviations over time."""
    names, layering = _layers(view, store)
    stats = view.stats or store.stats
    kinds = np.repeat([stat == "std" for stat in stats], layering.width // len(stats))
    found = np.zeros(n_columns, dtype=bool)
    found[: len(names) * layering.width] = np.tile(kinds, len(names))
    return found


def _embedding(
    encoder: str,
    name: str,
    view: ViewParams,
    instruments: list[str],
    stores: Sequence[PooledStore],
    beside: Mapping[str, Sequence[str]],
) -> tuple[pd.DataFrame, str]:
    """Pooled vectors of a view, and their description; ``beside`` as ``reference.renderings``."""
    found = averaged_vectors(stores, view.layers, view.level, view.stats)
    if view.blocks != OWN:
        spread = _spreads(view, stores[0], found.shape[1])
        found = referenced(found, view.blocks, beside, base=found, spread=spread, view=name)
    rendered = " + ".join(instruments)
    level = ", level" if view.level else ""
    level += "" if view.blocks == OWN else f", {', '.join(view.blocks)}"
    text = f"{encoder} layers {layer_text(view.layers)}{level}: {found.shape[1]} values, {rendered}"
    return found, text


def averaged_vectors(
    stores: Sequence[PooledStore], layers: Layers, level: bool, stats: Sequence[str] = ()
) -> pd.DataFrame:
    """Pooled vectors averaged over instruments, of the clips that every instrument has.

    Returns
    -------
    DataFrame of float32, indexed by clip

    Raises
    ------
    ConfigError
        No instrument.
    CorruptDataError
        A vector is not finite.
    """
    total: pd.DataFrame | None = None
    for store in stores:
        matrix = store.matrix(layers, level, stats)
        if not np.isfinite(matrix.values).all():
            raise CorruptDataError(
                "pooled vectors are not finite", where=store.path, next_step=_NEXT_STEP
            )
        part = pd.DataFrame(matrix.values.astype(np.float64), index=matrix.clips)
        if total is None:
            total = part
        else:
            shared = total.index.intersection(part.index)
            total = total.loc[shared] + part.loc[shared]
    if total is None:
        raise ConfigError("a view needs an instrument", where="axes.instrument")
    return (total / len(stores)).astype(np.float32)


def _select(name: str, found: pd.DataFrame, description: str, clips: list[str]) -> View:
    index = set(found.index)
    kept = [clip for clip in clips if clip in index]
    missing = [clip for clip in clips if clip not in index]
    if not kept:
        raise PianoevalError(
            f"view '{name}' holds none of the {len(clips)} clips", next_step=_NEXT_STEP
        )
    if missing:
        _log.warning(
            "view %s lacks %d of %d clips, the first is %s",
            name, len(missing), len(clips), missing[0],
        )  # fmt: skip
    x = np.ascontiguousarray(found.loc[kept].to_numpy(dtype=np.float32))
    infinite = np.isinf(x).any(axis=1)
    if infinite.any():
        raise CorruptDataError(
            f"view '{name}' has infinite features", where=kept[int(infinite.argmax())],
            next_step=_NEXT_STEP,
        )  # fmt: skip
    return View(x, kept, description, missing)
