"""Private recordings in their published layout: what is read, what is refused, what is told."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fba_cases import (
    ACTIVITIES,
    SEGMENTS,
    TONES_HZ,
    assessment_text,
    cell,
    instrument_text,
    make_fba,
    segment_text,
    write_list,
    write_long,
    write_student,
)
from hypothesis import given
from hypothesis import strategies as st
from workspaces import small_params

from pianoeval.audio.wave import read_audio
from pianoeval.corpora import fba
from pianoeval.corpora.fba_files import BAD_IDS, read_ratings, read_span
from pianoeval.corpora.fba_tables import read_spreadsheet
from pianoeval.corpora.fetch import get_corpus, materialise
from pianoeval.corpora.manifest import check_media, read_labels, read_manifest
from pianoeval.corpora.pin import fetched_receipt
from pianoeval.corpora.receipt import check_raw
from pianoeval.corpora.registry import ingest_corpus
from pianoeval.errors import BadInputError, ConfigError, CorruptDataError, MissingAssetError
from pianoeval.params import CorpusParams, MidiLimits, Params
from pianoeval.plan import expected_size

MIDDLE = CorpusParams(loader="fba")
GOOD = 10


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_fba(tmp_path_factory.mktemp("fba") / "copy")


@pytest.fixture
def copy(shipped: Path, tmp_path: Path) -> Path:
    """One's own, to be spoilt."""
    shutil.copytree(shipped, tmp_path / "copy")
    return tmp_path / "copy"


def fetched(source: Path, root: Path, params: CorpusParams = MIDDLE) -> Path:
    get_corpus("fba_middle", params, source)
    materialise("fba_middle", params, root / "raw")
    return root / "raw"


def ingested(
    source: Path, root: Path, params: CorpusParams = MIDDLE
) -> tuple[Path, dict[str, str]]:
    """Folder ``source`` of a corpus, and what was quarantined."""
    raw, out = fetched(source, root, params), root / "source"
    out.mkdir()
    return out, fba.ingest(params, "fba_middle", raw, out, MidiLimits())


def assessments(folder: Path, student: int) -> Path:
    [path] = folder.rglob(f"{student}_assessments.txt")
    return path


# What is read ----------------------------------------------------------------------------------


def test_both_layouts_make_one_corpus(shipped: Path, tmp_path: Path) -> None:
    out, quarantined = ingested(shipped, tmp_path)
    assert quarantined == {}
    table = read_manifest(out / "manifest.parquet").set_index("clip")
    assert sorted(table.index) == sorted(
        [f"2013-{n}" for n in (28001, 28002, 28011, 28012, 28021)]
        + [f"2016-{n}" for n in (62001, 62011, 62012, 62021, 62022)]
    )
    assert table["instrument"].value_counts().to_dict() == {
        "Alto Saxophone": 3, "Bb Clarinet": 4, "Flute": 3,
    }  # fmt: skip
    assert table.loc["2016-62011", "instrument"] == "Bb Clarinet"
    assert table.loc["2013-28021", "player"] == "28021"
    assert set(table["source"]) == {"acoustic"}
    assert not table["redistributable"].any()
    assert table["midi_path"].isna().all()
    assert json.loads((out / "left_out.json").read_text(encoding="utf-8")) == {}


def test_pupils_of_a_year_and_instrument_play_one_exercise(shipped: Path, tmp_path: Path) -> None:
    table = read_manifest(ingested(shipped, tmp_path)[0] / "manifest.parquet")
    for column in ("segment", "movement", "composition", "content_group"):
        groups = table.groupby(column)
        assert len(groups) == 6
        assert all(len(set(zip(g["clip"].str[:4], g["instrument"], strict=True))) == 1
                   for _, g in groups)  # fmt: skip


def test_the_sound_of_a_clip_is_the_technical_exercise(shipped: Path, tmp_path: Path) -> None:
    """Five tones follow one another: of the second there must be much, and of the others none."""
    out, _ = ingested(shipped, tmp_path)
    table = read_manifest(out / "manifest.parquet")
    start, length = SEGMENTS[1]
    for row in table.itertuples():
        assert (row.start_s, row.end_s) == (start, pytest.approx(start + length))
        sound = read_audio(tmp_path / row.audio_path, 22_050, start_s=row.start_s, end_s=row.end_s)
        assert len(sound) == pytest.approx(length * 22_050, abs=1)
        power = np.abs(np.fft.rfft(sound)) ** 2
        hz = np.fft.rfftfreq(len(sound), 1 / 22_050)
        parts = [power[np.abs(hz - tone) < 20].sum() / power.sum() for tone in TONES_HZ]
        assert parts[1] > 0.99
        assert max(parts[0], *parts[2:]) < 1e-3


