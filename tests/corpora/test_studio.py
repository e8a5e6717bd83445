"""Corpus studio: the pinned table, honest content groups, files that do not change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pianoeval.corpora import studio, works
from pianoeval.corpora.degraded import POLES, degrade_corpus, severity_labels
from pianoeval.corpora.manifest import (
    label_matrix,
    read_labels,
    read_manifest,
    write_labels,
    write_manifest,
)
from pianoeval.errors import ConfigError, CorruptDataError, MissingAssetError
from pianoeval.midi.degrade import DIMENSIONS, TIER_BANDS, Severities
from pianoeval.midi.io import read_midi
from pianoeval.params import CorpusParams, MidiLimits
from pianoeval.provenance import sha256_file

LIMITS = MidiLimits()
DEFAULT = CorpusParams(loader="studio", tiers=[1, 2, 3, 4])
SMALL = CorpusParams(loader="studio", n_segments=7, n_players=2, segment_s=4.0, tiers=[1, 4])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``data/studio`` of the small corpus."""
    folder = tmp_path_factory.mktemp("data") / "studio"
    studio.ingest(SMALL, "studio", folder / "source", LIMITS)
    degrade_corpus(SMALL, folder, folder / "clips", LIMITS)
    return folder


@pytest.fixture(scope="module")
def segments() -> list[studio.Segment]:
    return studio.choose_segments(DEFAULT)


def test_default_corpus_is_as_large_as_promised(segments: list[studio.Segment]) -> None:
    assert len(segments) == 12
    movements = {segment.work.movement for segment in segments}
    assert len(movements) >= 6
    assert len({s.work.composer for s in segments}) >= 6
    seconds = sum(s.score.end_beats * s.score.beat_s for s in segments)
    assert seconds * 3 * 5 / 60 <= 25
    assert all(4 <= s.score.end_beats * s.score.beat_s <= 8.001 for s in segments)
    assert len({segment.name for segment in segments}) == 12


def test_repeated_bars_share_a_content_group(segments: list[studio.Segment]) -> None:
    groups = studio.segment_groups(segments)
    # Bars 7-8 of BWV 227.1 are bars 1-2 again; nothing else is repeated.
    assert groups["bach-bwv227_b07-08"] == groups["bach-bwv227_b01-02"]
    assert len(set(groups.values())) == 11


def test_one_common_bar_is_enough(segments: list[studio.Segment]) -> None:
    by_name = {segment.name: segment for segment in segments}
    one = by_name["joplin-maple-leaf_b01-06"]
    other = by_name["joplin-maple-leaf_b18-23"]
    notes = other.score.notes.copy()
    last = one.score.notes[one.score.notes["bar"] == 3]
    mixed = np.concatenate([notes[notes["bar"] != 3], last])
    mixed.sort(order=["onset_beats", "pitch_midi"])
    twin = replace(other, name="twin", score=replace(other.score, notes=mixed))
    groups = studio.segment_groups([one, twin])
    assert groups["twin"] == groups[one.name]


def test_every_start_of_the_table_can_be_cut() -> None:
    total = sum(len(work.starts) for work in works.WORKS)
    everything = DEFAULT.model_copy(update={"n_segments": total})
    segments = studio.choose_segments(everything)
    assert len(segments) == total
    for segment in segments:
        assert len(segment.score.notes) >= 8, segment.name
        assert segment.score.notes["onset_beats"].max() < segment.score.end_beats
        assert segment.score.notes["pitch_midi"].min() >= 21
        assert segment.score.notes["pitch_midi"].max() <= 108
    with pytest.raises(ConfigError, match=f"at most {total}"):
        studio.choose_segments(DEFAULT.model_copy(update={"n_segments": total + 1}))


def test_manifest_of_the_performances(root: Path) -> None:
    manifest = read_manifest(root / "source" / "manifest.parquet")
    assert len(manifest) == 14
    assert (manifest["source"] == "synthetic").all()
    assert not manifest["is_score_render"].any()
    assert set(manifest["player"]) == {"player_1", "player_2"}
    assert manifest["movement"].nunique() == 6
    for row in manifest.itertuples():
        played = read_midi(root / row.midi_path)
        score = read_midi(root / row.score_path)
        assert played.n_notes == score.n_notes
        assert sorted(played.pitch_midi) == sorted(score.pitch_midi)
        assert row.sha256 == sha256_file(root / row.midi_path)
        assert row.end_s == pytest.approx(played.end_s)
    cc = manifest[manifest["redistributable"]]
    assert set(cc["composer"]) == {"Clara Schumann"}


def test_labels_are_the_severities(root: Path) -> None:
    manifest = read_manifest(root / "clips" / "manifest.parquet")
    labels = read_labels(root / "clips" / "labels.parquet")
    assert len(manifest) == 14 * 3
    assert len(labels) == 42 * 8
    values, dimensions = label_matrix(labels, "rating", manifest["clip"].tolist())
    assert dimensions == [*DIMENSIONS, "overall"] == list(POLES)
    tiers = manifest["tier"].to_numpy()
    assert (values[tiers == 0] == 0).all()
    for tier in (1, 4):
        low, high = TIER_BANDS[tier]
        assert ((values[tiers == tier] >= low) & (values[tiers == tier] <= high)).all()
    expert, _ = label_matrix(labels, "expertise", manifest["clip"].tolist())
    assert (expert[:, 0] == tiers).all()
    assert labels["n_raters"].isna().all()
    assert not labels["higher_is_better"].any()


