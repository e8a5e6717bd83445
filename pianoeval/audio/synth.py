"""Synthesis: every note is a sampled key times its damping, summed.

The sound of a key at a velocity comes from a bank that is filled on demand: samples of the font at a
few velocities (``velocity_layers``), blended for the velocities between. The level is ours and the
same for all instruments: amplitude ∝ velocity², i.e. 40·log10(v / 127) dB, which is both what a
SoundFont synthesiser must do by default (SoundFont 2.04, section 8.4.1) and the square law measured
on synthesisers and disklaviers (Dannenberg 2006, ICMC, "The interpretation of MIDI velocity").
The layers give the timbre only. There is no voice limit, and nothing depends on earlier files.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pianoeval.audio.filters import equalise
from pianoeval.audio.pedal import Damping
from pianoeval.audio.sources import BANK_RATE_HZ, open_source
from pianoeval.midi.io import Performance
from pianoeval.params import InstrumentParams

F4 = NDArray[np.float32]

LOWEST_KEY, HIGHEST_KEY = 21, 108
ONSET_DELAY_S = 0.001
_ONSET_LEVEL = 0.05
_FADE_IN_FRAMES = 22
_LEVEL_S = 0.3
_LENGTHS_S = (4.1, 9.1, 20.1, 48.1)  # a string rings at most as long as the last
_INAUDIBLE_DB = -90.0
_FULL_BAND_HZ = 19_900.0
_GRID_FRAMES = 32
_BANK_BYTES = 384 << 20


@dataclass(frozen=True)
class _Key:
    """What is measured once a key: where the attack lies, and how loud the key is."""

    shift_frames: int
    rms: float


@dataclass(frozen=True, eq=False)
class _Entry:
    """One layer of a key: its sound, and whether it was sampled until it had died away."""

    sound: F4
    whole: bool

    def reaches(self, n_frames: int) -> bool:
        return self.whole or len(self.sound) >= n_frames


class SampleBank:
    """Keys of one instrument, ready to be summed; ``gain_db``, EQ and tuning are applied.

    Parameters
    ----------
    path : Path
        Sound font (.sf2) or sample set (.zip).
    instrument : InstrumentParams
    """

    def __init__(self, path: Path, instrument: InstrumentParams) -> None:
        self._source = open_source(path, instrument.bank, instrument.program)
        self._params = instrument
        self._layers = sorted(set(instrument.velocity_layers))
        rng = np.random.default_rng(instrument.seed)
        strings = len(instrument.unison_cents)
        spread = rng.standard_normal((128, strings)) * instrument.detune_cents
        self._cents = np.asarray(instrument.unison_cents)[None, :] + spread
        self._loss_db = np.abs(rng.standard_normal(128)) * instrument.uneven_db
        self._keys: dict[int, _Key] = {}
        self._entries: OrderedDict[tuple[int, int], _Entry] = OrderedDict()
        self._bytes = 0

    def note(self, key_midi: int, velocity: int, n_frames: int) -> F4:
        """Undamped sound of a note: float32, at most ``n_frames`` at 44,100 Hz."""
        upper = int(np.searchsorted(self._layers, velocity))
        if upper == 0 or upper == len(self._layers):
            layer = self._layers[min(upper, len(self._layers) - 1)]
            sound = self._entry(key_midi, layer, n_frames)
        else:
            low, high = self._layers[upper - 1], self._layers[upper]
            weight = np.float32((velocity - low) / (high - low))
            soft = self._entry(key_midi, low, n_frames)
            loud = self._entry(key_midi, high, n_frames)
            length = min(len(soft), len(loud))
            sound = soft[:length] * (1 - weight) + loud[:length] * weight
        return np.asarray(sound * np.float32((velocity / 127.0) ** 2), dtype=np.float32)

    def _entry(self, key: int, layer: int, n_frames: int) -> F4:
        """The first ``n_frames`` of a layer, sampled further if the bank holds less."""
        entry = self._entries.get((key, layer))
        if entry is None or not entry.reaches(n_frames):
            wanted_s = n_frames / BANK_RATE_HZ
            seconds = next((s for s in _LENGTHS_S if s > wanted_s), _LENGTHS_S[-1])
            entry = self._build(key, layer, seconds)
            self._keep((key, layer), entry)
        self._entries.move_to_end((key, layer))
        return entry.sound[:n_frames]

    def _keep(self, name: tuple[int, int], entry: _Entry) -> None:
        """Hold an entry, and let the ones used longest ago go when the bank is full."""
        old = self._entries.pop(name, None)
        self._bytes += entry.sound.nbytes - (old.sound.nbytes if old else 0)
        self._entries[name] = entry
        while self._bytes > _BANK_BYTES and len(self._entries) > 1:
            _, dropped = self._entries.popitem(last=False)
            self._bytes -= dropped.sound.nbytes

    def _build(self, key: int, layer: int, seconds: float) -> _Entry:
        """One layer of a key at the instrument's level."""
        params = self._params
        raw = self._strings(key, layer, seconds)
        if key not in self._keys:
            loud = raw if layer == 127 else self._strings(key, 127, 2 * _LEVEL_S)
            shift = _onset_frame(loud) - round(ONSET_DELAY_S * BANK_RATE_HZ)
            self._keys[key] = _Key(shift, _rms(_shifted(loud, shift)))
        measured = self._keys[key]
        sound = self._softened(_shifted(raw, measured.shift_frames), layer)
        gain_db = params.gain_db - self._loss_db[key]
        sound = sound * np.float32(measured.rms / _rms(sound) * 10 ** (gain_db / 20))
        if params.decay_db_s:
            time_s = np.arange(len(sound)) / BANK_RATE_HZ
            sound = sound * np.exp(-np.log(10) / 20 * params.decay_db_s * time_s).astype(np.float32)
        sound = equalise(sound, params.eq, BANK_RATE_HZ)
        sound[:_FADE_IN_FRAMES] *= np.linspace(0, 1, _FADE_IN_FRAMES, dtype=np.float32)
        return _cut_silence(sound, whole=seconds >= _LENGTHS_S[-1])

    def _strings(self, key: int, velocity: int, seconds: float) -> F4:
        """All strings of a key, tuned apart, at equal total power."""
        voices = [self._source.sample(key, velocity, c, seconds) for c in self._cents[key]]
        length = min(len(voice) for voice in voices)
        total = np.sum([voice[:length] for voice in voices], axis=0, dtype=np.float32)
        return np.asarray(total / np.float32(np.sqrt(len(voices))), dtype=np.float32)

    def _softened(self, sound: F4, layer: int) -> F4:
        """Low-pass that closes as the layer gets softer, like SoundFont's default modulator 2."""
        cents = self._params.velocity_lowpass_cents * (1 - layer / 127)
        if cents == 0:
            return sound.copy()
        cutoff_hz = _FULL_BAND_HZ * 2 ** (-cents / 1200)
        return equalise(sound, [("lowpass", cutoff_hz, 0.0, np.sqrt(0.5))], BANK_RATE_HZ)