def test_ratings_are_those_of_the_second_row(shipped: Path, tmp_path: Path) -> None:
    """Rows lyrical, technical …; columns articulation, artistry, musicality, note, rhythm …"""
    out, _ = ingested(shipped, tmp_path)
    labels = read_labels(out / "labels.parquet")
    assert len(labels) == 3 * GOOD
    for row in labels.itertuples():
        column = {"musicality": 2, "note_accuracy": 3, "rhythm_accuracy": 4}[row.dimension]
        assert row.value == pytest.approx(cell(1, column, int(row.clip[5:])), abs=1e-9)
        assert 0 <= row.value <= 1
    assert set(labels["n_raters"]) == {1}
    assert labels["sd"].isna().all()


def test_a_level_has_its_own_auditions(shipped: Path, tmp_path: Path) -> None:
    out, _ = ingested(shipped, tmp_path, CorpusParams(loader="fba", level="symphonic"))
    assert read_manifest(out / "manifest.parquet")["clip"].tolist() == ["2013-28121"]


def test_a_copy_of_another_level_is_refused(shipped: Path, tmp_path: Path) -> None:
    raw = fetched(shipped, tmp_path)
    with pytest.raises(BadInputError, match="fetched for the level 'middle', not 'symphonic'"):
        fba.ingest(
            CorpusParams(loader="fba", level="symphonic"), "fba_middle", raw, tmp_path, MidiLimits()
        )


def test_the_same_files_give_the_same_bytes(shipped: Path, tmp_path: Path) -> None:
    def digests(root: Path) -> dict[str, str]:
        root.mkdir()
        ingested(shipped, root)
        return {
            path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*")) if path.is_file()
        }  # fmt: skip

    first = digests(tmp_path / "one")
    assert len(first) > 4 * GOOD
    assert digests(tmp_path / "two") == first


def test_only_what_is_read_is_copied(shipped: Path, tmp_path: Path) -> None:
    raw = fetched(shipped, tmp_path)
    files = {path.name for path in raw.rglob("*") if path.is_file()}
    assert "28001.mp3" in files
    assert not any("pitchtrack" in name or name.endswith(".xlsx") for name in files)
    assert not any(name.startswith(("28031", "28121")) for name in files), "trumpet; symphonic"


def test_the_stage_writes_a_corpus_that_is_whole(shipped: Path, tmp_path: Path) -> None:
    params = Params.model_validate(small_params())
    raw, out = fetched(shipped, tmp_path / "fba_middle"), tmp_path / "fba_middle" / "source"
    check_raw(raw, "again")
    ingest_corpus("fba_middle", params, raw, out)
    table = read_manifest(out / "manifest.parquet")
    check_media(table, out.parent)
    (out.parent / table["audio_path"][0]).unlink()
    with pytest.raises(MissingAssetError):
        check_media(table, out.parent)


def test_a_digest_pins_the_copy(copy: Path, tmp_path: Path) -> None:
    get_corpus("fba_middle", MIDDLE, copy)
    digest = fetched_receipt("fba_middle", MIDDLE).digest
    assessments(copy, 28001).write_text(assessment_text(28002), encoding="utf-8")
    get_corpus("fba_middle", MIDDLE, copy)
    with pytest.raises(CorruptDataError, match="pinned is"):
        materialise("fba_middle", CorpusParams(loader="fba", digest=digest), tmp_path / "raw")


def test_what_the_parameters_say_of_it() -> None:
    params = Params.model_validate(small_params())
    assert params.corpora["fba_middle"].level == "middle"
    assert params.corpora["fba_symphonic"].level == "symphonic"
    assert expected_size(params.corpora["fba_middle"]) == (0, 0.0)
    studio = params.corpora["studio"].model_dump()
    assert "level" not in studio, "what was computed before keeps its name"


# Segments --------------------------------------------------------------------------------------


def span(tmp_path: Path, text: str, activities: str | None = None) -> tuple[float, float]:
    path, other = tmp_path / "1_segment.txt", tmp_path / "1_instrument.txt"
    path.write_text(text, encoding="utf-8")
    if activities is not None:
        other.write_text(activities, encoding="utf-8")
    return read_span(path, None if activities is None else other)


@pytest.mark.parametrize(
    "text",
    [
        segment_text(),
        segment_text(heading=""),
        segment_text().replace("\t", "\t\t"),
        segment_text().replace("\n", "\r\n"),
        "\ufeff" + segment_text() + "\n\n",
        segment_text([SEGMENTS[0], (2.2, 0.4), *SEGMENTS[1:]]),  # a slip of 0.4 s is dropped
    ],
)
def test_ways_to_write_segments(tmp_path: Path, text: str) -> None:
    assert span(tmp_path, text) == pytest.approx((2.5, 4.75))


