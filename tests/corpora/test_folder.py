"""Folder corpora: recordings in a directory, with or without tables."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from pianoeval.corpora.folder import clip_name, ingest
from pianoeval.corpora.manifest import label_matrix, read_labels, read_manifest
from pianoeval.corpora.registry import ingest_corpus
from pianoeval.errors import BadInputError, ConfigError, PianoevalError
from pianoeval.midi.io import Performance, read_midi, write_midi
from pianoeval.params import CorpusParams, MidiLimits, Params, RunParams

PARAMS = CorpusParams(loader="folder")


def play(seed: int, tempo: float = 1.0) -> Performance:
    """Forty notes of piece ``seed``."""
    pitches = np.random.default_rng(seed).integers(40, 80, 40)
    times = 0.25 * np.arange(40) / tempo
    return Performance.from_notes(
        [(float(t), float(t) + 0.2, int(p), 70) for t, p in zip(times, pitches, strict=True)]
    )


def write_audio(path: Path, duration_s: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(int(22_050 * duration_s)) / 22_050)
    soundfile.write(path, tone, 22_050)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two players of one piece, another piece with MIDI and audio, and audio alone."""
    raw = tmp_path / "mine" / "raw"
    write_midi(play(1), raw / "anna" / "waltz.mid")
    write_midi(play(1, tempo=1.3), raw / "ben" / "waltz.midi")
    write_midi(play(2), raw / "ben" / "study no. 1.mid")
    write_audio(raw / "ben" / "study no. 1.wav", 2.0)
    write_audio(raw / "ben" / "nocturne.flac", 1.5)
    write_midi(play(3), raw / ".trash" / "old.mid")
    return raw


def run(raw: Path, limits: MidiLimits | None = None) -> tuple[pd.DataFrame, dict[str, str]]:
    out = raw.parent / "source"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    quarantined = ingest(PARAMS, "mine", raw, out, limits or MidiLimits())
    return read_manifest(out / "manifest.parquet").set_index("clip"), quarantined


def labels_of(raw: Path) -> pd.DataFrame:
    return read_labels(raw.parent / "source" / "labels.parquet")


def test_files_become_clips(raw: Path) -> None:
    manifest, quarantined = run(raw)
    assert quarantined == {}
    assert list(manifest.index) == [
        "anna--waltz", "ben--nocturne", "ben--study no. 1", "ben--waltz",
    ]  # fmt: skip
    both = manifest.loc["ben--study no. 1"]
    assert both["midi_path"] == "source/midi/ben--study no. 1.mid"
    assert both["audio_path"] == "source/audio/ben--study no. 1.wav"
    assert both["end_s"] == pytest.approx(2.0)
    assert manifest.loc["ben--nocturne", "end_s"] == pytest.approx(1.5)
    assert manifest["midi_path"].isna().sum() == 1
    for path in [*manifest["midi_path"].dropna(), *manifest["audio_path"].dropna()]:
        assert (raw.parent / path).is_file()


def test_defaults_without_metadata(raw: Path) -> None:
    manifest, _ = run(raw)
    assert manifest.loc["anna--waltz", "content_group"] == "anna--waltz"
    assert manifest.loc["ben--waltz", "content_group"] == "anna--waltz"
    assert manifest["content_group"].nunique() == 3
    assert (manifest["segment"] == manifest["content_group"]).all()
    assert (manifest["movement"] == manifest["content_group"]).all()
    assert set(manifest["player"]) == {"unknown"}
    assert list(manifest.loc[["anna--waltz", "ben--waltz"], "take"]) == ["1", "2"]
    assert not manifest["redistributable"].any()
    assert set(manifest["licence"]) == {"unknown"}


def test_without_labels_the_table_is_empty_and_valid(raw: Path) -> None:
    run(raw)
    labels = labels_of(raw)
    assert len(labels) == 0
    values, dimensions = label_matrix(labels, "rating", ["anna--waltz"])
    assert values.shape == (1, 0)
    assert dimensions == []


