"""Corpus auditions: tunes as the table says, students that come back, faults that can be heard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import music21
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.corpora import auditions, auditions_play, auditions_students, auditions_tunes
from pianoeval.corpora.auditions_play import FAULTS, Exercise, Faults, play
from pianoeval.corpora.fetch import get_corpus, materialise
from pianoeval.corpora.manifest import read_labels, read_manifest
from pianoeval.corpora.receipt import read_receipt
from pianoeval.errors import BadInputError, ConfigError, CorruptDataError, MissingAssetError
from pianoeval.midi.io import read_midi
from pianoeval.midi.perform import seeded
from pianoeval.midi.windline import check_winds
from pianoeval.midi.winds import WindPerformance, read_winds
from pianoeval.params import CorpusParams, MidiLimits
from pianoeval.provenance import sha256_file

LIMITS = MidiLimits()
SMALL = CorpusParams(loader="auditions", scale=0.01, exercises=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``data/auditions_middle/source`` of the small corpus."""
    out = tmp_path_factory.mktemp("data") / "auditions_middle" / "source"
    auditions.ingest(SMALL, "auditions_middle", out, LIMITS)
    return out


def draws(name: str = "somebody") -> Callable[[str], np.random.Generator]:
    return lambda what: seeded(0, name, what)


@pytest.fixture(scope="module")
def exercise() -> Exercise:
    """Eighty bars of 2/4 in eighths at 0.25 s, the last note of each bar a quarter."""
    onset = np.asarray([0.75 * bar + beat for bar in range(80) for beat in (0.0, 0.25)])
    duration = np.tile([0.25, 0.5], 80)
    pitch = (60 + np.arange(160) % 12).astype(np.int16)
    return Exercise(onset, duration, pitch, 0.75 * np.arange(81.0), 73)


# Tunes -----------------------------------------------------------------------------------------


def test_the_table_holds_the_whole_collection() -> None:
    tunes = auditions_tunes.all_tunes()
    folder = Path(music21.__file__).parent / auditions_tunes.FOLDER
    assert [tune.file for tune in tunes] == sorted(path.name for path in folder.glob("*.abc"))
    assert Counter(tune.fault for tune in tunes) == {
        "": 1025, "bars of unequal length": 25, "too short": 9,
    }  # fmt: skip


@pytest.mark.parametrize("number", [0, 333, 812])
def test_a_row_of_the_table_is_what_parsing_gives(number: int) -> None:
    tune = auditions_tunes.all_tunes()[number]
    folder = Path(music21.__file__).parent / auditions_tunes.FOLDER
    row = auditions_tunes.describe(tune.file, (folder / tune.file).read_bytes())
    assert auditions_tunes.Tune(**row) == tune


def test_notes_of_an_abc_tune() -> None:
    text = "X:1\nT:x\nM:2/4\nL:1/8\nK:G\nG A B c | d2- d2 | [Gd] z F2 |\n"
    melody = auditions_tunes.parse_abc(text, "x.abc")
    assert melody.pitch_midi.tolist() == [67, 69, 71, 72, 74, 74, 66]  # the upper of a double stop
    assert melody.onset_beats.tolist() == [0, 0.5, 1, 1.5, 2, 4, 5]  # tied quarters are one
    assert melody.duration_beats.tolist() == [0.5, 0.5, 0.5, 0.5, 2, 0.5, 1]
    assert melody.bar_beats.tolist() == [0, 2, 4, 6]


def test_what_is_no_tune_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"x\.abc"):
        auditions_tunes.parse_abc("X:1\nT:x\nM:2/4\nL:1/8\nK:G\nz4 | z4 |\n", "x.abc")
    with pytest.raises(BadInputError):
        auditions_tunes.parse_abc("", "x.abc")
    assert auditions_tunes.describe("x.abc", b"")["fault"] == "not readable"


