"""Views: order, averaging over instruments, absent values and absent clips."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pianoeval.cache import Item
from pianoeval.errors import ConfigError, CorruptDataError, PianoevalError
from pianoeval.features.pooling import PooledStore, pool_store
from pianoeval.features.views import load_view, with_indicators
from pianoeval.params import Params
from pianoeval.params_file import parse_params
from pianoeval.paths import CorpusPaths
from pianoeval.store import RaggedStore, write_store
from pianoeval.tablefile import write_table


@pytest.fixture
def params() -> Params:
    blocks: dict[str, Any] = {
        "axes": {
            "corpus": ["toy"], "instrument": ["grand", "upright"], "encoder": ["mel"],
            "features": ["symbolic", "mel"],
        },
        "run": {}, "midi": {}, "corpora": {"toy": {"loader": "studio"}}, "render": {},
        "instruments": {"grand": {"font": "x"}, "upright": {"font": "x"}},
        "contours": {"instrument": "grand"}, "encoders": {"mel": {"kind": "mel"}},
        "pool": {"stats": ["mean"]}, "folds": {"schemes": ["segment"]},
        "views": {
            "symbolic": {"symbolic": {"models": ["ridge"]}},
            "mel": {
                "both": {"models": ["ridge"]},
                "one": {"layers": "2", "instruments": ["grand"], "level": False,
                        "models": ["ridge"]},
            },
        },
        "probe": {
            "ridge": {"lambdas": [1.0]}, "mlp": {}, "extra_trees": {}, "boosting": {},
            "ensemble": ["ridge"],
        },
        "evaluate": {},
        "report": {"instrument": "grand"},
    }  # fmt: skip
    return parse_params(blocks)


@pytest.fixture
def paths(tmp_path: Path) -> CorpusPaths:
    return CorpusPaths("toy", tmp_path)


def write_pooled(paths: CorpusPaths, instrument: str, clips: list[str], value: float) -> None:
    """Two layers of three values: layer 2 is twice layer 1; level is (value, 0, 0)."""
    items = []
    for number, clip in enumerate(clips):
        frames = np.full((4, 2, 3), value + number, np.float16)
        frames[:, 1] *= 2
        level = np.array([value, 0, 0], np.float32)
        items.append((clip, f"key-{clip}", Item({"frames": frames, "level": level}, {}, "")))
    store = paths.embeddings("mel", instrument)
    write_store(store, items, attrs={"layers": ["1", "2"]}, quarantined={})
    pool_store(RaggedStore(store), ["mean"], paths.pooled("mel", instrument))


def test_embedding_is_averaged_over_instruments(params: Params, paths: CorpusPaths) -> None:
    write_pooled(paths, "grand", ["a", "b", "c"], 1.0)
    write_pooled(paths, "upright", ["a", "b", "c"], 3.0)
    view = load_view("mel", "both", params, paths, ["c", "a"])
    assert view.clips == ["c", "a"]
    assert view.x.dtype == np.float32
    expected = [[4, 4, 4, 8, 8, 8, 2, 0, 0], [2, 2, 2, 4, 4, 4, 2, 0, 0]]
    np.testing.assert_allclose(view.x, expected)
    assert "grand + upright" in view.description
    one = load_view("mel", "one", params, paths, ["a"])
    np.testing.assert_allclose(one.x, [[2, 2, 2]])


def test_clips_that_one_instrument_lacks_are_named(
    params: Params, paths: CorpusPaths, caplog: pytest.LogCaptureFixture
) -> None:
    write_pooled(paths, "grand", ["a", "b", "c"], 1.0)
    write_pooled(paths, "upright", ["c", "a"], 3.0)
    with caplog.at_level(logging.WARNING):
        view = load_view("mel", "both", params, paths, ["a", "b", "c"])
    assert (view.clips, view.missing) == (["a", "c"], ["b"])
    assert "lacks 1 of 3 clips, the first is b" in caplog.text
    np.testing.assert_allclose(view.x[1, 0], (3 + 3) / 2)  # c is third there, first here


def test_symbolic_keeps_missing_values_and_marks_them(params: Params, paths: CorpusPaths) -> None:
    paths.symbolic.parent.mkdir(parents=True)
    table = pd.DataFrame(
        {"clip": ["a", "b", "c"], "v": [1.0, 2, 3], "rel_x": [4, np.nan, 5],
         "rel_y": [6, np.nan, 7], "other": [np.nan, 8, 9]}
    )  # fmt: skip
    write_table(table, paths.symbolic)
    view = load_view("symbolic", "symbolic", params, paths, ["b", "a"])
    nan = np.nan
    expected = [[2, nan, nan, 8, 1, 0], [1, 4, 6, nan, 0, 1]]
    np.testing.assert_array_equal(view.x, expected)
    assert view.description == "4 symbolic features"


def test_no_indicator_without_need() -> None:
    table = pd.DataFrame({"v": [1.0, 2.0]}, index=["a", "b"])
    pd.testing.assert_frame_equal(with_indicators(table), table)


def test_refusals(params: Params, paths: CorpusPaths) -> None:
    with pytest.raises(ConfigError, match=r"views.mel: no view 'nothing' .*both, one"):
        load_view("mel", "nothing", params, paths, ["a"])
    with pytest.raises(PianoevalError, match="no such table"):
        load_view("symbolic", "symbolic", params, paths, ["a"])
    with pytest.raises(PianoevalError, match="not a store"):
        load_view("mel", "both", params, paths, ["a"])
    paths.symbolic.parent.mkdir(parents=True)
    write_table(pd.DataFrame({"clip": ["a"], "v": [np.inf]}), paths.symbolic)
    with pytest.raises(CorruptDataError, match="infinite"):
        load_view("symbolic", "symbolic", params, paths, ["a"])
    with pytest.raises(PianoevalError, match="none of the 1 clips"):
        load_view("symbolic", "symbolic", params, paths, ["z"])


def test_a_view_is_looked_up_among_its_own_features(params: Params, paths: CorpusPaths) -> None:
    with pytest.raises(ConfigError, match=r"views.mel: no view 'symbolic'"):
        load_view("mel", "symbolic", params, paths, ["a"])
    with pytest.raises(ConfigError, match=r"views.muq: no view 'one' \(allowed: none\)"):
        load_view("muq", "one", params, paths, ["a"])


def test_pooled_store_is_what_the_view_reads(params: Params, paths: CorpusPaths) -> None:
    write_pooled(paths, "grand", ["a", "b"], 1.0)
    store = PooledStore(paths.pooled("mel", "grand"))
    view = load_view("mel", "one", params, paths, store.clips)
    np.testing.assert_array_equal(view.x, store.matrix("2", level=False).values)
