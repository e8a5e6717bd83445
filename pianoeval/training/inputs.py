"""What an exported model reads: described when it is trained, checked when it is used.

Symbolic features are found by name. Indicators of absence are made anew from the columns that they
stood for in training: another corpus lacks other values, and would number its patterns otherwise.
Embeddings must come from the same encoder, to the hash of its weights, and pooling.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pianoeval.errors import BadInputError
from pianoeval.features.pooling import PooledStore
from pianoeval.features.symbolic import RELATIVE_PREFIX
from pianoeval.features.views import SYMBOLIC, averaged_vectors, with_indicators
from pianoeval.models.base import Float32, Float64
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.store import LEVEL_NAMES
from pianoeval.tablefile import read_table

_log = logging.getLogger(__name__)
Described = dict[str, Any]
# What a store says about itself beyond the numbers' origin.
_NOT_IDENTITY = {"step", "encoder", "instrument_name", "layers", "stats"}
_NEXT_STEP = "dvc repro"


def describe_inputs(source: str, view: str, params: Params, paths: CorpusPaths) -> Described:
    """What the view ``view`` of the features ``source`` holds, as JSON can."""
    if source == SYMBOLIC:
        return describe_table(source, _symbolic_table(paths))
    block = params.views[source][view]
    instruments = list(block.instruments or params.axes.instrument)
    stores = [PooledStore(paths.pooled(source, name)) for name in instruments]
    blocks = stores[0].matrix(block.layers, block.level, block.stats).blocks
    layers = list(dict.fromkeys(name.split("/")[0] for name in blocks if name != "level"))
    return {
        "source": source,
        "encoder": identity(stores[0].attrs),
        "layers": layers,
        "stats": block.stats or stores[0].stats,
        "level": list(LEVEL_NAMES) if block.level else [],
        "instruments": instruments,
    }


def describe_table(source: str, table: pd.DataFrame) -> Described:
    """Columns of a table indexed by clip, and what its indicators of absence stand for."""
    stood_for = _absence_patterns(table)
    return {"source": source, "columns": list(table.columns), "indicators": stood_for}


def _symbolic_table(paths: CorpusPaths) -> pd.DataFrame:
    table = read_table(paths.symbolic, _NEXT_STEP)
    return table.set_index("clip") if "clip" in table.columns else table


def _absence_patterns(table: pd.DataFrame) -> dict[str, list[str]]:
    """Columns that each indicator stands for: those that are absent where it is 1."""
    full = with_indicators(table.astype(np.float32))
    absent = table.isna()
    return {
        str(name): [str(c) for c in table.columns if absent[c].equals(full[name].astype(bool))]
        for name in full.columns[table.shape[1] :]
    }


def identity(attrs: Mapping[str, Any]) -> Described:
    """Which encoder made vectors, of what their store says about itself: its weights, precision,
    chunks, rates and code."""
    return {k: v for k, v in sorted(attrs.items()) if k not in _NOT_IDENTITY}


def read_inputs(described: Described, paths: CorpusPaths) -> tuple[Float32, list[str]]:
    """Features of all clips of a corpus, in the columns that the model was trained on.

    Returns
    -------
    x : float32, shape (clips, features)
        NaN = the value does not exist for this clip.
    clips : list of str

    Raises
    ------
    BadInputError
        The corpus lacks a column, or its vectors come from another encoder.
    PianoevalError
        There are no such features.
    """
    if described["source"] == SYMBOLIC:
        return symbolic_matrix(described, _symbolic_table(paths))
    stores = [PooledStore(paths.pooled(described["source"], n)) for n in described["instruments"]]
    for store in stores:
        check_encoder(described, store.attrs, store.stats, store.path)
    found = averaged_vectors(
        stores, ",".join(described["layers"]), bool(described["level"]), described["stats"]
    )
    return found.to_numpy(), [str(clip) for clip in found.index]


def symbolic_matrix(described: Described, table: pd.DataFrame) -> tuple[Float32, list[str]]:
    """As :func:`read_inputs`, of a symbolic table indexed by clip."""
    missing = [name for name in described["columns"] if name not in table.columns]
    if missing and all(name.startswith(RELATIVE_PREFIX) for name in missing):
        _log.warning("no clip has a score: %d features take their training median", len(missing))
        table, missing = table.reindex(columns=described["columns"]), []
    if missing:
        raise BadInputError(
            f"the symbolic table lacks {_few(missing)}, which the model reads",
            where="symbolic features",
            next_step="use the version of pianoeval that config.json names",
        )
    values = table[described["columns"]].astype(np.float32)
    indicators = [
        values[columns].isna().any(axis=1).to_numpy(np.float32)
        for columns in described["indicators"].values()
    ]
    x = np.column_stack([values.to_numpy(), *indicators]).astype(np.float32)
    return x, [str(clip) for clip in table.index]


def check_encoder(
    described: Described, attrs: Mapping[str, Any], stats: Sequence[str], where: Path | str
) -> None:
    """Raise BadInputError unless vectors come from the encoder that the model was trained on."""
    # Of the statistics, those that the model reads: a store may hold more.
    read = [stat for stat in described["stats"] if stat in stats]
    found = identity(attrs) | {"stats": read}
    wanted = described["encoder"] | {"stats": described["stats"]}
    differing = [name for name in wanted if found.get(name) != wanted[name]]
    if differing or found.keys() != wanted.keys():
        names = differing or sorted(found.keys() ^ wanted.keys())
        raise BadInputError(
            f"these vectors come from another encoder: {_few(names)} differ",
            where=where,
            allowed=", ".join(f"{name} = {wanted.get(name)}" for name in names),
            next_step="set this in params.yaml, then: dvc repro",
        )


def n_features(described: Described) -> int:
    """How many features the model reads."""
    if described["source"] == SYMBOLIC:
        return len(described["columns"]) + len(described["indicators"])
    vectors = len(described["layers"]) * len(described["stats"]) * int(described["encoder"]["dim"])
    return vectors + len(described["level"])


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def checked_matrix(x: Any, n_features: int) -> Float64:
    """Features as given by a caller: two axes, the right width, nothing infinite, no empty row."""
    values = np.asarray(x, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != n_features:
        raise BadInputError(
            f"features of shape {values.shape}", where="ExportedRidge.predict",
            allowed=f"(clips, {n_features}), columns as config.json lists them",
            next_step="take them from ExportedRidge.read",
        )  # fmt: skip
    unusable = np.isinf(values).any(axis=1) | np.isnan(values).all(axis=1)
    if unusable.any():
        raise BadInputError(
            "a clip has infinite features, or none at all",
            where=f"row {int(unusable.argmax())}",
            allowed="finite values; NaN where a single value does not exist",
            next_step="leave the clip out",
        )
    return values
