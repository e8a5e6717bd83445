"""ASAP: what is taken, which bars are cut, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from asap_cases import BEATS_A_BAR, beat_times, make_asap, play, score_notes, write_beats
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pianoeval.corpora import asap
from pianoeval.corpora.asap_fetch import get_asap
from pianoeval.corpora.asap_files import Beats, Entry, read_beats, read_entries, read_levels
from pianoeval.corpora.asap_places import choose_places
from pianoeval.corpora.fetch import get_corpus, materialise
from pianoeval.corpora.manifest import read_labels, read_manifest
from pianoeval.errors import BadInputError, ConfigError, CorruptDataError, PianoevalError
from pianoeval.midi.excerpt import cut
from pianoeval.midi.io import Performance, read_midi, write_midi
from pianoeval.params import CorpusParams, MidiLimits

PIECES = {
    "Bach/Fugue_bwv_1": ["Ada01M", "Bo02"],
    "Bach/Prelude_bwv_1": ["Ada02M"],
    "Liszt/Sonata": ["Cy01", "Cy02M", "Dee03", "Eve04M"],
}
LEVELS = {"Bach/Fugue_bwv_1": 5.0, "Liszt/Sonata": 9.0, "Ravel/Absent": 8.0}


def params(**wanted: object) -> CorpusParams:
    return CorpusParams.model_validate({"loader": "asap", **wanted})


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_asap(tmp_path_factory.mktemp("asap") / "asap", PIECES, LEVELS)


def fetched(source: Path, raw: Path, levels: Path | None = None) -> Path:
    from pianoeval.corpora.receipt import write_receipt

    raw.mkdir(parents=True)
    write_receipt(get_asap("asap", source, levels, raw), raw)
    return raw


def ingested(raw: Path, root: Path, **wanted: object) -> pd.DataFrame:
    out = root / "source"
    out.mkdir(parents=True)
    assert asap.ingest(params(**wanted), "asap", raw, out, MidiLimits()) == {}
    return read_manifest(out / "manifest.parquet")


# Clips ---------------------------------------------------------------------------------------


def test_performers_play_the_same_bars_of_the_score(shipped: Path, tmp_path: Path) -> None:
    raw = fetched(shipped, tmp_path / "raw")
    table = ingested(raw, tmp_path, excerpts=2, max_performers=9)
    places = pd.read_parquet(tmp_path / "source" / "places.parquet").set_index("clip")
    assert table["segment"].nunique() == 2 * len(PIECES)
    for row in table.itertuples():
        first = (places.loc[row.clip, "bar"] - 1) * BEATS_A_BAR
        last = first + places.loc[row.clip, "bars"] * BEATS_A_BAR
        number = list(PIECES).index(row.movement)
        written = [n for n in score_notes(number) if first <= n[0] < last]
        heard = read_midi(tmp_path / row.midi_path)
        assert heard.pitch_midi.tolist() == [n[2] for n in sorted(written, key=lambda n: n[0])]
        assert heard.onset_s[0] == pytest.approx(0.05, abs=2e-3)
        assert heard.pedal_value.tolist() == [100], "held from before"
        assert heard.pedal_time_s.tolist() == [0.0]
        score = read_midi(tmp_path / row.score_path)
        assert score.pitch_midi.tolist() == heard.pitch_midi.tolist()
        assert 5.0 <= places.loc[row.clip, "seconds"] <= 30.0
        assert places.loc[row.clip, "beats"] == last - first


def test_columns_say_who_plays_what(shipped: Path, tmp_path: Path) -> None:
    raw = fetched(shipped, tmp_path / "raw")
    table = ingested(raw, tmp_path, max_performers=2)
    fugue = table[table["movement"] == "Bach/Fugue_bwv_1"]
    assert set(fugue["player"]) == {"ada", "bo", "score"}
    assert fugue["composition"].unique().tolist() == ["Bach/bwv_1"]
    assert table.loc[table["is_score_render"], "source"].unique().tolist() == ["synthetic"]
    sonata = table[(table["movement"] == "Liszt/Sonata") & ~table["is_score_render"]]
    assert len(sonata) == 2
    assert sonata["player"].nunique() == 2, "one performance a name"
    assert table["licence"].unique().tolist() == ["CC BY-NC-SA 4.0"]
    labels = read_labels(tmp_path / "source" / "labels.parquet").set_index("clip")
    assert set(labels["task"]) == {"difficulty"}
    with_level = table[table["movement"].isin(LEVELS)]
    assert set(labels.index) == set(with_level["clip"])
    assert (labels.loc[sonata["clip"], "value"] == 9).all()


def test_bytes_do_not_depend_on_the_run(shipped: Path, tmp_path: Path) -> None:
    raw = fetched(shipped, tmp_path / "raw")
    for name in ("one", "two"):
        ingested(raw, tmp_path / name)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*"))
    assert files
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_performances_of_other_beats_or_other_bars_are_left_out(
    shipped: Path, tmp_path: Path
) -> None:
    source = tmp_path / "asap"
    shutil.copytree(shipped, source)
    home = source / "Liszt" / "Sonata"
    annotated = home / "Dee03_annotations.txt"
    annotated.write_text(annotated.read_text().rsplit("\n", 2)[0] + "\n")  # one beat less
    # Eve's beats are annotated eight bars late: other notes.
    beats = read_beats(home / "Eve04M_annotations.txt").time_s
    late = np.concatenate([beats[32:], beats[-1] + np.arange(1, 33)])
    write_beats(home / "Eve04M_annotations.txt", late)
    table = ingested(fetched(source, tmp_path / "raw"), tmp_path, max_performers=3)
    sonata = table[(table["movement"] == "Liszt/Sonata") & ~table["is_score_render"]]
    assert sonata["player"].tolist() == ["cy"]
    told = json.loads((tmp_path / "source" / "left_out.json").read_text())
    assert list(told) == ["Liszt/Sonata/Eve04M.mid"]
    assert "of the notes of Liszt/Sonata/bars" in told["Liszt/Sonata/Eve04M.mid"]


def test_a_damaged_file_is_quarantined(shipped: Path, tmp_path: Path) -> None:
    source = tmp_path / "asap"
    shutil.copytree(shipped, source)
    (source / "Bach" / "Fugue_bwv_1" / "Bo02.mid").write_bytes(b"MThd")
    out = tmp_path / "source"
    out.mkdir()
    raw = fetched(source, tmp_path / "raw")
    found = asap.ingest(params(), "asap", raw, out, MidiLimits())
    assert [name.rsplit("_", 1)[1] for name in found] == ["bo"]


def test_of_two_folders_the_fuller_one_is_taken(tmp_path: Path) -> None:
    source = make_asap(tmp_path / "asap", {"Bach/A": ["X1"], "Bach/B": ["Y1", "Z1"]})
    text = (source / "metadata.csv").read_text().replace("Bach,B,", "Bach,A,")
    (source / "metadata.csv").write_text(text)
    table = ingested(fetched(source, tmp_path / "raw"), tmp_path)
    assert set(table["player"]) == {"y", "z", "score"}


# Cutting -------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.floats(0, 20), st.floats(0.01, 5), st.integers(21, 108)), min_size=1),
    st.lists(st.tuples(st.floats(0, 20), st.integers(0, 127)), max_size=8),
    st.floats(0.5, 10), st.floats(0.5, 10),
)  # fmt: skip
def test_cut_is_its_slow_twin(
    notes: list[tuple[float, float, int]], pedal: list[tuple[float, int]], start: float,
    length: float,
) -> None:  # fmt: skip
    whole = Performance.from_notes([(on, on + d, key, 64) for on, d, key in notes], pedal)
    found = cut(whole, start, start + length, beat_s=0.2)
    first = start - 0.025
    wanted = []
    for on, off, key in zip(whole.onset_s, whole.offset_s, whole.pitch_midi, strict=True):
        if first <= on < start + length - 0.025:
            end = max(min(off, start + length), on + 1e-3)
            wanted.append((on - first, end - first, int(key)))
    got = zip(found.onset_s, found.offset_s, found.pitch_midi, strict=True)
    assert sorted((round(a, 9), round(b, 9), int(k)) for a, b, k in got) == sorted(
        (round(a, 9), round(b, 9), k) for a, b, k in wanted
    )
    before = [value for time, value in sorted(pedal, key=lambda p: p[0]) if time <= first]
    if before:
        assert (found.pedal_time_s[0], found.pedal_value[0]) == (0.0, before[-1])
    assert (found.pedal_time_s >= 0).all()


def test_a_chord_that_is_early_is_not_torn_and_the_next_bar_does_not_join() -> None:
    chord = [(1.97, 2.4, 60, 60), (2.0, 2.4, 64, 60), (3.97, 4.4, 65, 60), (4.0, 4.5, 67, 60)]
    found = cut(Performance.from_notes(chord), 2.0, 4.0)
    assert found.pitch_midi.tolist() == [60, 64]


beats_lists = st.lists(st.floats(0.2, 4.0), min_size=9, max_size=240)


@settings(max_examples=60)
@given(beats_lists, st.integers(1, 6), st.integers(1, 12))
def test_places_are_disjoint_bars_of_a_bearable_length(
    lengths: list[float], excerpts: int, bars: int
) -> None:
    time = np.concatenate([[0.0], np.cumsum(lengths)])
    beats = Beats(time, tuple("db" if i % 4 == 0 else "b" for i in range(len(time))))
    wanted = params(excerpts=excerpts, bars=bars, shortest_s=5.0, longest_s=20.0)
    found = choose_places("A/B", beats, [beats], wanted)
    down = beats.downbeats
    ends = [-1]
    for place in found:
        assert place.first >= ends[-1], "no two places share a bar"
        ends.append(place.last)
        assert place.first in down
        assert place.last in down
        assert np.searchsorted(down, place.last) - np.searchsorted(down, place.first) == place.bars
        seconds = time[place.last] - time[place.first]
        if place.bars < min(bars, len(down) - 1):  # bars were taken away
            assert seconds <= 20.0 or place.bars == 1
        if seconds < 5.0:
            assert place.bars == len(down) - 1, "all that the piece has"
    assert len(found) >= (len(down) > 1)


# Names and tables ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "stem", "work", "player"),
    [
        ("Piano_Sonatas_31-3_4", "HuangSW10M", "C/Piano_Sonatas_31", "huangsw"),
        ("Sonata_2_1st", "Yarden09", "C/Sonata_2", "yarden"),
        ("Prelude_bwv_846", "Bult-ItoS02M", "C/bwv_846", "bult-itos"),
        ("Etudes_op_10_12", "HONG08", "C/Etudes_op_10_12", "hong"),
        ("Kreisleriana_5", "JohannsonP06", "C/Kreisleriana", "johannsonp"),
        ("Toccata_repeat", "MunM", "C/Toccata", "mun"),
    ],
)
def test_names(title: str, stem: str, work: str, player: str) -> None:
    entry = Entry("C", title, "f", "s.mid", f"f/{stem}.mid", "s.txt", "p.txt")
    assert (entry.work, entry.player, entry.piece) == (work, player, f"C/{title}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.0\t1.0\tb\n",
        "1\t1\tb\n1\t1\tb\n",
        "x\tx\tb\n2\t2\tb\n",
        "1.0\n2.0\n",
        "nan\tnan\tb\n",
    ],
)
def test_beats_that_are_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "beats.txt"
    path.write_text(text)
    with pytest.raises(BadInputError):
        read_beats(path)


def test_beats_without_changes_of_metre(tmp_path: Path) -> None:
    path = tmp_path / "beats.txt"
    path.write_text("0.5\t0.5\tdb,4/4,-3\n1.0\t1.0\tb\n1.2\t1.2\t3/4\n1.5\t1.5\tbR\n\n")
    found = read_beats(path)
    assert found.kind == ("db", "b", "bR")
    assert found.time_s.tolist() == [0.5, 1.0, 1.5]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("composer,title,henle\nA,B,0\n", "no level"),
        ("composer,title,henle\nA,B,x\n", "no level"),
        ("composer,title,henle\nA,B,10\n", "no level"), ("composer,title\nA,B\n", "lacks"),
        ("composer,title,henle\nA,B,3\nA,B,4\n", "3 and 4"), ("composer,title,henle\n", "no row"),
    ],
)  # fmt: skip
def test_levels_that_are_none(text: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "levels.csv").write_text(text)
    with pytest.raises(BadInputError, match=what):
        read_levels(tmp_path)


def test_a_path_that_leads_out_is_refused(shipped: Path, tmp_path: Path) -> None:
    text = (shipped / "metadata.csv").read_text()
    (tmp_path / "metadata.csv").write_text(text.replace("Bach/Fugue_bwv_1/Ada01M.mid", "../x.mid"))
    with pytest.raises(BadInputError, match="not a path below"):
        read_entries(tmp_path)


# Fetching ------------------------------------------------------------------------------------


def test_get_and_pin(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match="git clone"):
        get_corpus("asap", params())
    get_corpus("asap", params(), shipped)
    materialise("asap", params(), tmp_path / "raw")
    assert read_levels(tmp_path / "raw") == LEVELS
    with pytest.raises(CorruptDataError, match="pinned is 0000"):
        materialise("asap", params(digest="0000"), tmp_path / "raw2")
    other = tmp_path / "other.csv"
    other.write_text("composer,title,henle\nBach,Fugue_bwv_1,4\n")
    get_corpus("asap", params(), shipped, other)
    materialise("asap", params(), tmp_path / "raw3")
    assert read_levels(tmp_path / "raw3") == {"Bach/Fugue_bwv_1": 4.0}
    with pytest.raises(PianoevalError):
        get_corpus("asap", params(), tmp_path, other)


def test_blocks_of_before_are_written_as_before() -> None:
    old = {"loader", "seed", "n_segments", "n_players", "segment_s", "tiers", "digest"}
    assert set(CorpusParams(loader="studio").model_dump()) == old
    assert params(bars=4).model_dump()["bars"] == 4
    with pytest.raises(ValidationError, match="shortest_s"):
        params(shortest_s=30.0)


def test_shared_notes_counts_within_a_bar_whatever_the_order() -> None:
    def four(keys: list[int]) -> Performance:
        return Performance.from_notes([(i, i + 0.5, k, 60) for i, k in enumerate(keys)])

    bars = np.array([0.0, 2.0, 4.0])
    score = (four([60, 62, 64, 60]), bars)
    assert asap.shared_notes((four([62, 60, 60, 64]), bars), score) == 1.0
    assert asap.shared_notes((four([64, 60, 60, 62]), bars), score) == 0.5
    slower = Performance.from_notes([(2 * i, 2 * i + 1, k, 9) for i, k in enumerate([60, 62, 64])])
    assert asap.shared_notes((slower, 2 * bars), score) == 0.75


def test_play_is_what_was_annotated(tmp_path: Path) -> None:
    beats = beat_times(100, 3, 16)
    write_midi(play(score_notes(0, 4), beats, 60), tmp_path / "a.mid")
    heard = read_midi(tmp_path / "a.mid")
    np.testing.assert_allclose(heard.onset_s[::2], beats[:16], atol=1e-3)