def test_another_version_of_a_tune_is_noticed() -> None:
    tune = auditions_tunes.all_tunes()[0]
    with pytest.raises(CorruptDataError, match="another version") as caught:
        auditions_tunes.read_tune(replace(tune, sha256="0" * 16))
    assert "music21==" in str(caught.value)
    with pytest.raises(MissingAssetError, match="no such tune"):
        auditions_tunes.read_tune(replace(tune, file="none.abc"))


def test_levels_share_no_tune_and_middle_school_leaps_less() -> None:
    middle = auditions.level_tunes("middle", 0)
    symphonic = auditions.level_tunes("symphonic", 0)
    assert not {t.file for t in middle} & {t.file for t in symphonic}
    assert len(middle) + len(symphonic) == 1025
    assert max(t.leap for t in middle) <= min(t.leap for t in symphonic)


@settings(max_examples=25, deadline=None)
@given(
    bars=st.integers(8, 60), upbeat=st.floats(0, 1.5), high=st.integers(50, 90),
    pace=st.floats(2.0, 7.0), level=st.sampled_from(["middle", "symphonic"]),
    instrument=st.sampled_from(sorted(auditions.WINDS)),
)  # fmt: skip
def test_cuts_end_at_a_bar_near_the_length_within_range(
    bars: int, upbeat: float, high: int, pace: float, level: str, instrument: str
) -> None:
    onset = np.concatenate([[upbeat], 2.0 + np.arange(0, 2 * bars)])
    pitch = (high - np.arange(len(onset)) % 20).astype(np.int16)
    melody = auditions_tunes.Melody(
        onset, np.diff(onset, append=2.0 * (bars + 1)), pitch, 2.0 * np.arange(bars + 2)
    )
    exercise = auditions.cut(melody, instrument, level, pace)
    low, top = auditions.WINDS[instrument].ranges[level]
    assert exercise.pitch_midi.min() >= low
    assert exercise.pitch_midi.max() <= top
    assert exercise.onset_s[0] == 0
    assert (np.diff(exercise.bar_s) > 0).all()
    ends = exercise.onset_s + exercise.duration_s
    assert (ends[:-1] <= exercise.onset_s[1:] + 1e-9).all()
    assert ends[-1] <= exercise.bar_s[-1] + 1e-9
    bar_s = 2.0 * len(onset) / melody.beats / pace
    assert abs(exercise.bar_s[-1] - 0.92 * auditions.LENGTH_S[level]) <= 2 * bar_s + 1.0


# Faults ----------------------------------------------------------------------------------------


def cents(performance: WindPerformance) -> np.ndarray:
    middle = (performance.onset_s + performance.offset_s) / 2
    return performance.bend_at(middle)


def held(performance: WindPerformance) -> float:
    starts = np.diff(performance.onset_s)
    return float(np.median((performance.offset_s - performance.onset_s)[:-1] / starts))


def test_a_good_student_plays_the_notes_in_time_and_in_tune(exercise: Exercise) -> None:
    played = play(exercise, Faults(), draws())
    assert played.pitch_midi.tolist() == exercise.pitch_midi.tolist()
    steps, written = np.diff(played.onset_s)[:-2], np.diff(exercise.onset_s)[:-2]
    assert np.std(steps / written) < 0.08
    assert abs(cents(played).mean()) < 15
    assert len(played.breath_time_s) == 19  # every four bars of eighty, not after the last


def test_wrong_and_missing_notes_are_as_many_as_said(exercise: Exercise) -> None:
    good = play(exercise, Faults(), draws())
    wrong = play(exercise, Faults(wrong_notes=1.0), draws())
    differs = wrong.pitch_midi != good.pitch_midi
    assert differs.sum() == round(0.15 * 160)
    assert set(np.abs(wrong.pitch_midi - good.pitch_midi)[differs]) <= {1, 2, 12}
    np.testing.assert_array_equal(wrong.onset_s, good.onset_s)
    gappy = play(exercise, Faults(missing_notes=1.0), draws())
    assert gappy.n_notes == 160 - 16
    assert set(gappy.onset_s) < set(good.onset_s)


