"""Rules of the expressive rendering: each does what its source says, in its unit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.midi.io import Performance, read_midi, write_midi
from pianoeval.midi.pedalling import Foot, pedal_curve
from pianoeval.midi.perform import (
    RANGES,
    Player,
    one_over_f,
    perform,
    phrase_shape,
    sample_player,
    seeded,
)
from pianoeval.midi.score import KEY_RETURN_S, NOTE_DTYPE, ScoreNotes, deadpan


def make_score(
    rows: list[tuple[float, float, int, int]], *, bpm: float = 60.0, pedal: float = 0.0,
    closes: bool = False, **marks: object,
) -> ScoreNotes:  # fmt: skip
    """(onset, duration, pitch, part) in 4/4; part 0 is the melody."""
    notes = np.zeros(len(rows), NOTE_DTYPE)
    for index, (onset, duration, pitch, part) in enumerate(
        sorted(rows, key=lambda r: (r[0], r[2]))
    ):
        notes[index]["onset_beats"], notes[index]["duration_beats"] = onset, duration
        notes[index]["pitch_midi"], notes[index]["part"] = pitch, part
        notes[index]["bar"] = int(onset // 4)
        notes[index]["strength"] = {0: 1.0, 2: 0.5}.get(onset % 4, 0.25)
        notes[index]["melody"] = part == 0
    for name, value in marks.items():
        notes[name] = value
    end = float(max(row[0] + row[1] for row in rows))
    end = 4.0 * np.ceil(end / 4)
    return ScoreNotes(
        notes, end, bpm, np.array([0.0, end]), np.arange(0.0, end, 4.0), pedal, closes
    )


PLAIN = Player(
    name="plain", tempo=1, velocity=64, dynamic_range=1, phrase_arch=0, arch_turn=0.5, ritard=0,
    contrast=0, metrical=0, high_loud=0, melody_db=0, melody_lead_s=0, asynchrony_s=0, detached=0.9,
    punctuation=0, pedal_use=1, pedal_depth=100, pedal_delay_s=0.1, drift=0, motor_s=0,
)  # fmt: skip
CHORALE = make_score(
    [(float(b), 1.0, p, part) for b in range(16) for part, p in enumerate((72, 67, 60, 48))]
)
SCALE = make_score([(b / 2, 0.5, 60 + b % 8, 0) for b in range(32)], bpm=120)


def play(score: ScoreNotes, player: Player = PLAIN, seed: int = 0) -> Performance:
    return perform(score, player, np.random.default_rng(seed))


def test_without_rules_the_onsets_are_the_deadpan_ones() -> None:
    plain, score = play(SCALE), deadpan(SCALE)
    np.testing.assert_allclose(plain.onset_s, score.onset_s, atol=1e-9)
    assert plain.pitch_midi.tolist() == score.pitch_midi.tolist()


def test_deadpan_is_to_the_letter() -> None:
    score = deadpan(make_score([(0, 1, 60, 0), (1, 1, 60, 0), (2, 2, 64, 0)], bpm=120))
    np.testing.assert_allclose(score.onset_s, [0, 0.5, 1.0])
    # The repeated key comes up before it is struck again.
    np.testing.assert_allclose(score.offset_s, [0.5 - KEY_RETURN_S, 1.0, 2.0])
    assert set(score.velocity.tolist()) == {64}
    assert len(score.pedal_time_s) == 0


def test_phrase_shape_is_a_parabola_with_its_turn() -> None:
    shape = phrase_shape(np.array([0.0, 3.0, 6.0, 8.0]), np.array([0.0, 6.0, 8.0]), 0.5)
    # Phrase of 0..6 turns at 3; 6 opens the next phrase; 8 is the end of the last.
    np.testing.assert_allclose(shape, [1, 0, 1, 1])


def test_phrase_arch_is_fast_and_loud_in_the_middle() -> None:
    arched = play(SCALE, replace(PLAIN, phrase_arch=1.0))
    gaps = np.diff(arched.onset_s)
    assert gaps[16] < gaps[0]
    assert gaps[16] < gaps[-1]
    middle = arched.velocity[14:18].mean()
    assert middle > arched.velocity[0]
    assert middle > arched.velocity[-1]


def test_final_ritard_only_where_the_piece_ends() -> None:
    player = replace(PLAIN, ritard=1.0)
    open_end = play(SCALE, player)
    closing = play(replace(SCALE, closes=True), player)
    np.testing.assert_allclose(np.diff(open_end.onset_s), 0.25, atol=1e-9)
    assert np.diff(closing.onset_s)[-1] > 1.3 * 0.25
    np.testing.assert_allclose(np.diff(closing.onset_s)[:20], 0.25, atol=1e-9)


def test_duration_contrast_shortens_short_notes_and_keeps_bars() -> None:
    rhythm = ((0, 2), (2, 1), (3, 0.5), (3.5, 0.5))
    rows = [(4 * bar + at, length, 60 + bar, 0) for bar in range(4) for at, length in rhythm]
    played = play(make_score(rows, bpm=120), replace(PLAIN, contrast=1.5))
    onsets = played.onset_s.reshape(4, 4)
    np.testing.assert_allclose(np.diff(onsets[:, 0]), 2.0, atol=1e-9)
    # Two eighths of 250 ms together are shorter than the half that lasts 1 s, halved.
    np.testing.assert_array_less(onsets[1:, 0] - onsets[:-1, 2], 0.5)


def test_metrical_accent_and_high_loud() -> None:
    accented = play(CHORALE, replace(PLAIN, metrical=1.5))
    beats = np.rint(accented.onset_s).astype(int) % 4
    assert accented.velocity[beats == 0].mean() > accented.velocity[beats == 3].mean() + 5
    high = play(CHORALE, replace(PLAIN, high_loud=1.0))
    # Two octaves at 3 dB each, a square law: a ratio of 10 ** (6 / 40).
    ratio = (
        high.velocity[high.pitch_midi == 72].mean() / high.velocity[high.pitch_midi == 48].mean()
    )
    assert ratio == pytest.approx(10 ** (6 / 40), rel=0.06)


def test_melody_leads_by_its_own_amount() -> None:
    played = play(CHORALE, replace(PLAIN, melody_lead_s=0.03, asynchrony_s=0.006))
    top = played.onset_s[played.pitch_midi == 72]
    rest = np.mean([played.onset_s[played.pitch_midi == p] for p in (67, 60, 48)], axis=0)
    assert np.mean(rest - top) == pytest.approx(0.03, abs=0.006)
    assert (
        0.003
        < np.std([played.onset_s[played.pitch_midi == p] for p in (67, 60, 48)], axis=0).mean()
        < 0.01
    )


def test_articulation_marks() -> None:
    short = play(replace(SCALE, notes=_marked(SCALE, staccato=True)))
    bound = play(replace(SCALE, notes=_marked(SCALE, slurred=True)))
    assert np.median(short.offset_s - short.onset_s) == pytest.approx(0.45 * 0.25, rel=0.1)
    overlap = bound.offset_s[:-1] - bound.onset_s[1:]
    assert np.median(overlap) == pytest.approx(0.03, abs=0.01)


def _marked(score: ScoreNotes, **marks: object) -> np.ndarray:
    notes = score.notes.copy()
    for name, value in marks.items():
        notes[name] = value
    return notes


def test_graces_come_before_and_rolls_spread() -> None:
    score = make_score([(0, 4, 60, 0), (0, 4, 64, 0), (0, 4, 67, 0), (0, 4, 72, 0)])
    score.notes["roll"] = [0, 1, 2, 3]
    rolled = play(score)
    np.testing.assert_allclose(np.diff(rolled.onset_s), 0.028)
    score = make_score([(0, 1, 60, 0), (1, 1, 62, 0), (1, 1, 64, 0)])
    score.notes["grace"] = [0, 1, 0]
    assert play(score).onset_s[1] == pytest.approx(1 - 0.06)


def test_pedal_is_a_curve_that_clears_with_the_harmony() -> None:
    events = pedal_curve(
        np.array([0.0, 2.0, 4.0]), 6.0, Foot(1.0, 90, 0.1), np.random.default_rng(0)
    )
    times, values = np.array(events).T
    assert (np.diff(times) > 0).all()
    assert values[-1] == 0
    assert values.max() <= 127
    assert len(set(values.tolist())) > 10, "half values, not a switch"
    for change in (2.0, 4.0):
        near = (times > change) & (times < change + 0.15)
        assert values[near].min() == 0, "the old harmony is cleared"
    held = np.interp(1.0, times, values)
    assert 60 < held < 110


def test_no_pedal_without_style() -> None:
    assert len(play(CHORALE).pedal_time_s) == 0
    assert len(play(replace(CHORALE, pedal_style=1.0)).pedal_time_s) > 20


def test_pink_noise_falls_with_frequency() -> None:
    rng = np.random.default_rng(1)
    power = np.mean([np.abs(np.fft.rfft(one_over_f(512, rng))) ** 2 for _ in range(50)], axis=0)
    slope = np.polyfit(np.log(np.arange(1, 200)), np.log(power[1:200]), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.15)


def test_players_differ_and_are_reproducible() -> None:
    one, again, other = (sample_player(n, 0) for n in ("player_1", "player_1", "player_2"))
    assert one == again
    assert one.phrase_arch != other.phrase_arch
    assert sample_player("player_1", 1) != one
    for name, (low, high) in RANGES.items():
        assert low <= getattr(other, name) <= high


def test_seeding_does_not_depend_on_the_process() -> None:
    # A change of this value would change every file of the corpus.
    assert seeded(0, "performance", "a").integers(2**31) == 1_283_850_438


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    player = sample_player("player_1", 0)
    for name in ("a.mid", "b.mid"):
        write_midi(perform(CHORALE, player, seeded(3, "x")), tmp_path / name)
    assert (tmp_path / "a.mid").read_bytes() == (tmp_path / "b.mid").read_bytes()
    assert read_midi(tmp_path / "a.mid").n_notes == len(CHORALE.notes)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 60).map(lambda k: k / 4), st.sampled_from([0.25, 0.5, 1.0, 3.0]),
            st.integers(21, 108), st.integers(0, 1),
        ),
        min_size=1, max_size=40, unique_by=lambda row: (row[0], row[2]),
    ),
    bpm=st.floats(30, 240), number=st.integers(0, 50), closes=st.booleans(),
)  # fmt: skip
def test_every_performance_is_playable(
    rows: list[tuple[float, float, int, int]], bpm: float, number: int, closes: bool
) -> None:
    score = make_score(rows, bpm=bpm, pedal=0.8, closes=closes)
    played = perform(score, sample_player(f"player_{number}", 7), np.random.default_rng(number))
    assert played.n_notes == len(rows)
    assert (played.onset_s >= 0).all()
    assert (played.offset_s > played.onset_s).all()
    assert played.velocity.min() >= 1
    assert played.velocity.max() <= 127
    assert ((played.pedal_value >= 0) & (played.pedal_value <= 127)).all()
    for key in np.unique(played.pitch_midi):
        rows_of_key = played.pitch_midi == key
        assert (played.offset_s[rows_of_key][:-1] <= played.onset_s[rows_of_key][1:]).all()


@pytest.mark.parametrize("turn", [0.45, 0.5, 0.7])
def test_the_arch_keeps_the_mean_tempo(turn: float) -> None:
    arched = play(SCALE, replace(PLAIN, phrase_arch=1.5, arch_turn=turn))
    assert arched.end_s == pytest.approx(deadpan(SCALE).end_s, rel=0.01)
