"""PercePiano: its names, its labels, and every oddity of the real files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pianoeval.corpora.content_groups import content_groups, note_stream
from pianoeval.corpora.manifest import label_matrix, read_labels, read_manifest
from pianoeval.corpora.percepiano import MIDI_FOLDER, SCORE_FOLDER, ingest
from pianoeval.corpora.percepiano_names import DIMENSIONS, parse_name
from pianoeval.corpora.percepiano_ratings import (
    LABELS_FILE,
    RATINGS_FILE,
    label_table,
    read_means,
    read_ratings,
)
from pianoeval.errors import BadInputError
from pianoeval.midi.io import Performance, read_midi, write_midi
from pianoeval.params import CorpusParams, MidiLimits
from pianoeval.provenance import sha256_file

PARAMS = CorpusParams(loader="percepiano")
PIECES = (
    "Beethoven_WoO80_thema",
    "Beethoven_WoO80_var9",
    "Schubert_D935_no.3",
    "Schubert_D960_mv2",
)


# Names ---------------------------------------------------------------------------------------


@given(
    piece=st.sampled_from(PIECES),
    bars=st.integers(1, 64),
    player=st.one_of(st.integers(0, 99).map(str), st.sampled_from(["Score", "Score2"])),
    segment=st.integers(0, 99),
    width=st.integers(1, 3),
    blanks=st.sampled_from(["", " ", "  "]),
)
def test_name_round_trip(
    piece: str, bars: int, player: str, segment: int, width: int, blanks: str
) -> None:
    clip = f"{piece}_{bars}bars_{player}_{segment:0{width}d}"
    name = parse_name(blanks + clip)
    assert (name.clip, name.piece, name.bars, name.performer) == (clip, piece, bars, player)
    assert int(name.number) == segment
    assert name.is_score_render == player.startswith("Score")
    assert name.player.startswith(piece.split("_")[1] + "/")
    assert name.score_clip == f"{piece}_{bars}bars_Score_{segment:0{width}d}"


@given(st.text())
def test_no_text_crashes_the_parser(text: str) -> None:
    try:
        name = parse_name(text)
    except BadInputError:
        return
    assert name.clip == text.strip()


@pytest.mark.parametrize(
    "text",
    ["", "Schubert_D960_mv2_8bars_1", "Schubert_D960_mv2_bars_1_1", "D960_mv2_8bars_1_1",
     "Schubert_D960_mv2_8bars_Score3_1", "Schubert_D960_mv2_8bars_1_1.mid", "a/../b"],
)  # fmt: skip
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(BadInputError, match="is not a PercePiano name"):
        parse_name(text)


def test_player_comes_before_segment() -> None:
    name = parse_name("Schubert_D935_no.3_4bars_2_46")
    assert (name.player, name.segment) == ("D935/2", "D935-3/4bars/46")
    assert (name.composer, name.composition, name.movement) == ("Franz Schubert", "D935", "D935-3")


def test_eight_and_sixteen_bars_with_one_number_are_two_segments() -> None:
    short, long = (parse_name(f"Schubert_D960_mv3_{bars}bars_1_07") for bars in (8, 16))
    assert short.segment != long.segment
    assert short.movement == long.movement == "D960-iii"


def test_both_scores_are_one_player_and_two_takes() -> None:
    one, two = (parse_name(f"Beethoven_WoO80_var9_8bars_{s}_7") for s in ("Score", "Score2"))
    assert one.player == two.player == "WoO80/Score"
    assert (one.take, two.take) == ("1", "2")


# A small tree with known ratings ---------------------------------------------------------------

SMALL = ("Schubert_D960_mv2_8bars_1_01", "Schubert_D960_mv2_8bars_2_01",
         "Schubert_D960_mv2_8bars_Score_01", "Schubert_D960_mv2_8bars_1_02")  # fmt: skip


def music(segment: int) -> Performance:
    pitches = np.random.default_rng(segment).integers(40, 80, 40)
    return Performance.from_notes(
        [(0.2 * i, 0.2 * i + 0.1, int(p), 70) for i, p in enumerate(pitches)]
    )


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Four clips of two segments, three raters, with the oddities of the raw ratings."""
    raw = tmp_path / "raw"
    for clip in SMALL:
        segment = int(clip[-2:])
        stem = " " + clip if clip == SMALL[1] else clip
        write_midi(music(segment), raw / MIDI_FOLDER / f"{stem}.mid")
        write_midi(music(segment), raw / SCORE_FOLDER / f"{parse_name(clip).score_clip}.mid")
    questions = [f"Question_{i}" for i in range(19)]
    rows: list[list[object]] = []
    for clip in SMALL:
        for rater, answer in (("7", 2.0), ("8", 4.0), ("9", 6.0)):
            rows.append([rater, 1, f"{clip}.wav", *[answer] * 19, "", "a message"])
    rows.append(rows[0])  # an exact duplicate
    rows.append(["7", 9, rows[0][2], *[3.0] * 19, "", ""])  # heard again, answered otherwise
    rows.append(["9", 2, rows[0][2], 8.0, *[5.0] * 18, "", ""])  # above the scale
    rows.append(["9", 3, rows[0][2], *[""] * 19, "", ""])  # empty
    rows.append(["5", 4, f"{SMALL[3]}.wav", 0.0, *[6.0] * 18, "", ""])  # 0 = no answer
    rows.append(["5", 5, "Schubert_D960_mv2_8bars_9_01.wav", *[6.0] * 19, "", ""])  # not rated
    rows.append(["5", 6, " Schubert_D960_mv2_8bars_score_01.wav", *[7.0] * 19, "", ""])
    table = pd.DataFrame(rows, columns=["user", "dataID", "filename", *questions, "Q", "message"])
    (raw / "labels").mkdir()
    table.to_csv(raw / RATINGS_FILE, index=False)
    means = {clip: [0.5 + i / 100 for i in range(19)] + [3] for clip in SMALL}
    (raw / LABELS_FILE).write_text(json.dumps(means))
    return raw