def test_wide_labels_with_metadata(raw: Path) -> None:
    (raw / "labels.csv").write_text(
        "file, player, piece, segment, tone, rhythm,\n"
        "anna/waltz.mid, Anna, Waltz, 1, 0.25, 0.5,\n"
        "ben/waltz, Ben, Waltz, 1, , ,\n"
        "ben/study no. 1.wav, Ben, Study, 1, 1, -3e-1,\n",
        encoding="utf-8-sig",
    )
    manifest, _ = run(raw)
    labels = labels_of(raw)
    values, dimensions = label_matrix(labels, "rating", list(manifest.index))
    assert dimensions == ["tone", "rhythm"]
    np.testing.assert_array_equal(
        values, [[0.25, 0.5], [np.nan, np.nan], [1, -0.3], [np.nan, np.nan]]
    )
    assert manifest.loc["anna--waltz", "player"] == "Anna"
    assert manifest.loc["anna--waltz", "movement"] == "Waltz"
    # Segment 1 of two pieces is two segments.
    assert manifest.loc["ben--waltz", "segment"] == "Waltz/1"
    assert manifest.loc["ben--study no. 1", "segment"] == "Study/1"
    assert manifest.loc["ben--nocturne", "player"] == "unknown"


def test_long_labels_of_raters(raw: Path) -> None:
    (raw / "labels.csv").write_text(
        "clip,rater,dimension,value,low_pole,high_pole,higher_is_better\n"
        "anna--waltz,x,tone,0.2,thin,full,TRUE\n"
        "anna--waltz,y,tone,0.6,thin,full,TRUE\n"
        "ben--waltz,x,tone,0.9,thin,full,TRUE\n"
    )
    run(raw)
    labels = labels_of(raw).set_index("clip")
    assert labels.loc["anna--waltz", "value"] == pytest.approx(0.4)
    assert labels.loc["anna--waltz", "n_raters"] == 2
    assert labels.loc["anna--waltz", "sd"] == pytest.approx(np.std([0.2, 0.6], ddof=1))
    assert np.isnan(labels.loc["ben--waltz", "sd"])
    assert bool(labels.loc["ben--waltz", "higher_is_better"])
    ratings = pd.read_parquet(raw.parent / "source" / "ratings.parquet")
    assert list(ratings.columns) == ["clip", "rater", "dimension", "value"]
    assert len(ratings) == 3


def test_long_labels_of_tasks(raw: Path) -> None:
    (raw / "labels.csv").write_text(
        "file,task,dimension,value,n_raters,sd\n"
        "anna/waltz.mid,difficulty,grade,3,,\n"
        "anna/waltz.mid,,grade,0.5,4,0.1\n"
    )
    run(raw)
    labels = labels_of(raw).set_index("task")
    assert labels.loc["difficulty", "value"] == 3
    assert labels["n_raters"].isna().to_dict() == {"difficulty": True, "rating": False}


def test_metadata_table_and_scores(raw: Path) -> None:
    write_midi(play(1, tempo=0.8), raw / "scores" / "waltz.mid")
    (raw / "metadata.csv").write_text(
        "file,player,composer,composition,movement,take,source,score\n"
        "anna/waltz.mid,Anna,Chopin,op. 64,op. 64 no. 2,b,disklavier,scores/waltz.mid\n"
        "ben/waltz.midi,Ben,Chopin,op. 64,op. 64 no. 2,,disklavier,scores/waltz\n"
    )
    (raw / "labels.csv").write_text("file,player,tone\nanna/waltz.mid,Anna,0.5\n")
    manifest, _ = run(raw)
    assert "scores--waltz" not in manifest.index
    assert set(manifest["score_path"].dropna()) == {"source/midi/score/scores--waltz.mid"}
    assert read_midi(raw.parent / "source/midi/score/scores--waltz.mid").n_notes == 40
    row = manifest.loc["anna--waltz"]
    assert (row["composer"], row["composition"], row["take"]) == ("Chopin", "op. 64", "b")
    assert manifest.loc["ben--waltz", "take"] == "1"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("file,tone\nanna/polka.mid,1\nx.wav,1\n", r"2 of 2 recordings.*'anna/polka.mid', 'x.wav'"),
        ("file,tone\nanna/waltz.mid,1\nanna/waltz.mid,1\n", "1 labels are given twice"),
        ("file,tone\nanna/waltz.mid,good\n", r"1 cells are not numbers, first 'good'"),
        ("file,tone\nanna/waltz.mid,nan\n", "not numbers"),
        ("file,tone\nanna/waltz.mid,inf\n", "not numbers"),
        ('file,tone\nanna/waltz.mid,"0,5"\n', "not numbers"),
        ("tone,rhythm\n1,2\n", "no column names recordings"),
        ("file,tone,tone\nanna/waltz.mid,1,2\n", "'tone' occurs twice"),
        ("file,tone\nanna/waltz.mid,1,2\n", "not readable as CSV"),
        ("file;tone\nanna/waltz.mid;1\n", "no column names recordings"),
        ("", "not readable as CSV"),
        ("file,dimension,value,colour\nanna/waltz.mid,tone,1,red\n", "unknown column 'colour'"),
        ("file,dimension,value,task\nanna/waltz.mid,tone,1,cooking\n", "'cooking' in column task"),
        ("file,player,tone\nanna/waltz.mid,A,1\nanna/waltz,B,\n", "two values for player"),
        ("file,source,tone\nanna/waltz.mid,piano,1\n", "'piano' in column source"),
        ("file,score,tone\nanna/waltz.mid,no.mid,1\n", "names the score 'no.mid'"),
    ],
)
def test_tables_that_do_not_fit(raw: Path, table: str, words: str) -> None:
    (raw / "labels.csv").write_text(table)
    with pytest.raises(BadInputError, match=words) as caught:
        run(raw)
    assert caught.value.next_step


