"""Blocks of views, read through the stores: the rendering on the same instrument."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_render_views import write_pooled

from pianoeval.errors import ConfigError
from pianoeval.features import views
from pianoeval.features.pooling import PooledStore
from pianoeval.features.views import View, load_view
from pianoeval.params import Axes, Params, ViewParams
from pianoeval.paths import CorpusPaths
from pianoeval.tablefile import write_table

CLIPS = ["a", "b", "flat"]
MANIFEST = pd.DataFrame(
    {
        "clip": CLIPS, "midi_path": ["a.mid", "b.mid", "flat.mid"],
        "score_path": ["score/flat.mid"] * 3, "is_score_render": [False, False, True],
    }
)  # fmt: skip


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CorpusPaths:
    found = CorpusPaths("toy", tmp_path)
    for seed, instrument in enumerate(("grand", "upright")):
        write_pooled(found, instrument, CLIPS, seed)
    monkeypatch.setattr(views, "read_manifest", lambda path: MANIFEST)
    return found


def load(paths: CorpusPaths, features: str = "mel", **block: Any) -> View:
    view = ViewParams.model_validate({"models": ["ridge"]} | block)
    axes = Axes(corpus=["toy"], instrument=["grand", "upright"], encoder=["mel"], features=["mel"])
    params = Params.model_construct(axes=axes, views={features: {"v": view}})
    return load_view(features, "v", params, paths, CLIPS)


def test_each_instrument_is_compared_with_itself(paths: CorpusPaths) -> None:
    found = load(paths, blocks=["own", "difference"], renders="each")
    for instrument in ("grand", "upright"):
        own = PooledStore(paths.pooled("mel", instrument)).matrix().values
        expected = np.concatenate([own, own - own[2]], axis=1)
        np.testing.assert_allclose(found.renders[instrument], expected, rtol=1e-5, atol=1e-6)
    mean = np.mean([found.renders[name] for name in ("grand", "upright")], axis=0)
    np.testing.assert_allclose(found.x, mean, rtol=1e-5, atol=1e-6)


def test_a_ratio_is_one_of_spreads(paths: CorpusPaths) -> None:
    store = PooledStore(paths.pooled("mel", "grand"))
    found = load(paths, blocks=["ratio"], instruments=["grand"])
    std = np.concatenate([store.layer(name)[:, 1] for name in store.layers], axis=1)
    std = std.astype(np.float64)
    expected = np.log((std + 1e-4) / (std[2] + 1e-4))
    np.testing.assert_allclose(found.x, expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ConfigError, match="spreads"):
        load(paths, blocks=["ratio"], stats=["mean"])


def test_layers_are_not_told_where_columns_are_not_layers(paths: CorpusPaths) -> None:
    assert load(paths).layering is not None
    found = load(paths, blocks=["own", "score"])
    assert found.layering is None
    assert found.layers == []


def test_symbolic_features_relative_to_the_score_are_not_compared_again(
    paths: CorpusPaths,
) -> None:
    table = pd.DataFrame(
        {"clip": CLIPS, "velocity": [60.0, 80.0, 64.0], "rel_tempo": [0.1, np.nan, 0.0]}
    )
    paths.symbolic.parent.mkdir(parents=True)
    write_table(table, paths.symbolic)
    plain, all_ = load(paths, "symbolic"), load(paths, "symbolic", blocks=["own", "difference"])
    assert plain.x.shape[1] == 3  # an indicator of absence
    np.testing.assert_array_equal(all_.x[:, :3], plain.x)
    np.testing.assert_array_equal(all_.x[:, 3], np.float32([-4, 16, 0]))