def test_hesitations_cost_time_and_repeat_notes(exercise: Exercise) -> None:
    good = play(exercise, Faults(), draws())
    halting = play(exercise, Faults(hesitations=1.0), draws())
    assert halting.end_s > good.end_s + 7 * auditions_play.PAUSE_S[0]
    assert 160 < halting.n_notes <= 160 + 7 * auditions_play.REPEATED_NOTES[1]


def test_unevenness_and_drift_move_onsets_each_in_its_way(exercise: Exercise) -> None:
    good, uneven, drifting = (
        play(exercise, faults, draws())
        for faults in (Faults(), Faults(unevenness=1.0), Faults(tempo_drift=1.0))
    )
    rough = [np.std(np.diff(np.log(np.diff(p.onset_s[:150:2])))) for p in (good, uneven, drifting)]
    smooth = [np.std(np.log(np.diff(p.onset_s[:150:16]))) for p in (good, uneven, drifting)]
    assert rough[1] > 3 * rough[0]
    assert rough[1] > 3 * rough[2]
    assert smooth[2] > 3 * smooth[0]
    assert smooth[2] > 2 * smooth[1]
    assert uneven.pitch_midi.tolist() == drifting.pitch_midi.tolist() == good.pitch_midi.tolist()


def test_intonation_bends_and_moves_nothing_else(exercise: Exercise) -> None:
    spread = {0.0: [], 1.0: []}
    for name in map(str, range(20)):
        for severity, found in spread.items():
            played = play(exercise, Faults(intonation=severity), draws(name))
            found.append(np.abs(cents(played)[played.offset_s - played.onset_s < 0.25]).mean())
            onsets = play(exercise, Faults(), draws(name)).onset_s
            np.testing.assert_array_equal(played.onset_s, onsets)
    assert np.mean(spread[0.0]) < 6
    assert np.mean(spread[1.0]) > 14


def test_plain_players_have_no_vibrato_no_dynamics_and_short_notes(exercise: Exercise) -> None:
    good, plain = (play(exercise, Faults(plainness=s), draws()) for s in (0.0, 1.0))
    assert held(good) > held(plain) + 0.2
    assert np.ptp(good.level) > 0.2
    assert np.ptp(plain.level) == 0
    long = int(np.argmax(good.offset_s - good.onset_s))
    times = np.arange(good.onset_s[long] + 0.25, good.offset_s[long], 0.005)
    assert 20 < np.ptp(good.bend_at(times)) < 70
    long = int(np.argmax(plain.offset_s - plain.onset_s))
    times = np.arange(plain.onset_s[long] + 0.05, plain.offset_s[long], 0.005)
    assert np.ptp(plain.bend_at(times)) < 1e-6


def test_vibrato_has_the_rate_of_its_player(exercise: Exercise) -> None:
    slow = replace(exercise, onset_s=8 * exercise.onset_s, duration_s=8 * exercise.duration_s,
                   bar_s=8 * exercise.bar_s)  # fmt: skip
    played = play(slow, Faults(), draws())
    times = np.arange(played.onset_s[1] + 0.3, played.offset_s[1], 0.01)
    curve = played.bend_at(times) - played.bend_at(times).mean()
    rate = np.fft.rfftfreq(4096, 0.01)[np.abs(np.fft.rfft(curve, 4096)).argmax()]
    player = draws()("player")
    assert rate == pytest.approx(player.uniform(*auditions_play.VIBRATO_HZ), abs=0.2)


def test_poor_breathing_is_more_breaths_that_cost_time(exercise: Exercise) -> None:
    good, poor = (play(exercise, Faults(breathing=s), draws()) for s in (0.0, 1.0))
    assert len(poor.breath_time_s) > len(good.breath_time_s) + 15
    assert poor.end_s > good.end_s + 2
    for begin, end in poor.breath_time_s:  # nobody sounds while breathing in
        assert not ((poor.onset_s < end) & (poor.offset_s > begin)).any()


