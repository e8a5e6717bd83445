"""Recordings as they are named on a command line, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from pianoeval.corpora.fetch import MEDIA_SUFFIXES
from pianoeval.corpora.folder import MIDI_SUFFIXES, audio_duration_s
from pianoeval.errors import BadInputError
from pianoeval.midi.io import read_midi
from pianoeval.params import MidiLimits

_NEXT = "name recordings, as: recital/*.wav"


@dataclass(frozen=True)
class Recording:
    """A file that can be read; ``name`` is how it was given."""

    name: str
    path: Path
    kind: Literal["audio", "midi"]
    duration_s: float


def find_recordings(
    names: Sequence[str], limits: MidiLimits
) -> tuple[list[Recording], dict[str, str]]:
    """The files that can be read, each once, in their order; and why others cannot.

    Raises
    ------
    BadInputError
        There is none to read.
    """
    found: list[Recording] = []
    failed: dict[str, str] = {}
    for name in dict.fromkeys(names):
        try:
            found.append(_recording(name, limits))
        except BadInputError as error:
            failed[printable(name)] = _reason(error)
        except OSError as error:  # no permission, a name that is too long, a disk that fails
            failed[printable(name)] = f"cannot be read ({error.strerror})"
    if not found:
        told = "\n".join(f"  {name}: {reason}" for name, reason in failed.items())
        raise BadInputError(f"no recording can be read\n{told}", next_step=_NEXT)
    return found, failed


def printable(name: str) -> str:
    """A file name with what is no text written as an escape."""
    return name.encode("utf-8", "backslashreplace").decode()


def _reason(error: BadInputError) -> str:
    return error.what + (f" (allowed: {error.allowed})" if error.allowed else "")


def _recording(name: str, limits: MidiLimits) -> Recording:
    path = Path(name)
    if printable(name) != name:
        raise BadInputError("its name is not UTF-8: rename it")
    if path.is_dir():
        raise BadInputError("a folder", allowed=f"files, as {name.rstrip('/')}/*.wav")
    if not path.is_file():
        raise BadInputError("no such file")
    suffix = path.suffix.lower()
    if suffix not in MEDIA_SUFFIXES:
        raise BadInputError(f"'{suffix}' is no recording", allowed=" ".join(sorted(MEDIA_SUFFIXES)))
    path = path.absolute()
    if suffix in MIDI_SUFFIXES:
        return Recording(name, path, "midi", read_midi(path, limits).end_s)
    return Recording(name, path, "audio", audio_duration_s(path, limits))


def manifest_of(recordings: Sequence[Recording]) -> pd.DataFrame:
    """The columns of a manifest that rendering and symbolic features read; paths are absolute."""
    rows = [
        {
            "clip": one.name,
            "audio_path": str(one.path) if one.kind == "audio" else None,
            "midi_path": str(one.path) if one.kind == "midi" else None,
            "start_s": 0.0,
            "end_s": one.duration_s,
        }
        for one in recordings
    ]
    return pd.DataFrame(rows, columns=["clip", "audio_path", "midi_path", "start_s", "end_s"])