def test_partly_labelled_recordings_are_refused(raw: Path) -> None:
    """Here, and not after hours of rendering: models predict all dimensions at once."""
    (raw / "labels.csv").write_text(
        "file,tone,rhythm,pedal\n"
        "anna/waltz.mid,1,2,3\nben/waltz.midi,1,,\nben/study no. 1.mid,,1,2\nben/nocturne,,,\n"
    )
    with pytest.raises(BadInputError, match="2 recordings lack labels") as caught:
        run(raw)
    assert "'ben--waltz' (pedal, rhythm)" in str(caught.value)
    assert "'ben--study no. 1' (tone)" in str(caught.value)
    assert "fill the cells, or drop the rows or the dimensions" in str(caught.value)
    assert caught.value.where == str(raw / "labels.csv")


def test_tasks_and_raters_are_complete_each_for_themselves(raw: Path) -> None:
    (raw / "labels.csv").write_text(
        "file,rater,task,dimension,value\n"
        "anna/waltz.mid,x,rating,tone,1\nanna/waltz.mid,y,rating,tone,2\n"
        "anna/waltz.mid,x,rating,rhythm,\nanna/waltz.mid,y,rating,rhythm,2\n"
        "ben/waltz.midi,x,difficulty,grade,4\n"
    )
    run(raw)
    labels = labels_of(raw).set_index(["clip", "task", "dimension"])["value"]
    assert labels.to_dict() == {
        ("anna--waltz", "rating", "tone"): 1.5, ("anna--waltz", "rating", "rhythm"): 2,
        ("ben--waltz", "difficulty", "grade"): 4,
    }  # fmt: skip


def test_table_in_another_encoding(raw: Path) -> None:
    (raw / "labels.csv").write_bytes("file,Klangschönheit\nanna/waltz.mid,1\n".encode("latin-1"))
    with pytest.raises(BadInputError, match="not readable as CSV"):
        run(raw)


def test_unreadable_recordings_are_quarantined(raw: Path) -> None:
    (raw / "cut.mid").write_bytes((raw / "anna" / "waltz.mid").read_bytes()[:60])
    (raw / "empty.mid").write_bytes(b"")
    write_midi(Performance.from_notes([]), raw / "noteless.mid")
    write_midi(Performance.from_notes([(0, 5000, 60, 60)]), raw / "hours.mid")
    (raw / "noise.wav").write_bytes(b"RIFF nothing like a wave file")
    (raw / "nothing.flac").write_bytes(b"")
    (raw / "text.mp3").write_bytes(b"this is text")
    write_audio(raw / "no samples.wav", 0.0)
    write_audio(raw / "long.wav", 3.0)
    (raw / "labels.csv").write_text("file,tone\ncut.mid,1\nanna/waltz.mid,0.5\n")
    manifest, quarantined = run(raw, MidiLimits(max_duration_s=16.0))
    assert sorted(quarantined) == [
        "cut", "empty", "hours", "no samples", "noise", "noteless", "nothing", "text",
    ]  # fmt: skip
    assert all(quarantined.values())
    assert "long" in manifest.index
    # The label of a quarantined clip is not an error, and goes with it.
    assert list(labels_of(raw)["clip"]) == ["anna--waltz"]
    _, quarantined = run(raw, MidiLimits(max_recording_s=2.5))
    assert "3 s of audio" in quarantined["long"]


