"""The symbolic table: order, determinism, missing scores, unreadable files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pianoeval.errors import BadInputError
from pianoeval.features import symbolic
from pianoeval.features.symbolic import SYMBOLIC_FEATURES, clip_features, symbolic_table
from pianoeval.midi.features import FEATURES, performance_features
from pianoeval.midi.io import Performance, write_midi
from pianoeval.params import MidiLimits, RunParams
from pianoeval.tablefile import write_table

ONE = RunParams(workers=1)


@pytest.fixture
def corpus(tmp_path: Path) -> pd.DataFrame:
    """Four clips, the last without MIDI; one score serves the first two."""
    rng = np.random.default_rng(0)
    score = [(0.5 * i, 0.5 * i + 0.4, int(rng.integers(50, 80)), 64) for i in range(20)]
    write_midi(Performance.from_notes(score), tmp_path / "midi/score.mid")
    for name in ("b", "a", "c"):
        played = [
            (on * 1.1 + 0.02 * rng.random(), off * 1.1, pitch, int(rng.integers(40, 90)))
            for on, off, pitch, _ in score
        ]
        write_midi(
            Performance.from_notes(played, [(1.0, 127), (2.0, 0)]), tmp_path / f"midi/{name}.mid"
        )
    return pd.DataFrame(
        {
            "clip": ["b", "a", "c", "d"],
            "midi_path": ["midi/b.mid", "midi/a.mid", "midi/c.mid", None],
            "score_path": ["midi/score.mid", "midi/score.mid", None, None],
        }
    )


def test_rows_and_columns(corpus: pd.DataFrame, tmp_path: Path) -> None:
    table = symbolic_table(corpus, tmp_path, MidiLimits(), ONE)
    assert table["clip"].tolist() == ["b", "a", "c"]
    assert list(table.columns) == ["clip", *SYMBOLIC_FEATURES]
    assert (table.dtypes.iloc[1:] == np.float64).all()
    assert np.isfinite(table[list(FEATURES)].to_numpy()).all()
    relative = table[[name for name in table if name.startswith("rel_")]]
    assert np.isfinite(relative.iloc[:2].to_numpy()).all()
    assert relative.iloc[2].isna().all()
    assert table.attrs["quarantined"] == {}
    one = clip_features(tmp_path / "midi/b.mid", tmp_path / "midi/score.mid")
    assert table.iloc[0, 1:].to_dict() == pytest.approx(one)


def test_without_scores_there_are_no_relative_columns(corpus: pd.DataFrame, tmp_path: Path) -> None:
    table = symbolic_table(corpus.assign(score_path=None), tmp_path, MidiLimits(), ONE)
    assert list(table.columns) == ["clip", *FEATURES]


def test_workers_change_nothing(
    corpus: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = symbolic_table(corpus, tmp_path, MidiLimits(), ONE)
    monkeypatch.setattr(symbolic, "_WORTH_A_POOL", 1)
    several = symbolic_table(corpus, tmp_path, MidiLimits(), RunParams(workers=2))
    pd.testing.assert_frame_equal(single, several, check_exact=True)
    write_table(single, tmp_path / "1.parquet")
    write_table(several, tmp_path / "2.parquet")
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


def test_unreadable_clips_are_quarantined(corpus: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "midi/a.mid").write_bytes(b"MThd")
    with pytest.raises(BadInputError, match="1 of 3 clips failed in symbolic"):
        symbolic_table(corpus, tmp_path, MidiLimits(), ONE)
    tolerant = RunParams(workers=1, max_failed_fraction=0.5)
    table = symbolic_table(corpus, tmp_path, MidiLimits(), tolerant)
    assert table["clip"].tolist() == ["b", "c"]
    assert list(table.attrs["quarantined"]) == ["a"]


def test_no_clip_has_midi(corpus: pd.DataFrame, tmp_path: Path) -> None:
    table = symbolic_table(corpus.iloc[3:], tmp_path, MidiLimits(), ONE)
    assert len(table) == 0
    assert list(table.columns) == ["clip", *FEATURES]


def test_features_survive_writing(tmp_path: Path, scale: Performance) -> None:
    write_midi(scale, tmp_path / "scale.mid")
    read = clip_features(tmp_path / "scale.mid")
    for name, value in performance_features(scale).items():
        # One tick of the written file is 0.52 ms.
        assert read[name] == pytest.approx(value, rel=0.02, abs=0.02), name