@settings(max_examples=40, deadline=None)
@given(
    severity=st.lists(st.floats(0, 1), min_size=8, max_size=8), name=st.text(max_size=4),
    n=st.integers(2, 40),
)  # fmt: skip
def test_every_student_plays_what_can_be_played(
    exercise: Exercise, severity: list[float], name: str, n: int
) -> None:
    short = Exercise(
        exercise.onset_s[: 2 * n], exercise.duration_s[: 2 * n], exercise.pitch_midi[: 2 * n],
        exercise.bar_s[: n + 1], 71,
    )  # fmt: skip
    check_winds(play(short, Faults(*severity), draws(name)))


# Students and judges ---------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["middle", "symphonic"])
def test_as_many_auditions_as_table_1(level: str) -> None:
    found = auditions_students.counts(level, 1.0)
    for instrument, total in auditions_students.RECORDINGS[level].items():
        by_year = [n for (name, _), n in found.items() if name == instrument]
        assert sum(by_year) == total
        assert len(by_year) == 6
        assert np.ptp(by_year) <= 1
    assert sum(auditions_students.counts("middle", 1.0).values()) == 696 + 925 + 989


@pytest.fixture(scope="module")
def students() -> list[auditions_students.Audition]:
    return auditions_students.draw_auditions("middle", 1.0, 0.75, 0)


def test_students_come_back_and_stay_themselves(
    students: list[auditions_students.Audition],
) -> None:
    of: dict[str, list[auditions_students.Audition]] = {}
    for audition in students:
        of.setdefault(audition.player, []).append(audition)
    twice = [found for found in of.values() if len(found) > 1]
    assert {len(found) for found in of.values()} == {1, 2}  # middle school has two such years
    assert 0.15 < len(twice) / len(of) < 0.45
    assert all(b.year == a.year + 1 and a.instrument == b.instrument for a, b in twice)
    first, second = (np.asarray([found[i].truth for found in twice]) for i in (0, 1))
    assert (np.diag(np.corrcoef(first.T, second.T)[:3, 3:]) > 0.6).all()
    assert (second.mean(axis=0) > first.mean(axis=0)).all()
    assert len({(a.player, a.year) for a in students}) == len(students) == 2610


def test_true_ratings_are_the_weighted_severities(
    students: list[auditions_students.Audition],
) -> None:
    assert all(sum(row.values()) == pytest.approx(1) for row in auditions_students.WEIGHTS.values())
    one = students[7]
    by_hand = {
        criterion: 1 - sum(w * getattr(one.faults, fault) for fault, w in weights.items())
        for criterion, weights in auditions_students.WEIGHTS.items()
    }
    assert one.truth == pytest.approx([by_hand[c] for c in auditions_students.CRITERIA])
    extremes = auditions_students.true_ratings(np.asarray([[0.0] * 8, [1.0] * 8]))
    np.testing.assert_allclose(extremes, [[1] * 3, [0] * 3], atol=1e-12)


def test_faults_are_correlated_but_not_one(students: list[auditions_students.Audition]) -> None:
    table = pd.DataFrame([audition.faults.as_dict() for audition in students])
    assert tuple(table.columns) == FAULTS
    off = table.corr().to_numpy()[~np.eye(8, dtype=bool)]
    assert off.min() > 0.35
    assert off.max() < 0.6
    truth = np.corrcoef(np.asarray([audition.truth for audition in students]).T)
    assert truth[~np.eye(3, dtype=bool)].max() < 0.85


@pytest.mark.parametrize("reliability", [0.5, 0.75, 1.0])
def test_judges_are_as_reliable_as_asked(reliability: float) -> None:
    rng = np.random.default_rng(0)
    ability = auditions_students._abilities(rng, 4000)
    truth = auditions_students.true_ratings(auditions_students.severities(ability, "middle"))
    sd = auditions_students.judge_sd("middle", reliability)
    one, other = (auditions_students.marks(truth, sd, np.random.default_rng(s)) for s in (1, 2))
    agreement = np.diag(np.corrcoef(one.T, other.T)[:3, 3:])
    # Cutting at 0 and 1 takes the largest errors away, whole points add a few.
    np.testing.assert_allclose(agreement, reliability, atol=0.06)
    np.testing.assert_allclose(one * 10, np.rint(one * 10), atol=1e-9)
    assert one.min() >= 0
    assert one.max() <= 1
    errors = np.corrcoef((one - truth).T)[~np.eye(3, dtype=bool)]
    assert reliability == 1 or errors.min() > 0.1  # halo


