"""Text files of one audition of the Florida Bandmasters Association, and what is known of them.

The layout is that of the README of GTCMT/MIG-FbaData and of the readers in
ashispati/MusicPerfAssessment (``DataUtils.py``) and FBA-Janitor/MIG-MusicPerformanceAnalysis-Code.
The data is private: this module has seen its description, and no recording of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from pianoeval.errors import BadInputError

AUDITIONS = "auditions.csv"  # written when the corpus is fetched: one row an audition
COLUMNS = ("year", "level", "student", "instrument")
LEFT_OUT = "left_out.json"
RECORDING, SEGMENTS = ".mp3", "_segment.txt"
ASSESSMENTS, ACTIVITIES = "_assessments.txt", "_instrument.txt"
KINDS = (RECORDING, SEGMENTS, ASSESSMENTS, ACTIVITIES)

# Folders and tables of a level carry its name, with or without hyphen, blank and "scores".
BANDS = {"middle": "middleschool", "symphonic": "symphonicband"}
# By name (tables) and by code (``<id>_instrument.txt``); bcl is no bass clarinet.
INSTRUMENTS = {
    "alto saxophone": "Alto Saxophone", "axs": "Alto Saxophone",
    "bb clarinet": "Bb Clarinet", "bcl": "Bb Clarinet",
    "flute": "Flute", "flu": "Flute",
}  # fmt: skip
# "recording is bad or segment annotation doesn't exist": ashispati/MusicPerfAssessment.
BAD_IDS = {
    "middle": frozenset((
        29266, 29429, 32951, 33163, 39299, 39421, 41333, 42462,
        42996, 43261, 43811, 44319, 44627, 56948, 61218,
    )),
    "symphonic": frozenset((
        30430, 33026, 33368, 33476, 35301, 41602, 42341, 46038,
        51598, 52950, 53083, 55642, 56778, 56925, 60935,
    )),
}  # fmt: skip

# Rows and columns of ``<id>_assessments.txt``, counted from 0, and the names of the paper.
N_ROWS, N_CATEGORIES = 10, 26
TECHNICAL_ROW = 1
CRITERIA = {"musicality": 2, "note_accuracy": 3, "rhythm_accuracy": 4}
MISSING = -1.0
# A wind player's audition: lyrical etude, technical etude, chromatic scale, major scales, reading.
N_SEGMENTS, TECHNICAL_SEGMENT = 5, 1
TECHNICAL = "technicalEtude"
SHORTEST_S = 1.0  # a shorter segment is a slip of the annotation, as in FBA-Janitor's reader
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Audition:
    """One student in one year; ``instrument`` is '' where nothing names it."""

    year: int
    student: str
    instrument: str

    @property
    def clip(self) -> str:
        return f"{self.year}-{self.student}"

    def is_bad(self, level: str) -> bool:
        """Whether the published studies leave it out."""
        return int(self.student) in BAD_IDS[level]

    def file(self, kind: str) -> str:
        """Path of a file in the fetched corpus."""
        return f"{self.year}/{self.student}{kind}"


def instrument_name(text: str) -> str | None:
    """One of the three instruments, None for others."""
    return INSTRUMENTS.get(" ".join(text.split()).casefold())


def read_span(segments: Path, activities: Path | None) -> tuple[float, float]:
    """Start and end of the technical exercise in seconds.

    Segments of up to 1 s are dropped. Which row is the technical exercise is said by
    ``<id>_instrument.txt`` where there is one; else it is the second of five.

    Raises
    ------
    BadInputError
        Not two columns of numbers, not as many rows as activities, or no technical exercise.
    """
    rows = [_numbers(row, 2, segments) for row in _rows(segments)]
    kept = [(start, length) for start, length in rows if length > SHORTEST_S]
    named = [row[-1] for row in _rows(activities)] if activities else None
    expected = N_SEGMENTS if named is None else len(named)
    if len(kept) != expected:
        raise BadInputError(
            f"{len(kept)} segments of more than {SHORTEST_S:g} s", where=segments,
            allowed=f"{expected}", next_step="mend the annotation or leave the audition out",
        )  # fmt: skip
    if named is not None and named.count(TECHNICAL) != 1:
        raise BadInputError(
            f"{named.count(TECHNICAL)} segments are the {TECHNICAL}", where=activities, allowed="1",
            next_step="mend the annotation or leave the audition out",
        )  # fmt: skip
    start, length = kept[TECHNICAL_SEGMENT if named is None else named.index(TECHNICAL)]
    if start < 0:
        raise BadInputError(
            f"the technical exercise starts at {start:g} s", where=segments, allowed="0 s or later",
            next_step="mend the annotation or leave the audition out",
        )  # fmt: skip
    return start, start + length


def read_ratings(path: Path) -> dict[str, float]:
    """Ratings of the technical exercise, [0, 1], by criterion.

    Raises
    ------
    BadInputError
        Not a table of 10 × 26 numbers, or a criterion that was not rated (-1) or is beyond [0, 1].
    """
    rows = _rows(path)
    if len(rows) != N_ROWS:
        raise BadInputError(
            f"{len(rows)} rows", where=path, allowed=f"{N_ROWS}, one a segment",
            next_step="mend the file or leave the audition out",
        )  # fmt: skip
    values = _numbers(rows[TECHNICAL_ROW], N_CATEGORIES, path)
    found = {name: values[column] for name, column in CRITERIA.items()}
    for name, value in found.items():
        if not 0 <= value <= 1:
            what = "was not rated" if value == MISSING else f"is rated {value:g}"
            raise BadInputError(
                f"{name} of the technical exercise {what}", where=path, allowed="0 to 1",
                next_step="mend the file or leave the audition out",
            )  # fmt: skip
    return found


def read_activities(path: Path) -> str:
    """The code of the instrument; raises BadInputError unless it is one in all rows."""
    codes = sorted({row[0] for row in _rows(path)})
    if len(codes) != 1:
        raise BadInputError(
            f"{len(codes)} instruments ({', '.join(codes[:3])})", where=path, allowed="1",
            next_step="mend the file or leave the audition out",
        )  # fmt: skip
    return codes[0]


def _rows(path: Path) -> list[list[str]]:
    """Cells of a file of columns; lines that start with // explain and are dropped."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise BadInputError(
            f"not readable as text ({error})", where=path, allowed=f"UTF-8, {_MAX_BYTES >> 20} MiB",
            next_step="mend the file or leave the audition out",
        ) from error  # fmt: skip
    lines = [line.split() for line in text.splitlines() if not line.lstrip().startswith("//")]
    return [cells for cells in lines if cells]


def _numbers(cells: list[str], wanted: int, path: Path) -> list[float]:
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        values = []
    if len(values) != wanted or not all(math.isfinite(value) for value in values):
        raise BadInputError(
            f"a row reads '{' '.join(cells)[:60]}'", where=path, allowed=f"{wanted} numbers a row",
            next_step="mend the file or leave the audition out",
        )  # fmt: skip
    return values
