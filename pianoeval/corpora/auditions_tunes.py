"""The melodies of corpus ``auditions``: Ryan's Mammoth Collection (1883) in music21's wheel.

``auditions_tunes.csv`` describes all 1,059 files of it: a checksum, how long and how high each is,
and why some are of no use. Parsing them all takes a minute, so a corpus parses only those it plays.
Graces are dropped by music21's reader of ABC; of a double stop the upper note is played; repeats
are not expanded.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pianoeval.errors import BadInputError, CorruptDataError, MissingAssetError
from pianoeval.provenance import sha256_bytes

F8 = NDArray[np.float64]

TABLE = Path(__file__).parent / "auditions_tunes.csv"
COLUMNS = ("file", "sha256", "bars", "beats", "notes", "lowest", "highest", "leap", "fault")
FOLDER = "corpus/ryansMammoth"
MIN_BARS, MIN_BEATS, MIN_NOTES = 8, 24.0, 48
MIN_REGULAR = 0.9  # share of bars that are as long as their time signature says
_NEXT = "pip install --force-reinstall music21==10.5.1"


@dataclass(frozen=True)
class Tune:
    """A row of the table; ``fault`` is empty for what can be played."""

    file: str
    sha256: str
    bars: int
    beats: float
    notes: int
    lowest: int
    highest: int
    leap: float
    fault: str

    @property
    def name(self) -> str:
        return self.file.removesuffix(".abc")

    @property
    def span(self) -> int:
        """Semitones from the lowest to the highest note."""
        return self.highest - self.lowest


@dataclass(frozen=True, eq=False)
class Melody:
    """Notes of a tune in beats (quarters) from its start, ties joined, one at a time.

    ``onset_beats, duration_beats`` float64 (n,); ``pitch_midi`` int16 (n,); ``bar_beats`` float64
    (bars + 1,): where each bar begins, and the end.
    """

    onset_beats: F8
    duration_beats: F8
    pitch_midi: NDArray[np.int16]
    bar_beats: F8

    @property
    def beats(self) -> float:
        return float(self.bar_beats[-1])


@cache
def all_tunes() -> tuple[Tune, ...]:
    """The table, in the order of file names."""
    with TABLE.open(encoding="utf-8", newline="") as handle:
        return tuple(
            Tune(
                row["file"], row["sha256"], int(row["bars"]), float(row["beats"]),
                int(row["notes"]), int(row["lowest"]), int(row["highest"]), float(row["leap"]),
                row["fault"],
            )
            for row in csv.DictReader(handle)
        )  # fmt: skip


def read_tune(tune: Tune) -> Melody:
    """Parse a tune where pip put it.

    Raises
    ------
    MissingAssetError
        The installed music21 has no such file.
    CorruptDataError
        It is another version of the tune than the one that the table describes.
    BadInputError
        music21 cannot read it.
    """
    import music21

    path = Path(music21.__file__).parent / FOLDER / tune.file
    if not path.is_file():
        raise MissingAssetError("the installed music21 has no such tune", where=path,
                                next_step=_NEXT)  # fmt: skip
    data = path.read_bytes()
    if (found := sha256_bytes(data)[: len(tune.sha256)]) != tune.sha256:
        raise CorruptDataError(
            f"another version of the tune (sha256 {found})", where=path,
            allowed=f"sha256 {tune.sha256}", next_step=_NEXT,
        )  # fmt: skip
    return parse_abc(data.decode("latin-1"), path)


def parse_abc(text: str, where: Path | str) -> Melody:
    """Notes of the first part of an ABC tune; raises BadInputError where there are none."""
    from music21 import converter
    from music21.exceptions21 import Music21Exception

    try:
        score: Any = converter.parseData(text, format="abc")
        part = score.parts[0]
        bars = list(part.getElementsByClass("Measure"))
        rows = [row for bar in bars for row in _bar_notes(bar)]
    except (
        Music21Exception, KeyError, IndexError, ValueError, AttributeError, TypeError,
    ) as error:  # fmt: skip
        raise BadInputError(
            f"not readable as ABC ({type(error).__name__}: {error})", where=where, next_step=_NEXT
        ) from error
    if not rows:
        raise BadInputError("a tune without notes", where=where, next_step=_NEXT)
    onset, end, pitch = _one_at_a_time(rows)
    edges = [float(bar.offset) for bar in bars]
    edges.append(max(edges[-1] + float(bars[-1].duration.quarterLength), end[-1]))
    return Melody(
        np.asarray(onset), np.asarray(end) - np.asarray(onset), np.asarray(pitch, np.int16),
        np.unique(np.asarray(edges)),
    )  # fmt: skip


def _bar_notes(bar: Any) -> list[tuple[Fraction, Fraction, int, bool]]:
    """Onset, end (beats from the start of the tune), pitch and whether it is tied from before."""
    rows = []
    for note in bar.recurse().notes:
        if note.duration.isGrace or "ChordSymbol" in note.classes:
            continue
        onset = Fraction(bar.offset) + Fraction(note.getOffsetInHierarchy(bar))
        top = max(note.notes, key=lambda n: n.pitch.midi) if note.isChord else note
        tied = top.tie is not None and top.tie.type in ("stop", "continue")
        rows.append((onset, onset + Fraction(note.duration.quarterLength), top.pitch.midi, tied))
    return rows


def _one_at_a_time(
    rows: list[tuple[Fraction, Fraction, int, bool]],
) -> tuple[list[float], list[float], list[int]]:
    """Ties joined; a note ends where the next begins at the latest."""
    onset: list[float] = []
    end: list[float] = []
    pitch: list[int] = []
    for start, stop, key, tied in sorted(rows):
        if stop <= start:
            continue
        if tied and pitch and pitch[-1] == key and abs(end[-1] - float(start)) < 1e-6:
            end[-1] = float(stop)
            continue
        if onset and float(start) - onset[-1] < 1e-6:  # a second voice: the upper one stays
            pitch[-1] = max(pitch[-1], key)
            continue
        if onset:
            end[-1] = min(end[-1], float(start))
        onset.append(float(start))
        end.append(float(stop))
        pitch.append(key)
    return onset, end, pitch


def describe(file: str, data: bytes) -> dict[str, Any]:
    """A row of the table; ``benchmarks/describe_tunes.py`` writes all of them."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS, 0) | {"file": file, "fault": ""}
    row["sha256"] = sha256_bytes(data)[:16]
    try:
        melody = parse_abc(data.decode("latin-1"), file)
    except BadInputError:
        return row | {"fault": "not readable"}
    lengths = np.diff(melody.bar_beats)
    usual = float(np.median(lengths))
    regular = float((np.abs(lengths - usual) < 1e-6).mean())
    row |= {
        "bars": len(lengths), "beats": round(melody.beats, 3), "notes": len(melody.pitch_midi),
        "lowest": int(melody.pitch_midi.min()), "highest": int(melody.pitch_midi.max()),
        "leap": round(float(np.abs(np.diff(melody.pitch_midi)).mean()), 3)
        if len(melody.pitch_midi) > 1 else 0.0,
    }  # fmt: skip
    if len(lengths) < MIN_BARS or melody.beats < MIN_BEATS or row["notes"] < MIN_NOTES:
        row["fault"] = "too short"
    elif regular < MIN_REGULAR - 4 / len(lengths):  # upbeats and the bars that repeats split
        row["fault"] = "bars of unequal length"
    return row
