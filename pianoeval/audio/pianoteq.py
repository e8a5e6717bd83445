"""Pianoteq's command line as an engine: for those who own the program; it is never shipped.

A MIDI file of notes and sustain pedal alone is written for each clip, under a name that no parser
stumbles over; dampers, half pedal and velocity are the program's own (``pianoteq_program`` runs
it).

The program may exit with 0 and have written nothing, silence, or an instrument that its licence
does not open: the file itself is checked, and every preset first plays all 88 keys once a process.
A demo mutes some keys; such renders are refused, as nobody would notice them in a table. The same
keys tell how late the program begins, which is taken off.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from pianoeval.audio.pianoteq_program import RATE_HZ, PianoteqError, Program, presets, program, run
from pianoeval.errors import BadInputError, ConfigError, MissingAssetError
from pianoeval.midi.io import Note, Performance, write_midi

F4 = NDArray[np.float32]

LOWEST_KEY, HIGHEST_KEY = 21, 108
_LEAD_S = 0.5  # before the first onset, in the probe and in every clip: what is trimmed is alike
_START_S, _PACE = 120.0, 4.0  # limit of a render, and more a second of music
_FULL_SCALE = 1.0 - 2.0**-15
_SILENT = 1e-5
# The probe: a chord, then every key by itself.
_CHORD_S, _STEP_S, _HELD_S, _HEARD_S = 2.0, 1.0, 0.4, 0.3
_MUTED = 1e-2  # of the median key's level
_RISE = 1.5  # of what still rings of the key before


@dataclass(frozen=True)
class Voice:
    """A preset that was heard to play.

    Attributes
    ----------
    delay_frames : int
        From the time of an onset in the MIDI file to its sound in the audio.
    silent_keys : frozenset of int
        Below or above the compass of the instrument.
    """

    program: Program
    preset: str
    delay_frames: int
    silent_keys: frozenset[int]


def voice(preset: str) -> Voice:
    """A preset that is there and plays; asked and heard once a process.

    Raises
    ------
    MissingAssetError
        No Pianoteq, or one without a licence for the preset.
    ConfigError
        No such preset.
    PianoteqError
        The program fails.
    """
    return _heard(program(), preset)


@lru_cache(maxsize=32)
def _heard(found: Program, preset: str) -> Voice:
    listed = presets(found.path)
    if listed and preset not in listed:
        words = set(preset.lower().split())
        alike = sorted(listed, key=lambda name: -len(words & set(name.lower().split())))[:8]
        raise ConfigError(
            f"no preset '{preset}'", where=found.path, allowed=", ".join(alike) + ", …",
            next_step="take a name of --list-presets for 'preset' of the instrument in params.yaml",
        )  # fmt: skip
    audio = _rendered(found, preset, _every_key())
    delay = _delay_frames(audio, found, preset)
    muted = _muted_keys(audio, delay)
    heard = sorted(set(range(LOWEST_KEY, HIGHEST_KEY + 1)) - muted)
    holes = [key for key in muted if heard and heard[0] < key < heard[-1]]
    if holes or not heard:
        raise MissingAssetError(
            f"the preset '{preset}' mutes {len(holes) or 'all'} keys, as a demo does: "
            f"{', '.join(map(str, sorted(holes)[:12]))}",
            where=found.path,
            next_step="activate Pianoteq with a licence for this instrument, or take it out of"
            " axes.instrument",
        )
    return Voice(found, preset, delay, frozenset(muted))


def _every_key() -> Performance:
    chord: list[Note] = [(0.0, _HELD_S, key, 100) for key in (60, 61, 64, 67, 71)]
    keys: list[Note] = [
        (_key_s(key), _key_s(key) + _HELD_S, key, 90) for key in range(LOWEST_KEY, HIGHEST_KEY + 1)
    ]
    return Performance.from_notes([*chord, *keys])


def _key_s(key: int) -> float:
    """When the probe plays a key, after its first onset."""
    return _CHORD_S + (key - LOWEST_KEY) * _STEP_S


def _delay_frames(audio: F4, found: Program, preset: str) -> int:
    """From the chord in the file to its sound: the first frame above 5 % of its peak."""
    first = np.abs(audio[: round((_LEAD_S + _CHORD_S) * RATE_HZ)])
    if first.max(initial=0.0) < _SILENT:
        raise PianoteqError(
            f"the preset '{preset}' is silent", where=found.path,
            next_step="take a name of --list-presets that the licence covers",
        )  # fmt: skip
    return int(np.argmax(first > 0.05 * first.max())) - round(_LEAD_S * RATE_HZ)


def _muted_keys(audio: F4, delay: int) -> set[int]:
    """Keys of the probe that are not heard above what rings of the one before."""

    def level(begin_s: float, end_s: float) -> float:
        begin, end = (round((_LEAD_S + t) * RATE_HZ) + delay for t in (begin_s, end_s))
        part = audio[max(begin, 0) : max(end, 0)].astype(np.float64)
        return float(np.sqrt(np.mean(part**2))) if len(part) else 0.0

    keys = range(LOWEST_KEY, HIGHEST_KEY + 1)
    after = [level(_key_s(key), _key_s(key) + _HEARD_S) for key in keys]
    before = [level(_key_s(key) - 0.1, _key_s(key) - 0.02) for key in keys]
    least = _MUTED * float(np.median(after))
    return {
        key for key, now, rest in zip(keys, after, before, strict=True)
        if now <= least or now < _RISE * rest
    }  # fmt: skip


def play(performance: Performance, preset: str, lead_s: float, end_s: float) -> F4:
    """The performance from ``lead_s`` before its first onset to MIDI time ``end_s``.

    Returns
    -------
    float32, shape (frames,) at ``RATE_HZ``; where the program ended earlier, silence follows.

    Raises
    ------
    BadInputError
        A key outside the instrument's compass, a sum that clips within the program, or a program
        that fails on this clip alone.
    MissingAssetError, ConfigError, PianoteqError
        As :func:`voice`.
    """
    found = voice(preset)
    if outside := sorted(set(performance.pitch_midi.tolist()) & found.silent_keys):
        raise BadInputError(
            f"key {outside[0]} is silent in the preset '{preset}'",
            next_step="remove the clip, or take another preset",
        )
    try:
        audio = _rendered(found.program, preset, performance)
    except PianoteqError as error:  # of this clip: the preset has played before
        raise BadInputError(error.what, where=error.where, allowed=error.allowed) from error
    if float(np.abs(audio).max(initial=0.0)) >= _FULL_SCALE:
        raise BadInputError(
            "clips within Pianoteq", allowed="0 dBFS",
            next_step="lower the volume of the preset, and save it under a name of its own",
        )  # fmt: skip
    first_s = float(performance.onset_s[0])
    begin = round((_LEAD_S - lead_s) * RATE_HZ) + found.delay_frames
    wanted = max(int(np.ceil((end_s - first_s + lead_s) * RATE_HZ)), 1)
    pressed = round((_LEAD_S + float(performance.onset_s[-1]) - first_s) * RATE_HZ)
    if len(audio) < pressed + found.delay_frames:
        raise BadInputError("Pianoteq's audio ends before the last note", next_step="try again")
    out = np.zeros(wanted, np.float32)
    part = audio[max(begin, 0) : max(begin + wanted, 0)]
    gap = max(-begin, 0)
    out[gap : gap + len(part)] = part[: wanted - gap]
    return out


def _rendered(found: Program, preset: str, performance: Performance) -> F4:
    """What the program writes, as float32 mono; its first onset stands at ``_LEAD_S``."""
    shift = _LEAD_S - float(performance.onset_s[0])
    notes = zip(
        performance.onset_s + shift, performance.offset_s + shift, performance.pitch_midi,
        performance.velocity, strict=True,
    )  # fmt: skip
    pedal = zip(
        np.maximum(performance.pedal_time_s + shift, 0.0), performance.pedal_value, strict=True
    )
    moved = Performance.from_notes(notes, pedal)
    with tempfile.TemporaryDirectory() as folder:
        midi, wav = Path(folder, "in.mid"), Path(folder, "out.wav")
        write_midi(moved, midi)
        done = run(found.command(preset, midi, wav), _START_S + _PACE * moved.end_s)
        if done.returncode or not wav.is_file():
            said = (done.stdout + done.stderr).strip()[-400:]
            raise PianoteqError(
                f"wrote no audio (exit status {done.returncode}): {said or 'no message'}",
                where=found.path,
            )
        return _read(wav, found)


def _read(wav: Path, found: Program) -> F4:
    try:
        samples, rate_hz = soundfile.read(wav, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise PianoteqError(f"wrote no readable audio: {error}", where=found.path) from error
    if rate_hz != RATE_HZ:
        raise PianoteqError(
            f"wrote {rate_hz} Hz", where=found.path, allowed=f"the {RATE_HZ} Hz that were asked for"
        )
    audio = np.asarray(samples.mean(axis=1, dtype=np.float32))
    if not np.isfinite(audio).all() or np.abs(audio).max(initial=0.0) < _SILENT:
        raise PianoteqError("wrote silence, or no numbers", where=found.path)
    return audio
