"""Keys of wind presets of a sound font, made even: in tune, without vibrato, at one level.

What a student does with pitch and level must be heard alone. The presets of free fonts are up to 14
cents out of tune, have vibrato of 5 to 40 cents (of an oscillator in the font, or of the player who
was recorded), swell or decay, and speak 10 to 60 ms late. So each key is sampled once and

1. **flattened**: the phase of its strongest of four harmonics tells how fast its pitch runs; it is
   read again at a speed that undoes that (after the attack; there, at the speed that follows it);
2. levelled: divided by its RMS over 0.1 s, so that every key has one level, and keeps it;
3. set so that half of that level is reached 10 ms after the onset;
4. low-passed once more for soft dynamics, as :mod:`pianoeval.audio.synth` does for pianos, but
   without a shift of phase, because the two layers of a held note are blended.

Sounds are kept at 88.2 kHz as coefficients of cubic splines, to be read between their samples.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, spline_filter1d, uniform_filter1d
from scipy.signal import butter, hilbert, sosfiltfilt

from pianoeval.audio.sources import BANK_RATE_HZ, SoundFontSource
from pianoeval.errors import BadInputError
from pianoeval.params import InstrumentParams

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]

WIND_RATE_HZ = 2 * BANK_RATE_HZ
ONSET_DELAY_S = 0.010
SOFT_VELOCITY = 32
_LENGTHS_S = (2.0, 5.0, 12.0, 30.0, 68.0)  # at 200 cents sharp, 60 s can be held
_DETUNED = 1.02  # more than enough, should a key be flat
_GUARD_S = 0.25  # at the end, for filters that look ahead and for what is moved
_HARMONICS = (1, 2, 3, 4)
_HALF_BAND = 0.4  # of the distance between harmonics
_SETTLED_S = 0.03  # after half of the level is reached, the phase tells the pitch
_SMOOTHED_S = 0.02
_LEVEL_S = 0.1
_STEADY_S = (0.1, 1.0)
_FADE_IN_S = 0.004
_VOICED_DBFS = -20.0
_FULL_BAND_HZ = 19_900.0
_BANK_BYTES = 256 << 20


class WindBank:
    """Keys of every program of one font; ``gain_db`` is applied.

    A sound depends on key, program and the length class that is asked for, not on what was asked
    before.
    """

    def __init__(self, path: Path, instrument: InstrumentParams) -> None:
        self._path, self._params = path, instrument
        self._sources: dict[int, SoundFontSource] = {}
        self._kept: OrderedDict[tuple[int, int, float], tuple[F4, F4]] = OrderedDict()
        self._bytes = 0

    def key(self, program: int, key_midi: int, seconds: float) -> tuple[F4, F4]:
        """A key that lasts ``seconds``, soft and loud: spline coefficients at 88,200 Hz.

        Both have one level. Raises BadInputError for more than a minute, or a silent key, and
        MissingAssetError if the font lacks the preset.
        """
        length_s = next((length for length in _LENGTHS_S if length > seconds), 0.0)
        if not length_s:
            raise BadInputError(
                f"a note of {seconds:.0f} s", allowed="a minute, which no breath lasts",
                next_step="mend the MIDI file, or remove the clip",
            )  # fmt: skip
        name = (program, key_midi, length_s)
        if name not in self._kept:
            self._kept[name] = self._built(*name)
            self._bytes += sum(sound.nbytes for sound in self._kept[name])
            while self._bytes > _BANK_BYTES and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= sum(sound.nbytes for sound in dropped)
        self._kept.move_to_end(name)
        return self._kept[name]

    def _built(self, program: int, key_midi: int, length_s: float) -> tuple[F4, F4]:
        if program not in self._sources:
            self._sources[program] = SoundFontSource(self._path, self._params.bank, program)
        sampled = self._sources[program].sample(
            key_midi, 127, 0.0, _DETUNED * length_s + 2 * _GUARD_S
        )
        sound = _levelled(flattened(sampled, key_midi))
        sound = _from_onset(sound)[: round(length_s * WIND_RATE_HZ)]
        loud = self._at_level(sound)
        cents = self._params.velocity_lowpass_cents * (1 - SOFT_VELOCITY / 127)
        if not cents:
            return (to_spline(loud),) * 2
        lowest_hz = 2 * 440 * 2 ** ((key_midi - 69) / 12)
        cutoff_hz = min(max(_FULL_BAND_HZ * 2 ** (-cents / 1200), lowest_hz), _FULL_BAND_HZ)
        sections = butter(1, cutoff_hz, fs=WIND_RATE_HZ, output="sos")
        soft = np.asarray(sosfiltfilt(sections, loud.astype(np.float64)), np.float32)
        return to_spline(self._at_level(soft)), to_spline(loud)

    def _at_level(self, sound: F4) -> F4:
        wanted = 10 ** ((_VOICED_DBFS + self._params.gain_db) / 20)
        return np.asarray(sound * np.float32(wanted / _rms(sound)), np.float32)


def to_spline(sound: F4) -> F4:
    """Coefficients of the cubic spline through a sound."""
    return np.asarray(spline_filter1d(sound, order=3, mode="mirror", output=np.float32))


def read_spline(coefficients: F4, frame: F8) -> F4:
    """A sound at any places between its frames: float32, shape of ``frame``."""
    return np.asarray(
        map_coordinates(
            coefficients, frame[None], order=3, mode="mirror", prefilter=False, output=np.float32
        )
    )


def flattened(sampled: F4, key_midi: int) -> F4:
    """A sampled key at exactly its pitch throughout: 44,100 Hz in, 88,200 Hz out.

    Output frame m is read where the phase has run m periods' worth: dm = (f(p) / f_key) dp.
    """
    speed = np.repeat(_speed(sampled, key_midi), 2)
    reached = np.concatenate([[0.0], np.cumsum(speed)[:-1]])
    frame = np.interp(np.arange(int(reached[-1])), reached, np.arange(len(reached)))
    doubled = soxr.resample(sampled, BANK_RATE_HZ, WIND_RATE_HZ, "VHQ")
    return read_spline(to_spline(doubled), frame)


def _speed(sampled: F4, key_midi: int) -> F8:
    """Pitch of each frame over that of the key: float64, shape of ``sampled``."""
    key_hz = 440 * 2 ** ((key_midi - 69) / 12)
    first, last = (round(time_s * BANK_RATE_HZ) for time_s in _STEADY_S)
    bands = []
    for harmonic in _HARMONICS:
        edges_hz = [(harmonic - _HALF_BAND) * key_hz, (harmonic + _HALF_BAND) * key_hz]
        if harmonic == 1 or edges_hz[1] < _FULL_BAND_HZ:
            sections = butter(2, edges_hz, "bandpass", fs=BANK_RATE_HZ, output="sos")
            bands.append(sosfiltfilt(sections, sampled.astype(np.float64)))
    power = [float(np.mean(band[first:last] ** 2)) for band in bands]
    strongest = int(np.argmax(power))
    phase = np.unwrap(np.angle(hilbert(bands[strongest])))
    smooth = np.hanning(round(_SMOOTHED_S * BANK_RATE_HZ) + 2)[1:-1]
    advance = np.gradient(phase) * BANK_RATE_HZ / (2 * np.pi * _HARMONICS[strongest] * key_hz)
    speed = np.convolve(np.pad(advance, len(smooth) // 2, mode="edge"), smooth / smooth.sum())
    speed = speed[len(smooth) - 1 :][: len(sampled)]
    settled = _half_level(sampled, BANK_RATE_HZ) + round(_SETTLED_S * BANK_RATE_HZ)
    speed[:settled] = speed[settled]
    guard = round(_GUARD_S * BANK_RATE_HZ)
    speed[-guard:] = 1.0
    return np.clip(speed, 0.9, 1.1)


def _levelled(sound: F4) -> F4:
    """Divided by its RMS over 0.1 s; the attack by that of the first 0.1 s after it."""
    width = round(_LEVEL_S * WIND_RATE_HZ)
    rms = np.sqrt(uniform_filter1d(sound.astype(np.float64) ** 2, width, mode="nearest"))
    attack = _half_level(sound, WIND_RATE_HZ) + width
    rms[:attack] = rms[attack]
    return np.asarray(sound / np.maximum(rms, 1e-3 * rms.max()), np.float32)


def _from_onset(sound: F4) -> F4:
    """Half of the level is reached ``ONSET_DELAY_S`` after the first frame."""
    late = _half_level(sound, WIND_RATE_HZ) - round(ONSET_DELAY_S * WIND_RATE_HZ)
    moved = sound[late:] if late >= 0 else np.concatenate([np.zeros(-late, np.float32), sound])
    fade = round(_FADE_IN_S * WIND_RATE_HZ)
    moved[:fade] *= np.sin(np.linspace(0, np.pi / 2, fade, dtype=np.float32)) ** 2
    return moved


def _half_level(sound: F4, rate_hz: int) -> int:
    """First frame at half of the steady level, on RMS over 10 ms."""
    power = uniform_filter1d(sound.astype(np.float64) ** 2, round(0.01 * rate_hz), mode="nearest")
    first, last = (round(time_s * rate_hz) for time_s in _STEADY_S)
    return int(np.argmax(power >= 0.25 * np.median(power[first:last])))


def _rms(sound: F4) -> float:
    first, last = (round(time_s * WIND_RATE_HZ) for time_s in _STEADY_S)
    return float(np.sqrt(np.mean(np.square(sound[first:last], dtype=np.float64))))
