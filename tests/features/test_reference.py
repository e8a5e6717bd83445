"""Features beside the score's: which rendering is meant, and what is taken from what."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pianoeval.errors import ConfigError
from pianoeval.features.reference import RELATIVE, referenced, renderings
from pianoeval.features.symbolic import RELATIVE_PREFIX


def manifest() -> pd.DataFrame:
    rows = [
        ("a1", "midi/a1.mid", "midi/score/flat_a.mid", False),
        ("flat_a", "midi/flat_a.mid", "midi/score/flat_a.mid", True),
        ("other_a", "midi/other_a.mid", "midi/score/flat_a.mid", True),
        ("b1", "midi/b1.mid", "midi/score/b.mid", False),
        ("b_x", "midi/b_x.mid", "midi/score/b.mid", True),
        ("b_y", None, "midi/score/b.mid", True),
        ("c1", "midi/c1.mid", "midi/score/c.mid", False),
        ("d1", "midi/d1.mid", None, False),
        ("d_flat", "midi/d_flat.mid", None, True),
    ]
    return pd.DataFrame(rows, columns=["clip", "midi_path", "score_path", "is_score_render"])


def features(seed: int = 0) -> pd.DataFrame:
    values = np.random.default_rng(seed).random((9, 4)).astype(np.float32) + 0.1
    return pd.DataFrame(values, index=manifest()["clip"].tolist())


SPREAD = np.array([False, True, False, True])


def test_the_rendering_of_that_name_counts_else_all_that_play_the_score() -> None:
    assert renderings(manifest()) == {
        "a1": ["flat_a"], "flat_a": ["flat_a"], "other_a": ["flat_a"],
        "b1": ["b_x", "b_y"], "b_x": ["b_x", "b_y"], "b_y": ["b_x", "b_y"],
    }  # fmt: skip


def test_blocks_are_what_they_say() -> None:
    own = features()
    blocks = ["own", "difference", "ratio", "score"]
    found = referenced(own, blocks, renderings(manifest()), base=own, spread=SPREAD, view="v")
    assert list(found.index) == list(own.index)
    for clip, names in [("a1", ["flat_a"]), ("b1", ["b_x", "b_y"]), ("b_y", ["b_x", "b_y"])]:
        mine = own.loc[clip].to_numpy(np.float64)
        flat = own.loc[names].to_numpy(np.float64).mean(axis=0)
        ratio = np.log((mine[[1, 3]] + 1e-4) / (flat[[1, 3]] + 1e-4))
        expected = np.concatenate([mine, mine - flat, ratio, flat, [0.0]])
        np.testing.assert_allclose(found.loc[clip], expected, rtol=1e-5, atol=1e-7)
    assert (found.loc["flat_a"].to_numpy()[4:10] == 0).all()  # the rendering against itself


def test_a_clip_without_a_rendering_keeps_its_own_and_is_told_apart() -> None:
    own = features()
    found = referenced(
        own, ["difference", "own"], renderings(manifest()), base=own, spread=SPREAD, view="v"
    )
    for clip in ("c1", "d1", "d_flat"):
        row = found.loc[clip].to_numpy()
        assert np.isnan(row[:4]).all()
        assert row[-1] == 1
        np.testing.assert_array_equal(row[4:8], own.loc[clip])
    assert (found.loc[["a1", "b1"]].to_numpy()[:, -1] == 0).all()


def test_a_rendering_without_features_is_none() -> None:
    """It may be quarantined: the rest of the renderings count, if there are any."""
    own = features().drop(index=["flat_a", "b_x"])
    found = referenced(own, ["score"], renderings(manifest()), base=own, spread=SPREAD, view="v")
    assert np.isnan(found.loc["a1"].to_numpy()[:4]).all()
    np.testing.assert_array_equal(found.loc["b1"].to_numpy()[:4], own.loc["b_y"])


def test_where_every_clip_has_one_there_is_no_column_of_absence() -> None:
    own = features().loc[["a1", "flat_a", "b1", "b_x", "b_y"]]
    found = referenced(
        own, ["difference"], renderings(manifest()), base=own, spread=SPREAD, view="v"
    )
    assert found.shape[1] == 4


def test_what_it_refuses() -> None:
    own = features()
    of = renderings(manifest())
    with pytest.raises(ConfigError, match="at most once"):
        referenced(own, ["own", "own"], of, base=own, spread=SPREAD, view="v")
    with pytest.raises(ConfigError, match="spreads"):
        referenced(own, ["ratio"], of, base=own, spread=np.zeros(4, dtype=bool), view="v")
    with pytest.raises(ConfigError, match="no clip has a deadpan rendering"):
        referenced(own, ["difference"], {}, base=own, spread=SPREAD, view="v")


def test_relative_features_are_those_that_the_symbolic_table_calls_so() -> None:
    assert RELATIVE == RELATIVE_PREFIX
