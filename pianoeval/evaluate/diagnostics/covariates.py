"""Length, loudness and note density of clips: what errors may go with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.features.pooling import PooledStore
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.store import LEVEL_NAMES
from pianoeval.tablefile import read_table

DURATION, LOUDNESS, VELOCITY = "duration_s", "loudness_lufs", "velocity_mean"
DENSITY = "note_density_hz"
_SYMBOLIC = {VELOCITY: "velocity_mean", DENSITY: "time_note_rate"}


@dataclass(frozen=True, eq=False)
class Covariate:
    """One number a clip.

    Attributes
    ----------
    values : float64, shape (n,)
        NaN where it is unknown.
    source : str or None
        Where it was read; None if there is nothing to read, and then ``reason`` says why.
    """

    values: Array
    source: str | None
    reason: str = ""

    def described(self) -> dict[str, Any]:
        """For the list of covariates in ``diagnostics.json``."""
        found = {"n": int(np.isfinite(self.values).sum()), "source": self.source}
        return found | ({"reason": self.reason} if self.reason else {})


def read_covariates(
    paths: CorpusPaths, params: Params, manifest: pd.DataFrame
) -> dict[str, Covariate]:
    """Covariates of the clips of ``manifest``, in its order.

    Loudness is that of the audio which the encoders on ``axes.features`` read, averaged over its
    instruments; a corpus of which no audio is read has the mean key velocity instead.

    Raises
    ------
    PianoevalError
        A file cannot be read.
    """
    clips = manifest["clip"].astype(str).tolist()
    span = (manifest["end_s"] - manifest["start_s"]).to_numpy(np.float64)
    found = {DURATION: Covariate(span, "end_s − start_s of the manifest")}
    table = read_table(paths.symbolic) if paths.symbolic.is_file() else None
    loudness = _loudness(paths, params, clips)
    if loudness is not None:
        found[LOUDNESS] = loudness
    else:
        found[VELOCITY] = _from_table(table, VELOCITY, clips)
    found[DENSITY] = _from_table(table, DENSITY, clips)
    return found


def _loudness(paths: CorpusPaths, params: Params, clips: list[str]) -> Covariate | None:
    for encoder in params.axes.features:
        instruments = [
            name for name in params.axes.instrument if paths.pooled(encoder, name).exists()
        ]
        if encoder in params.encoders and instruments:
            parts = [
                _level(PooledStore(paths.pooled(encoder, name)), clips) for name in instruments
            ]
            mean = np.stack(parts).mean(axis=0)
            return Covariate(mean, f"level of {' + '.join(instruments)}, stored for {encoder}")
    return None


def _level(store: PooledStore, clips: list[str]) -> Array:
    """LUFS of each clip; NaN where the store lacks it, or nothing sounds."""
    values = store.level[:, LEVEL_NAMES.index("lufs")].astype(np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    return np.asarray(pd.Series(values, index=store.clips).reindex(clips), np.float64)


def _from_table(table: pd.DataFrame | None, name: str, clips: list[str]) -> Covariate:
    column = _SYMBOLIC[name]
    if table is None or column not in table.columns:
        nothing = np.full(len(clips), np.nan)
        return Covariate(nothing, None, f"no column {column} of symbolic features to read")
    values = table.set_index("clip")[column].reindex(clips).to_numpy(np.float64)
    return Covariate(values, f"{column} of the symbolic table")
