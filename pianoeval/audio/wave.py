"""Reading and resampling of audio, and 16-bit samples."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from pianoeval.errors import BadInputError
from pianoeval.params import HIGHEST_HZ, LOWEST_HZ
from pianoeval.resampling import resample_parts, resampled_length

F4 = NDArray[np.float32]
I2 = NDArray[np.int16]

FULL_SCALE = 32_768
_PART = 1 << 20  # frames decoded at a time …
_PART_CHANNELS = 8  # … of at most so many channels; of more, fewer frames
# An MP3 frame takes bits of up to 511 bytes of earlier ones, 1.2 s at the lowest rate: what is
# decoded first after a jump is garbled. soundfile jumps after every read: each part has a run-up.
_RUN_UP_S = 2.0
_SLACK_S = 0.1  # durations in tables are rounded, and those of mp3 files estimated
_NEXT = "replace the file, or remove the clip from the corpus"


@dataclass(frozen=True)
class AudioParts:
    """Mono audio of ``n_samples`` that is decoded while ``parts`` is iterated, once."""

    n_samples: int
    parts: Iterator[F4]


def read_audio(
    source: Path | bytes,
    sample_rate_hz: int,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    max_duration_s: float = 1800.0,
) -> F4:
    """:func:`open_audio`, all at once: float32, shape (samples,)."""
    audio = open_audio(
        source, sample_rate_hz, start_s=start_s, end_s=end_s, max_duration_s=max_duration_s
    )
    return np.concatenate(list(audio.parts))


def open_audio(
    source: Path | bytes,
    sample_rate_hz: int,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    max_duration_s: float = 1800.0,
) -> AudioParts:
    """Decode (wav, flac, mp3, ogg), mix to mono and resample, in parts.

    Channels are averaged, which keeps a mono recording stored as stereo at its level. Only
    ``start_s..end_s`` is decoded; resampling is soxr VHQ.

    Returns
    -------
    AudioParts
        float32, full scale ±1.

    Raises
    ------
    BadInputError
        Missing, unreadable or empty file, an empty or too long excerpt; while the parts are
        iterated: a truncated file, or samples that are not finite.
    """
    where = "audio data" if isinstance(source, bytes) else source
    if isinstance(source, Path) and not source.is_file():
        raise BadInputError("no such file", where=source, next_step="check the path")
    with _opened(source, where) as file:
        rate_hz, frames = int(file.samplerate), int(file.frames)
    if not LOWEST_HZ <= rate_hz <= HIGHEST_HZ:
        raise BadInputError(
            f"{rate_hz} Hz", where=where, allowed=f"{LOWEST_HZ} to {HIGHEST_HZ} Hz", next_step=_NEXT
        )
    first = round(start_s * rate_hz)
    last = frames if end_s is None else round(end_s * rate_hz)
    if last > frames + _SLACK_S * rate_hz:
        raise BadInputError(
            f"ends at {frames / rate_hz:.2f} s, before the wanted {end_s:g} s",
            where=where, next_step=_NEXT,
        )  # fmt: skip
    last = min(last, frames)
    _check_excerpt(where, last - first, rate_hz, start_s, end_s, max_duration_s)
    length = resampled_length(last - first, rate_hz, sample_rate_hz)
    parts = resample_parts(_decode(source, where, first, last), rate_hz, sample_rate_hz)
    return AudioParts(length, parts)


def decoder_identity() -> dict[str, str]:
    """What turns a file into samples, for keys of recordings."""
    return {
        "libsndfile": soundfile.__libsndfile_version__, "soxr": soxr.__libsoxr_version__,
        "mp3_run_up_s": str(_RUN_UP_S),
    }  # fmt: skip


def _decode(source: Path | bytes, where: Path | str, first: int, last: int) -> Iterator[F4]:
    """Frames ``first..last`` as mono."""
    with _opened(source, where) as file:
        early = round(_RUN_UP_S * file.samplerate) if file.format == "MP3" else 0
        size = _PART * _PART_CHANNELS // max(file.channels, _PART_CHANNELS)
        for begin in range(first, last, size):
            wanted, run_up = min(size, last - begin), min(begin, early)
            file.seek(begin - run_up)
            stereo = file.read(run_up + wanted, dtype="float32", always_2d=True)[run_up:]
            if len(stereo) < wanted:
                raise BadInputError(
                    f"truncated: {begin - first + len(stereo)} of {last - first} frames",
                    where=where, next_step=_NEXT,
                )  # fmt: skip
            if not np.isfinite(stereo).all():
                what = "samples that are not finite numbers"
                raise BadInputError(what, where=where, next_step=_NEXT)
            yield stereo.mean(axis=1, dtype=np.float32)


@contextmanager
def _opened(source: Path | bytes, where: Path | str) -> Iterator[soundfile.SoundFile]:
    handle = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    try:
        with soundfile.SoundFile(handle) as file:
            yield file
    except (soundfile.LibsndfileError, OSError, ValueError) as error:
        raise BadInputError(
            f"not readable as audio: {error}", where=where, next_step=_NEXT
        ) from error


def _check_excerpt(
    where: Path | str,
    frames: int,
    rate_hz: int,
    start_s: float,
    end_s: float | None,
    limit_s: float,
) -> None:
    if frames <= 0:
        raise BadInputError(
            f"no audio between {start_s:g} s and {'its end' if end_s is None else f'{end_s:g} s'}",
            where=where, next_step=_NEXT,
        )  # fmt: skip
    if frames > limit_s * rate_hz:
        raise BadInputError(
            f"{frames / rate_hz:.0f} s long", where=where,
            allowed=f"{limit_s:g} s (midi.max_recording_s)",
            next_step="cut the recording, or raise midi.max_recording_s in params.yaml",
        )  # fmt: skip


def resample(samples: F4, from_hz: float, to_hz: float) -> F4:
    """soxr VHQ; the same array if the rates agree."""
    if from_hz == to_hz:
        return samples
    return np.asarray(soxr.resample(samples, from_hz, to_hz, "VHQ"), dtype=np.float32)


def to_int16(samples: F4) -> I2:
    """Round to 16 bit, without dither so that equal input gives equal bytes.

    Raises
    ------
    BadInputError
        The samples exceed full scale: nothing is clipped in silence.
    """
    check_peak(samples)
    scaled = np.rint(np.asarray(samples, dtype=np.float64) * FULL_SCALE)
    return np.minimum(scaled, FULL_SCALE - 1).astype(np.int16)


def check_peak(samples: F4) -> None:
    """Raise BadInputError if a sample lies outside ±1."""
    peak = float(np.abs(samples).max(initial=0.0))
    if not peak <= 1.0:  # nor anything that is no number
        raise BadInputError(
            f"clips by {20 * np.log10(peak):.2f} dB", allowed="0 dBFS",
            next_step="in params.yaml lower gain_db of the instrument, or recording_gain_db",
        )  # fmt: skip


def to_float32(samples: I2) -> F4:
    """Inverse of :func:`to_int16`, full scale ±1."""
    return np.asarray(samples, dtype=np.float32) / np.float32(FULL_SCALE)
