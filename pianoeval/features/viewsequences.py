"""Frames of a view's clips: averaged over instruments as its vectors are, moment by moment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pianoeval.errors import ConfigError
from pianoeval.features.pooling import PooledStore
from pianoeval.features.sequences import Sequences
from pianoeval.params import READS_SEQUENCES, ViewParams


def read_sequences(
    name: str, view: ViewParams, stores: Sequence[PooledStore], clips: Sequence[str]
) -> Sequences | None:
    """Sequences of ``clips`` in their order, or None where no model of the view reads any.

    Renders of a clip begin together and end with their own decay: what not all of them reach is
    left out.

    Raises
    ------
    ConfigError
        The stores hold none, or at different rates; or the view wants each render by itself.
    CorruptDataError
        A store is damaged.
    """
    readers = sorted(READS_SEQUENCES.intersection(view.models))
    if not readers:
        return None
    if view.renders == "each" or view.blocks != ["own"]:
        raise ConfigError(
            f"{', '.join(readers)} cannot learn from each render, or from the score's",
            where=f"view '{name}'", allowed="renders: average, blocks: [own]",
            next_step="give these models a view of their own in params.yaml",
        )  # fmt: skip
    rates = {store.sequence_rate_hz for store in stores}
    if len(rates) > 1:
        raise ConfigError(
            f"sequences at different rates: {sorted(rates)}", where=f"view '{name}'",
            next_step="dvc repro",
        )  # fmt: skip
    found = []
    for store in stores:
        row = {clip: number for number, clip in enumerate(store.clips)}
        chosen = np.array([row[clip] for clip in clips], np.int64)
        found.append(store.sequences(view.layers).take(chosen))
    return found[0] if len(found) == 1 else _averaged(found)


def _averaged(found: Sequence[Sequences]) -> Sequences:
    length = np.min([one.length for one in found], axis=0)
    start = np.cumsum(length) - length
    values = np.zeros((int(length.sum()), found[0].dim), np.float32)
    for one in found:
        for clip, (begin, n) in enumerate(zip(start, length, strict=True)):
            values[begin : begin + n] += one.values[one.start[clip] : one.start[clip] + n]
    values /= len(found)
    return Sequences(values, start, length)