def test_nothing_readable_at_all(tmp_path: Path) -> None:
    raw = tmp_path / "mine" / "raw"
    raw.mkdir(parents=True)
    (raw / "cut.mid").write_bytes(b"MThd")
    with pytest.raises(BadInputError, match="none of 1 recordings"):
        run(raw)
    (raw / "cut.mid").unlink()
    with pytest.raises(BadInputError, match="no recordings"):
        run(raw)


@pytest.mark.parametrize("other", ["anna/waltz.midi", "anna--waltz.mid"])
def test_two_files_for_one_clip(raw: Path, other: str) -> None:
    write_midi(play(9), raw / other)
    with pytest.raises(BadInputError, match="are both clip 'anna--waltz'"):
        run(raw)


def test_a_score_cannot_have_a_score(raw: Path) -> None:
    (raw / "metadata.csv").write_text(
        "file,score\nanna/waltz.mid,ben/waltz.midi\nben/waltz.midi,ben/study no. 1.mid\n"
    )
    with pytest.raises(BadInputError, match="is a score and has one"):
        run(raw)


def test_unreadable_score_quarantines_its_clips(raw: Path) -> None:
    (raw / "score.mid").write_bytes(b"MThd")
    (raw / "metadata.csv").write_text("file,score\nanna/waltz.mid,score.mid\n")
    manifest, quarantined = run(raw)
    assert list(quarantined) == ["anna--waltz"]
    assert "score" not in manifest.index


def test_clip_names() -> None:
    assert clip_name("exam/anna 1.wav") == "exam--anna 1"
    with pytest.raises(BadInputError, match="name of 202 bytes"):
        clip_name(f"{'é' * 101}.wav")
    with pytest.raises(BadInputError, match="shorten"):
        clip_name(f"{'a' * 120}/{'b' * 120}.wav")
    assert clip_name("D935_no.3.mid") == "D935_no.3"


# Registry --------------------------------------------------------------------------------------


def params(max_failed_fraction: float = 0.0, **corpora: CorpusParams) -> Params:
    """The blocks the registry reads."""
    return Params.model_construct(
        corpora=corpora or {"mine": PARAMS}, midi=MidiLimits(),
        run=RunParams(max_failed_fraction=max_failed_fraction),
    )  # fmt: skip


def test_registry_stops_above_the_allowed_fraction(raw: Path) -> None:
    out = raw.parent / "source"
    ingest_corpus("mine", params(), raw, out)
    assert (out / "quarantine.json").read_text().strip() == "{}"
    (raw / "cut.mid").write_bytes(b"MThd")
    with pytest.raises(BadInputError, match="1 of 5 clips failed in the ingest of mine"):
        ingest_corpus("mine", params(), raw, out)
    assert "cut" in (out / "quarantine.json").read_text()
    ingest_corpus("mine", params(0.2), raw, out)
    assert len(read_manifest(out / "manifest.parquet")) == 4


def test_registry_leaves_no_stale_files_and_removes_nothing_else(raw: Path) -> None:
    out = raw.parent / "source"
    ingest_corpus("mine", params(), raw, out)
    (raw / "anna" / "waltz.mid").unlink()
    ingest_corpus("mine", params(), raw, out)
    assert not (out / "midi" / "anna--waltz.mid").exists()
    other = raw.parent / "thesis"
    other.mkdir()
    (other / "chapter.txt").write_text("precious")
    with pytest.raises(PianoevalError, match="not an ingested corpus"):
        ingest_corpus("mine", params(), raw, other)
    assert (other / "chapter.txt").read_text() == "precious"


def test_registry_knows_its_corpora(raw: Path) -> None:
    with pytest.raises(ConfigError, match="unknown corpus 'yours'"):
        ingest_corpus("yours", params(), raw, raw.parent / "source")
