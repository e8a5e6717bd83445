"""Where the sound of one key comes from: a SoundFont through tinysoundfont, or a sample set.

tinysoundfont's own note logic is not used for playing: it ignores CC64, plays velocity as a linear
amplitude and interpolates samples linearly. One key at a time is taken from it, at four times the
wanted rate, which moves the interpolation error 20 dB down and out of the band that soxr keeps.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from pianoeval.assets import UNREADABLE_ZIP, read_member
from pianoeval.errors import BadInputError, MissingAssetError

F4 = NDArray[np.float32]

BANK_RATE_HZ = 44_100
OVERSAMPLING = 4
_MAX_VOICES = 64
_FLUSH_S = 0.05
_GUARD_S = 0.1  # cut off again, so that the resampler's edge is never part of a sample
_ATTACK_S = 0.5
_KEY_BYTES = 64 << 20  # of one recording of a sample set
_LEAD_S = 0.01
_PITCH_CLASS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


class Source(Protocol):
    """One piano, a key at a time."""

    def sample(self, key_midi: int, velocity: int, cents: float, seconds: float) -> F4:
        """Undamped sound, float32 (at most ``seconds`` · 44,100); the level law is not applied."""
        ...


class SoundFontSource:
    """One preset of an .sf2 file; raises MissingAssetError if it cannot be used."""

    def __init__(self, path: Path, bank: int, program: int) -> None:
        if path.suffix.lower() != ".sf2":
            raise MissingAssetError(
                f"'{path.suffix}' fonts are refused: the decoder in use changes their samples",
                where=path, allowed=".sf2", next_step="convert the font to .sf2",
            )  # fmt: skip
        OutputMode, SoundFont = _engine()
        try:
            self._font = SoundFont(str(path))
        except RuntimeError as error:
            raise MissingAssetError(
                f"not a readable SoundFont: {error}", where=path, next_step="pianoeval doctor"
            ) from error
        if self._font.get_preset_index(bank, program) < 0:
            raise MissingAssetError(
                f"no preset {bank}:{program}", where=path,
                allowed=", ".join(self._presets()), next_step="edit instruments: in params.yaml",
            )  # fmt: skip
        # Left, then right: this mode keeps the sample position in double precision.
        self._font.set_output(OutputMode.StereoUnweaved, BANK_RATE_HZ * OVERSAMPLING, 0.0)
        self._font.set_max_voices(_MAX_VOICES)
        self._preset = (bank, program)

    def _presets(self) -> list[str]:
        font = self._font
        pianos = [(bank, n) for bank in (0, 8, 128) for n in range(8)]
        found = [(b, n, font.get_preset_index(b, n)) for b, n in pianos]
        return [f"{b}:{n} {font.get_preset_name(index)}" for b, n, index in found if index >= 0]

    def sample(self, key_midi: int, velocity: int, cents: float, seconds: float) -> F4:
        """See Source. The engine is reset, so a sample does not depend on those before it."""
        font = self._font
        bank, program = self._preset
        font.channel_set_bank(0, bank)
        font.channel_set_preset_number(0, program, False)
        font.channel_set_tuning(0, cents / 100.0)
        # The engine truncates velocity · 127 to choose the zone; a quarter step keeps it whole.
        amplitude = (velocity + 0.25) / 127.0
        font.channel_note_on(0, key_midi, amplitude)
        stereo = self._render(seconds + _GUARD_S)
        font.reset()
        self._render(_FLUSH_S)
        rate_hz = BANK_RATE_HZ * OVERSAMPLING
        mono = _one_microphone(stereo, round(_ATTACK_S * rate_hz)) / np.float32(amplitude)
        wanted = soxr.resample(mono, rate_hz, BANK_RATE_HZ, "VHQ")[: round(seconds * BANK_RATE_HZ)]
        return np.asarray(wanted, dtype=np.float32)

    def _render(self, seconds: float) -> F4:
        buffer = np.zeros((2, round(seconds * BANK_RATE_HZ) * OVERSAMPLING), dtype=np.float32)
        self._font.render(buffer.reshape(-1).data.cast("B"))
        return buffer


def _engine() -> tuple[Any, Any]:
    """Classes of tinysoundfont, which no dependency brings along (docs/install.md says why)."""
    try:
        from tinysoundfont._tinysoundfont import OutputMode, SoundFont
    except ImportError as error:
        raise MissingAssetError(
            f"tinysoundfont, which plays sound fonts, cannot be loaded: {error}",
            next_step="pip install --no-deps tinysoundfont",
        ) from error
    return OutputMode, SoundFont


class SampleSetSource:
    """A zip of one recording a key, ``Piano.ff.<note name>.flac`` (University of Iowa MIS)."""

    def __init__(self, path: Path) -> None:
        try:
            self._archive = zipfile.ZipFile(path)
        except UNREADABLE_ZIP as error:
            raise MissingAssetError(
                f"not a readable sample set: {error}", where=path, next_step="pianoeval doctor"
            ) from error
        self._members = {
            _key_of(match[1]): name
            for name in self._archive.namelist()
            if (match := re.fullmatch(r"(?:.*/)?Piano\.ff\.([A-G]b?\d)\.flac", name))
        }
        if missing := sorted(set(range(21, 109)) - set(self._members)):
            raise MissingAssetError(
                f"no sample for keys {missing}", where=path, next_step="pianoeval doctor"
            )

    def sample(self, key_midi: int, velocity: int, cents: float, seconds: float) -> F4:
        """See Source; one layer, so the velocity changes nothing here."""
        try:
            data = read_member(self._archive, self._members[key_midi], _KEY_BYTES)
            stereo, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        except (*UNREADABLE_ZIP, soundfile.LibsndfileError) as error:
            raise MissingAssetError(
                f"the sample of key {key_midi} cannot be read: {error}",
                where=self._archive.filename,
                next_step="pianoeval doctor",
            ) from error
        level = np.abs(stereo).max(axis=1)
        attack = int(np.argmax(level > 0.05 * level.max()))
        sounding = stereo[max(attack - round(_LEAD_S * rate_hz), 0) :].T
        played_hz = rate_hz * 2.0 ** (cents / 1200.0)
        mono = soxr.resample(
            _one_microphone(sounding, round(_ATTACK_S * rate_hz)), played_hz, BANK_RATE_HZ, "VHQ"
        )
        return np.asarray(mono[: round(seconds * BANK_RATE_HZ)], dtype=np.float32)


def open_source(path: Path, bank: int, program: int) -> Source:
    """The source a file's suffix asks for."""
    return SampleSetSource(path) if path.suffix == ".zip" else SoundFontSource(path, bank, program)


def _one_microphone(stereo: F4, attack_frames: int) -> F4:
    """The louder channel at the power of both; a sum would comb-filter spaced microphones.

    Louder is decided on the attack, so the choice does not depend on how long is asked for.

    In FluidR3 the channels of the upper keys correlate at -0.4 to -0.9: (L + R) / 2 loses 10 dB.
    """
    power = np.mean(np.square(stereo[:, :attack_frames], dtype=np.float64), axis=1)
    loudest = int(np.argmax(power))
    if power[loudest] == 0.0:
        raise BadInputError("the instrument is silent at this key", next_step="pianoeval doctor")
    scale = np.sqrt(power.mean() / power[loudest])
    return np.asarray(stereo[loudest] * scale, dtype=np.float32)


def _key_of(name: str) -> int:
    return _PITCH_CLASS[name[0]] - name.count("b") + 12 * (int(name[-1]) + 1)
