"""Rendering, listened to by numbers: level, time, timbre, pedal, and what must be refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pianoeval.audio.instruments import font_path
from pianoeval.audio.level import level_features
from pianoeval.audio.pedal import damping
from pianoeval.audio.render import (
    RenderJob,
    audio_end_s,
    audio_start_s,
    render_item,
    render_performance,
)
from pianoeval.audio.synth import ONSET_DELAY_S, SampleBank
from pianoeval.errors import BadInputError
from pianoeval.midi.io import Performance, read_midi, write_midi
from pianoeval.params import InstrumentParams, MidiLimits, RenderParams

RATE_HZ = 44_100
PHRASE = [(0.5 * i, 0.5 * i + 0.4, pitch, 50 + 3 * i) for i, pitch in enumerate(range(48, 84, 4))]


def phrase(pedal: int | None = None) -> Performance:
    return Performance.from_notes(PHRASE, [] if pedal is None else [(0.0, pedal)])


def single(pitch: int = 60, velocity: int = 80, seconds: float = 1.0) -> Performance:
    return Performance.from_notes([(0.0, seconds, pitch, velocity)])


def rms_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-20))


def test_repeats_are_identical_whatever_was_played_before(
    grand: InstrumentParams, rules: RenderParams
) -> None:
    first = render_performance(phrase(), grand, rules)
    long = Performance.from_notes([(0.0, 11.0, pitch, 127) for pitch in (48, 52, 60)])
    render_performance(long, grand, rules)
    np.testing.assert_array_equal(render_performance(phrase(), grand, rules), first)
    assert first.dtype == np.float32
    assert first.ndim == 1


def test_a_long_sample_begins_like_a_short_one(grand: InstrumentParams) -> None:
    """A bank that has sampled a key for longer must give the same first seconds, bit by bit."""
    path = font_path(grand)
    short = SampleBank(path, grand).note(45, 60, 2 * RATE_HZ)
    bank = SampleBank(path, grand)
    bank.note(45, 60, 12 * RATE_HZ)
    np.testing.assert_array_equal(bank.note(45, 60, 2 * RATE_HZ), short)


@pytest.mark.parametrize("name", ["grand", "upright"])
def test_onsets_are_where_the_midi_has_them(
    name: str, rules: RenderParams, request: pytest.FixtureRequest
) -> None:
    instrument = request.getfixturevalue(name)
    errors_ms = []
    for pitch in range(21, 109, 8):
        audio = np.abs(render_performance(single(pitch, 70), instrument, rules))
        heard_s = np.argmax(audio > 0.05 * audio[: RATE_HZ // 2].max()) / RATE_HZ
        errors_ms.append(1000 * (heard_s - rules.lead_s - ONSET_DELAY_S))
    assert abs(np.median(errors_ms)) < 1.0
    assert np.abs(errors_ms).max() < 2.0


def test_level_follows_the_square_law(grand: InstrumentParams, rules: RenderParams) -> None:
    velocities = (20, 40, 60, 80, 100, 120)
    levels = [
        rms_db(render_performance(single(velocity=v), grand, rules)[4410:17640]) for v in velocities
    ]
    assert (np.diff(levels) > 0).all()
    expected = 40 * np.log10(np.divide(velocities, velocities[-1]))
    np.testing.assert_allclose(np.subtract(levels, levels[-1]), expected, atol=1.0)


def test_soft_is_darker_and_instruments_differ(
    grand: InstrumentParams, upright: InstrumentParams, rules: RenderParams
) -> None:
    def centroid_hz(velocity: int, instrument: InstrumentParams) -> float:
        audio = render_performance(single(velocity=velocity), instrument, rules)
        magnitude = np.abs(np.fft.rfft(audio))
        frequency_hz = np.fft.rfftfreq(len(audio), 1 / RATE_HZ)
        return float((frequency_hz * magnitude).sum() / magnitude.sum())

    by_velocity = [centroid_hz(v, grand) for v in (30, 70, 120)]
    assert by_velocity[0] * 1.2 < by_velocity[2]
    assert by_velocity == sorted(by_velocity)
    assert centroid_hz(80, upright) < 0.8 * centroid_hz(80, grand)


def test_fundamental_is_in_tune(grand: InstrumentParams, rules: RenderParams) -> None:
    audio = render_performance(single(69, 90, 2.0), grand, rules)[4410:]
    magnitude = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), n=1 << 19))
    frequency_hz = np.fft.rfftfreq(1 << 19, 1 / RATE_HZ)
    band = (frequency_hz > 420) & (frequency_hz < 460)
    peak_hz = frequency_hz[band][np.argmax(magnitude[band])]
    assert abs(1200 * np.log2(peak_hz / 440)) < 5


def test_half_pedal_lies_between_no_pedal_and_full(
    grand: InstrumentParams, rules: RenderParams
) -> None:
    after = slice(int(1.15 * RATE_HZ), int(1.6 * RATE_HZ))
    levels = []
    for value in (0, 40, 55, 70, 127):
        notes = [(0.0, 1.0, 60, 80), (2.0, 2.1, 61, 1)]
        audio = render_performance(Performance.from_notes(notes, [(0.0, value)]), grand, rules)
        levels.append(rms_db(audio[after]))
    assert (np.diff(levels) > 0.5).all(), levels
    assert levels[-1] - levels[0] > 20


def test_start_and_end(grand: InstrumentParams, rules: RenderParams) -> None:
    late = Performance.from_notes([(3.0, 4.0, 60, 80)])
    assert audio_start_s(late, rules) == pytest.approx(2.9)
    dry = render_performance(late, grand, rules)
    assert len(dry) / RATE_HZ == pytest.approx(0.1 + 1.0 + 0.25, abs=1e-3)
    held = Performance.from_notes([(3.0, 4.0, 60, 80)], [(0.0, 127)])
    assert audio_end_s(held, damping(held), rules) == pytest.approx(5.0)
    wet = render_performance(held, grand, rules)
    assert len(wet) / RATE_HZ == pytest.approx(0.1 + 1.0 + 1.0, abs=1e-3)
    assert np.abs(wet[-20:]).max() < 1e-3 * np.abs(wet).max()


def test_gain_is_fixed(grand: InstrumentParams, rules: RenderParams) -> None:
    """Nothing is normalised: 6 dB less gain is 6 dB less sound, and soft clips stay soft."""
    softer = grand.model_copy(update={"gain_db": grand.gain_db - 6.0})
    loud = render_performance(phrase(), grand, rules)
    np.testing.assert_allclose(
        render_performance(phrase(), softer, rules), loud * 10 ** (-6 / 20), atol=1e-6
    )


def test_other_sample_rates(grand: InstrumentParams) -> None:
    low = render_performance(phrase(), grand, RenderParams(sample_rate_hz=24_000))
    full = render_performance(phrase(), grand, RenderParams())
    assert len(low) / 24_000 == pytest.approx(len(full) / RATE_HZ, abs=1e-3)
    assert rms_db(low) == pytest.approx(rms_db(full), abs=0.2)


def test_a_cluster_of_all_keys_clips_and_says_so(
    grand: InstrumentParams, rules: RenderParams
) -> None:
    cluster = Performance.from_notes([(0.0, 1.0, key, 127) for key in range(21, 109)])
    with pytest.raises(BadInputError, match=r"clips by .* dB") as caught:
        render_performance(cluster, grand, rules)
    assert "lower gain_db" in str(caught.value)


def test_edges_of_the_keyboard(grand: InstrumentParams, rules: RenderParams) -> None:
    for key in (21, 108):
        assert rms_db(render_performance(single(key), grand, rules)) > -60
    for key in (0, 127):
        with pytest.raises(BadInputError, match=f"key {key}.*21 to 108"):
            render_performance(single(key), grand, rules)


def test_odd_notes_are_played(grand: InstrumentParams, rules: RenderParams) -> None:
    zero_length = render_performance(single(seconds=0.0), grand, rules)
    assert 0.3 < len(zero_length) / RATE_HZ < 0.5
    assert rms_db(zero_length) > -70
    minute = render_performance(single(seconds=60.0), grand, rules)
    assert len(minute) > 60 * RATE_HZ
    assert np.isfinite(minute).all()
    assert rms_db(minute[-RATE_HZ:]) < -80
    doubled = Performance.from_notes([(0.0, 1.0, 60, 80), (0.0, 0.5, 60, 80)])
    assert np.isfinite(render_performance(doubled, grand, rules)).all()


def test_unplayable_performances(grand: InstrumentParams, rules: RenderParams) -> None:
    good = single()
    cases = {
        "no notes": Performance.from_notes([]),
        "velocity 0": replace(good, velocity=np.array([0], np.int16)),
        "end before": replace(good, offset_s=np.array([-1.0])),
        "finite": replace(good, onset_s=np.array([np.nan])),
        "36000 s long": single(seconds=36_000.0),
        "pedal value 200": Performance.from_notes([(0.0, 1.0, 60, 64)], [(0.0, 200)]),
    }
    for message, performance in cases.items():
        with pytest.raises(BadInputError, match=message):
            render_performance(performance, grand, rules)
    with pytest.raises(BadInputError, match="9 notes"):
        render_performance(phrase(), grand, rules, MidiLimits(max_notes=8))
    silent = grand.model_copy(update={"gain_db": -120.0})
    with pytest.raises(BadInputError, match="silent"):
        render_performance(good, silent, rules)


def test_item(tmp_path: Path, grand: InstrumentParams, rules: RenderParams) -> None:
    path = tmp_path / "phrase.mid"
    write_midi(phrase(60), path)
    job = RenderJob(path, False, 0.0, 5.0, grand, rules, MidiLimits())
    arrays, meta = render_item(job)
    assert arrays["frames"].dtype == np.int16
    assert arrays["frames"].shape[1:] == (1, 1)
    assert meta == {"sample_rate_hz": RATE_HZ, "start_s": -0.1}
    audio = arrays["frames"][:, 0, 0].astype(np.float32) / 32_768
    np.testing.assert_allclose(arrays["level"], level_features(audio, RATE_HZ), atol=0.01)


def test_percepiano_segments_keep_their_dynamics(
    percepiano_dir: Path, grand: InstrumentParams, rules: RenderParams
) -> None:
    """Louder playing is louder audio: velocity explains the level of the renders."""
    files = sorted((percepiano_dir / "virtuoso/data/all_2rounds").glob("*.mid"))[::150]
    assert len(files) > 7
    performances = [read_midi(path) for path in files]
    levels = [level_features(render_performance(p, grand, rules), RATE_HZ) for p in performances]
    velocity_db = [20 * np.log10(np.mean(p.velocity.astype(float) ** 2)) for p in performances]
    assert np.corrcoef(np.array(levels)[:, 0], velocity_db)[0, 1] > 0.7
    assert max(level[2] for level in levels) < -1.5