def test_degraded_rows_point_to_their_parent(root: Path) -> None:
    manifest = read_manifest(root / "clips" / "manifest.parquet").set_index("clip")
    worse = manifest[manifest["tier"] > 0]
    assert manifest.loc[manifest["tier"] == 0, "parent"].isna().all()
    for clip, row in worse.iterrows():
        parent = manifest.loc[row["parent"]]
        assert clip == f"{row['parent']}_t{row['tier']}"
        same = ["segment", "content_group", "movement", "player", "take", "score_path"]
        assert (row[same] == parent[same]).all()
        assert (
            read_midi(root / row["midi_path"]).n_notes
            < read_midi(root / parent["midi_path"]).n_notes
        )


def test_same_seed_same_files(root: Path, tmp_path: Path) -> None:
    again = tmp_path / "studio"
    studio.ingest(SMALL, "studio", again / "source", LIMITS)
    # The outcome of a clip hangs on its name only, not on what was drawn before it.
    source = again / "source" / "manifest.parquet"
    write_manifest(read_manifest(source).iloc[::-1], source)
    degrade_corpus(SMALL, again, again / "clips", LIMITS)
    files = sorted(path.relative_to(root) for path in root.rglob("*.mid"))
    assert len(files) == 7 + 14 + 28
    for name in files:
        assert (again / name).read_bytes() == (root / name).read_bytes(), name
    other = tmp_path / "other"
    studio.ingest(SMALL.model_copy(update={"seed": 1}), "studio", other / "source", LIMITS)
    name = next(f for f in files if f.parts[:2] == ("source", "midi"))
    assert (other / name).read_bytes() != (root / name).read_bytes()


def test_without_tiers_the_tables_are_copied(root: Path, tmp_path: Path) -> None:
    degrade_corpus(SMALL.model_copy(update={"tiers": []}), root, tmp_path / "clips", LIMITS)
    for name in ("manifest.parquet", "labels.parquet"):
        assert (tmp_path / "clips" / name).read_bytes() == (root / "source" / name).read_bytes()


def test_rated_corpora_are_not_degraded(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_manifest(read_manifest(root / "source" / "manifest.parquet"), source / "manifest.parquet")
    labels = read_labels(root / "source" / "labels.parquet")
    labels.loc[labels["dimension"] == "overall", "dimension"] = "interpretation"
    write_labels(labels, source / "labels.parquet")
    with pytest.raises(ConfigError, match="interpretation"):
        degrade_corpus(SMALL, tmp_path, tmp_path / "clips", LIMITS)


def test_unlabelled_originals_get_severity_zero(root: Path, tmp_path: Path) -> None:
    manifest = read_manifest(root / "source" / "manifest.parquet").head(1)
    labels = read_labels(root / "source" / "labels.parquet").head(0)
    write_manifest(manifest, tmp_path / "source" / "manifest.parquet")
    write_labels(labels, tmp_path / "source" / "labels.parquet")
    midi = tmp_path / manifest["midi_path"].iloc[0]
    midi.parent.mkdir()
    midi.write_bytes((root / manifest["midi_path"].iloc[0]).read_bytes())
    degrade_corpus(SMALL, tmp_path, tmp_path / "clips", LIMITS)
    written = read_labels(tmp_path / "clips" / "labels.parquet")
    assert set(written["clip"]) == set(
        read_manifest(tmp_path / "clips" / "manifest.parquet")["clip"]
    )


def test_audio_cannot_be_degraded(root: Path, tmp_path: Path) -> None:
    manifest = read_manifest(root / "source" / "manifest.parquet").head(1)
    manifest = manifest.assign(midi_path=pd.Series([None], dtype=object), audio_path="x.wav")
    write_manifest(manifest, tmp_path / "source" / "manifest.parquet")
    write_labels(
        pd.DataFrame(severity_labels(manifest["clip"].iloc[0], Severities(), 0)),
        tmp_path / "source" / "labels.parquet",
    )
    with pytest.raises(ConfigError, match="only MIDI"):
        degrade_corpus(SMALL, tmp_path, tmp_path / "clips", LIMITS)


def test_another_version_of_a_score_is_noticed() -> None:
    changed = replace(works.WORKS[0], sha256="0" * 64)
    with pytest.raises(CorruptDataError, match="another version") as caught:
        works.score_file(changed)
    assert "music21==" in str(caught.value)
    with pytest.raises(MissingAssetError, match="no such score"):
        works.score_file(replace(works.WORKS[0], path="bach/none.mxl"))


def test_bad_tier_is_a_clear_error(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tier 9"):
        degrade_corpus(SMALL.model_copy(update={"tiers": [9]}), root, root / "bad", LIMITS)