def test_a_file_of_activities_says_which_segment_it_is(tmp_path: Path) -> None:
    order = [ACTIVITIES[i] for i in (3, 0, 1, 2, 4)]
    text = instrument_text("Flute", order)
    assert span(tmp_path, segment_text(), text) == pytest.approx((5.0, 6.2))
    three = span(tmp_path, segment_text(SEGMENTS[:3]), instrument_text("Flute", order[:3]))
    assert three == pytest.approx((5.0, 6.2))


@given(
    st.lists(st.tuples(st.floats(0, 600), st.floats(1.001, 300)), min_size=5, max_size=5),
    st.booleans(),
)
def test_the_second_of_five(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, float]], heading: bool
) -> None:
    text = "\n".join(["// start\tlength"] * heading + [f"{a!r}\t{b!r}" for a, b in rows])
    found = span(tmp_path_factory.mktemp("span"), text)
    assert found == (rows[1][0], rows[1][0] + rows[1][1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (segment_text(SEGMENTS[:4]), "4 segments"),
        (segment_text([*SEGMENTS, (9.6, 2.0)]), "6 segments"),
        ("", "0 segments"),
        (segment_text().replace("2.500", "two"), "a row reads 'two"),
        (segment_text().replace("2.500", "nan"), "a row reads 'nan"),
        (segment_text().replace("2.500\t", "2.500\t1\t"), "a row reads '2.500 1"),
        (segment_text().replace("2.500", "-2.500"), "starts at -2.5 s"),
    ],
)
def test_segments_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        span(tmp_path, text)


@pytest.mark.parametrize(
    ("activities", "message"),
    [(ACTIVITIES[:4], "allowed: 4"), (("lyricalEtude",) * 5, "0 segments are the technicalEtude"),
     (("technicalEtude",) * 5, "5 segments are the technicalEtude")],
)  # fmt: skip
def test_activities_that_do_not_fit(
    tmp_path: Path, activities: tuple[str, ...], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        span(tmp_path, segment_text(), instrument_text("Flute", activities))


# Ratings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (assessment_text(1, {(1, 3): -1.0}), "note_accuracy of the technical exercise was not"),
        (assessment_text(1, {(1, 2): 7.0}), "musicality of the technical exercise is rated 7"),
        (assessment_text(1).rsplit("\n", 2)[0], "9 rows"),
        (assessment_text(1).replace(f"{cell(1, 4, 1):.4f}\t", ""), "a row reads"),
        ("\0\xff", "0 rows|1 rows"),
    ],
)
def test_ratings_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "1_assessments.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError, match=message):
        read_ratings(path)


def test_what_is_not_rated_elsewhere_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "1_assessments.txt"
    path.write_text(assessment_text(1, {(1, 0): -1.0, (0, 2): -1.0}), encoding="utf-8")
    assert read_ratings(path)["musicality"] == pytest.approx(cell(1, 2, 1))


def test_text_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "1_assessments.txt"
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(BadInputError, match="not readable as text"):
        read_ratings(path)


# Auditions that are no clips --------------------------------------------------------------------


def spoil(copy: Path) -> dict[str, str]:
    """Make six of the ten auditions unusable; says which, and what must be told of each."""
    [segments] = copy.rglob("28001_segment.txt")
    segments.unlink()
    next(copy.rglob("28002.mp3")).unlink()
    assessments(copy, 28011).write_text(assessment_text(1, {(1, 4): -1.0}), encoding="utf-8")
    next(copy.rglob("28012.mp3")).write_bytes(b"no sound at all")
    [segments] = copy.rglob("28021_segment.txt")
    late = [*SEGMENTS[:1], (2.5, 60.0), *SEGMENTS[2:]]
    segments.write_text(segment_text(late), encoding="utf-8")
    write_student(copy / "MIG-FbaData/FBA2016/middleschool/assessments", 62001, "Flute")
    return {
        "2013-28001": "no segment.txt", "2013-28002": "no mp3",
        "2013-28011": "rhythm_accuracy of the technical exercise was not rated",
        "2013-28012": "not readable as audio",
        "2013-28021": "ends at 62.50 s, the recording at 10.0",
        "2016-62001": "the table says Alto Saxophone, this file 'flu'",
    }  # fmt: skip


