"""Notes of clips: tables, sequences of a view, and what is refused."""

from __future__ import annotations

from pathlib import Path

import mido
import numpy as np
import pandas as pd
import pytest

from pianoeval.errors import BadInputError, ConfigError, CorruptDataError, MissingAssetError
from pianoeval.features import notes
from pianoeval.features.note_store import (
    CLIPS_TABLE,
    NOTES_TABLE,
    PLAYED_BEAT_S,
    NoteStore,
    write_notes,
)
from pianoeval.features.notes import clip_notes, notes_tables
from pianoeval.features.views import load_view
from pianoeval.midi.io import Performance, write_midi
from pianoeval.midi.notewise import DIFFERENCE, NOTE_FEATURES, OWN, SCORE
from pianoeval.params import MidiLimits, Params, RunParams
from pianoeval.params_file import parse_params
from pianoeval.paths import CorpusPaths
from tests.workspaces import small_params

ONE = RunParams(workers=1)
ALL = list(NOTE_FEATURES)


def write_score(path: Path, rows: list[tuple[float, float, int, int]]) -> None:
    """A score in three-four time at 120, which ``write_midi`` would not say."""
    write_midi(Performance.from_notes(rows), path)
    midi = mido.MidiFile(path)
    midi.tracks[0].insert(0, mido.MetaMessage("time_signature", numerator=3, denominator=4))
    midi.save(path)


