"""Views that keep the renders of a clip apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pianoeval.cache import Item
from pianoeval.features.pooling import pool_store
from pianoeval.features.views import View, load_view
from pianoeval.params import Axes, Params, ViewParams
from pianoeval.paths import CorpusPaths
from pianoeval.store import RaggedStore, write_store


def write_pooled(paths: CorpusPaths, instrument: str, clips: list[str], seed: int) -> None:
    random = np.random.default_rng(seed)
    items = [
        (clip, f"key-{clip}", Item({"frames": random.normal(size=(5, 2, 3)).astype(np.float16),
                                    "level": random.normal(size=3).astype(np.float32)}, {}, ""))
        for clip in clips
    ]  # fmt: skip
    store = paths.embeddings("mel", instrument)
    write_store(store, items, attrs={"layers": ["1", "2"]}, quarantined={})
    pool_store(RaggedStore(store), ["mean", "std"], paths.pooled("mel", instrument))


@pytest.fixture
def paths(tmp_path: Path) -> CorpusPaths:
    made = CorpusPaths("toy", tmp_path)
    write_pooled(made, "grand", ["a", "b", "c", "d"], 0)
    write_pooled(made, "upright", ["d", "c", "a"], 1)  # another order, and without b
    return made


def load(paths: CorpusPaths, clips: list[str], **block: Any) -> View:
    view = ViewParams.model_validate({"models": ["ridge"], **block})
    axes = Axes(corpus=["toy"], instrument=["grand", "upright"], encoder=["mel"], features=["mel"])
    params = Params.model_construct(axes=axes, views={"mel": {"v": view}})
    return load_view("mel", "v", params, paths, clips)


@pytest.mark.parametrize("block", [{}, {"layers": "2", "level": False}, {"stats": ["std"]}])
def test_each_render_is_the_view_of_that_instrument(
    paths: CorpusPaths, block: dict[str, Any]
) -> None:
    each = load(paths, ["c", "b", "a"], renders="each", **block)
    assert each.clips == ["c", "a"]
    assert each.missing == ["b"]
    assert list(each.renders) == ["grand", "upright"]
    for instrument, x in each.renders.items():
        alone = load(paths, ["c", "a"], instruments=[instrument], **block)
        np.testing.assert_array_equal(x, alone.x)
        assert x.dtype == np.float32
    np.testing.assert_allclose(each.x, np.mean(list(each.renders.values()), axis=0), atol=1e-6)
    average = load(paths, ["c", "b", "a"], **block)
    np.testing.assert_array_equal(average.x, each.x)
    assert average.renders == {}


def test_instruments_of_the_view_in_their_order(paths: CorpusPaths) -> None:
    each = load(paths, ["a"], renders="each", instruments=["upright", "grand"])
    assert list(each.renders) == ["upright", "grand"]


def test_the_default_is_not_written_out() -> None:
    plain = ViewParams.model_validate({"models": ["ridge"]})
    assert "renders" not in plain.model_dump(mode="json")
    each = ViewParams.model_validate({"models": ["ridge"], "renders": "each"})
    assert each.model_dump(mode="json")["renders"] == "each"