def test_small_tree(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "source"
    assert ingest(PARAMS, "percepiano", small, out, MidiLimits()) == {}
    manifest = read_manifest(out / "manifest.parquet").set_index("clip")
    assert list(manifest.index) == sorted(SMALL)
    assert manifest["content_group"].nunique() == manifest["segment"].nunique() == 2
    assert manifest.loc[SMALL[1], "midi_path"] == f"source/midi/{SMALL[1]}.mid"
    for column in ("midi_path", "score_path"):
        assert all((tmp_path / path).is_file() for path in manifest[column])
    labels = read_labels(out / "labels.parquet")
    values, dimensions = label_matrix(labels, "rating", list(SMALL))
    assert dimensions == [dimension.name for dimension in DIMENSIONS]
    np.testing.assert_allclose(values[0], [0.5 + i / 100 for i in range(19)])


def test_ratings_of_the_small_tree(small: Path) -> None:
    ratings = read_ratings(small / RATINGS_FILE, set(SMALL))
    timing = ratings[ratings["dimension"] == "timing"].groupby("clip")["value"].apply(list)
    assert sorted(timing[SMALL[0]]) == pytest.approx([2 / 7, 3 / 7, 4 / 7, 6 / 7])
    assert len(timing[SMALL[3]]) == 3  # the 0 is no rating …
    pace = ratings[(ratings["dimension"] == "pace") & (ratings["clip"] == SMALL[3])]
    assert len(pace) == 4  # … and the rater's other answers stand
    assert max(timing[SMALL[2]]) == 1.0  # `_score` is `_Score`
    assert set(ratings["clip"]) == set(SMALL)


def test_raters_and_spread_of_the_small_tree(small: Path) -> None:
    ratings = read_ratings(small / RATINGS_FILE, set(SMALL))
    table = label_table(read_means(small / LABELS_FILE), ratings).set_index(["clip", "dimension"])
    first = table.loc[(SMALL[0], "timing")]
    # Three people; the one who heard it twice counts once, with the mean of 2 and 3.
    assert first["n_raters"] == 3
    assert first["sd"] == pytest.approx(np.std([2.5 / 7, 4 / 7, 6 / 7], ddof=1))


def test_same_bytes_twice(small: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        ingest(PARAMS, "percepiano", small, tmp_path / name / "source", MidiLimits())
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*")]
    assert len(files) == 4 + 4 + 2
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize("row", [[0.5] * 19, [1.5] * 20, ["x"] * 20, "text", None])
def test_label_rows_that_are_not_labels(row: object, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"Schubert_D960_mv2_8bars_1_01": row}))
    with pytest.raises(BadInputError, match="19 means"):
        read_means(path)