def test_what_cannot_be_used_is_quarantined_with_its_reason(copy: Path, tmp_path: Path) -> None:
    wanted = spoil(copy)
    out, quarantined = ingested(copy, tmp_path)
    assert set(quarantined) == set(wanted)
    for clip, reason in wanted.items():
        assert reason in quarantined[clip]
    assert len(read_manifest(out / "manifest.parquet")) == GOOD - len(wanted)
    labels = read_labels(out / "labels.parquet")
    assert set(labels["clip"]) == {"2016-62011", "2016-62012", "2016-62021", "2016-62022"}
    assert len(list((out / "audio").rglob("*.mp3"))) == 4


def test_the_stage_stops_when_more_fail_than_is_allowed(copy: Path, tmp_path: Path) -> None:
    spoil(copy)
    raw = fetched(copy, tmp_path)
    data: dict[str, Any] = small_params()
    with pytest.raises(BadInputError, match="6 of 10"):
        ingest_corpus("fba_middle", Params.model_validate(data), raw, tmp_path / "source")
    data["run"]["max_failed_fraction"] = 0.6
    ingest_corpus("fba_middle", Params.model_validate(data), raw, tmp_path / "source")


def test_nothing_left_is_an_error(copy: Path, tmp_path: Path) -> None:
    for path in copy.rglob("*_segment.txt"):
        path.unlink()
    with pytest.raises(BadInputError, match=r"no audition can be used: .*no segment\.txt"):
        ingested(copy, tmp_path)


def test_auditions_that_studies_leave_out_and_unknown_instruments(
    copy: Path, tmp_path: Path
) -> None:
    bad = min(BAD_IDS["middle"])
    folder = copy / "FBA2013" / "middleschoolscores"
    for number in (bad, 28099, 28098, 28097):
        write_student(folder, number)
    write_student(folder, 28098, "Bb Clarinet")  # its file names what the table does not
    write_student(folder, 28097, "Trumpet")
    sound = next(copy.rglob("28001.mp3")).read_bytes()
    (copy / "2013-2014" / "middleschoolscores" / "28098.mp3").write_bytes(sound)
    write_list(folder.parent / "more Middle School.xlsx", {"Flute": [bad]})
    out, quarantined = ingested(copy, tmp_path)
    assert quarantined == {}
    told = json.loads((out / "left_out.json").read_text(encoding="utf-8"))
    assert set(told) == {f"2013-{bad}", "2013-28099"}
    assert "published studies" in told[f"2013-{bad}"]
    assert "names its instrument" in told["2013-28099"]
    table = read_manifest(out / "manifest.parquet").set_index("clip")
    assert len(table) == GOOD + 1
    assert table.loc["2013-28098", "instrument"] == "Bb Clarinet"


def test_the_lists_of_bad_recordings_are_the_published_ones() -> None:
    assert {level: len(ids) for level, ids in BAD_IDS.items()} == {"middle": 15, "symphonic": 15}
    assert sum(BAD_IDS["middle"]) == 624_504
    assert sum(BAD_IDS["symphonic"]) == 683_493


def test_a_percussionist_plays_none_of_the_three(copy: Path, tmp_path: Path) -> None:
    own = write_student(copy / "FBA2013" / "middleschoolscores", 28050)
    text = "xyl\tmalletEtude\nsna\tsnareEtude\n"
    (own / "28050_instrument.txt").write_text(text, encoding="utf-8")
    out, _ = ingested(copy, tmp_path)
    assert json.loads((out / "left_out.json").read_text(encoding="utf-8")) == {}


# The layout ------------------------------------------------------------------------------------


def test_a_year_without_recordings_is_left_out_and_told(
    copy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(copy / "audio")
    with caplog.at_level(logging.WARNING):
        out, _ = ingested(copy, tmp_path)
    assert "2016 is left out: its recordings are not in" in caplog.text
    clips = read_manifest(out / "manifest.parquet")["clip"]
    assert clips.str.startswith("2013-").all()
    assert len(clips) == 5


def test_what_is_no_copy_of_the_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "FBA2013").mkdir()
    with pytest.raises(BadInputError, match="no year has annotations and recordings"):
        get_corpus("fba_middle", MIDDLE, tmp_path)
    (tmp_path / "2013-2014").mkdir()
    with pytest.raises(BadInputError, match="no audition of the level 'middle'"):
        get_corpus("fba_middle", MIDDLE, tmp_path)
    with pytest.raises(ConfigError, match="say where your copy"):
        get_corpus("fba_middle", MIDDLE)


def test_two_folders_for_a_year_are_refused(copy: Path) -> None:
    (copy / "other" / "FBA2013").mkdir(parents=True)
    with pytest.raises(BadInputError, match="two folders for 2013"):
        get_corpus("fba_middle", MIDDLE, copy)


