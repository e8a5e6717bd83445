"""Frames of heads: of contours by column, of an encoder by layer, for the clips that have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from head_toys import head

from pianoeval.cache import Item
from pianoeval.errors import ConfigError, CorruptDataError, PianoevalError
from pianoeval.features.pooling import pool_store
from pianoeval.heads.base import HeadFold
from pianoeval.heads.frames import load_frames, source_of
from pianoeval.heads.registry import train_heads
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.store import RaggedStore, write_store
from tests.workspaces import small_params

LENGTHS = {"a": 70, "b": 5, "c": 90, "d": 64, "e": 33, "f": 50}


def written(path: Path, shape: tuple[int, int], **attrs: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made, items = {}, []
    for clip, length in LENGTHS.items():
        made[clip] = rng.normal(size=(length, *shape)).astype(np.float16)
        level = np.full(3, -20, np.float32)
        items.append((clip, f"key-{clip}", Item({"frames": made[clip], "level": level}, {}, "")))
    write_store(path, items, attrs=attrs, quarantined={})
    return made


def encoded(paths: CorpusPaths, hz: float) -> dict[str, np.ndarray]:
    """Two layers of six values, ten frames a second, and what ``pool`` keeps of them."""
    store = paths.embeddings("mel", "upright")
    made = written(store, (2, 6), layers=["1", "2"], frame_rate_hz=10.0, step="embedding-test")
    pool_store(RaggedStore(store), ["mean"], paths.pooled("mel", "upright"), hz)
    return made


@pytest.fixture
def params() -> Params:
    return Params.model_validate(small_params())


def test_frames_of_an_encoder(tmp_path: Path, params: Params) -> None:
    paths = CorpusPaths("toy", tmp_path)
    made = encoded(paths, 50.0)  # more than there are: all are kept
    one = head("joint", store="mel", layers="2", instrument="upright")
    frames, found = load_frames(one, params, paths, ["c", "nobody", "a"])
    assert found == ["c", "a"]
    assert [*map(len, frames)] == [90, 70]
    assert all(np.array_equal(f, made[c][:, 1]) for f, c in zip(frames, found, strict=True))
    every = one.model_copy(update={"layers": "all"})
    frames, _ = load_frames(every, params, paths, ["b"])
    assert np.array_equal(next(iter(frames)), made["b"].reshape(5, 12))
    assert source_of(one, params) != source_of(every, params)
    elsewhere = one.model_copy(update={"instrument": params.axes.instrument[0]})
    assert source_of(elsewhere, params) == source_of(head("joint", store="mel", layers="2"), params)


def test_heads_train_on_frames_of_an_encoder(tmp_path: Path, params: Params) -> None:
    paths = CorpusPaths("toy", tmp_path)
    encoded(paths, 10.0)
    heads = [
        head(approach, store="mel", layers="2", instrument="upright", components=4)
        for approach in ("pcconv", "contrastive", "joint", "statistics")
    ]
    frames, _ = load_frames(heads[0], params, paths, [*LENGTHS])
    y = np.random.default_rng(1).random((5, 2))
    split = np.arange(3), np.arange(3, 5)
    fold = HeadFold("player/0", frames, np.arange(5), np.array([5]), y, split)
    for (made,) in train_heads([fold], heads, [0], params.run):
        assert np.isfinite(made.predicted).all()
        assert made.predicted.shape == (1, 2, 1)


def test_columns_of_contours_in_the_order_asked_for(tmp_path: Path, params: Params) -> None:
    paths = CorpusPaths("toy", tmp_path)
    columns = ["pitch", "voiced", "voiced_probability"]
    made = written(paths.contours("skyline"), (1, 3), columns=columns)
    one = head("joint", store="skyline", columns=["voiced_probability", "pitch"])
    frames, found = load_frames(one, params, paths, ["f", "b"])
    assert found == ["f", "b"]
    assert np.array_equal(next(iter(frames)), made["f"][:, 0, [2, 0]])
    with pytest.raises(PianoevalError, match="no clip of the corpus has frames here"):
        load_frames(one, params, paths, ["nobody"])
    with pytest.raises(PianoevalError):
        load_frames(head("joint"), params, paths, ["a"])  # no store of pYIN


def test_stores_that_lack_what_a_head_reads(tmp_path: Path, params: Params) -> None:
    paths = CorpusPaths("toy", tmp_path)
    written(paths.contours("skyline"), (1, 2), columns=["pitch", "voiced"])
    one = head("joint", store="skyline", columns=["voiced_probability"])
    with pytest.raises(CorruptDataError, match="without a column 'voiced_probability'"):
        load_frames(one, params, paths, ["a"])
    encoded(paths, 0.0)
    one = head("joint", store="mel", instrument="upright")
    with pytest.raises(ConfigError, match="no sequences"):
        load_frames(one, params, paths, ["a"])
    encoded(paths, 5.0)
    with pytest.raises(ConfigError):
        load_frames(one.model_copy(update={"layers": "9"}), params, paths, ["a"])
