"""Synthesis: every note is a sampled key times its damping, summed.

Level and timbre are ours, so that they are alike in all instruments:

* Amplitude ∝ velocity², i.e. 40·log10(v / 127) dB: what a SoundFont synthesiser must do by default
  (SoundFont 2.04, section 8.4.1), and the square law of Dannenberg 2006 (ICMC, "The interpretation
  of MIDI velocity"). tinysoundfont by itself plays 20·log10.
* The free fonts have one layer, or need modulators that tinysoundfont lacks. So each key is sampled
  once, at velocity 127, and softer notes pass a low-pass that closes with velocity
  (``velocity_lowpass_cents``), computed for three velocities and blended between them.
* Keys are voiced to one curve: the fonts' own steps of up to 9 dB between neighbouring keys would
  be heard as dynamics. ``uneven_db`` puts unevenness back where it is wanted.

There is no voice limit, and a clip does not depend on the clips before it.
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
_MARGIN_S = 0.1  # what moving the attack into place may cost
_LENGTHS_S = (3.0, 5.0, 9.0, 16.0, 28.0, 48.0)  # a string rings at most as long as the last
_INAUDIBLE_DB = -80.0
_VOICED_DBFS = -20.0
_TREBLE_KEY = 76
_TREBLE_DB_KEY = 0.3
_FULL_BAND_HZ = 19_900.0
_LAYERS = (32, 72, 127)
_GRID_FRAMES = 32
_BANK_BYTES = 512 << 20


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
        rng = np.random.default_rng(instrument.seed)
        strings = len(instrument.unison_cents)
        spread = rng.standard_normal((128, strings)) * instrument.detune_cents
        self._cents = np.asarray(instrument.unison_cents)[None, :] + spread
        self._loss_db = np.abs(rng.standard_normal(128)) * instrument.uneven_db
        self._entries: OrderedDict[tuple[int, int], _Entry] = OrderedDict()
        self._bytes = 0

    def note(self, key_midi: int, velocity: int, n_frames: int) -> F4:
        """Undamped sound of a note: float32, at most ``n_frames`` at 44,100 Hz."""
        upper = int(np.searchsorted(_LAYERS, velocity))
        low, high = _LAYERS[max(upper - 1, 0)], _LAYERS[upper]
        sound = self._entry(key_midi, high, n_frames).sound[:n_frames]
        if self._params.velocity_lowpass_cents and low != high:
            weight = np.float32((velocity - low) / (high - low))
            soft = self._entry(key_midi, low, n_frames).sound[:n_frames]
            sound = soft * (1 - weight) + sound * weight
        return np.asarray(sound * np.float32((velocity / 127.0) ** 2), dtype=np.float32)

    def _entry(self, key: int, layer: int, n_frames: int) -> _Entry:
        """A layer of a key that reaches ``n_frames``; sampled anew if the bank holds less."""
        if not self._params.velocity_lowpass_cents:
            layer = _LAYERS[-1]
        entry = self._entries.get((key, layer))
        if entry is None or not entry.reaches(n_frames):
            entry = self._build(key, layer, n_frames)
            self._keep((key, layer), entry)
        self._entries.move_to_end((key, layer))
        return entry

    def _keep(self, name: tuple[int, int], entry: _Entry) -> None:
        """Hold an entry, and let the ones used longest ago go when the bank is full."""
        old = self._entries.pop(name, None)
        self._bytes += entry.sound.nbytes - (old.sound.nbytes if old else 0)
        self._entries[name] = entry
        while self._bytes > _BANK_BYTES and len(self._entries) > len(_LAYERS):
            _, dropped = self._entries.popitem(last=False)
            self._bytes -= dropped.sound.nbytes

    def _build(self, key: int, layer: int, n_frames: int) -> _Entry:
        """Layer 127 is sampled; a softer one is that, low-passed, at the same attack level."""
        seconds = next((s for s in _LENGTHS_S if s * BANK_RATE_HZ > n_frames), _LENGTHS_S[-1])
        if layer == _LAYERS[-1]:
            return self._sampled(key, seconds + _MARGIN_S)
        loud = self._entry(key, _LAYERS[-1], n_frames)
        part = loud.sound[: round(seconds * BANK_RATE_HZ)]
        cents = self._params.velocity_lowpass_cents * (1 - layer / 127)
        key_hz = 440 * 2 ** ((key - 69) / 12)
        cutoff_hz = min(max(_FULL_BAND_HZ * 2 ** (-cents / 1200), 2 * key_hz), _FULL_BAND_HZ)
        soft = equalise(part, [("lowpass", cutoff_hz, 0.0, np.sqrt(0.5))], BANK_RATE_HZ)
        whole = loud.whole and len(part) == len(loud.sound)
        return _Entry(soft * np.float32(_rms(part) / _rms(soft)), whole)

    def _sampled(self, key: int, seconds: float) -> _Entry:
        """A key at full velocity: strings, EQ, attack in place, voiced level, extra decay."""
        params = self._params
        sound = equalise(self._strings(key, seconds), params.eq, BANK_RATE_HZ)
        sound = _shifted(sound, _onset_frame(sound) - round(ONSET_DELAY_S * BANK_RATE_HZ))
        level_db = params.gain_db + _voicing_db(key) - self._loss_db[key]
        sound = sound * np.float32(10 ** (level_db / 20) / _rms(sound))
        if params.decay_db_s:
            time_s = np.arange(len(sound)) / BANK_RATE_HZ
            sound = sound * np.exp(-np.log(10) / 20 * params.decay_db_s * time_s).astype(np.float32)
        sound[:_FADE_IN_FRAMES] *= np.linspace(0, 1, _FADE_IN_FRAMES, dtype=np.float32)
        return _cut_silence(sound, longest=seconds > _LENGTHS_S[-1])

    def _strings(self, key: int, seconds: float) -> F4:
        """All strings of a key, tuned apart, at equal total power."""
        voices = [self._source.sample(key, 127, cents, seconds) for cents in self._cents[key]]
        length = min(len(voice) for voice in voices)
        total = np.sum([voice[:length] for voice in voices], axis=0, dtype=np.float32)
        return np.asarray(total / np.float32(np.sqrt(len(voices))), dtype=np.float32)


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


def _voicing_db(key: int) -> float:
    """Attack level (dBFS) of a key at velocity 127 and gain 0; less in the top octaves."""
    return _VOICED_DBFS - _TREBLE_DB_KEY * max(key - _TREBLE_KEY, 0)


def _shifted(sound: F4, frames: int) -> F4:
    """Drop leading frames, or put silence before."""
    return sound[frames:] if frames >= 0 else np.concatenate([np.zeros(-frames, np.float32), sound])


def _rms(sound: F4) -> float:
    attack = sound[: round(_LEVEL_S * BANK_RATE_HZ)]
    return float(np.sqrt(np.mean(np.square(attack, dtype=np.float64))))


def _cut_silence(sound: F4, *, longest: bool) -> _Entry:
    """Cut at the first 0.1 s that stays 80 dB under the attack; fade at the bank's limit.

    Where it is cut does not depend on how long was sampled, so neither does a render.
    """
    block = BANK_RATE_HZ // 10
    threshold = np.abs(sound[: round(_LEVEL_S * BANK_RATE_HZ)]).max() * 10 ** (_INAUDIBLE_DB / 20)
    peaks = np.abs(sound[: len(sound) // block * block]).reshape(-1, block).max(axis=1)
    quiet = np.flatnonzero(peaks < threshold)
    if len(quiet):
        return _Entry(sound[: quiet[0] * block].copy(), True)
    if longest:
        sound[-BANK_RATE_HZ:] *= np.linspace(1, 0, BANK_RATE_HZ, dtype=np.float32)
    return _Entry(sound, longest)