def _remove_midi(raw: Path) -> None:
    (raw / MIDI_FOLDER / f"{SMALL[0]}.mid").unlink()


def _extra_midi(raw: Path) -> None:
    write_midi(music(1), raw / MIDI_FOLDER / "Schubert_D960_mv2_8bars_4_01.mid")


def _twice(raw: Path) -> None:
    write_midi(music(1), raw / MIDI_FOLDER / f" {SMALL[0]}.mid")


def _no_score(raw: Path) -> None:
    shutil.rmtree(raw / SCORE_FOLDER)


def _no_labels(raw: Path) -> None:
    (raw / LABELS_FILE).unlink()


def _broken_labels(raw: Path) -> None:
    (raw / LABELS_FILE).write_text("{")


def _other_csv(raw: Path) -> None:
    (raw / RATINGS_FILE).write_text("a,b\n1,2\n")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_remove_midi, "labels without MIDI"),
        (_extra_midi, "MIDI without labels"),
        (_twice, "two files"),
        (_no_score, "no such file"),
        (_no_labels, "no such file"),
        (_broken_labels, "JSON"),
        (_other_csv, "raw ratings"),
    ],
)
def test_incomplete_trees_stop_with_one_message(
    small: Path, tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(small)
    with pytest.raises(BadInputError, match=words) as caught:
        ingest(PARAMS, "percepiano", small, tmp_path / "source", MidiLimits())
    assert caught.value.next_step


def test_unreadable_midi_is_quarantined(small: Path, tmp_path: Path) -> None:
    (small / MIDI_FOLDER / f"{SMALL[3]}.mid").write_bytes(b"MThd\x00")
    quarantined = ingest(PARAMS, "percepiano", small, tmp_path / "source", MidiLimits())
    assert list(quarantined) == [SMALL[3]]
    assert SMALL[3] not in set(read_labels(tmp_path / "source/labels.parquet")["clip"])
    assert len(read_manifest(tmp_path / "source/manifest.parquet")) == 3


# The real corpus -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ingested(percepiano_source: Path) -> Path:
    return percepiano_source


@pytest.fixture(scope="module")
def manifest(ingested: Path) -> pd.DataFrame:
    return read_manifest(ingested / "manifest.parquet").set_index("clip")


@pytest.fixture(scope="module")
def ratings(ingested: Path) -> pd.DataFrame:
    return pd.read_parquet(ingested / "ratings.parquet")


def test_counts(manifest: pd.DataFrame) -> None:
    assert len(manifest) == 1202
    assert manifest["is_score_render"].sum() == 129
    takes = manifest[manifest["is_score_render"]]["take"].value_counts()
    assert takes.to_dict() == {"1": 99, "2": 30}
    assert manifest["movement"].value_counts().to_dict() == {
        "D960-iii": 559, "D960-ii": 288, "WoO80": 238, "D935-3": 117,
    }  # fmt: skip
    assert set(manifest["composition"]) == {"D960", "WoO80", "D935"}


def test_players_belong_to_a_composition(manifest: pd.DataFrame) -> None:
    human = manifest[~manifest["is_score_render"]]
    players = human.groupby("composition")["player"].nunique().to_dict()
    assert players == {"WoO80": 12, "D960": 12, "D935": 7}
    assert (manifest.groupby("player")["composition"].nunique() == 1).all()


def test_segment_groups(manifest: pd.DataFrame) -> None:
    sizes = manifest.groupby("segment").size().value_counts().to_dict()
    assert sizes == {14: 17, 13: 64, 9: 13, 3: 5}
    assert (manifest.groupby("segment")["score_path"].nunique() == 1).all()
    assert manifest["score_path"].nunique() == 99


def test_forty_five_content_groups(manifest: pd.DataFrame) -> None:
    segments = manifest.groupby("content_group")["segment"].nunique()
    assert len(segments) == 45
    assert (segments > 1).sum() == 15
    assert (manifest.groupby("segment")["content_group"].nunique() == 1).all()
    assert (manifest.groupby("content_group")["movement"].nunique() == 1).all()


def test_every_sixteen_bar_clip_is_grouped_with_two_eight_bar_segments(
    manifest: pd.DataFrame,
) -> None:
    long = manifest[manifest["segment"].str.contains("16bars")]
    short = manifest[manifest["segment"].str.contains("/8bars")]
    segments = short.groupby("content_group")["segment"].nunique()
    alone = long[long["content_group"].map(segments) < 2]["segment"].unique()
    # This "16 bars" is byte-identical to an 8-bar clip of the same player.
    assert list(alone) == ["D960-ii/16bars/03"]
    for clip in long[~long["is_score_render"]].itertuples():
        same = short[(short["content_group"] == clip.content_group)
                     & (short["player"] == clip.player)]  # fmt: skip
        assert len(same) >= 1


def test_file_name_that_starts_with_a_blank(manifest: pd.DataFrame, ingested: Path) -> None:
    row = manifest.loc["Schubert_D935_no.3_4bars_2_1"]
    assert row["midi_path"] == "source/midi/Schubert_D935_no.3_4bars_2_1.mid"
    assert not any(path.name.startswith(" ") for path in (ingested / "midi").iterdir())


def test_identical_midi_keeps_its_own_labels(
    manifest: pd.DataFrame, ingested: Path, percepiano_dir: Path
) -> None:
    sets = json.loads((ingested / "notes.json").read_text())["identical_midi"]
    assert len(sets) == 21
    pairs = [(a, b) for clips in sets for i, a in enumerate(clips) for b in clips[i + 1 :]]
    assert len(pairs) == 29
    values, _ = label_matrix(
        read_labels(ingested / "labels.parquet"),
        "rating",
        [clip for pair in pairs for clip in pair],
    )
    difference = values[0::2] - values[1::2]
    assert np.sqrt(np.mean(difference**2)) == pytest.approx(0.069, abs=0.0005)
    assert (np.abs(difference).max(axis=1) > 0).all()
    groups = manifest["content_group"]
    assert all(groups[a] == groups[b] for a, b in pairs)


def test_the_misfit_is_flagged_and_kept(manifest: pd.DataFrame, ingested: Path) -> None:
    flags = json.loads((ingested / "notes.json").read_text())["content_mismatch"]
    assert list(flags) == ["Beethoven_WoO80_var25_8bars_19_14"]
    assert "Beethoven_WoO80_var25_8bars_19_14" in manifest.index


def test_labels_are_the_published_means_without_the_player_index(
    ingested: Path, percepiano_dir: Path, manifest: pd.DataFrame
) -> None:
    labels = read_labels(ingested / "labels.parquet")
    assert len(labels) == 1202 * 19
    published = json.loads((percepiano_dir / LABELS_FILE).read_text())
    clips = list(manifest.index)
    values, _ = label_matrix(labels, "rating", clips)
    np.testing.assert_array_equal(values, [published[clip][:19] for clip in clips])
    better = labels.drop_duplicates("dimension").set_index("dimension")["higher_is_better"]
    assert set(better[better.notna()].index) == {"balance", "interpretation"}


def test_copy_of_the_labels_in_the_subfolder_is_not_used(percepiano_dir: Path) -> None:
    other = read_means(percepiano_dir / "labels" / LABELS_FILE)
    assert len(other) == 1189
    assert len(read_means(percepiano_dir / LABELS_FILE)) == 1202


def test_published_means_follow_from_the_raw_ratings(percepiano_dir: Path) -> None:
    """Upstream's rules on upstream's rows, duplicates counted twice, give upstream's numbers."""
    table = pd.read_csv(percepiano_dir / RATINGS_FILE, dtype={"Question_9_2_1": str})
    questions = list(table.columns[3:22])
    table = table[~(table[questions] > 7.1).any(axis=1)]
    table["clip"] = table["filename"].str.removesuffix(".wav")
    means = table[questions].where(table[questions] != 0).groupby(table["clip"]).mean() / 7
    published = json.loads((percepiano_dir / LABELS_FILE).read_text())
    expected = np.array([published[clip][:19] for clip in means.index])
    np.testing.assert_allclose(means.to_numpy(), expected, rtol=0, atol=1e-12)


def test_deduplicated_means_stay_close(ratings: pd.DataFrame, ingested: Path) -> None:
    labels = read_labels(ingested / "labels.parquet").set_index(["clip", "dimension"])["value"]
    means = ratings.groupby(["clip", "dimension"])["value"].mean()
    both = pd.concat([labels, means], axis=1, keys=["published", "means"])
    assert both["published"].corr(both["means"]) == pytest.approx(0.996, abs=0.001)


def test_raters(ratings: pd.DataFrame) -> None:
    assert ratings["rater"].nunique() == 63
    assert not ratings.isna().any(axis=None)
    assert ratings["value"].between(1 / 7, 1).all()
    people = ratings.groupby("clip")["rater"].nunique()
    assert (people.min(), people.median(), people.max()) == (3, 10, 17)
    assert len(ratings) == 236_191


def test_scores_are_deadpan(ingested: Path, manifest: pd.DataFrame) -> None:
    """Three rated `Score` clips are not; the scores used for features are."""
    rated = manifest[manifest["is_score_render"] & (manifest["take"] == "1")]
    differ = [
        clip for clip, row in rated.iterrows()
        if sha256_file(ingested.parent / row["score_path"]) != row["sha256"]
    ]  # fmt: skip
    assert sorted(differ) == [f"Schubert_D935_no.3_4bars_Score_{n}" for n in (25, 42, 50)]
    for clip in differ:
        score = read_midi(ingested.parent / manifest.loc[clip, "score_path"])
        played = read_midi(ingested.parent / manifest.loc[clip, "midi_path"])
        assert len(set(score.velocity)) < len(set(played.velocity))


def test_groups_are_found_from_human_playing_alone(ingested: Path, manifest: pd.DataFrame) -> None:
    """No scores, nothing declared: three people's playing of each segment gives the same groups."""
    human = manifest[~manifest["is_score_render"]].drop("Beethoven_WoO80_var25_8bars_19_14")
    some = human.groupby("segment").head(3)
    root = ingested.parent
    streams = {
        clip: note_stream(read_midi(root / row["midi_path"])) for clip, row in some.iterrows()
    }
    found = pd.Series(content_groups(streams)).reindex(some.index)
    assert found.nunique() == 45
    assert (found.groupby(some["content_group"]).nunique() == 1).all()


def test_what_the_threshold_does(ingested: Path, manifest: pd.DataFrame) -> None:
    scores = manifest.drop_duplicates("segment").set_index("segment")["score_path"]
    streams = {key: note_stream(read_midi(ingested.parent / path)) for key, path in scores.items()}
    n_groups = {
        threshold: len(set(content_groups(streams, min_shared=threshold).values()))
        for threshold in (0.2, 0.44, 0.52, 0.6)
    }
    assert n_groups == {0.2: 41, 0.44: 45, 0.52: 45, 0.6: 46}