def test_two_files_of_a_student_must_be_the_same(copy: Path, tmp_path: Path) -> None:
    here = assessments(copy, 62011)
    there = copy / "MIG-FbaData/FBA2016/middleschool/62011" / here.name
    there.parent.mkdir()
    shutil.copyfile(here, there)
    ingested(copy, tmp_path)
    there.write_text(assessment_text(5), encoding="utf-8")
    with pytest.raises(BadInputError, match="differs from"):
        get_corpus("fba_middle", MIDDLE, copy)


def test_a_link_that_leads_out_is_refused(copy: Path, tmp_path: Path) -> None:
    path = next(copy.rglob("28001.mp3"))
    path.rename(tmp_path / "elsewhere.mp3")
    path.symlink_to(tmp_path / "elsewhere.mp3")
    with pytest.raises(BadInputError, match="leads out of the folder"):
        get_corpus("fba_middle", MIDDLE, copy)


# Tables ----------------------------------------------------------------------------------------


def test_both_forms_of_a_spreadsheet(tmp_path: Path) -> None:
    path = tmp_path / "Middle School.xlsx"
    wanted = {"Flute": [28001, 28002.0], "Bb Clarinet": ["28003"]}
    for write in (write_list, write_long):
        write(path, wanted)
        assert read_spreadsheet(path) == {
            "28001": "Flute", "28002": "Flute", "28003": "Bb Clarinet",
        }  # fmt: skip


def test_spreadsheets_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "Middle School.xlsx"
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(BadInputError, match="not readable as a spreadsheet"):
        read_spreadsheet(path)
    write_list(path, {})
    with pytest.raises(BadInputError, match="no student and instrument"):
        read_spreadsheet(path)
    write_list(path, {"Flute": [28001], "Oboe": [28001]})
    with pytest.raises(BadInputError, match="student 28001 plays 'Flute' and 'Oboe'"):
        read_spreadsheet(path)


def test_what_a_spreadsheet_program_leaves_behind_is_no_table(copy: Path, tmp_path: Path) -> None:
    (copy / "FBA2013" / "~$Middle School.xlsx").write_bytes(b"open")
    (copy / "FBA2013" / "Concert Band Scores.xlsx").write_bytes(b"of another level")
    assert len(read_manifest(ingested(copy, tmp_path)[0] / "manifest.parquet")) == GOOD


def test_tables_that_contradict_one_another(copy: Path) -> None:
    write_long(copy / "2013-2014" / "Middle School 2013.xlsx", {"Flute": [28001]})
    with pytest.raises(BadInputError, match="another table of the year"):
        get_corpus("fba_middle", MIDDLE, copy)


@pytest.fixture
def without_openpyxl(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "openpyxl" else find(name)
    )


@pytest.mark.usefixtures("without_openpyxl")
def test_a_csv_takes_the_place_of_spreadsheets(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingAssetError, match=r"pip install 'pianoeval\[fba\]'"):
        get_corpus("fba_middle", MIDDLE, copy)
    (copy / "instruments.csv").write_text(
        "year,level,student,instrument\n2013,middle,28001,Flute\n2013,symphonic,28121,Flute\n"
        "2016,middle,62001,alto  saxophone\n2016,middle,62011,Bassoon\n", encoding="utf-8",
    )  # fmt: skip
    out, _ = ingested(copy, tmp_path)
    table = read_manifest(out / "manifest.parquet").set_index("clip")
    assert table["instrument"].to_dict() == {"2013-28001": "Flute", "2016-62001": "Alto Saxophone"}
    told = json.loads((out / "left_out.json").read_text(encoding="utf-8"))
    assert "2016-62011" not in told, "a bassoon is known, and none of the three"
    assert "2013-28002" in told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("year,student,instrument\n2013,28001,Flute\n", "a row reads"),
        ("year,level,student,instrument\n2013,middle,28001\n", "a row reads '2013,middle,28001"),
        ("year,level,student,instrument\n2013,middle,../x,Flute\n", "student '../x'"),
        ("year,level,student,instrument\n13,middle,28001,Flute\n", "of the year '13'"),
        ("year,level,student,instrument\n2013,middle,28001,Flute\n2013,middle,28001,Oboe\n",
         "two instruments"),
    ],
)  # fmt: skip
def test_a_csv_that_cannot_be_used(copy: Path, text: str, message: str) -> None:
    (copy / "instruments.csv").write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError, match=message):
        get_corpus("fba_middle", MIDDLE, copy)