@pytest.fixture
def corpus(tmp_path: Path) -> pd.DataFrame:
    """Four clips, the last without MIDI; one score serves the first two."""
    rng = np.random.default_rng(0)
    score = [(0.5 * i, 0.5 * i + 0.4, int(rng.integers(50, 80)), 64) for i in range(20)]
    (tmp_path / "midi").mkdir()
    write_score(tmp_path / "midi/score.mid", score)
    for name, count in (("b", 20), ("a", 17), ("c", 9)):
        played = [
            (on * 1.1 + 0.02 * rng.random(), off * 1.1, pitch, int(rng.integers(40, 90)))
            for on, off, pitch, _ in score[:count]
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


@pytest.fixture
def store(corpus: pd.DataFrame, tmp_path: Path) -> NoteStore:
    (tmp_path / "notes").mkdir()
    write_notes(notes_tables(corpus, tmp_path, MidiLimits(), ONE), tmp_path / "notes")
    return NoteStore(tmp_path / "notes")


def test_tables_hold_every_note_of_every_clip(corpus: pd.DataFrame, tmp_path: Path) -> None:
    table, clips = notes_tables(corpus, tmp_path, MidiLimits(), ONE)
    assert clips["clip"].tolist() == ["b", "a", "c"]
    assert clips["length"].tolist() == [20, 17, 9]
    assert clips["start"].tolist() == [0, 20, 37]
    assert clips["metre"].tolist() == ["written", "written", "none"]
    assert len(table) == 46
    one, _ = clip_notes(tmp_path / "midi/a.mid", tmp_path / "midi/score.mid")
    found = table.iloc[20:37].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, one, check_exact=True)
    np.testing.assert_array_equal(one["beat"], np.arange(17))  # a note a quarter
    np.testing.assert_array_equal(one["measure"], np.arange(17) // 3)
    assert np.isfinite(one[list(DIFFERENCE)].iloc[:-1].to_numpy()).all()
    assert table[list(DIFFERENCE)].iloc[37:].isna().to_numpy().all()
    assert np.isfinite(table[["has_score", "matched"]].to_numpy()).all()


def test_workers_change_no_byte(
    corpus: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
    write_notes(notes_tables(corpus, tmp_path, MidiLimits(), ONE), tmp_path / "1")
    monkeypatch.setattr(notes, "_WORTH_A_POOL", 1)
    two = RunParams(workers=2)
    write_notes(notes_tables(corpus, tmp_path, MidiLimits(), two), tmp_path / "2")
    for name in (NOTES_TABLE, CLIPS_TABLE):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_unreadable_clips_are_quarantined_by_name(corpus: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "midi/a.mid").write_bytes(b"MThd")
    with pytest.raises(BadInputError, match="1 of 3 clips failed in notes"):
        notes_tables(corpus, tmp_path, MidiLimits(), ONE)
    tolerant = RunParams(workers=1, max_failed_fraction=0.5)
    tables = notes_tables(corpus, tmp_path, MidiLimits(), tolerant)
    assert tables[1]["clip"].tolist() == ["b", "c"]
    (tmp_path / "notes").mkdir()
    write_notes(tables, tmp_path / "notes")
    assert list(NoteStore(tmp_path / "notes").quarantined) == ["a"]


def test_a_corpus_without_midi_gives_empty_tables(corpus: pd.DataFrame, tmp_path: Path) -> None:
    table, clips = notes_tables(corpus.assign(midi_path=None), tmp_path, MidiLimits(), ONE)
    assert len(table) == len(clips) == 0
    (tmp_path / "notes").mkdir()
    write_notes((table, clips), tmp_path / "notes")
    assert NoteStore(tmp_path / "notes").clips == []


def test_sequences_are_of_the_clips_and_blocks_asked_for(store: NoteStore) -> None:
    both = store.sequences(["c", "b"], ALL)
    assert both.length.tolist() == [9, 20]
    assert both.dim == len(OWN) + len(SCORE) + len(DIFFERENCE)
    assert store.columns(["difference", "own"]) == [*OWN, *DIFFERENCE]
    pitch = store.columns(ALL).index("pitch")
    score = store.sequences(["b"], ["score", "own"])
    np.testing.assert_array_equal(
        next(iter(score))[:, pitch], both.values[both.rows(1), pitch]
    )  # columns keep their order whatever that of the blocks
    with pytest.raises(ConfigError, match=r"no block 'ratio'.*own, score, difference"):
        store.sequences(["b"], ["own", "ratio"])


def test_the_playing_alone_knows_nothing_of_the_score(
    corpus: pd.DataFrame, tmp_path: Path, store: NoteStore
) -> None:
    """Another score, or none: the same sequences, beats of the clock, in the order of keys."""
    alone = store.sequences(["b", "a"], ["own"])
    rows = [(0.4 * i, 0.4 * i + 0.3, 79 - i, 90) for i in range(20)]
    write_score(tmp_path / "midi/score.mid", rows)
    for other in (corpus, corpus.assign(score_path=None)):
        folder = tmp_path / f"other{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        write_notes(notes_tables(other, tmp_path, MidiLimits(), ONE), folder)
        assert NoteStore(folder).sequences(["b", "a"], ["own"]).digest() == alone.digest()
    onset = 1.1 * 0.5 * np.arange(20)
    np.testing.assert_allclose(alone.marks["beat"][:20], onset // PLAYED_BEAT_S, atol=1)


def test_vectors_are_means_and_spreads_over_the_notes(store: NoteStore) -> None:
    found = store.vectors(ALL)
    assert found.index.tolist() == ["b", "a", "c"]
    sequences = store.sequences(["b", "a", "c"], ALL)
    names = store.columns(ALL)
    for clip, values in zip(found.index, sequences, strict=True):
        for column, name in enumerate(names):
            there = values[:, column][~np.isnan(values[:, column])].astype(float)
            mean, std = found.loc[clip, f"{name}/mean"], found.loc[clip, f"{name}/std"]
            if len(there):
                assert mean == pytest.approx(there.mean(), abs=1e-5), name
                assert std == pytest.approx(there.std(), abs=1e-5), name
            else:
                assert np.isnan(mean), name
                assert np.isnan(std), name


def test_a_damaged_or_mixed_folder_is_refused(
    corpus: pd.DataFrame, tmp_path: Path, store: NoteStore
) -> None:
    with pytest.raises(MissingAssetError, match="dvc repro"):
        NoteStore(tmp_path / "nowhere")
    path = store.folder / NOTES_TABLE
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(CorruptDataError, match="not the table that was written"):
        NoteStore(store.folder)
    path.write_bytes(whole)
    (tmp_path / "less").mkdir()
    write_notes(notes_tables(corpus.iloc[:2], tmp_path, MidiLimits(), ONE), tmp_path / "less")
    path.write_bytes((tmp_path / "less" / NOTES_TABLE).read_bytes())
    with pytest.raises(CorruptDataError, match="not of one run"):
        NoteStore(store.folder)


def make_params(models: list[str]) -> Params:
    data = small_params()
    data["axes"]["features"] = ["symbolic", "mel", "notes"]
    data["views"]["notes"] = {
        "notes": {"blocks": ALL, "models": models},
        "notes_alone": {"models": models},
    }
    return parse_params(data)


def test_a_view_has_sequences_only_where_a_model_reads_them(
    corpus: pd.DataFrame, tmp_path: Path
) -> None:
    paths = CorpusPaths("studio", tmp_path / "workspace")
    paths.notes.mkdir(parents=True)
    write_notes(notes_tables(corpus, tmp_path, MidiLimits(), ONE), paths.notes)
    clips = corpus["clip"].tolist()
    view = load_view("notes", "notes", make_params(["ridge", "han"]), paths, clips)
    assert view.missing == ["d"]
    assert view.clips == ["b", "a", "c"]
    assert view.sequences is not None
    assert len(view.sequences) == len(view.x) == 3
    assert set(view.sequences.marks) == {"beat", "measure"}
    assert "difference" in view.description
    assert load_view("notes", "notes", make_params(["ridge"]), paths, clips).sequences is None
    alone = load_view("notes", "notes_alone", make_params(["han"]), paths, clips)
    assert alone.sequences is not None
    assert alone.sequences.dim == len(OWN)
