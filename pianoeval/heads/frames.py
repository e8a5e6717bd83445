"""Frames that heads read: a contour store, or frames that are kept beside pooled vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pianoeval.errors import CorruptDataError, PianoevalError
from pianoeval.features.pooling import PooledStore
from pianoeval.features.sequences import Sequences
from pianoeval.params import Params
from pianoeval.params_contrast import CONTOURS, PYIN, HeadParams
from pianoeval.paths import CorpusPaths
from pianoeval.store import RaggedStore

Source = tuple[str, tuple[str, ...], str, str]


def source_of(head: HeadParams, params: Params) -> Source:
    """What a head reads; heads of one source train at once."""
    if head.store in CONTOURS:
        return head.store, tuple(head.columns), "", ""
    return head.store, (), str(head.layers), head.instrument or params.axes.instrument[0]


def load_frames(
    head: HeadParams, params: Params, paths: CorpusPaths, clips: Sequence[str]
) -> tuple[Sequences, list[str]]:
    """Frames of those of ``clips`` that have any, and their names, in the order asked for.

    Raises
    ------
    PianoevalError
        There is no such store, or it holds none of the clips.
    CorruptDataError, ConfigError
        It is damaged; or it keeps no frames, or lacks a layer or a column.
    """
    if head.store in CONTOURS:
        path = paths.contours(params.contours.instrument if head.store == PYIN else head.store)
        frames, found = _of_contours(RaggedStore(path), head.columns, clips)
    else:
        _, _, _, instrument = source_of(head, params)
        path = paths.pooled(head.store, instrument)
        pooled = PooledStore(path)
        row = {clip: number for number, clip in enumerate(pooled.clips)}
        found = [clip for clip in clips if clip in row]
        chosen = np.array([row[clip] for clip in found], np.int64)
        frames = pooled.sequences(head.layers).take(chosen)
    if not found:
        raise PianoevalError(
            "no clip of the corpus has frames here", where=path, next_step="dvc repro"
        )
    return frames, found


def _of_contours(
    store: RaggedStore, columns: Sequence[str], clips: Sequence[str]
) -> tuple[Sequences, list[str]]:
    names = list(store.attrs["columns"])
    if absent := [column for column in columns if column not in names]:
        raise CorruptDataError(
            f"contours without a column '{absent[0]}'", where=store.path, next_step="dvc repro"
        )
    chosen = [names.index(column) for column in columns]
    there = set(store.clips)
    found = [clip for clip in clips if clip in there]
    parts: list[NDArray[np.float32]] = [
        store.frames(clip)[:, 0, :][:, chosen].astype(np.float32) for clip in found
    ]
    length = np.array([len(part) for part in parts], np.int64)
    values = np.concatenate(parts) if parts else np.zeros((0, len(chosen)), np.float32)
    return Sequences(values, np.cumsum(length) - length, length), found