def mix(
    performance: Performance, damping: Damping, bank: SampleBank, start_s: float, n_frames: int
) -> F4:
    """Sum of all notes from MIDI time ``start_s``: float32 (n_frames,) at 44,100 Hz."""
    out = np.zeros(n_frames, dtype=np.float32)
    ends_s = damping.ends_s()
    for i in range(performance.n_notes):
        begin = round((float(performance.onset_s[i]) - start_s) * BANK_RATE_HZ)
        end_s = min(float(ends_s[i]) - start_s, n_frames / BANK_RATE_HZ)
        end = min(n_frames, int(np.ceil(end_s * BANK_RATE_HZ)))
        if end <= begin:
            continue
        key, velocity = int(performance.pitch_midi[i]), int(performance.velocity[i])
        sound = bank.note(key, velocity, end - begin)
        release = round((float(damping.release_s[i]) - start_s) * BANK_RATE_HZ) - begin
        if release < len(sound):
            _damp(sound, max(release, 0), damping, i, start_s + begin / BANK_RATE_HZ)
        out[begin : begin + len(sound)] += sound
    return out


def _damp(sound: F4, release: int, damping: Damping, note: int, begin_s: float) -> None:
    """Multiply the released part by its attenuation, in place; linear between grid points."""
    n_released = len(sound) - release
    grid = np.arange(0, n_released + _GRID_FRAMES, _GRID_FRAMES)
    loss_db = damping.attenuation_db(note, begin_s + (release + grid) / BANK_RATE_HZ)
    gain = np.interp(np.arange(n_released), grid, 10 ** (-loss_db / 20))
    sound[release:] *= gain.astype(np.float32)


def _onset_frame(sound: F4) -> int:
    """First frame above 5 % of the attack's peak."""
    attack = np.abs(sound[: round(_LEVEL_S * BANK_RATE_HZ)])
    return int(np.argmax(attack > _ONSET_LEVEL * attack.max()))


def _shifted(sound: F4, frames: int) -> F4:
    """Drop leading frames, or put silence before."""
    return sound[frames:] if frames >= 0 else np.concatenate([np.zeros(-frames, np.float32), sound])


def _rms(sound: F4) -> float:
    attack = sound[: round(_LEVEL_S * BANK_RATE_HZ)]
    return float(np.sqrt(np.mean(np.square(attack, dtype=np.float64))))


def _cut_silence(sound: F4, *, whole: bool) -> _Entry:
    """Cut where the rest stays 90 dB under the peak; a sound cut at the bank's limit is faded."""
    audible = np.abs(sound) > np.abs(sound).max() * 10 ** (_INAUDIBLE_DB / 20)
    length = len(sound) - int(np.argmax(audible[::-1]))
    if length < len(sound) - BANK_RATE_HZ // 10:
        return _Entry(sound[:length].copy(), True)
    if whole:
        fade = BANK_RATE_HZ
        sound[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return _Entry(sound, whole)
