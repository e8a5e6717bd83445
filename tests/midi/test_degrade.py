"""Faults of known size: valid output, identity at 0, strength that grows, ordered tiers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.errors import ConfigError
from pianoeval.midi import degrade as faults
from pianoeval.midi.degrade import (
    DIMENSIONS,
    TIER_BANDS,
    Severities,
    degrade,
    draw_severities,
    strength,
)
from pianoeval.midi.io import Performance, write_midi
from pianoeval.midi.score import release_before_restrike


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def performance(n_chords: int = 200, pedalled: bool = True) -> Performance:
    """Four-note chords every 0.6 s, velocities with a spread, pedal changed every 1.2 s."""
    draw = rng(5)
    notes = [
        (0.6 * k + 0.3, 0.6 * k + 0.75, pitch + (k * 5) % 12, int(draw.integers(30, 100)))
        for k in range(n_chords)
        for pitch in (48, 55, 64, 72)
    ]
    pedal = [(1.2 * k + s, v) for k in range(n_chords // 2) for s, v in ((0.3, 90), (1.3, 0))]
    return Performance.from_notes(notes, pedal if pedalled else ())


@st.composite
def performances(draw: st.DrawFn) -> Performance:
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(0, 400), st.integers(3, 200), st.integers(21, 108), st.integers(1, 127)
            ),
            min_size=1, max_size=60, unique_by=lambda row: (row[0], row[2]),
        )
    )  # fmt: skip
    pedal = draw(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 127)), max_size=20))
    raw = Performance.from_notes(
        ((a / 50, (a + d) / 50, p, v) for a, d, p, v in rows), ((t / 100, v) for t, v in pedal)
    )
    release = release_before_restrike(raw.onset_s, raw.offset_s, raw.pitch_midi)
    return Performance(
        raw.onset_s, release, raw.pitch_midi, raw.velocity, raw.pedal_time_s, raw.pedal_value
    )


unit = st.floats(0, 1)


@settings(max_examples=80, deadline=None)
@given(performances(), st.builds(Severities, *([unit] * 6)), st.integers(0, 1000))
def test_degraded_performances_are_valid(
    perf: Performance, severities: Severities, seed: int
) -> None:
    after = degrade(perf, severities, rng(seed))
    assert 1 <= after.n_notes <= perf.n_notes
    assert (after.onset_s >= 0).all()
    assert (after.offset_s > after.onset_s).all()
    assert (np.diff(after.onset_s) >= 0).all()
    assert after.velocity.min() >= 1
    assert after.velocity.max() <= 127
    assert after.pitch_midi.min() >= 21
    assert after.pitch_midi.max() <= 108
    assert (np.diff(after.pedal_time_s) >= 0).all()
    assert ((after.pedal_value >= 0) & (after.pedal_value <= 127)).all()
    for key in np.unique(after.pitch_midi):
        rows = after.pitch_midi == key
        assert (after.offset_s[rows][:-1] <= after.onset_s[rows][1:] + 1e-9).all()


@settings(max_examples=20, deadline=None)
@given(performances(), st.integers(0, 1000))
def test_severity_zero_is_identity(perf: Performance, seed: int) -> None:
    assert degrade(perf, Severities(), rng(seed)) is perf


def test_one_fault_leaves_the_others_alone() -> None:
    perf = performance()
    flat = degrade(perf, Severities(dynamics_compression=0.8), rng())
    np.testing.assert_array_equal(flat.onset_s, perf.onset_s)
    np.testing.assert_array_equal(flat.offset_s, perf.offset_s)
    wrong = degrade(perf, Severities(wrong_notes=0.8), rng())
    np.testing.assert_array_equal(np.sort(wrong.onset_s), np.sort(perf.onset_s))
    # The wrong notes are the same whether or not the timing is bad as well.
    both = degrade(perf, Severities(wrong_notes=0.8, timing_jitter=0.2), rng())
    assert sorted(both.pitch_midi.tolist()) == sorted(wrong.pitch_midi.tolist())


@pytest.mark.parametrize("sd_s", [0.02, 0.05, 0.1])
def test_jitter_has_the_sd_it_says(sd_s: float) -> None:
    # Far apart, so that no chord overtakes another and notes can be told by their order.
    notes = [(2.0 * k + 1, 2.0 * k + 1.5, p, 60) for k in range(400) for p in (50, 60)]
    perf = Performance.from_notes(notes)
    after = faults.jitter_timing(perf, sd_s, rng())
    moved = []
    for key in (50, 60):
        moved.append(after.onset_s[after.pitch_midi == key] - perf.onset_s[perf.pitch_midi == key])
    assert np.std(np.concatenate(moved)) == pytest.approx(sd_s, rel=0.1)
    assert np.corrcoef(*moved)[0, 1] == pytest.approx(faults.CHORD_SHARE, abs=0.06)
    np.testing.assert_allclose((after.offset_s - after.onset_s), 0.5, atol=1e-9)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.15])
def test_wrong_and_missing_notes_are_counted(share: float) -> None:
    perf = performance()
    before = set(zip(perf.onset_s.tolist(), perf.pitch_midi.tolist(), strict=True))
    wrong = faults.strike_wrong_notes(perf, share, rng())
    after = set(zip(wrong.onset_s.tolist(), wrong.pitch_midi.tolist(), strict=True))
    assert len(after - before) == round(share * perf.n_notes)
    assert wrong.n_notes == perf.n_notes
    missing = faults.drop_notes(perf, share, rng())
    assert missing.n_notes == perf.n_notes - round(share * perf.n_notes)
    left = set(zip(missing.onset_s.tolist(), missing.pitch_midi.tolist(), strict=True))
    assert left < before


def test_missing_notes_are_mostly_inner_ones() -> None:
    notes = [(0.6 * k, 0.6 * k + 0.4, p, 60) for k in range(300) for p in (48, 55, 64, 72)]
    perf = Performance.from_notes(notes)
    kept = faults.drop_notes(perf, 0.08, rng())
    tops_lost = 300 - int((kept.pitch_midi == 72).sum())
    # Odds of 1 to 3: a tenth of the losses, where equal odds would take a quarter.
    assert 0 < tops_lost / (perf.n_notes - kept.n_notes) < 0.2


def test_compression_is_a_share_of_the_spread() -> None:
    perf = performance()
    after = faults.compress_dynamics(perf, 0.6, rng())
    assert after.velocity.std() == pytest.approx(0.4 * perf.velocity.std(), rel=0.03)
    assert after.velocity.mean() == pytest.approx(perf.velocity.mean(), abs=0.5)


def test_articulation_error_is_log_normal() -> None:
    notes = [(2.0 * k, 2.0 * k + 0.4, 40 + k % 40, 60) for k in range(600)]
    perf = Performance.from_notes(notes)
    after = faults.misarticulate(perf, 0.5, rng())
    ratio = np.log((after.offset_s - after.onset_s) / 0.4)
    # Cut at 2.5 sd, a normal distribution keeps 0.98 of its sd; the longest meet the next note.
    assert ratio.std() == pytest.approx(0.5, rel=0.1)


def test_smeared_pedal_lifts_late_and_not_all_the_way() -> None:
    perf = Performance.from_notes([(0.0, 3.0, 60, 64)], [(0.5, 100), (1.0, 0), (2.0, 30)])
    after = faults.smear_pedal(perf, 0.1, rng())
    floor = round(faults.PEDAL_FLOOR * 0.1 / 0.15)
    assert list(zip(after.pedal_time_s.tolist(), after.pedal_value.tolist(), strict=True)) == [
        (0.0, floor), (0.5, 100), (1.1, floor),
    ]  # fmt: skip
    dry = faults.smear_pedal(Performance.from_notes([(0.0, 3.0, 60, 64)]), 0.15, rng())
    assert dry.pedal_value.tolist() == [80]


@pytest.mark.parametrize(
    ("dimension", "low", "high"),
    [
        ("timing_jitter", 0.020, 0.100),
        ("wrong_notes", 0.05, 0.15),
        ("missing_notes", 0.03, 0.08),
        ("dynamics_compression", 0.30, 0.70),
        ("pedal_smear", 0.030, 0.150),
        ("articulation_error", 0.16, 0.80),
    ],
)
def test_tiers_span_the_documented_units(dimension: str, low: float, high: float) -> None:
    assert strength(dimension, TIER_BANDS[1][0]) == pytest.approx(low, abs=0.003)
    assert strength(dimension, TIER_BANDS[4][1]) == pytest.approx(high)
    assert strength(dimension, 0.0) == 0.0


@given(st.floats(0, 1), st.floats(0, 1))
def test_strength_grows_with_severity(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert all(strength(name, low) <= strength(name, high) for name in DIMENSIONS)


@given(st.integers(0, 10_000))
def test_tiers_are_ordered_in_every_dimension(seed: int) -> None:
    draws = [draw_severities(tier, rng(seed + tier)).as_dict() for tier in range(5)]
    for name in DIMENSIONS:
        values = [draw[name] for draw in draws]
        assert values == sorted(values)
        assert len(set(values)) == 5
    assert len(set(draws[2].values())) == len(DIMENSIONS), "each dimension has its own draw"


def test_measured_damage_grows_with_tier() -> None:
    perf = performance(150)
    seen = []
    for tier in (1, 2, 3, 4):
        after = degrade(perf, draw_severities(tier, rng(tier)), rng(tier))
        starts = np.flatnonzero(np.diff(faults.chords(after.onset_s), prepend=-1))
        unevenness = np.diff(after.onset_s[starts]).std()
        lost = perf.n_notes - after.n_notes
        seen.append((lost, -after.velocity.std(), after.pedal_value.min(), unevenness))
    for column in zip(*seen, strict=True):
        assert list(column) == sorted(column)
        assert len(set(column)) == 4


def test_unknown_tier_and_severity_are_errors() -> None:
    with pytest.raises(ConfigError, match="tier 5"):
        draw_severities(5, rng())
    with pytest.raises(ConfigError, match="wrong_notes"):
        Severities(wrong_notes=1.5)


def test_same_generator_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mid", "b.mid"):
        write_midi(degrade(performance(40), draw_severities(3, rng(2)), rng(9)), tmp_path / name)
    assert (tmp_path / "a.mid").read_bytes() == (tmp_path / "b.mid").read_bytes()