# The corpus ------------------------------------------------------------------------------------


def test_manifest_files_and_truth_belong_together(source: Path) -> None:
    manifest = read_manifest(source / "manifest.parquet")
    labels, truth = (
        read_labels(source / "labels.parquet"),
        pd.read_parquet(source / "truth.parquet"),
    )
    assert len(manifest) == 7 + 9 + 10 == len(truth)
    assert manifest["segment"].nunique() <= 18
    assert not manifest["redistributable"].any()
    programs = {name: wind.program for name, wind in auditions.WINDS.items()}
    for row in manifest.itertuples():
        path = source.parent / row.midi_path
        played, plain = read_winds(path, LIMITS), read_midi(path, LIMITS)
        assert played.program == programs[row.instrument]
        assert plain.pitch_midi.tolist() == played.pitch_midi.tolist()
        assert row.end_s == pytest.approx(played.end_s, abs=1e-3)
        assert 24 < row.end_s < 48
        assert row.sha256 == sha256_file(path)
        score = read_midi(source.parent / row.score_path, LIMITS)
        assert 50 < score.n_notes < 200
    assert (labels["n_raters"] == 1).all()
    assert labels["higher_is_better"].all()
    wide = labels.pivot(index="clip", columns="dimension", values="value").loc[list(truth["clip"])]
    assert list(wide.columns) == list(auditions_students.CRITERIA)
    for criterion in wide:
        assert np.corrcoef(wide[criterion], truth[criterion])[0, 1] > 0.6
    ratings = pd.read_parquet(source / "ratings.parquet")
    np.testing.assert_array_equal(ratings["value"], labels["value"])
    assert ratings["rater"].nunique() == 18


def test_content_groups_join_tunes_not_instruments(source: Path) -> None:
    manifest = read_manifest(source / "manifest.parquet")
    assert manifest.groupby("segment")["content_group"].nunique().max() == 1
    assert manifest.groupby("movement")["instrument"].nunique().max() == 1
    assert manifest["content_group"].nunique() >= 15


def test_same_seed_same_bytes_and_scale_keeps_a_student(source: Path, tmp_path: Path) -> None:
    again = tmp_path / "auditions_middle" / "source"
    auditions.ingest(SMALL, "auditions_middle", again, LIMITS)
    files = sorted(p.relative_to(source) for p in source.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    for file in files:
        assert (again / file).read_bytes() == (source / file).read_bytes(), file
    few = {
        (a.player, a.year): a for a in auditions_students.draw_auditions("middle", 0.01, 0.75, 0)
    }
    more = {
        (a.player, a.year): a for a in auditions_students.draw_auditions("middle", 0.1, 0.75, 0)
    }
    first = ("flute_0001", 2013)
    assert few[first] == more[first]
    other = auditions_students.draw_auditions("middle", 0.01, 0.75, 1)[0]
    assert other != few[other.player, other.year]


def test_more_exercises_than_tunes_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="exercises"):
        auditions.set_exercises(SMALL.model_copy(update={"exercises": 600}))
    with pytest.raises(ConfigError, match="max_duration_s"):
        auditions.ingest(SMALL, "x", Path("never"), MidiLimits(max_duration_s=40))


def test_nothing_is_fetched(tmp_path: Path) -> None:
    materialise("auditions_middle", SMALL, tmp_path / "raw")
    assert read_receipt(tmp_path / "raw", "").loader == "auditions"
    with pytest.raises(ConfigError, match="needs no fetching") as caught:
        get_corpus("auditions_middle", SMALL)
    assert "docs/auditions.md" in (caught.value.next_step or "")
