"""Winds as an engine: what is heard is what was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pydantic
import pytest
from numpy.typing import NDArray

from pianoeval.audio.instruments import check_instrument, font_path, render_identity
from pianoeval.audio.render import RenderJob, audio_start_s, render_item, render_performance
from pianoeval.audio.sources import BANK_RATE_HZ
from pianoeval.audio.windbank import WIND_RATE_HZ, WindBank, flattened, read_spline, to_spline
from pianoeval.audio.winds import RELEASE_S
from pianoeval.errors import BadInputError, MissingAssetError
from pianoeval.midi.io import Performance, read_midi
from pianoeval.midi.winds import WindPerformance, pitch_curve, write_winds
from pianoeval.params import InstrumentParams, MidiLimits, RenderParams
from pianoeval.params_file import load_params

F8 = NDArray[np.float64]
RULES = RenderParams()
HOP, WINDOW = 256, 2048
# Sounding ranges that school students play.
RANGES = {65: (49, 80), 71: (50, 91), 73: (60, 96)}


@pytest.fixture(scope="module")
def winds() -> InstrumentParams:
    instrument = load_params(Path(__file__).parents[2] / "params.yaml").instruments["winds"]
    try:
        font_path(instrument)
    except MissingAssetError as error:
        pytest.skip(f"run 'make assets' first: {error}")
    return instrument


def line(
    notes: Sequence[tuple[float, float, int, int]],
    program: int = 71,
    bends: Sequence[tuple[float, float]] = (),
    levels: Sequence[tuple[float, float]] = (),
    breaths: Sequence[tuple[float, float]] = (),
) -> WindPerformance:
    on, off, key, velocity = np.asarray(notes, np.float64).reshape(-1, 4).T
    bend_s, cents = np.asarray(bends, np.float64).reshape(-1, 2).T
    level_s, level = np.asarray(levels, np.float64).reshape(-1, 2).T
    return WindPerformance(
        on, off, key.astype(np.int16), velocity.astype(np.int16), bend_s, cents, level_s, level,
        np.asarray(breaths, np.float64).reshape(-1, 2), program,
    )  # fmt: skip


def scale(program: int, step: int = 3) -> WindPerformance:
    """Every third key of the range, each bent by something else, some of them moving."""
    low, high = RANGES[program]
    notes, bends = [], []
    for i, key in enumerate(range(low, high + 1, step)):
        on = 0.2 + 0.45 * i
        notes.append((on, on + 0.4, key, 90))
        cents = 45 * np.sin(2.4 * i + program)
        bends += [(on, cents), (on + 0.4, cents + (15 if i % 2 else 0))]
    return line(notes, program, bends)


def heard(audio: NDArray[np.float32], start_s: float) -> tuple[F8, F8]:
    """Time and MIDI pitch by YIN (de Cheveigné & Kawahara 2002) as librosa has it."""
    hz = librosa.yin(audio, fmin=90, fmax=2400, sr=44_100, frame_length=WINDOW, hop_length=HOP)
    return np.arange(len(hz)) * HOP / 44_100 + start_s, librosa.hz_to_midi(hz)


def inside(performance: WindPerformance, time_s: F8, margin_s: float) -> list[NDArray[np.bool_]]:
    spans = zip(performance.onset_s, performance.offset_s, strict=True)
    return [(time_s > on + margin_s) & (time_s < off - margin_s) for on, off in spans]


def rms_db(audio: NDArray[np.float32], begin_s: float, end_s: float) -> float:
    part = audio[round(begin_s * 44_100) : round(end_s * 44_100)].astype(np.float64)
    return float(10 * np.log10(np.mean(part**2)))


@pytest.mark.parametrize("program", RANGES)
def test_every_note_has_its_pitch_level_and_onset(winds: InstrumentParams, program: int) -> None:
    performance = scale(program)
    audio = render_performance(performance, winds, RULES)
    start_s = audio_start_s(performance, RULES)
    time_s, pitch = heard(audio, start_s)
    off_cents = 100 * (pitch - pitch_curve(performance, time_s))
    power = np.convolve(audio.astype(np.float64) ** 2, np.ones(220) / 220, "same")
    levels = []
    for i, note in enumerate(inside(performance, time_s, 0.06)):
        assert note.sum() > 20
        assert abs(np.median(off_cents[note])) < 4, performance.pitch_midi[i]
        assert np.percentile(np.abs(off_cents[note]), 90) < 6, performance.pitch_midi[i]
        on = float(performance.onset_s[i]) - start_s
        levels.append(rms_db(audio, on + 0.1, on + 0.35))
        begin = round((on - 0.02) * 44_100)
        half = 10 ** (levels[-1] / 10) / 4
        late_s = np.argmax(power[begin:] > half) / 44_100 - 0.02
        assert 0 < late_s < 0.015, performance.pitch_midi[i]
    assert np.ptp(levels) < 1.5


def test_a_vibrato_has_its_rate_depth_and_place(winds: InstrumentParams) -> None:
    time_s = np.arange(0, 3, 0.005)
    cents = np.where(time_s > 1, 35 * np.sin(2 * np.pi * 5.5 * (time_s - 1)), 0)
    bends = list(zip(time_s, cents, strict=True))
    for program in RANGES:
        performance = line([(0.0, 3.0, 74, 100)], program, bends)
        audio = render_performance(performance, winds, RULES)
        now_s, pitch = heard(audio, audio_start_s(performance, RULES))
        straight = 100 * (pitch[(now_s > 0.2) & (now_s < 0.9)] - 74)
        assert np.ptp(straight) < 8, program  # the font's own vibrato is gone
        moving = (now_s > 1.1) & (now_s < 2.9)
        parts = np.stack([np.sin(2 * np.pi * 5.5 * (now_s[moving] - 1)),
                          np.cos(2 * np.pi * 5.5 * (now_s[moving] - 1)),
                          np.ones(moving.sum())])  # fmt: skip
        sine, cosine, offset = np.linalg.lstsq(parts.T, 100 * (pitch[moving] - 74), rcond=None)[0]
        # YIN looks at 46 ms, over which a vibrato of 5.5 Hz loses a tenth.
        assert 0.85 < np.hypot(sine, cosine) / 35 < 1.05
        assert abs(np.arctan2(cosine, sine)) / (2 * np.pi * 5.5) < 0.012
        assert abs(offset) < 4
        spectrum = np.abs(np.fft.rfft(pitch[moving] - pitch[moving].mean(), 1 << 14))
        assert np.argmax(spectrum) * 44_100 / HOP / (1 << 14) == pytest.approx(5.5, abs=0.15)


def test_level_follows_velocity_and_expression(winds: InstrumentParams) -> None:
    notes = [(i, i + 0.8, 72, velocity) for i, velocity in enumerate((127, 90, 64, 40))]
    plain = render_performance(line(notes), winds, RULES)
    levels = [rms_db(plain, i + 0.3, i + 0.8) for i in range(4)]
    expected = 40 * np.log10(np.asarray([127, 90, 64, 40]) / 127)
    np.testing.assert_allclose(np.asarray(levels) - levels[0], expected, atol=1.0)
    ramp = [(0.0, 1.0), (2.0, 0.25)]
    swelled = render_performance(line([(0.0, 2.0, 72, 127)], levels=ramp), winds, RULES)
    for time_s in (0.5, 1.0, 1.5):
        found = rms_db(swelled, 0.1 + time_s - 0.05, 0.1 + time_s + 0.05) - levels[0]
        assert found == pytest.approx(40 * np.log10(1 - 0.375 * time_s), abs=1.0)


def test_softer_is_darker(winds: InstrumentParams) -> None:
    def centroid(velocity: int) -> float:
        audio = render_performance(line([(0.0, 1.0, 65, velocity)], 65), winds, RULES)
        sizes = np.abs(np.fft.rfft(audio[13_000:35_000] * np.hanning(22_000)))
        return float((sizes * np.fft.rfftfreq(22_000, 1 / 44_100)).sum() / sizes.sum())

    found = [centroid(velocity) for velocity in (127, 100, 70, 32)]
    assert (np.diff(found) < 0).all()
    assert found[-1] < 0.6 * found[0]
    flat = winds.model_copy(update={"velocity_lowpass_cents": 0.0})
    loud, soft = (render_performance(line([(0.0, 1.0, 65, v)]), flat, RULES) for v in (127, 64))
    np.testing.assert_allclose(soft, loud * (64 / 127) ** 2, atol=1e-6)


def test_rests_are_silent_but_for_inhalations(winds: InstrumentParams) -> None:
    notes = [(0.0, 1.0, 70, 127), (2.0, 3.0, 70, 127)]
    still = render_performance(line(notes), winds, RULES)
    breathing = line(notes, breaths=[(1.3, 1.8)])
    audio = render_performance(breathing, winds, RULES)
    gone = round((0.1 + 1.0 + RELEASE_S) * 44_100) + 2
    assert not still[gone : round(2.09 * 44_100)].any()
    assert not audio[gone : round(1.39 * 44_100)].any()
    beside = rms_db(audio, 1.6, 1.7) - rms_db(audio, 0.3, 1.0)
    assert beside == pytest.approx(winds.breath_db, abs=2)
    part = audio[round(1.4 * 44_100) : round(1.9 * 44_100)].astype(np.float64)
    power = np.abs(np.fft.rfft(part)) ** 2
    hz = np.fft.rfftfreq(len(part), 1 / 44_100)
    assert power[(hz > 350) & (hz < 4500)].sum() > 0.8 * power.sum()
    again = render_performance(breathing, winds, RULES)
    np.testing.assert_array_equal(again, audio)
    later = render_performance(line(notes, breaths=[(1.3, 1.79)]), winds, RULES)
    assert not np.array_equal(later[gone:70_000], audio[gone:70_000])  # another file, another noise
    early = line([(0.5, 1.0, 70, 90)], breaths=[(0.1, 0.48)])
    assert render_performance(early, winds, RULES)[:3000].any()  # cut, not refused


def test_a_clip_depends_on_no_clip_before_it(winds: InstrumentParams) -> None:
    short, long = line([(0.0, 0.5, 70, 90)]), line([(0.0, 6.0, 70, 90)])
    path = font_path(winds)
    first = WindBank(path, winds).key(71, 70, 0.5)[1]
    used = WindBank(path, winds)
    used.key(71, 70, 6.0)
    used.key(73, 70, 0.5)
    np.testing.assert_array_equal(used.key(71, 70, 0.5)[1], first)
    audio = render_performance(short, winds, RULES)
    render_performance(long, winds, RULES)
    np.testing.assert_array_equal(render_performance(short, winds, RULES), audio)


def sine(hz: Callable[[F8], F8] | float, seconds: float, rate_hz: int) -> NDArray[np.float32]:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    now_hz = hz(time_s) if callable(hz) else np.full_like(time_s, hz)
    return np.sin(2 * np.pi * np.cumsum(now_hz) / rate_hz).astype(np.float32)


@pytest.mark.parametrize("key", [50, 69, 93])
def test_a_key_is_flattened_to_a_steady_tone(key: int) -> None:
    key_hz = 440 * 2 ** ((key - 69) / 12)

    def sharp_with_vibrato(time_s: F8) -> F8:
        return np.asarray(key_hz * 2 ** ((14 + 30 * np.sin(2 * np.pi * 5 * time_s)) / 1200))

    flat = flattened(sine(sharp_with_vibrato, 3.0, BANK_RATE_HZ), key)
    middle = flat[WIND_RATE_HZ // 2 : 2 * WIND_RATE_HZ].astype(np.float64)
    phase = np.unwrap(np.angle(np.fft.ifft(np.fft.fft(middle) * _analytic(len(middle)))))
    hz = np.diff(phase)[2000:-2000] * WIND_RATE_HZ / (2 * np.pi)
    smooth = np.convolve(hz, np.ones(882) / 882, "valid")
    assert np.abs(1200 * np.log2(smooth / key_hz)).max() < 1.5


def _analytic(n: int) -> F8:
    weight = np.zeros(n)
    weight[0], weight[1 : n // 2] = 1, 2
    return weight


@pytest.mark.parametrize(("hz", "least_db"), [(440, 130), (2000, 110), (8000, 68)])
def test_reading_between_samples_adds_little(hz: float, least_db: float) -> None:
    """A sine read at other speeds is a sine: what is not, is below it by that much."""
    sound = to_spline(sine(hz, 1.0, WIND_RATE_HZ))
    frame = 5000 + 2 * 2 ** (37 / 1200) * np.arange(20_000)
    exact = np.sin(2 * np.pi * hz * (frame + 1) / WIND_RATE_HZ)
    error = read_spline(sound, frame) - exact
    assert 10 * np.log10(np.mean(exact**2) / np.mean(error**2)) > least_db


def test_an_item_from_a_file(winds: InstrumentParams, tmp_path: Path) -> None:
    performance = line([(1.0, 1.5, 70, 90), (1.5, 2.0, 72, 90)], bends=[(0.0, 12.0)])
    write_winds(performance, tmp_path / "x.mid")
    job = RenderJob(tmp_path / "x.mid", False, 0.0, 2.0, winds, RULES, MidiLimits())
    arrays, meta = render_item(job)
    again, _ = render_item(job)
    frames = np.asarray(arrays["frames"])
    np.testing.assert_array_equal(frames, np.asarray(again["frames"]))
    assert frames.dtype == np.int16
    assert meta["start_s"] == pytest.approx(0.9)
    direct = render_performance(performance, winds, RULES)
    assert len(frames) == pytest.approx(len(direct), abs=30)
    time_s, pitch = heard(frames[:, 0, 0].astype(np.float32) / 32_768, meta["start_s"])
    assert np.median(pitch[(time_s > 1.6) & (time_s < 1.9)]) == pytest.approx(72.12, abs=0.04)
    piano = replace(job, instrument=InstrumentParams(font="generaluser-gs", gain_db=-10))
    assert np.asarray(render_item(piano)[0]["frames"]).any()  # the same file on a piano


def test_what_cannot_be_played_is_refused(winds: InstrumentParams, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="key 10"):
        render_performance(line([(0.0, 1.0, 10, 90)]), winds, RULES)
    with pytest.raises(BadInputError, match="two notes at once"):
        render_performance(line([(0.0, 1.0, 60, 90), (0.5, 1.5, 62, 90)]), winds, RULES)
    with pytest.raises(BadInputError, match="a note of 1"):
        render_performance(line([(0.0, 100.0, 60, 90)]), winds, RULES)
    with pytest.raises(BadInputError, match="max_notes"):
        render_performance(scale(71), winds, RULES, MidiLimits(max_notes=3))
    loud = winds.model_copy(update={"gain_db": 30.0})
    with pytest.raises(BadInputError, match="clip"):
        render_performance(line([(0.0, 1.0, 60, 127)]), loud, RULES)
    with pytest.raises(BadInputError, match="silent"):
        render_performance(line([(0.0, 1.0, 60, 127)], levels=[(0.0, 0.0)]), winds, RULES)
    with pytest.raises(BadInputError, match="wind instrument on a piano"):
        render_performance(scale(71), InstrumentParams(font="generaluser-gs"), RULES)
    with pytest.raises(BadInputError, match="wind instrument on a piano"):
        render_performance(Performance.from_notes([(0, 1, 60, 64)]), winds, RULES)
    chord = tmp_path / "chord.mid"
    write_winds(line([(0.0, 1.0, 60, 90)]), chord)
    assert read_midi(chord).n_notes == 1


def test_identity_and_block() -> None:
    winds = InstrumentParams(engine="winds", font="generaluser-gs")
    identity = render_identity(winds)
    assert list(identity["instrument"]) == [
        "bank", "breath_db", "engine", "font", "gain_db", "velocity_lowpass_cents",
    ]  # fmt: skip
    assert identity["backend"]["winds"] == "1"
    assert "winds" not in render_identity(InstrumentParams(font="generaluser-gs"))["backend"]
    assert InstrumentParams.model_validate(winds.model_dump(mode="json")) == winds
    for block, message in (
        ({"engine": "winds"}, "needs 'font'"),
        ({"engine": "winds", "font": "x", "program": 3}, "does not read program"),
        ({"engine": "winds", "font": "x", "uneven_db": 1.0}, "does not read uneven_db"),
        ({"font": "x", "breath_db": -3.0}, "does not read breath_db"),
    ):
        with pytest.raises(pydantic.ValidationError, match=message):
            InstrumentParams.model_validate(block)
    with pytest.raises(MissingAssetError, match="nosuch") as caught:
        check_instrument(InstrumentParams(engine="winds", font="nosuch"))
    assert caught.value.next_step
